/* The two-wire unit. simavr's own takes 9 us for a byte whatever the bit rate is, which would flatter the firmware; this
 * one takes the time that TWBR says (ATmega328P data sheet, "TWI: Bit Rate Generator Unit"): master only. */
#include <stddef.h>

#include "bench.h"

enum { PINB_ = 0x23, PINC_ = 0x26, DDRC_ = 0x27, PORTC_ = 0x28, PIND_ = 0x29 };
enum { TWBR_ = 0xB8, TWSR_ = 0xB9, TWDR_ = 0xBB, TWCR_ = 0xBC };
enum { TWINT_ = 0x80, TWEA_ = 0x40, TWSTA_ = 0x20, TWSTO_ = 0x10, TWEN_ = 0x04 };
enum { SDA = 0x10, SCL = 0x20 };

#define CHIP_ADDRESS 0x40

static enum { IDLE, STARTED, WRITING, READING } state;
static int nacks;
static int stuck_clocks; /* clocks until SDA is let go; -1 never, 0 free */
static bool alert_low;
static uint64_t clocks;
static int written; /* bytes since the address */
static uint8_t pointer;
static uint16_t word;
static uint8_t next_status;

static uint64_t bit_cycles(void)
{
    static const int prescale[4] = {1, 4, 16, 64};

    return 16 + 2ULL * avr->data[TWBR_] * prescale[avr->data[TWSR_] & 3];
}

static avr_cycle_count_t finish(struct avr_t *mcu, avr_cycle_count_t when, void *param)
{
    (void)mcu, (void)when, (void)param;
    avr->data[TWSR_] = (avr->data[TWSR_] & 3) | next_status;
    avr->data[TWCR_] |= TWINT_;
    return 0;
}

static avr_cycle_count_t stopped(struct avr_t *mcu, avr_cycle_count_t when, void *param)
{
    (void)mcu, (void)when, (void)param;
    avr->data[TWCR_] &= ~TWSTO_;
    state = IDLE;
    return 0;
}

static void after(uint64_t bits, uint8_t status)
{
    next_status = status;
    avr_cycle_timer_register(avr, bits * bit_cycles(), finish, NULL);
}

static bool acknowledged(uint8_t address)
{
    if (address != CHIP_ADDRESS)
        return false;
    if (nacks > 0)
        nacks--;
    else if (nacks == 0)
        return true;
    return false;
}

static void address_byte(uint8_t byte)
{
    bool reading = byte & 1;

    if (!acknowledged(byte >> 1)) {
        after(9, reading ? 0x48 : 0x20);
        return;
    }
    state = reading ? READING : WRITING;
    written = 0;
    if (reading)
        word = chip_read(pointer);
    after(9, reading ? 0x40 : 0x18);
}

static void data_byte(uint8_t byte)
{
    if (written == 0)
        pointer = byte;
    else
        word = (uint16_t)(word << 8 | byte);
    if (++written == 3)
        chip_write(pointer, word);
    after(9, 0x28);
}

static void next_byte(bool acknowledge)
{
    avr->data[TWDR_] = word >> 8;
    word = (uint16_t)(word << 8 | 0xFF);
    after(9, acknowledge ? 0x50 : 0x58);
}

static void control(struct avr_t *mcu, avr_io_addr_t addr, uint8_t value, void *param)
{
    (void)mcu, (void)param;
    avr->data[addr] = value & ~TWINT_;
    if (!(value & TWEN_)) {
        state = IDLE;
        avr_cycle_timer_cancel(avr, finish, NULL);
        avr_cycle_timer_cancel(avr, stopped, NULL);
        return;
    }
    if (!(value & TWINT_))
        return;
    if (stuck_clocks)
        return; /* a line that is held low: nothing ever finishes */
    if (value & TWSTO_) {
        avr_cycle_timer_register(avr, bit_cycles(), stopped, NULL);
    } else if (value & TWSTA_) {
        after(1, state == IDLE ? 0x08 : 0x10);
        state = STARTED;
    } else if (state == STARTED) {
        address_byte(avr->data[TWDR_]);
    } else if (state == WRITING) {
        data_byte(avr->data[TWDR_]);
    } else if (state == READING) {
        next_byte(value & TWEA_);
    }
}

/* ---- Pins. A line is low when somebody pulls it: the chip, or the processor by an output that is 0. ---- */

static bool pulled(uint8_t bit)
{
    return (avr->data[DDRC_] & bit) && !(avr->data[PORTC_] & bit);
}

static uint8_t read_pinc(struct avr_t *mcu, avr_io_addr_t addr, void *param)
{
    uint8_t pins = 0;

    (void)mcu, (void)param;
    if (!pulled(SDA) && !stuck_clocks)
        pins |= SDA;
    if (!pulled(SCL))
        pins |= SCL;
    return avr->data[addr] = pins;
}

static uint8_t read_pind(struct avr_t *mcu, avr_io_addr_t addr, void *param)
{
    (void)mcu, (void)param;
    return avr->data[addr] = world_trigger_at(avr->cycle) ? 0x04 : 0;
}

static uint8_t read_pinb(struct avr_t *mcu, avr_io_addr_t addr, void *param)
{
    (void)mcu, (void)param;
    return avr->data[addr] = alert_low ? 0 : 1;
}

static struct {
    avr_io_write_t c;
    void *param;
} ddrc_below;

static void write_ddrc(struct avr_t *mcu, avr_io_addr_t addr, uint8_t value, void *param)
{
    bool was_low = pulled(SCL);

    (void)param;
    if (ddrc_below.c)
        ddrc_below.c(mcu, addr, value, ddrc_below.param);
    else
        avr->data[addr] = value;
    if (!was_low && pulled(SCL)) {
        clocks++;
        if (stuck_clocks > 0)
            stuck_clocks--;
    }
}

void bus_alert(bool low)
{
    low = low && !options.no_alert;
    alert_low = low;
    avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_DEF('i', 'o', 'g', 'B'), 0), !low);
}

void bus_glitch(void)
{
    bus_alert(true);
    bus_alert(chip_alert_low());
}

void bus_nack(int count)
{
    nacks = count;
}

void bus_stick(int count)
{
    stuck_clocks = count;
}

uint64_t bus_clocks_seen(void)
{
    return clocks;
}

static void write_plain(struct avr_t *mcu, avr_io_addr_t addr, uint8_t value, void *param)
{
    (void)mcu, (void)param;
    avr->data[addr] = addr == TWSR_ ? (avr->data[addr] & 0xF8) | (value & 3) : value;
}

static void take_over(avr_io_addr_t addr, avr_io_read_t read, avr_io_write_t write)
{
    avr->io[AVR_DATA_TO_IO(addr)].r.c = read;
    if (write) {
        avr->io[AVR_DATA_TO_IO(addr)].w.c = write;
        avr->io[AVR_DATA_TO_IO(addr)].w.param = NULL;
    }
}

void bus_init(void)
{
    take_over(TWCR_, NULL, control);
    take_over(TWSR_, NULL, write_plain);
    take_over(TWDR_, NULL, write_plain);
    take_over(TWBR_, NULL, write_plain);
    take_over(PINC_, read_pinc, NULL);
    take_over(PIND_, read_pind, NULL);
    take_over(PINB_, read_pinb, NULL);
    ddrc_below.c = avr->io[AVR_DATA_TO_IO(DDRC_)].w.c;
    ddrc_below.param = avr->io[AVR_DATA_TO_IO(DDRC_)].w.param;
    take_over(DDRC_, NULL, write_ddrc);
}

void bus_after_reset(void)
{
    state = IDLE;
    avr->data[TWSR_] = 0xF8;
}
