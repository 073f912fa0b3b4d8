/* The measuring chip: the interface common to INA226, INA219 and INA260. One of chip_*.c is built in. */
#ifndef CHIP_H
#define CHIP_H

#include <stdbool.h>
#include <stdint.h>

#define INPUT_OVERFLOW 0x80U

/* Codes of the averaging and conversion fields, as in PROTOCOL.md. */
struct chip_settings {
    uint8_t averaging;
    uint8_t bus;
    uint8_t shunt;
};

/* As it is sent: nine bytes, little endian. */
struct __attribute__((packed)) sample {
    uint32_t time_us;
    uint16_t bus;
    int16_t shunt;
    uint8_t inputs;
};

enum chip_result {
    CHIP_NOTHING, /* no new conversion yet */
    CHIP_SAMPLE,  /* a new conversion, reported once */
    CHIP_LATE,    /* a conversion was ready, but was overwritten before it was read completely */
    CHIP_FAULT    /* the chip does not answer, or does not convert */
};

extern const uint8_t chip_kind;
extern const struct chip_settings chip_defaults;
extern const uint32_t chip_default_shunt_uohm;
/* Whether the shunt is outside the chip, so that it can be calibrated. */
extern const bool chip_has_shunt;

bool chip_accepts(const struct chip_settings *settings);
/* Nominal time from one sample to the next. */
uint32_t chip_period_us(const struct chip_settings *settings);
/* Writes the settings and starts converting. */
bool chip_start(const struct chip_settings *settings);
/* Reads the settings back from the chip. */
bool chip_settings_now(struct chip_settings *settings);
/* Whether the chip is the one that this firmware was built for. */
bool chip_is_right(void);
enum chip_result chip_take(struct sample *sample);
/* Whether chip_take has something to do: otherwise the main loop sleeps. */
bool chip_wants_attention(void);

#endif
