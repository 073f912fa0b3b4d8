#include "frame.h"

#include "uart.h"

/* With -Os these would become calls, which cost more than their bodies, nine times a sample. */
#define INLINE static inline __attribute__((always_inline))

/* CRC-16/CCITT-FALSE, a byte at a time: the polynomial x^16 + x^12 + x^5 + 1 divided by eight steps at once, on the
 * two halves of the remainder because shifts of 16 bits are slow on this processor. */
INLINE uint16_t crc_step(uint16_t crc, uint8_t byte)
{
    uint8_t mixed = (uint8_t)(crc >> 8) ^ byte;

    mixed ^= mixed >> 4;
    return (uint16_t)((uint8_t)crc ^ (uint8_t)(mixed << 4) ^ (mixed >> 3)) << 8 | ((uint8_t)(mixed << 5) ^ mixed);
}

uint16_t frame_crc(uint16_t crc, uint8_t byte)
{
    return crc_step(crc, byte);
}

/* ---- Sending: COBS is written straight into the ring; only the last code byte is still open. ---- */

static uint16_t code_mark;
static uint8_t code;
static uint16_t send_crc;

static void open_code(void)
{
    code_mark = uart_mark();
    code = 1;
    uart_put(0);
}

/* No frame is longer than 254 bytes, so a code never overflows. */
INLINE void encode(uint8_t byte)
{
    if (byte == 0) {
        uart_patch(code_mark, code);
        open_code();
    } else {
        uart_put(byte);
        code++;
    }
}

void frame_begin(uint8_t kind)
{
    send_crc = FRAME_CRC_START;
    open_code();
    frame_u8((uint8_t)(PROTOCOL_VERSION << 4) | kind);
}

/* The one place where samples spend processor time: 16 MHz leave 8,500 clocks a sample for everything. */
void frame_bytes(const void *bytes, uint8_t count)
{
    const uint8_t *next = bytes;
    uint16_t crc = send_crc;

    for (; count != 0; count--) {
        uint8_t byte = *next++;

        crc = crc_step(crc, byte);
        encode(byte);
    }
    send_crc = crc;
}

void frame_u8(uint8_t value)
{
    frame_bytes(&value, sizeof value);
}

/* The processor is little endian, as the protocol is. */
void frame_u32(uint32_t value)
{
    frame_bytes(&value, sizeof value);
}

void frame_end(void)
{
    uint16_t crc = send_crc;

    encode((uint8_t)crc);
    encode((uint8_t)(crc >> 8));
    uart_patch(code_mark, code);
    uart_put(0);
    uart_release();
}

/* ---- Receiving: decoded byte by byte; invalid data is dropped up to the next zero. ---- */

static uint8_t block_left; /* bytes until the next code byte; 0: a code byte comes next */
static bool zero_follows;  /* the block before this code byte ends with a zero */
static bool invalid;

static void start_over(struct received *frame)
{
    block_left = 0;
    zero_follows = false;
    invalid = false;
    frame->length = 0;
}

static void store(struct received *frame, uint8_t byte)
{
    if (frame->length < FRAME_BODY_MOST)
        frame->bytes[frame->length++] = byte;
    else
        invalid = true;
}

static bool whole(struct received *frame)
{
    uint16_t crc = FRAME_CRC_START;
    uint8_t length = frame->length;

    if (invalid || block_left != 0 || length < 3)
        return false;
    length -= 2;
    for (uint8_t i = 0; i < length; i++)
        crc = frame_crc(crc, frame->bytes[i]);
    frame->length = length;
    return frame->bytes[length] == (uint8_t)crc && frame->bytes[length + 1] == (uint8_t)(crc >> 8);
}

bool frame_feed(struct received *frame, uint8_t byte)
{
    static bool fresh = true;

    if (fresh) {
        start_over(frame);
        fresh = false;
    }
    if (byte == 0) {
        fresh = true;
        return whole(frame);
    }
    if (block_left == 0) {
        if (zero_follows)
            store(frame, 0);
        block_left = byte - 1U;
        zero_follows = byte != 0xFF;
    } else {
        store(frame, byte);
        block_left--;
    }
    return false;
}
