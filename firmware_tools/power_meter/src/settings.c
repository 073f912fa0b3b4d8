#include "settings.h"

#include <avr/eeprom.h>
#include <avr/wdt.h>
#include <stddef.h>

#include "chip.h"
#include "frame.h"

/* Read as zeros or as erased bytes, a record is invalid: the mark is neither. */
#define MARK 0xE5U
#define LAYOUT 1U
#define COPIES 2U

struct record {
    uint8_t mark;
    uint8_t layout;
    uint32_t shunt_uohm;
    uint16_t crc;
};

/* The first bytes are not used: they are at risk when the supply fails during a write. */
static struct record *place(uint8_t copy)
{
    return (struct record *)(uintptr_t)(copy ? 0x40U : 0x20U);
}

static uint32_t shunt_uohm;
static bool calibrated;

static uint16_t crc_of(const struct record *record)
{
    uint16_t crc = FRAME_CRC_START;

    for (uint8_t i = 0; i < offsetof(struct record, crc); i++)
        crc = frame_crc(crc, ((const uint8_t *)record)[i]);
    return crc;
}

static bool read_copy(uint8_t copy, struct record *record)
{
    wdt_reset();
    eeprom_read_block(record, place(copy), sizeof *record);
    return record->mark == MARK && record->layout == LAYOUT && record->crc == crc_of(record) &&
           record->shunt_uohm >= 1 && record->shunt_uohm <= SHUNT_MOST_UOHM;
}

static void write_copy(uint8_t copy, const struct record *record)
{
    wdt_reset(); /* eight bytes take up to 27 ms */
    eeprom_update_block(record, place(copy), sizeof *record);
    eeprom_busy_wait();
}

void settings_load(void)
{
    struct record record;
    struct record other;

    shunt_uohm = chip_default_shunt_uohm;
    calibrated = true;
    if (read_copy(0, &record)) {
        if (!read_copy(1, &other) || other.shunt_uohm != record.shunt_uohm)
            write_copy(1, &record);
    } else if (read_copy(1, &record)) {
        write_copy(0, &record);
    } else {
        calibrated = false;
        return;
    }
    shunt_uohm = record.shunt_uohm;
}

uint32_t settings_shunt_uohm(void)
{
    return shunt_uohm;
}

bool settings_calibrated(void)
{
    return calibrated;
}

bool settings_store_shunt(uint32_t value)
{
    struct record record = {.mark = MARK, .layout = LAYOUT, .shunt_uohm = value, .crc = 0};
    struct record back;
    bool good = true;

    record.crc = crc_of(&record);
    for (uint8_t copy = 0; copy < COPIES; copy++) {
        write_copy(copy, &record);
        good = read_copy(copy, &back) && back.shunt_uohm == value && good;
    }
    settings_load();
    return good;
}
