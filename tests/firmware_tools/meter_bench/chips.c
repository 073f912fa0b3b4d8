/* The measuring chips: registers, conversion times, the ready flag. From the data sheets SBOS547 (INA226), SBOS656
 * (INA260) and SBOS448 (INA219). A conversion gives the mean over its time; shunt is converted before bus. */
#include <math.h>
#include <string.h>

#include "bench.h"

enum { INA226, INA219, INA260 };

static int kind;
static uint16_t config;
static uint16_t mask;
static uint16_t shunt_register;
static uint16_t bus_register;
static bool ready;
static double supply_v;
static uint64_t conversions;
static uint64_t began;       /* cycle at which the running conversion began */
static uint64_t due;         /* cycle of the next event, 0: the chip does not convert */
static bool shunt_done;      /* of the running conversion */
static uint16_t fresh_shunt; /* with averaging, both registers change at the end */

static const int times_226[8] = {140, 204, 332, 588, 1100, 2116, 4156, 8244};
static const int averages_226[8] = {1, 4, 16, 64, 128, 256, 512, 1024};
static const int times_219[4] = {84, 148, 276, 532};

static int averages(void)
{
    if (kind != INA219)
        return averages_226[(config >> 9) & 7];
    return (config >> 3 & 15) > 8 ? 1 << ((config >> 3 & 15) - 8) : 1;
}

static uint64_t part(int shift)
{
    double us;

    if (kind == INA219)
        us = (config >> (shift == 6 ? 7 : 3) & 8) ? 532 : times_219[config >> (shift == 6 ? 7 : 3) & 3];
    else
        us = times_226[config >> shift & 7];
    return (uint64_t)(us * averages() * options.chip_clock * (double)HZ / 1e6);
}

static uint16_t clip(double value, double low, double high)
{
    value = value < low ? low : value > high ? high : value;
    return (uint16_t)(int32_t)lrint(value);
}

static uint16_t measure_shunt(uint64_t from, uint64_t to)
{
    double amperes = world_mean_w(from, to) / supply_v;

    if (options.count)
        return conversions & 0x7FFF;
    if (kind == INA226)
        return clip(amperes * options.shunt_ohm / 2.5e-6, -32768, 32767);
    if (kind == INA219)
        return clip(amperes * options.shunt_ohm / 10e-6, -32000, 32000);
    return clip(amperes / 1.25e-3, -32768, 32767);
}

static uint16_t measure_bus(void)
{
    if (options.count)
        return kind == INA219 ? conversions & 0x1FFF : conversions & 0x7FFF;
    return kind == INA219 ? clip(supply_v / 4e-3, 0, 8000) : clip(supply_v / 1.25e-3, 0, 32767);
}

bool chip_alert_low(void)
{
    return kind != INA219 && ready && (mask & 0x0400);
}

static void set_ready(bool now)
{
    ready = now;
    bus_alert(chip_alert_low());
}

static avr_cycle_count_t happen(struct avr_t *mcu, avr_cycle_count_t when, void *param)
{
    (void)mcu, (void)param, (void)when;
    if (!shunt_done) {
        shunt_done = true;
        fresh_shunt = measure_shunt(began, due);
        if (averages() == 1 || kind == INA219)
            shunt_register = fresh_shunt;
        due += part(6);
        return due;
    }
    shunt_register = fresh_shunt;
    bus_register = measure_bus();
    shunt_done = false;
    conversions++;
    began = due;
    due += part(3);
    set_ready(true);
    return due;
}

static void schedule(void)
{
    avr_cycle_timer_cancel(avr, happen, NULL);
    if (due)
        avr_cycle_timer_register(avr, due > avr->cycle ? due - avr->cycle : 1, happen, NULL);
}

static void begin(void)
{
    began = avr->cycle;
    shunt_done = false;
    due = (config & 7) == 7 ? began + part(3) : 0;
    set_ready(false);
    schedule();
}

void chip_power_on(void)
{
    kind = !strcmp(options.chip, "ina219") ? INA219 : !strcmp(options.chip, "ina260") ? INA260 : INA226;
    config = kind == INA219 ? 0x399F : kind == INA260 ? 0x6127 : 0x4127;
    mask = shunt_register = bus_register = 0;
    if (supply_v == 0)
        supply_v = options.supply_v;
    begin();
}

void chip_after_reset(void)
{
    schedule();
    bus_alert(chip_alert_low());
}

void chip_supply(double volts)
{
    supply_v = volts;
}

uint64_t chip_conversions(void)
{
    return conversions;
}

static uint16_t read_219(uint8_t reg)
{
    switch (reg) {
    case 0:
        return config;
    case 1:
        return shunt_register;
    case 2:
        return (uint16_t)(bus_register << 3 | (ready ? 2 : 0));
    case 3:
        ready = false;
        return 0;
    default:
        return 0;
    }
}

uint16_t chip_read(uint8_t reg)
{
    uint16_t flags;

    if (kind == INA219)
        return read_219(reg);
    switch (reg) {
    case 0x00:
        return config;
    case 0x01:
        return shunt_register;
    case 0x02:
        return bus_register;
    case 0x06:
        flags = mask | (ready ? 8 : 0);
        set_ready(false);
        return flags;
    case 0xFE:
        return 0x5449;
    case 0xFF:
        return kind == INA260 ? 0x2270 : 0x2260;
    default:
        return 0;
    }
}

void chip_write(uint8_t reg, uint16_t value)
{
    if (reg == 0 && (value & 0x8000)) {
        chip_power_on();
    } else if (reg == 0) {
        config = value;
        begin();
    } else if (reg == 6 && kind != INA219) {
        mask = value & 0xFC01;
        bus_alert(chip_alert_low());
    }
}
