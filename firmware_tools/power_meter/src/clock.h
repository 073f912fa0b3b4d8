/* The clock: microseconds from timer 1, and the moment of the chip's last ALERT. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Time and inputs at the moment when the chip signalled a ready conversion. */
struct edge {
    uint32_t time_us;
    uint8_t inputs;
};

void clock_start(void);
/* Microseconds since clock_start; wraps after 2^32 us. */
uint32_t clock_now_us(void);
/* Returns the last falling edge of ALERT, once; false if there was none since. */
bool clock_take_edge(struct edge *edge);
bool clock_edge_waits(void);
/* Whether an edge is waiting that came before that time. */
bool clock_edge_waits_since_before(uint32_t us);
void clock_forget_edge(void);
/* The trigger's level, as bit 0. */
uint8_t clock_inputs(void);

#endif
