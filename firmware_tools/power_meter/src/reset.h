/* Why the processor was reset: bits of MCUSR (1 power on, 2 reset pin, 4 brown-out, 8 watchdog). */
#ifndef RESET_H
#define RESET_H

#include <stdint.h>

uint8_t reset_cause(void);

#endif
