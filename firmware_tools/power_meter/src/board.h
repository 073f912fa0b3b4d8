/* Pins and fixed choices of the board: ATmega328P at 16 MHz and 5 V (Arduino Nano, Arduino Uno). */
#ifndef BOARD_H
#define BOARD_H

#include <avr/io.h>

#define VERSION_MAJOR 1
#define VERSION_MINOR 0
#define VERSION_PATCH 0

#define SERIAL_BAUD 500000UL
#define TWI_HZ 400000UL

/* D2: the trigger, an input without pull-up (a Raspberry Pi drives it with 3.3 V). */
#define TRIGGER_PIN PIND
#define TRIGGER_BIT PD2
/* D8 = ICP1: the chip's ALERT output, open drain; its falling edge is stamped by the capture unit of timer 1. */
#define ALERT_PIN PINB
#define ALERT_PORT PORTB
#define ALERT_BIT PB0
/* A4 = SDA, A5 = SCL. */
#define TWI_PIN PINC
#define TWI_PORT PORTC
#define TWI_DDR DDRC
#define SDA_BIT PC4
#define SCL_BIT PC5
/* D13: the lamp, lit while samples are sent. */
#define LAMP_PORT PORTB
#define LAMP_DDR DDRB
#define LAMP_BIT PB5

#endif
