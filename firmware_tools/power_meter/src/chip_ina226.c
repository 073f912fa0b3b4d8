/* INA226 and INA260: registers as in the data sheets of Texas Instruments, SBOS547 (INA226) and SBOS656 (INA260). */
#include "board.h"
#include "chip.h"
#include "clock.h"
#include "twi.h"

#ifndef CHIP_ADDRESS
#define CHIP_ADDRESS 0x40U
#endif

#define REG_CONFIG 0x00U
#define REG_SHUNT 0x01U /* the INA260's current register */
#define REG_BUS 0x02U
#define REG_MASK 0x06U
#define REG_MAKER 0xFEU
#define REG_DIE 0xFFU

#define MAKER_TI 0x5449U
#define CONFIG_CONTINUOUS 0x0007U
#define MASK_READY_PIN 0x0400U
#define MASK_READY 0x0008U
#define MASK_OVERFLOW 0x0004U

#ifdef CHIP_INA260
#define CONFIG_FIXED 0x6000U
#define DIE 0x227U
const uint8_t chip_kind = 3;
const uint32_t chip_default_shunt_uohm = 2000;
const bool chip_has_shunt = false;
#else
#define CONFIG_FIXED 0x4000U
#define DIE 0x226U
const uint8_t chip_kind = 1;
const uint32_t chip_default_shunt_uohm = 10000;
const bool chip_has_shunt = true;
#endif

/* 332 us each: 1,506 samples a second. Three registers over a bus of 400 kHz take 0.45 ms, packing and sending a sample
 * 0.1 ms: the next faster steps (204 us and 332 us) would lose one conversion in four. */
const struct chip_settings chip_defaults = {.averaging = 0, .bus = 2, .shunt = 2};

static const uint16_t conversion_us[8] = {140, 204, 332, 588, 1100, 2116, 4156, 8244};
static const uint16_t averages[8] = {1, 4, 16, 64, 128, 256, 512, 1024};

static uint32_t period_us;
static uint32_t shunt_lasts_us; /* from ready until the next shunt conversion overwrites its register */
static uint32_t last_us; /* of the last conversion seen, or of the start */

/* Without averaging, a shunt conversion of 140 us overwrites its register before it can be read. */
bool chip_accepts(const struct chip_settings *settings)
{
    return settings->averaging < 8 && settings->bus < 8 && settings->shunt < 8 &&
           (settings->averaging != 0 || settings->shunt != 0);
}

uint32_t chip_period_us(const struct chip_settings *settings)
{
    return (uint32_t)averages[settings->averaging] * (conversion_us[settings->bus] + conversion_us[settings->shunt]);
}

bool chip_start(const struct chip_settings *settings)
{
    uint16_t config = CONFIG_FIXED | (uint16_t)settings->averaging << 9 | (uint16_t)settings->bus << 6 |
                      (uint16_t)settings->shunt << 3 | CONFIG_CONTINUOUS;
    uint16_t flags;

    period_us = chip_period_us(settings);
    shunt_lasts_us = period_us - conversion_us[settings->bus];
    if (!twi_write(CHIP_ADDRESS, REG_MASK, MASK_READY_PIN) || !twi_write(CHIP_ADDRESS, REG_CONFIG, config) ||
        !twi_read(CHIP_ADDRESS, REG_MASK, &flags)) /* reading releases ALERT */
        return false;
    clock_forget_edge();
    last_us = clock_now_us();
    return true;
}

bool chip_settings_now(struct chip_settings *settings)
{
    uint16_t config;

    if (!twi_read(CHIP_ADDRESS, REG_CONFIG, &config))
        return false;
    settings->averaging = (config >> 9) & 7U;
    settings->bus = (config >> 6) & 7U;
    settings->shunt = (config >> 3) & 7U;
    return true;
}

bool chip_is_right(void)
{
    uint16_t maker;
    uint16_t die;

    return twi_read(CHIP_ADDRESS, REG_MAKER, &maker) && twi_read(CHIP_ADDRESS, REG_DIE, &die) && maker == MAKER_TI &&
           die >> 4 == DIE;
}

/* Reads shunt and bus of a conversion that was not ready before `ready_us`. The shunt register is overwritten first:
 * after the next shunt conversion. The chip latches the value it sends when the register is addressed, so the end of
 * the transfer is on the safe side. */
static enum chip_result read_registers(struct sample *sample, uint32_t ready_us)
{
    uint16_t shunt;
    uint16_t bus;
    uint32_t shunt_us;

    if (!twi_read(CHIP_ADDRESS, REG_SHUNT, &shunt))
        return CHIP_FAULT;
    shunt_us = clock_now_us() - ready_us;
    if (!twi_read(CHIP_ADDRESS, REG_BUS, &bus))
        return CHIP_FAULT;
    if (shunt_us >= shunt_lasts_us || clock_now_us() - ready_us >= period_us)
        return CHIP_LATE;
    sample->shunt = (int16_t)shunt;
    sample->bus = bus;
    if (shunt == 0x7FFFU || shunt == 0x8000U)
        sample->inputs |= INPUT_OVERFLOW;
    return CHIP_SAMPLE;
}

/* Reads the flag, which clears it and releases ALERT: no conversion is reported twice. */
static enum chip_result take_flag(struct sample *sample)
{
    uint16_t flags;

    if (!twi_read(CHIP_ADDRESS, REG_MASK, &flags))
        return CHIP_FAULT;
    if (!(flags & MASK_READY_PIN))
        return CHIP_FAULT; /* it has lost its settings: its supply has dipped */
    if (!(flags & MASK_READY))
        return CHIP_NOTHING;
    if (flags & MASK_OVERFLOW)
        sample->inputs |= INPUT_OVERFLOW;
    return CHIP_SAMPLE;
}

/* Shortest time from the start of a read until the chip latches the register: three bytes at 400 kHz. */
#define TAKEN_AFTER_US 70U

/* After an edge the registers are read first, as only they are overwritten. A spurious edge (noise on the wire) shows in
 * two ways: no flag, or, if a conversion became ready while the registers were read, another edge before the flag was
 * read (ALERT stays low until then, so a true edge is not followed by another). */
static enum chip_result take_after_edge(struct sample *sample)
{
    enum chip_result values = read_registers(sample, sample->time_us);
    uint32_t flag_us = clock_now_us();
    enum chip_result flag = values == CHIP_FAULT ? CHIP_FAULT : take_flag(sample);

    if (flag != CHIP_SAMPLE)
        return flag;
    last_us = sample->time_us;
    return clock_edge_waits_since_before(flag_us + TAKEN_AFTER_US) ? CHIP_LATE : values;
}

static bool overdue(uint32_t limit_us)
{
    return clock_now_us() - last_us > limit_us;
}

/* No edge came: it was missed (ALERT stays low until the flag is read), its wire is missing, or the chip has stopped.
 * The time of such a conversion is unknown, so it does not become a sample. */
static enum chip_result look_without_edge(struct sample *sample)
{
    enum chip_result flag = take_flag(sample);

    if (flag == CHIP_SAMPLE) {
        last_us = clock_now_us();
        return CHIP_LATE;
    }
    return flag == CHIP_NOTHING && overdue(8U * period_us + 2000U) ? CHIP_FAULT : flag;
}

enum chip_result chip_take(struct sample *sample)
{
    struct edge edge;

    if (clock_take_edge(&edge)) {
        sample->time_us = edge.time_us;
        sample->inputs = edge.inputs;
        return take_after_edge(sample);
    }
    if (overdue(2U * period_us + 2000U))
        return look_without_edge(sample);
    return CHIP_NOTHING;
}

bool chip_wants_attention(void)
{
    return clock_edge_waits();
}
