#include "uart.h"

#include <avr/interrupt.h>
#include <util/atomic.h>

#include "board.h"

#define RECEIVE_SIZE 64U /* a power of two */

uint8_t uart_ring[UART_SEND_SIZE];
static volatile uint16_t send_head; /* next byte to send: moved by the interrupt */
static volatile uint16_t send_tail; /* end of what may be sent */
uint16_t uart_written;              /* end of what is written; used by the main loop only */

static volatile uint8_t receive_ring[RECEIVE_SIZE];
static volatile uint8_t receive_head;
static volatile uint8_t receive_tail;

void uart_start(void)
{
    UBRR0 = F_CPU / (8UL * SERIAL_BAUD) - 1UL; /* 3: exact at 16 MHz */
    UCSR0A = _BV(U2X0);
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
}

ISR(USART_UDRE_vect)
{
    uint16_t head = send_head;

    UDR0 = uart_ring[head];
    head = (head + 1U) & (UART_SEND_SIZE - 1U);
    send_head = head;
    if (head == send_tail)
        UCSR0B &= (uint8_t)~_BV(UDRIE0);
}

ISR(USART_RX_vect)
{
    uint8_t broken = UCSR0A & (_BV(FE0) | _BV(DOR0));
    uint8_t byte = UDR0;
    uint8_t next = (receive_tail + 1U) & (RECEIVE_SIZE - 1U);

    if (!broken && next != receive_head) { /* a byte dropped here fails its frame's check sum */
        receive_ring[receive_tail] = byte;
        receive_tail = next;
    }
}

bool uart_received(void)
{
    return receive_head != receive_tail;
}

bool uart_take(uint8_t *byte)
{
    uint8_t head = receive_head;

    if (head == receive_tail)
        return false;
    *byte = receive_ring[head];
    receive_head = (head + 1U) & (RECEIVE_SIZE - 1U);
    return true;
}

uint16_t uart_room(void)
{
    uint16_t head = 0;

    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        head = send_head;
    }
    return (head - uart_written - 1U) & (UART_SEND_SIZE - 1U);
}

void uart_release(void)
{
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        send_tail = uart_written;
        if (send_head != send_tail)
            UCSR0B |= _BV(UDRIE0);
    }
}
