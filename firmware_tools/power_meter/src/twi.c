#include "twi.h"

#include <util/delay.h>
#include <util/twi.h>

#include "board.h"

/* About 0.5 ms at six cycles a turn; a byte takes 23 us. */
#define TIMEOUT_TURNS 1300U

static uint32_t errors;

void twi_start(void)
{
    TWI_DDR &= (uint8_t)~(_BV(SDA_BIT) | _BV(SCL_BIT));
    TWI_PORT |= _BV(SDA_BIT) | _BV(SCL_BIT); /* weak pull-ups, in addition to those of the chip's board */
    TWSR = 0;
    TWBR = (F_CPU / TWI_HZ - 16UL) / 2UL;
    TWCR = _BV(TWEN);
}

/* Starts the operation of the bits and waits; returns the bus's status, or 0 on a timeout. */
static uint8_t act(uint8_t bits)
{
    TWCR = _BV(TWINT) | _BV(TWEN) | bits;
    for (uint16_t left = TIMEOUT_TURNS; left != 0; left--) {
        if (TWCR & _BV(TWINT))
            return TW_STATUS;
    }
    return 0;
}

static bool begin(uint8_t address_and_direction, uint8_t wanted)
{
    uint8_t status = act(_BV(TWSTA));

    if (status != TW_START && status != TW_REP_START)
        return false;
    TWDR = address_and_direction;
    return act(0) == wanted;
}

static bool send(uint8_t byte)
{
    TWDR = byte;
    return act(0) == TW_MT_DATA_ACK;
}

static bool stop(void)
{
    TWCR = _BV(TWINT) | _BV(TWEN) | _BV(TWSTO);
    for (uint16_t left = TIMEOUT_TURNS; left != 0; left--) {
        if (!(TWCR & _BV(TWSTO)))
            return true;
    }
    return false;
}

static void scl_low(void)
{
    TWI_PORT &= (uint8_t)~_BV(SCL_BIT);
    TWI_DDR |= _BV(SCL_BIT);
    _delay_us(5);
}

static void scl_high(void)
{
    TWI_DDR &= (uint8_t)~_BV(SCL_BIT);
    TWI_PORT |= _BV(SCL_BIT);
    _delay_us(5);
}

/* A chip interrupted while sending holds SDA low until it has sent all bits: clock them out, then send a stop. */
static void recover(void)
{
    TWCR = 0;
    for (uint8_t clocks = 0; clocks < 9 && !(TWI_PIN & _BV(SDA_BIT)); clocks++) {
        scl_low();
        scl_high();
    }
    scl_low();
    TWI_PORT &= (uint8_t)~_BV(SDA_BIT);
    TWI_DDR |= _BV(SDA_BIT);
    _delay_us(5);
    scl_high();
    TWI_DDR &= (uint8_t)~_BV(SDA_BIT);
    _delay_us(5);
    twi_start();
}

static bool finished(bool good)
{
    good = stop() && good;
    if (!good) {
        errors++;
        recover();
    }
    return good;
}

bool twi_write(uint8_t address, uint8_t reg, uint16_t value)
{
    return finished(begin((uint8_t)(address << 1) | TW_WRITE, TW_MT_SLA_ACK) && send(reg) &&
                    send((uint8_t)(value >> 8)) && send((uint8_t)value));
}

static bool receive(uint16_t *value)
{
    if (act(_BV(TWEA)) != TW_MR_DATA_ACK)
        return false;
    *value = (uint16_t)TWDR << 8;
    if (act(0) != TW_MR_DATA_NACK)
        return false;
    *value |= TWDR;
    return true;
}

bool twi_read(uint8_t address, uint8_t reg, uint16_t *value)
{
    return finished(begin((uint8_t)(address << 1) | TW_WRITE, TW_MT_SLA_ACK) && send(reg) &&
                    begin((uint8_t)(address << 1) | TW_READ, TW_MR_SLA_ACK) && receive(value));
}

uint32_t twi_errors(void)
{
    return errors;
}
