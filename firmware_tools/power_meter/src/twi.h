/* The two-wire bus to the chip: every wait is bounded, a stuck bus is clocked free. */
#ifndef TWI_H
#define TWI_H

#include <stdbool.h>
#include <stdint.h>

void twi_start(void);
/* A 16-bit register, most significant byte first; false: not acknowledged, or no answer in time. */
bool twi_read(uint8_t address, uint8_t reg, uint16_t *value);
bool twi_write(uint8_t address, uint8_t reg, uint16_t value);
/* Transfers that failed since the reset. */
uint32_t twi_errors(void);

#endif
