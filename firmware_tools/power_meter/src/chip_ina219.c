/* INA219: registers as in the data sheet of Texas Instruments, SBOS448. It has no ALERT: the flag is read over the bus. */
#include "board.h"
#include "chip.h"
#include "clock.h"
#include "twi.h"

#ifndef CHIP_ADDRESS
#define CHIP_ADDRESS 0x40U
#endif

#define REG_CONFIG 0x00U
#define REG_SHUNT 0x01U
#define REG_BUS 0x02U
#define REG_POWER 0x03U /* reading it clears the flag */

#define CONFIG_FIXED 0x3807U /* 32 V, gain 1/8 (320 mV), shunt and bus continuously */
#define BUS_READY 0x0002U
#define BUS_OVERFLOW 0x0001U
#define SHUNT_FULL 32000 /* 320 mV */
#define BLOCK 8U

const uint8_t chip_kind = 2;
const uint32_t chip_default_shunt_uohm = 100000;
const bool chip_has_shunt = true;
/* Bus 11 bits (276 us), shunt 12 bits (532 us): the flag is found before the shunt register changes again. */
const struct chip_settings chip_defaults = {.averaging = 0, .bus = 2, .shunt = 3};

static const uint16_t conversion_us[4] = {84, 148, 276, 532};

static struct chip_settings current;
static uint32_t period_us;
static uint32_t last_us;
static uint32_t poll_us;
static uint16_t config;
static uint8_t block_count;
static uint32_t block_us; /* begin of a block of samples */

/* Averaging exists at 12 bits only: code n > 0 averages 2^n conversions. A shunt conversion of less than 12 bits would
 * overwrite its register before the flag is found and the register is read. */
bool chip_accepts(const struct chip_settings *settings)
{
    return settings->averaging < 8 && settings->bus < 4 && settings->shunt == 3 &&
           (settings->averaging == 0 || settings->bus == 3);
}

uint32_t chip_period_us(const struct chip_settings *settings)
{
    return ((uint32_t)conversion_us[settings->bus] + conversion_us[settings->shunt]) << settings->averaging;
}

static uint16_t field(uint8_t averaging, uint8_t conversion)
{
    return averaging ? 8U + averaging : conversion;
}

bool chip_start(const struct chip_settings *settings)
{
    uint16_t ignored;

    block_count = 0;
    current = *settings;
    config = CONFIG_FIXED | field(settings->averaging, settings->bus) << 7 |
             field(settings->averaging, settings->shunt) << 3;
    period_us = chip_period_us(settings);
    if (!twi_write(CHIP_ADDRESS, REG_CONFIG, config) || !twi_read(CHIP_ADDRESS, REG_POWER, &ignored))
        return false;
    last_us = poll_us = block_us = clock_now_us();
    return true;
}

bool chip_settings_now(struct chip_settings *settings)
{
    uint16_t held;
    uint8_t bus;
    uint8_t shunt;

    if (!twi_read(CHIP_ADDRESS, REG_CONFIG, &held))
        return false;
    bus = (held >> 7) & 15U;
    shunt = (held >> 3) & 15U;
    settings->averaging = bus > 8 ? bus - 8U : 0;
    settings->bus = bus > 8 ? 3 : bus & 3U;
    settings->shunt = shunt > 8 ? 3 : shunt & 3U;
    return true;
}

/* It has no identification register: reading back the configuration is the only check. */
bool chip_is_right(void)
{
    uint16_t held;

    return twi_read(CHIP_ADDRESS, REG_CONFIG, &held) && held == config;
}

/* After a dip of the supply the chip continues with its default settings, at another rate. Reading them back costs a
 * sample, so this is done only if a block of samples took an eighth longer or shorter than nominal. */
static bool block_is_odd(void)
{
    uint32_t wanted_us = BLOCK * period_us;
    uint32_t took_us;

    if (++block_count < BLOCK)
        return false;
    block_count = 0;
    took_us = poll_us - block_us;
    block_us = poll_us;
    return took_us > wanted_us + wanted_us / 8U || took_us < wanted_us - wanted_us / 8U;
}

enum chip_result chip_take(struct sample *sample)
{
    uint32_t before_us = poll_us;
    uint32_t shunt_us;
    uint16_t bus;
    uint16_t shunt;
    uint16_t ignored;

    poll_us = clock_now_us();
    sample->time_us = poll_us;
    sample->inputs = clock_inputs();
    if (!twi_read(CHIP_ADDRESS, REG_BUS, &bus))
        return CHIP_FAULT;
    if (!(bus & BUS_READY))
        return poll_us - last_us > 8U * period_us + 2000U ? CHIP_FAULT : CHIP_NOTHING;
    last_us = poll_us;
    if (!twi_read(CHIP_ADDRESS, REG_SHUNT, &shunt))
        return CHIP_FAULT;
    shunt_us = clock_now_us();
    if (!twi_read(CHIP_ADDRESS, REG_POWER, &ignored))
        return CHIP_FAULT;
    poll_us = clock_now_us(); /* the next one is ready after this */
    /* It became ready after the last poll: no register may have been overwritten since. The shunt's is the first. */
    if (shunt_us - before_us >= (uint32_t)conversion_us[current.shunt] << current.averaging ||
        poll_us - before_us >= period_us)
        return CHIP_LATE;
    if (block_is_odd() && !chip_is_right())
        return CHIP_FAULT;
    sample->bus = bus >> 3;
    sample->shunt = (int16_t)shunt;
    if ((bus & BUS_OVERFLOW) || sample->shunt >= SHUNT_FULL || sample->shunt <= -SHUNT_FULL)
        sample->inputs |= INPUT_OVERFLOW;
    return CHIP_SAMPLE;
}

bool chip_wants_attention(void)
{
    return true;
}
