#include "command.h"

#include "board.h"
#include "chip.h"
#include "frame.h"
#include "reset.h"
#include "sampler.h"
#include "settings.h"
#include "twi.h"
#include "uart.h"

enum { IDENTIFY = 1, CONFIGURE, START, STOP, CALIBRATE, SELF_TEST };
enum { OK, UNKNOWN_COMMAND, BAD_ARGUMENTS, NO_CHIP, BUSY, EEPROM_FAILED };

#define REPLY_MOST 36U

static void reply_begin(uint8_t command, uint8_t status)
{
    frame_begin(KIND_REPLY);
    frame_u8(command);
    frame_u8(status);
}

static void reply(uint8_t command, uint8_t status)
{
    reply_begin(command, status);
    frame_end();
}

static void reply_settings(const struct chip_settings *settings)
{
    frame_u8(settings->averaging);
    frame_u8(settings->bus);
    frame_u8(settings->shunt);
}

/* One packed value, because it is also requested between two samples: byte by byte it would take three times as long. */
static void identify(void)
{
    const struct chip_settings *settings = sampler_settings();
    const struct __attribute__((packed)) {
        uint8_t chip, major, minor, patch;
        struct chip_settings settings;
        uint32_t shunt_uohm;
        uint8_t calibrated;
        uint32_t period_us, overruns, twi_errors;
        uint8_t reset_cause, streams;
    } identity = {
        .chip = chip_kind,
        .major = VERSION_MAJOR,
        .minor = VERSION_MINOR,
        .patch = VERSION_PATCH,
        .settings = *settings,
        .shunt_uohm = settings_shunt_uohm(),
        .calibrated = settings_calibrated(),
        .period_us = chip_period_us(settings),
        .overruns = sampler_overruns(),
        .twi_errors = twi_errors(),
        .reset_cause = reset_cause(),
        .streams = sampler_streams(),
    };

    reply_begin(IDENTIFY, OK);
    frame_bytes(&identity, sizeof identity);
    frame_end();
}

static void configure(const uint8_t *arguments)
{
    struct chip_settings settings = {.averaging = arguments[0], .bus = arguments[1], .shunt = arguments[2]};

    if (!chip_accepts(&settings)) {
        reply(CONFIGURE, BAD_ARGUMENTS);
    } else if (!sampler_configure(&settings) || !chip_settings_now(&settings)) {
        reply(CONFIGURE, NO_CHIP);
    } else {
        reply_begin(CONFIGURE, OK);
        reply_settings(&settings);
        frame_u32(chip_period_us(&settings));
        frame_end();
    }
}

static void start(void)
{
    reply(START, sampler_start() ? OK : NO_CHIP);
}

static void stop(void)
{
    sampler_stop();
    reply_begin(STOP, OK);
    frame_u32(sampler_sent());
    frame_u32(sampler_overruns());
    frame_end();
}

static void calibrate(const uint8_t *arguments)
{
    uint32_t shunt_uohm = arguments[0] | (uint32_t)arguments[1] << 8 | (uint32_t)arguments[2] << 16 |
                          (uint32_t)arguments[3] << 24;

    if (!chip_has_shunt || shunt_uohm == 0 || shunt_uohm > SHUNT_MOST_UOHM) {
        reply(CALIBRATE, BAD_ARGUMENTS);
    } else if (!settings_store_shunt(shunt_uohm)) {
        reply(CALIBRATE, EEPROM_FAILED);
    } else {
        reply_begin(CALIBRATE, OK);
        frame_u32(settings_shunt_uohm());
        frame_end();
    }
}

static void self_test(void)
{
    uint32_t errors_before = twi_errors();
    uint32_t nominal_us;
    uint32_t measured_us = sampler_measure_period_us(&nominal_us);
    uint8_t bits = chip_is_right() ? 1 : 0;

    settings_load();
    if (settings_calibrated())
        bits |= 2;
    if (twi_errors() == errors_before)
        bits |= 4;
    if (measured_us >= nominal_us - nominal_us / 5U && measured_us <= nominal_us + nominal_us / 5U)
        bits |= 8;
    reply_begin(SELF_TEST, OK);
    frame_u8(bits);
    frame_u32(measured_us);
    frame_end();
}

/* Number of argument bytes of each command. */
static uint8_t arguments_of(uint8_t command)
{
    if (command == CONFIGURE)
        return 3;
    return command == CALIBRATE ? 4 : 0;
}

static void run(uint8_t command, const uint8_t *arguments)
{
    switch (command) {
    case IDENTIFY:
        identify();
        break;
    case CONFIGURE:
        configure(arguments);
        break;
    case START:
        start();
        break;
    case STOP:
        stop();
        break;
    case CALIBRATE:
        calibrate(arguments);
        break;
    default:
        self_test();
    }
}

static void answer(const struct received *frame)
{
    uint8_t command = frame->bytes[1];

    sampler_flush();
    if (uart_room() < FRAME_NEEDS(REPLY_MOST))
        return; /* the host is not reading; it will repeat the command */
    if (command < IDENTIFY || command > SELF_TEST)
        reply(command, UNKNOWN_COMMAND);
    else if (frame->length - 2U != arguments_of(command))
        reply(command, BAD_ARGUMENTS);
    else if (sampler_streams() && command != IDENTIFY && command != STOP)
        reply(command, BUSY);
    else
        run(command, frame->bytes + 2);
}

static bool whole; /* a frame has arrived and is not answered yet */

/* Either receives bytes or answers: between two samples there is time for one of the two. */
void command_step(void)
{
    static struct received frame;
    uint8_t byte;

    if (whole) {
        whole = false;
        if (frame.length >= 2 && frame.bytes[0] == (PROTOCOL_VERSION << 4 | KIND_COMMAND))
            answer(&frame);
        return;
    }
    while (!whole && uart_take(&byte))
        whole = frame_feed(&frame, byte);
}

bool command_waits(void)
{
    return whole || uart_received();
}
