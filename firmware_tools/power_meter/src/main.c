/* Power meter for single-board computers: INA226, INA219 or INA260 to a serial line. */
#include <avr/interrupt.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "chip.h"
#include "clock.h"
#include "command.h"
#include "sampler.h"
#include "settings.h"
#include "twi.h"
#include "uart.h"

static bool work_waits(void)
{
    return sampler_streams() ? chip_wants_attention() : command_waits();
}

/* Sleeps until the next interrupt: an edge, a byte, or the timer's overflow every 33 ms. */
static void rest(void)
{
    cli();
    if (!work_waits()) {
        sleep_enable();
        sei();
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

int main(void)
{
    wdt_enable(WDTO_500MS);
    set_sleep_mode(SLEEP_MODE_IDLE);
    clock_start();
    uart_start();
    twi_start();
    sei();
    settings_load();
    sampler_init();
    for (;;) {
        wdt_reset();
        if (sampler_step())
            command_step();
        rest();
    }
}
