/* Options, faults on command, pace, and the loop. */
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <simavr/avr_eeprom.h>
#include <simavr/sim_elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { PORF_ = 1, EXTRF_ = 2, BORF_ = 4 };
#define MCUSR_ 0x54
#define TCCR1B_ 0x81
#define EECR_ 0x3F
#define EEPE_ 0x02
#define EEPROM_SIZE 1024
#define SLICE (HZ / 1000)

struct options options = {
    .chip = "ina226", .supply_v = 5.0, .shunt_ohm = 0.01, .chip_clock = 1.0, .boot_s = 0.02, .link = "meter"};
avr_t *avr;

static elf_firmware_t firmware;
static bool running = true;
static bool powered = true;
static unsigned variables_end; /* first address after the program's variables */
static uint8_t pending_reset; /* MCUSR bits of a reset that was asked for */
static uint64_t boot_until;   /* the boot loader runs until this cycle: no program, bytes are lost */
static struct {
    avr_io_write_t c;
    void *param;
} timer_below, eeprom_below;
static int writes_left; /* bytes that reach the EEPROM before the supply fails; 0: it does not */

void event(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* ---- EEPROM, kept in a file. simavr writes a byte in no time, where the chip takes 3.4 ms. ---- */

static uint8_t *eeprom(void)
{
    avr_eeprom_desc_t first = {NULL, 0, 1};

    avr_ioctl(avr, AVR_IOCTL_EEPROM_GET, &first); /* returns -1 also where it has worked */
    return first.ee;
}

static void load_eeprom(void)
{
    FILE *file = options.eeprom ? fopen(options.eeprom, "rb") : NULL;

    if (!file)
        return;
    if (fread(eeprom(), 1, EEPROM_SIZE, file) != EEPROM_SIZE)
        fprintf(stderr, "%s is short\n", options.eeprom);
    fclose(file);
}

static void save_eeprom(void)
{
    FILE *file = options.eeprom ? fopen(options.eeprom, "wb") : NULL;

    if (!file)
        return;
    fwrite(eeprom(), 1, EEPROM_SIZE, file);
    fclose(file);
}

/* ---- Resets. ---- */

static uint8_t filling(unsigned at)
{
    return (uint8_t)(at * 167 + 13);
}

static void reset(uint8_t cause)
{
    save_eeprom();
    if (cause & (PORF_ | BORF_)) /* memory does not survive, and must not be relied on */
        for (unsigned at = 0x100; at <= avr->ramend; at++)
            avr->data[at] = filling(at);
    avr_reset(avr);
    bus_after_reset();
    if (cause & PORF_)
        chip_power_on();
    avr->data[MCUSR_] = options.optiboot ? 0 : cause;
    if (options.optiboot)
        avr->data[2] = cause;
    chip_after_reset();
    line_after_reset();
    boot_until = avr->cycle + (uint64_t)(options.boot_s * HZ);
    event("reset %d %llu", cause, (unsigned long long)avr->cycle);
}

/* A program counter that has run astray: into the endless loop, interrupts off, that ends every avr-libc program. */
static void hang(void)
{
    for (unsigned at = 0; at + 1 < avr->codeend; at += 2) {
        if (avr->flash[at] == 0xFF && avr->flash[at + 1] == 0xCF) {
            avr->pc = at;
            avr->sreg[S_I] = 0;
            avr->state = cpu_Running;
            return;
        }
    }
    fprintf(stderr, "no endless loop in the program\n");
}

/* Moves the firmware's clock: `rounds` overflows of timer 1, 32.768 ms each, have been. */
static void set_clock(uint32_t rounds)
{
    for (unsigned i = 0; i < firmware.symbolcount; i++)
        if (!strcmp(firmware.symbol[i]->symbol, "overflows"))
            memcpy(avr->data + (firmware.symbol[i]->addr & 0xFFFF), &rounds, sizeof rounds);
}

static void timer_started(struct avr_t *mcu, avr_io_addr_t addr, uint8_t value, void *param)
{
    (void)param;
    timer_below.c(mcu, addr, value, timer_below.param);
    event("clock %llu", (unsigned long long)avr->cycle); /* the meter's microseconds begin here */
}

static void eeprom_written(struct avr_t *mcu, avr_io_addr_t addr, uint8_t value, void *param)
{
    (void)param;
    eeprom_below.c(mcu, addr, value, eeprom_below.param);
    if ((value & EEPE_) && writes_left > 0 && --writes_left == 0)
        pending_reset = BORF_;
}

static void listen(avr_io_addr_t addr, avr_io_write_t ours, avr_io_write_t *below, void **param)
{
    *below = avr->io[AVR_DATA_TO_IO(addr)].w.c;
    *param = avr->io[AVR_DATA_TO_IO(addr)].w.param;
    avr->io[AVR_DATA_TO_IO(addr)].w.c = ours;
}

/* ---- Commands on the standard input. ---- */

/* Bytes between the variables and the deepest that the stack has been since power on: still as they were filled. */
static unsigned stack_free(void)
{
    unsigned at = variables_end + 16; /* past .noinit */
    unsigned count = 0;

    while (at <= avr->ramend && avr->data[at] == filling(at)) {
        at++;
        count++;
    }
    return count;
}

static void status(void)
{
    event("status cycle=%llu conversions=%llu sent=%llu dropped=%llu clocks=%llu stack_free=%u",
          (unsigned long long)avr->cycle, (unsigned long long)chip_conversions(), (unsigned long long)line_sent(),
          (unsigned long long)line_dropped(), (unsigned long long)bus_clocks_seen(), stack_free());
}

static void fault(const char *name, double value)
{
    if (!strcmp(name, "brownout"))
        pending_reset = BORF_;
    else if (!strcmp(name, "cutwrite"))
        writes_left = (int)value;
    else if (!strcmp(name, "reset"))
        pending_reset = EXTRF_;
    else if (!strcmp(name, "hang"))
        hang();
    else if (!strcmp(name, "nack"))
        bus_nack((int)value);
    else if (!strcmp(name, "stick"))
        bus_stick((int)value);
    else if (!strcmp(name, "glitch"))
        bus_glitch();
    else if (!strcmp(name, "chipreset"))
        chip_power_on();
    else if (!strcmp(name, "unplug") && powered) {
        powered = false;
        save_eeprom();
        line_unplug();
    } else if (!strcmp(name, "replug") && !powered) {
        powered = true;
        line_plug();
        pending_reset = PORF_;
    } else
        fprintf(stderr, "no command %s\n", name);
}

static void command(char *line)
{
    char name[32] = "";
    double first = 0;
    double second = 0;

    sscanf(line, "%31s %lf %lf", name, &first, &second);
    if (!strcmp(name, "power"))
        world_power(avr->cycle, first);
    else if (!strcmp(name, "trigger"))
        world_trigger(avr->cycle, (int)first);
    else if (!strcmp(name, "volts"))
        chip_supply(first);
    else if (!strcmp(name, "eeprom"))
        eeprom()[(unsigned)first % EEPROM_SIZE] = (uint8_t)second;
    else if (!strcmp(name, "clock"))
        set_clock((uint32_t)first);
    else if (!strcmp(name, "quit"))
        running = false;
    else if (strcmp(name, "status"))
        fault(name, first);
    status();
}

void bench_control(void)
{
    static char line[256];
    static size_t length;
    char bytes[256];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);

    if (count <= 0)
        running = false; /* whoever started us has gone */
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] != '\n' && length + 1 < sizeof line) {
            line[length++] = bytes[i];
        } else {
            line[length] = 0;
            length = 0;
            command(line);
        }
    }
}

bool bench_runs(void)
{
    return running;
}

/* ---- The loop. ---- */

static double wall_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Milliseconds that simulated time is ahead of the wall. Free running while bytes flow, unless real time is asked for. */
static int ahead_ms(void)
{
    static double wall_zero;
    static uint64_t cycle_zero;
    static bool paced_before;
    bool paced = options.real_time || avr->cycle - line_last_sent() > HZ / 10;
    double ahead_s;

    if (paced && !paced_before) {
        wall_zero = wall_s();
        cycle_zero = avr->cycle;
    }
    paced_before = paced;
    ahead_s = (double)(avr->cycle - cycle_zero) / (double)HZ - (wall_s() - wall_zero);
    return paced && ahead_s > 0.001 ? (int)(ahead_s * 1000) : 0;
}

static void no_sleep(avr_t *mcu, avr_cycle_count_t how_long)
{
    (void)mcu, (void)how_long; /* simulated time passes by itself */
}

/* One millisecond. The chip's conversions during the boot loader's time are made up for afterwards. */
static void run_slice(void)
{
    uint64_t until = avr->cycle + SLICE;

    if (avr->cycle < boot_until) {
        avr->cycle = until;
        line_after_reset();
    }
    while (running && !pending_reset && avr->cycle < until) {
        int state = avr_run(avr);

        if (state == cpu_Done || state == cpu_Crashed) {
            event("crashed");
            running = false;
        }
    }
}

static void run(void)
{
    while (running) {
        if (powered)
            run_slice();
        if (line_service(powered ? ahead_ms() : 20) && options.reset_on_open)
            pending_reset = EXTRF_;
        if (pending_reset && powered) {
            reset(pending_reset);
            pending_reset = 0;
        }
    }
}

static void quiet(struct avr_t *mcu, const int level, const char *format, va_list arguments)
{
    (void)mcu;
    if (strstr(format, "Resetting") != NULL)
        event("watchdog %llu", (unsigned long long)avr->cycle);
    else if (level <= LOG_ERROR)
        vfprintf(stderr, format, arguments);
}

static void load(void)
{
    if (elf_read_firmware(options.elf, &firmware) != 0) {
        fprintf(stderr, "%s cannot be read\n", options.elf);
        exit(1);
    }
    avr = avr_make_mcu_by_name("atmega328p");
    avr_init(avr);
    avr->frequency = HZ;
    avr_load_firmware(avr, &firmware);
    variables_end = 0x100 + firmware.datasize + firmware.bsssize;
    avr->frequency = HZ;
    avr->sleep = no_sleep;
    avr->log = LOG_WARNING;
}

static const struct option names[] = {
    {"elf", 1, 0, 'e'},       {"chip", 1, 0, 'c'},         {"schedule", 1, 0, 's'},   {"eeprom", 1, 0, 'E'},
    {"link", 1, 0, 'l'},      {"supply-v", 1, 0, 'v'},     {"shunt-ohm", 1, 0, 'r'},  {"idle-w", 1, 0, 'i'},
    {"chip-clock", 1, 0, 'k'}, {"boot-s", 1, 0, 'b'},      {"zero-at-boot", 0, 0, 'z'}, {"reset-on-open", 0, 0, 'o'},
    {"optiboot", 0, 0, 'O'},  {"count", 0, 0, 'n'},        {"no-alert", 0, 0, 'a'},   {"real-time", 0, 0, 't'},
    {0, 0, 0, 0}};

static void take_option(int option)
{
    switch (option) {
    case 'e': options.elf = optarg; break;
    case 'c': options.chip = optarg; break;
    case 's': options.schedule = optarg; break;
    case 'E': options.eeprom = optarg; break;
    case 'l': options.link = optarg; break;
    case 'v': options.supply_v = atof(optarg); break;
    case 'r': options.shunt_ohm = atof(optarg); break;
    case 'i': options.idle_w = atof(optarg); break;
    case 'k': options.chip_clock = atof(optarg); break;
    case 'b': options.boot_s = atof(optarg); break;
    case 'z': options.zero_at_boot = true; break;
    case 'o': options.reset_on_open = true; break;
    case 'O': options.optiboot = true; break;
    case 'n': options.count = true; break;
    case 'a': options.no_alert = true; break;
    case 't': options.real_time = true; break;
    default: exit(2);
    }
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        take_option(option);
    if (!options.elf)
        return 2;
    avr_global_logger_set(quiet);
    load();
    bus_init();
    line_init();
    load_eeprom();
    world_init();
    listen(TCCR1B_, timer_started, &timer_below.c, &timer_below.param);
    listen(EECR_, eeprom_written, &eeprom_below.c, &eeprom_below.param);
    line_plug();
    reset(PORF_);
    run();
    save_eeprom();
    unlink(options.link);
    return 0;
}
