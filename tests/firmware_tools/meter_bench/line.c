/* The serial line: the UART's bytes to and from a pseudo-terminal.
 *
 * Simulated time waits for the host, so that nothing is lost because this machine is slow: what is lost, the firmware
 * has lost. With nobody at the port, bytes fall on the floor as on a real line. A host that has set another speed than
 * the firmware's reads and writes garbage. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <simavr/avr_uart.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "bench.h"

#define UBRR0_ 0xC4
#define UCSR0A_ 0xC0

static int port = -1;
static bool open_before; /* a host had the port open when we last looked */
static uint8_t out[4096];
static size_t out_length;
static uint8_t in[1 << 16];
static size_t in_head;
static size_t in_tail;
static bool feeding;
static bool full; /* simavr's receiver takes no more for now */
static uint64_t last_sent;
static uint64_t sent;
static uint64_t dropped;

/* ---- Watching for the host's first START, the schedule's zero. ---- */

static void watch(uint8_t byte)
{
    /* START as a frame: type 0x18, command 3, its CRC 0xB53D is not needed to know it */
    static uint8_t seen[4];

    memmove(seen, seen + 1, 3);
    seen[3] = byte;
    if (byte != 0 && seen[1] == 5 && seen[2] == 0x18 && seen[3] == 3)
        world_begin(avr->cycle);
}

/* ---- The processor's side. ---- */

/* simavr counts eleven bits for a byte, one more than there are: its line is a tenth slower than a real one. */
#define BITS 11

static uint32_t firmware_baud(void)
{
    uint32_t divider = avr->data[UBRR0_] | (uint32_t)avr->data[UBRR0_ + 1] << 8;

    return (uint32_t)(HZ / ((avr->data[UCSR0A_] & 2 ? 8 : 16) * (divider + 1)));
}

static bool same_speed(void)
{
    struct termios settings;

    return tcgetattr(port, &settings) == 0 && cfgetispeed(&settings) == B500000 && firmware_baud() == 500000;
}

/* Between a host's open() and its tcsetattr() the terminal would echo what we send: that is lost, as by a host that is
 * not ready. The settings are the host's; to change them here would race with it. */
static bool host_listens(void)
{
    struct termios settings;

    return port >= 0 && open_before && tcgetattr(port, &settings) == 0 && !(settings.c_lflag & ECHO);
}

static void flush(void)
{
    bool listens = out_length && host_listens();
    size_t done = 0;

    if (!listens)
        dropped += out_length;
    else if (!same_speed())
        for (size_t i = 0; i < out_length; i++)
            out[i] = (uint8_t)(out[i] * 37 + 11);
    while (listens && done < out_length) {
        ssize_t count = write(port, out + done, out_length - done);

        if (count > 0) {
            done += (size_t)count;
        } else if (count < 0 && errno != EAGAIN) {
            break;
        } else {
            struct pollfd wait[2] = {{port, POLLOUT, 0}, {STDIN_FILENO, POLLIN, 0}};

            poll(wait, 2, 20);
            if (wait[0].revents & POLLHUP)
                break; /* the host has left */
            if (wait[1].revents)
                bench_control();
            if (!bench_runs())
                break;
        }
    }
    out_length = 0;
}

static void transmitted(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)param;
    out[out_length++] = (uint8_t)value;
    last_sent = avr->cycle;
    sent++;
    if (out_length == sizeof out)
        flush();
}

static avr_cycle_count_t feed(struct avr_t *mcu, avr_cycle_count_t when, void *param)
{
    (void)mcu, (void)param;
    if (in_head == in_tail) {
        in_head = in_tail = 0;
        feeding = false;
        return 0;
    }
    if (full)
        return when + BITS * HZ / firmware_baud();
    watch(in[in_head]);
    avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT), in[in_head++]);
    return when + BITS * HZ / firmware_baud();
}

static void receiver_full(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)param;
    if (value)
        full = true;
}

static void receiver_free(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)param;
    if (value)
        full = false;
}

static void start_feeding(void)
{
    if (!feeding && in_head != in_tail) {
        feeding = true;
        avr_cycle_timer_register(avr, BITS * HZ / firmware_baud(), feed, NULL);
    }
}

/* ---- The host's side. ---- */

void line_init(void)
{
    uint32_t flags = 0;

    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags); /* no printing, no sleeping */
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), transmitted, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), receiver_full, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), receiver_free, NULL);
}

void line_plug(void)
{
    const char *name;
    int other;

    port = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (port < 0 || grantpt(port) || unlockpt(port) || !(name = ptsname(port))) {
        perror("pseudo-terminal");
        exit(1);
    }
    other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC); /* opened and closed once: from now on, POLLHUP tells */
    close(other);
    open_before = false;
    unlink(options.link);
    if (symlink(name, options.link)) {
        perror(options.link);
        exit(1);
    }
    event("plugged %s", name);
}

void line_unplug(void)
{
    unlink(options.link);
    close(port);
    port = -1;
    out_length = in_head = in_tail = 0;
    event("unplugged");
}

void line_after_reset(void)
{
    feeding = full = false;
    in_head = in_tail = 0; /* what was on its way is lost */
}

static void receive(void)
{
    ssize_t count;

    if (in_tail > sizeof in / 2)
        return; /* not taken yet: the host waits */
    count = read(port, in + in_tail, sizeof in - in_tail);
    for (ssize_t i = 0; i < count && !same_speed(); i++)
        in[in_tail + (size_t)i] = (uint8_t)(in[in_tail + (size_t)i] * 37 + 11);
    if (count > 0)
        in_tail += (size_t)count;
}

bool line_service(int timeout_ms)
{
    struct pollfd wait[2] = {{STDIN_FILENO, POLLIN, 0}, {port, POLLIN, 0}};
    bool opened;

    /* POLLHUP comes at once while nobody is there: wait without the port then. */
    poll(wait, open_before ? 2 : 1, timeout_ms);
    if (!open_before && port >= 0)
        poll(wait + 1, 1, 0);
    if (port >= 0) {
        opened = !open_before && !(wait[1].revents & POLLHUP);
        open_before = !(wait[1].revents & POLLHUP);
        if (open_before && (wait[1].revents & POLLIN))
            receive();
        flush();
        start_feeding();
    } else {
        opened = false;
    }
    if (wait[0].revents)
        bench_control();
    return opened;
}

uint64_t line_last_sent(void)
{
    return last_sent;
}

uint64_t line_sent(void)
{
    return sent;
}

uint64_t line_dropped(void)
{
    return dropped;
}
