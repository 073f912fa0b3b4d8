/* A bench for the real firmware: simavr runs the .elf, everything round the processor is simulated here.
 *
 * world.c  the load: power and trigger over simulated time
 * chips.c  INA226, INA260, INA219 on their registers
 * bus.c    the processor's two-wire unit with the true bit times, and the pins of the bus
 * line.c   the serial line to a pseudo-terminal
 * bench.c  options, faults, pace, the loop
 */
#ifndef BENCH_H
#define BENCH_H

#include <simavr/sim_avr.h>
#include <stdbool.h>
#include <stdint.h>

#define HZ 16000000ULL

struct options {
    const char *elf;
    const char *chip;
    const char *schedule; /* lines "power SECONDS WATTS" and "trigger SECONDS LEVEL"; seconds since the zero */
    const char *eeprom;
    const char *link; /* the port's name, a link to the pseudo-terminal */
    double supply_v;
    double shunt_ohm;
    double idle_w;
    double chip_clock; /* the chip's conversion times are multiplied by this */
    double boot_s;     /* time in the bootloader after each reset */
    bool zero_at_boot; /* the schedule begins at power on, not with the first START */
    bool reset_on_open;
    bool optiboot;  /* the bootloader hands MCUSR on in r2 */
    bool count;     /* registers hold the number of the conversion instead of the load's values */
    bool no_alert;  /* the ALERT wire is missing */
    bool real_time; /* never faster than the clock on the wall */
};

extern struct options options;
extern avr_t *avr;

void event(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* world.c */
void world_init(void);
void world_begin(uint64_t cycle); /* the schedule's zero; only the first call counts */
void world_power(uint64_t cycle, double watts);
void world_trigger(uint64_t cycle, int level);
double world_mean_w(uint64_t from, uint64_t to);
int world_trigger_at(uint64_t cycle);

/* chips.c */
void chip_power_on(void);
void chip_after_reset(void); /* the processor's reset has dropped the pending events */
void chip_supply(double volts);
uint16_t chip_read(uint8_t reg);
void chip_write(uint8_t reg, uint16_t value);
uint64_t chip_conversions(void);
bool chip_alert_low(void);

/* bus.c */
void bus_init(void);
void bus_after_reset(void);
void bus_nack(int count);   /* the chip does not acknowledge the next addresses; -1: for ever */
void bus_stick(int clocks); /* SDA is held low until so many clocks; -1: for ever, 0: let go */
void bus_alert(bool low);
void bus_glitch(void); /* a short pulse on ALERT that means nothing */
uint64_t bus_clocks_seen(void);

/* line.c */
void line_init(void);
void line_plug(void);
void line_unplug(void);
void line_after_reset(void);
bool line_service(int timeout_ms); /* true: a host has just opened the port */
uint64_t line_last_sent(void);
uint64_t line_sent(void);
uint64_t line_dropped(void);

/* bench.c */
void bench_control(void); /* reads commands that wait on the standard input */
bool bench_runs(void);    /* false: it has been told to end */

#endif
