/* The load: piecewise constant power and trigger level over simulated time. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

struct step {
    uint64_t cycle;
    double value;
};

struct track {
    struct step *steps;
    size_t count;
    size_t room;
    size_t cursor; /* questions come in the order of time */
};

static struct track power;
static struct track trigger;
static bool begun;

static void append(struct track *track, uint64_t cycle, double value)
{
    while (track->count && track->steps[track->count - 1].cycle >= cycle && track->count > 1)
        track->count--;
    if (track->count == track->room) {
        track->room = track->room ? 2 * track->room : 64;
        track->steps = realloc(track->steps, track->room * sizeof *track->steps);
        if (!track->steps)
            abort();
    }
    track->steps[track->count++] = (struct step){cycle, value};
    if (track->cursor >= track->count)
        track->cursor = track->count - 1;
}

static size_t find(struct track *track, uint64_t cycle)
{
    size_t at = track->cursor;

    while (at > 0 && track->steps[at].cycle > cycle)
        at--;
    while (at + 1 < track->count && track->steps[at + 1].cycle <= cycle)
        at++;
    track->cursor = at;
    return at;
}

void world_power(uint64_t cycle, double watts)
{
    append(&power, cycle, watts);
}

void world_trigger(uint64_t cycle, int level)
{
    append(&trigger, cycle, level);
}

void world_init(void)
{
    append(&power, 0, options.idle_w);
    append(&trigger, 0, 0);
    if (options.zero_at_boot)
        world_begin(0);
}

void world_begin(uint64_t cycle)
{
    char kind[16];
    double seconds;
    double value;
    FILE *file;

    if (begun)
        return;
    begun = true;
    event("zero %llu", (unsigned long long)cycle);
    file = options.schedule ? fopen(options.schedule, "r") : NULL;
    if (!file)
        return;
    while (fscanf(file, "%15s %lf %lf", kind, &seconds, &value) == 3)
        append(kind[0] == 'p' ? &power : &trigger, cycle + (uint64_t)(seconds * HZ + 0.5), value);
    fclose(file);
}

double world_mean_w(uint64_t from, uint64_t to)
{
    size_t at = find(&power, from);
    double sum = 0;

    for (uint64_t now = from; now < to;) {
        uint64_t next = at + 1 < power.count && power.steps[at + 1].cycle < to ? power.steps[at + 1].cycle : to;

        sum += power.steps[at].value * (double)(next - now);
        now = next;
        at++;
    }
    return sum / (double)(to - from);
}

int world_trigger_at(uint64_t cycle)
{
    return (int)trigger.steps[find(&trigger, cycle)].value;
}
