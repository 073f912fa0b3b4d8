/* Stands in for the kernel's GPIO character device: reads what the agent sends by the kernel's own header. Preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int chip = -1, handle = -1;

static void told(const char *format, ...)
{
    FILE *file = fopen(getenv("GPIO_LOG"), "a");
    va_list values;
    va_start(values, format);
    vfprintf(file, format, values);
    va_end(values);
    fclose(file);
}

/* For a meter that has this line as its input: when it was set, on the monotonic clock, and to what. */
static void wired(unsigned long long level)
{
    struct timespec now;
    FILE *file = getenv("GPIO_WIRE") ? fopen(getenv("GPIO_WIRE"), "a") : NULL;
    if (!file)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(file, "%ld.%09ld %llu\n", (long)now.tv_sec, now.tv_nsec, level);
    fclose(file);
}

static int opened(const char *name, int flags, int mode, const char *function)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, function);
    if (strcmp(name, "/dev/gpiochip0"))
        return real(name, flags, mode);
    told("open %d\n", (flags & O_ACCMODE) == O_RDWR);
    return chip = real("/dev/null", O_RDWR, 0);
}

int open(const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return opened(name, flags, mode, "open");
}

int open64(const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return opened(name, flags, mode, "open64");
}

int ioctl(int fd, unsigned long number, ...)
{
    va_list rest;
    va_start(rest, number);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (fd == chip && number == GPIO_V2_GET_LINE_IOCTL) {
        struct gpio_v2_line_request *request = argument;
        if (request->num_lines != 1 || request->offsets[0] > 27) {
            errno = EINVAL;
            return -1;
        }
        if (request->offsets[0] == 4) {
            errno = EBUSY;
            return -1;
        }
        told("line %u %s output %d attributes %u buffer %u\n", request->offsets[0], request->consumer,
             request->config.flags == GPIO_V2_LINE_FLAG_OUTPUT, request->config.num_attrs, request->event_buffer_size);
        request->fd = handle = dup(fd);
        return 0;
    }
    if (fd == handle && number == GPIO_V2_LINE_SET_VALUES_IOCTL) {
        struct gpio_v2_line_values *values = argument;
        wired(values->bits);
        told("set %llu of %llu\n", (unsigned long long)values->bits, (unsigned long long)values->mask);
        return 0;
    }
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, number, argument);
}
