#include "clock.h"

#include <avr/interrupt.h>
#include <util/atomic.h>

#include "board.h"

/* Timer 1 counts half microseconds: 16 MHz / 8. */
static volatile uint32_t overflows;
static volatile struct edge last_edge;
static volatile bool edge_waits;

void clock_start(void)
{
    ALERT_PORT |= _BV(ALERT_BIT); /* pull-up: ALERT is open drain */
    TCCR1A = 0;
    TCNT1 = 0;
    TIFR1 = _BV(TOV1) | _BV(ICF1);
    TIMSK1 = _BV(TOIE1) | _BV(ICIE1);
    TCCR1B = _BV(ICNC1) | _BV(CS11); /* falling edge, noise canceller (4 clocks), clock / 8 */
}

/* Call with interrupts off. A count below the middle with the overflow still pending belongs to the next round.
 * The half microseconds (rounds << 16 | count) >> 1, its top bit set by hand: shifting by 15 places takes 100 clocks. */
static inline uint32_t microseconds(uint16_t count)
{
    uint32_t rounds = overflows;
    uint32_t us;

    if ((TIFR1 & _BV(TOV1)) && count < 0x8000U)
        rounds++;
    us = ((uint32_t)(uint16_t)rounds << 16 | count) >> 1;
    if (rounds & 0x10000UL)
        us |= 0x80000000UL;
    return us;
}

ISR(TIMER1_OVF_vect)
{
    overflows++;
}

ISR(TIMER1_CAPT_vect)
{
    last_edge.time_us = microseconds(ICR1);
    last_edge.inputs = clock_inputs();
    edge_waits = true;
}

uint32_t clock_now_us(void)
{
    uint32_t now = 0;

    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        now = microseconds(TCNT1);
    }
    return now;
}

bool clock_take_edge(struct edge *edge)
{
    bool taken = false;

    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        taken = edge_waits;
        edge_waits = false;
        edge->time_us = last_edge.time_us;
        edge->inputs = last_edge.inputs;
    }
    return taken;
}

bool clock_edge_waits(void)
{
    return edge_waits;
}

bool clock_edge_waits_since_before(uint32_t us)
{
    bool before = false;

    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        before = edge_waits && (int32_t)(last_edge.time_us - us) < 0;
    }
    return before;
}

void clock_forget_edge(void)
{
    struct edge ignored;

    (void)clock_take_edge(&ignored);
}

uint8_t clock_inputs(void)
{
    return (TRIGGER_PIN >> TRIGGER_BIT) & 1U;
}
