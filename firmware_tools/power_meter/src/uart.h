/* The serial line: two ring buffers, emptied and filled by interrupt. */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stdint.h>

#define UART_SEND_SIZE 1024U /* a power of two */

void uart_start(void);
/* Returns one received byte; false if there is none. */
bool uart_take(uint8_t *byte);
bool uart_received(void);
/* Bytes that can be written now. */
uint16_t uart_room(void);

/* Bytes in the ring stay unsent, and can be changed, until uart_release. Inline: each sample is nine bytes. */
extern uint8_t uart_ring[UART_SEND_SIZE];
extern uint16_t uart_written;

static inline __attribute__((always_inline)) void uart_put(uint8_t byte)
{
    uint16_t at = uart_written;

    uart_ring[at] = byte;
    uart_written = (at + 1U) & (UART_SEND_SIZE - 1U);
}

static inline __attribute__((always_inline)) uint16_t uart_mark(void)
{
    return uart_written;
}

static inline __attribute__((always_inline)) void uart_patch(uint16_t mark, uint8_t byte)
{
    uart_ring[mark] = byte;
}

void uart_release(void);

#endif
