/* Settings that survive a reset: the calibrated resistance of the shunt, twice in EEPROM, each copy with a CRC. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#define SHUNT_MOST_UOHM 10000000UL

/* Reads the EEPROM; one valid copy of the two is enough, and restores the other. */
void settings_load(void);
/* The calibrated resistance, or the default of the chip's usual board. */
uint32_t settings_shunt_uohm(void);
/* Whether the EEPROM holds a valid record. */
bool settings_calibrated(void);
/* Stores a resistance and reads it back; false: the EEPROM does not hold it. */
bool settings_store_shunt(uint32_t shunt_uohm);

#endif
