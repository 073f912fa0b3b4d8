#include "reset.h"

#include <avr/io.h>
#include <avr/wdt.h>

static uint8_t cause __attribute__((section(".noinit")));

/* Runs before everything else: after a watchdog reset the watchdog is still on, at its shortest time.
 *
 * A bootloader runs first and clears MCUSR. Newer Optiboots pass its value in r2, which the start-up code does not
 * change; others leave arbitrary values there, so an impossible value of MCUSR is ignored. */
void reset_keep_cause(void) __attribute__((naked, used, section(".init3")));
void reset_keep_cause(void)
{
    uint8_t handed;

    __asm__ volatile("mov %0, r2" : "=r"(handed));
    cause = MCUSR;
    if (cause == 0 && (handed & 0xF0U) == 0)
        cause = handed;
    MCUSR = 0;
    wdt_disable();
}

uint8_t reset_cause(void)
{
    return cause & 0x0FU;
}
