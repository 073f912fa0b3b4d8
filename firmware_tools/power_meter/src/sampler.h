/* Turns the chip's conversions into frames of samples: numbers them, counts losses, and decides when to send. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "chip.h"

void sampler_init(void);
/* New settings for the chip; false: the chip does not answer. */
bool sampler_configure(const struct chip_settings *settings);
const struct chip_settings *sampler_settings(void);
bool sampler_start(void);
void sampler_stop(void);
bool sampler_streams(void);
/* Takes a conversion if one is ready, and sends a frame if one is due. Returns whether there is time for other work: no
 * conversion is expected soon. */
bool sampler_step(void);
/* Ends the open frame, so that another can be sent. */
void sampler_flush(void);
uint32_t sampler_sent(void);
uint32_t sampler_overruns(void);
/* Mean time between conversions over a few of them, 0 if the chip does not convert. At most 0.4 s. */
uint32_t sampler_measure_period_us(uint32_t *nominal_us);

#endif
