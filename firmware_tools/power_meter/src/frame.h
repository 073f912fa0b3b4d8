/* Frames: COBS, ended by a zero byte; inside, a type, a body and a CRC. See PROTOCOL.md. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1U
#define KIND_SAMPLES 1U
#define KIND_REPLY 2U
#define KIND_COMMAND 8U

#define FRAME_BODY_MOST 24U /* of a received frame: type, body and CRC */

/* Most bytes that a frame with a body of this length takes in the ring: type, CRC, COBS code, end. */
#define FRAME_NEEDS(body) ((body) + 5U)

/* Begins a frame; the caller has checked that there is room for all of it. */
void frame_begin(uint8_t kind);
void frame_u8(uint8_t value);
void frame_bytes(const void *bytes, uint8_t count);
void frame_u32(uint32_t value);
/* Ends the frame and hands it to the serial line. */
void frame_end(void);

struct received {
    uint8_t bytes[FRAME_BODY_MOST]; /* type first */
    uint8_t length;                 /* without the CRC */
};

/* Decodes one received byte; true when it completes a frame. */
bool frame_feed(struct received *frame, uint8_t byte);

uint16_t frame_crc(uint16_t crc, uint8_t byte);
#define FRAME_CRC_START 0xFFFFU

#endif
