#include "sampler.h"

#include <avr/wdt.h>

#include "board.h"
#include "clock.h"
#include "frame.h"
#include "uart.h"

#define RECORDS_MOST 16U
/* A sample waits at most this long for its frame to fill. */
#define FRAME_AGE_US 20000UL
#define RETRY_US 5000UL
#define SOON_US 2000UL

static struct chip_settings settings;
static uint32_t period_us;
static bool streams;

static uint32_t sequence; /* of the next sample, including lost ones */
static uint32_t sent;
static uint32_t overruns;
static bool have_last;
static uint32_t last_us;

static uint8_t records; /* in the open frame; 0: none is open */
static uint32_t frame_us;

static bool chip_stopped; /* it did not answer and must be restarted */
static uint32_t tried_us;
static uint32_t taken_us; /* when the chip last gave a conversion */

void sampler_init(void)
{
    LAMP_DDR |= _BV(LAMP_BIT);
    (void)sampler_configure(&chip_defaults);
}

bool sampler_configure(const struct chip_settings *wanted)
{
    settings = *wanted;
    period_us = chip_period_us(wanted);
    return chip_start(wanted);
}

const struct chip_settings *sampler_settings(void)
{
    return &settings;
}

bool sampler_start(void)
{
    if (!chip_start(&settings))
        return false;
    sequence = sent = overruns = 0;
    records = 0;
    have_last = false;
    chip_stopped = false;
    streams = true;
    taken_us = clock_now_us();
    LAMP_PORT |= _BV(LAMP_BIT);
    return true;
}

void sampler_stop(void)
{
    sampler_flush();
    streams = false;
    LAMP_PORT &= (uint8_t)~_BV(LAMP_BIT);
}

bool sampler_streams(void)
{
    return streams;
}

uint32_t sampler_sent(void)
{
    return sent;
}

uint32_t sampler_overruns(void)
{
    return overruns;
}

void sampler_flush(void)
{
    if (records == 0)
        return;
    frame_end();
    records = 0;
}

static void lose(uint32_t count)
{
    sampler_flush();
    sequence += count;
    overruns += count;
}

/* Counts missed conversions by the time since the last one. A division takes a tenth of a sample's time; the common case
 * of one conversion avoids it. */
static void count_gap(uint32_t time_us)
{
    uint32_t gap = time_us - last_us;
    uint32_t limit = period_us + period_us / 2U;

    if (!have_last || gap <= limit)
        ;
    else if (gap <= limit + period_us)
        lose(1);
    else
        lose((gap + period_us / 2U) / period_us - 1U);
    have_last = true;
    last_us = time_us;
}

static void append(const struct sample *sample)
{
    if (records == 0) {
        /* Checks the room for the whole frame before its first record. */
        if (uart_room() < FRAME_NEEDS(4U + RECORDS_MOST * sizeof(struct sample))) {
            lose(1);
            return;
        }
        frame_begin(KIND_SAMPLES);
        frame_u32(sequence);
        frame_us = clock_now_us();
    }
    frame_bytes(sample, sizeof *sample);
    sequence++;
    sent++;
    if (++records == RECORDS_MOST)
        sampler_flush();
}

static void start_again(void)
{
    if (clock_now_us() - tried_us < RETRY_US)
        return;
    tried_us = clock_now_us();
    chip_stopped = !chip_start(&settings);
}

/* Whether the chip gave a conversion. */
static bool take(void)
{
    struct sample sample;

    switch (chip_take(&sample)) {
    case CHIP_SAMPLE:
        count_gap(sample.time_us);
        append(&sample);
        return true;
    case CHIP_FAULT:
        chip_stopped = true;
        tried_us = clock_now_us() - RETRY_US; /* at once, then every 5 ms */
        return true;
    case CHIP_LATE:
        return true;
    default:
        return false;
    }
}

/* Whether a conversion is due soon, so that other work must wait; false if the chip has stopped: the host goes first. */
static bool soon(void)
{
    uint32_t since_us = clock_now_us() - taken_us;

    return since_us + SOON_US > period_us && since_us <= period_us;
}

bool sampler_step(void)
{
    bool quiet = true;

    if (!streams)
        return true;
    if (chip_stopped) {
        start_again();
    } else if (take()) {
        taken_us = clock_now_us();
    } else {
        quiet = !soon();
    }
    if (records != 0 && clock_now_us() - frame_us >= FRAME_AGE_US)
        sampler_flush();
    return quiet;
}

uint32_t sampler_measure_period_us(uint32_t *nominal_us)
{
    struct chip_settings saved = settings;
    struct sample sample;
    uint32_t began_us;
    uint32_t first_us = 0;
    uint8_t seen = 0;

    if (period_us > 20000U) /* too slow to wait for: measured at the default settings */
        (void)sampler_configure(&chip_defaults);
    else
        (void)chip_start(&settings);
    *nominal_us = period_us;
    began_us = clock_now_us();
    while (seen < 9 && clock_now_us() - began_us < 16U * period_us + 10000U) {
        wdt_reset();
        if (chip_take(&sample) != CHIP_SAMPLE)
            continue;
        if (seen++ == 0)
            first_us = sample.time_us;
    }
    (void)sampler_configure(&saved);
    return seen == 9 ? (sample.time_us - first_us) / 8U : 0;
}
