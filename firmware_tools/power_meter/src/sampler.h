/* From the chip to frames of samples: numbering, losses, and when a frame is sent. */
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
/* Takes a conversion if one is ready, and sends what is due. Returns whether this is a good moment for other work: none
 * is expected soon. */
bool sampler_step(void);
/* Ends the frame that is being filled, so that another can be sent. */
void sampler_flush(void);
uint32_t sampler_sent(void);
uint32_t sampler_overruns(void);
/* Mean time between conversions over a few of them, 0 if the chip does not convert. At most 0.4 s. */
uint32_t sampler_measure_period_us(uint32_t *nominal_us);

#endif
