/* A plugin for QEMU's user mode that counts the instructions a guest executes, block by block.
 *
 * The guest divides its run into windows: a call of getpriority(MARK, n), which changes nothing, is a mark. The mark 0
 * begins a window; a mark n > 0 ends window n and writes what was executed since the last mark:
 *
 *   window N                    the number
 *   b ADDRESS INSTRUCTIONS      hexadecimal guest address of a block; instructions executed in it
 *   end N TOTAL VCPUS           their sum; how many threads the guest has had so far
 *
 * The counters are not atomic: counts are exact as long as one thread runs, so readers must check VCPUS.
 * Argument: out=FILE. QEMU does not package the header of its plugin API (version 1); what is used of it is declared.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x65646765   /* the first argument of the guest's call: "edge" */
#define GETPRIORITY 141   /* its number on aarch64 */
#define BUCKETS (1u << 18)

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned));
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = 1;

struct block {
    uint64_t address, size, count, seen;
    struct block *next;
};
static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *out;
static unsigned vcpus;

static void fail(const char *what)
{
    fprintf(stderr, "edge: the counting plugin cannot %s\n", what);
    _Exit(70);
}

static struct block *block_of(uint64_t address, uint64_t size)
{
    struct block **slot = &blocks[(address >> 2) & (BUCKETS - 1)];
    while (*slot && ((*slot)->address != address || (*slot)->size != size))
        slot = &(*slot)->next;
    if (!*slot) {
        *slot = calloc(1, sizeof **slot);
        if (!*slot)
            fail("remember another block: no memory");
        (*slot)->address = address;
        (*slot)->size = size;
    }
    return *slot;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    uint64_t size = qemu_plugin_tb_n_insns(tb);
    (void)id;
    pthread_mutex_lock(&lock);
    struct block *block = block_of(qemu_plugin_tb_vaddr(tb), size);
    pthread_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->count, size);
}

static void on_thread(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id, (void)vcpu;
    pthread_mutex_lock(&lock);
    vcpus++;
    pthread_mutex_unlock(&lock);
}

static void mark(uint64_t number)
{
    uint64_t total = 0;
    if (number)
        fprintf(out, "window %" PRIu64 "\n", number);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct block *each = blocks[i]; each; each = each->next) {
            uint64_t since = each->count - each->seen;
            each->seen = each->count;
            total += since;
            if (number && since)
                fprintf(out, "b %" PRIx64 " %" PRIu64 "\n", each->address, since);
        }
    if (number)
        fprintf(out, "end %" PRIu64 " %" PRIu64 " %u\n", number, total, vcpus);
    if (fflush(out) || ferror(out))
        fail("write its counts");
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || a1 != MARK)
        return;
    pthread_mutex_lock(&lock);
    mark(a2);
    pthread_mutex_unlock(&lock);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out) {
        fprintf(stderr, "edge: the counting plugin cannot write to the file of its argument out=\n");
        return 1;
    }
    qemu_plugin_register_vcpu_init_cb(id, on_thread);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
