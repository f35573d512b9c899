/* A plugin for qemu's user-mode emulator that counts executed instructions, exactly, in the regions of a program that
 * `hint #120` opens and `hint #121` closes (a real CPU takes both for nops; `stonechat_kernels::markers` emits them).
 *
 *   gcc -O2 -fPIC -shared icount.c -o libicount.so
 *   qemu-aarch64 -plugin ./libicount.so[,functions=N] -d plugin PROGRAM
 *
 * Writes `instructions=COUNT`, and with functions=N the N functions that ran most of them. One thread; the count is
 * the same in every run. Plugin API version 1 (qemu 6.0 and later). */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of qemu-plugin.h that is needed: Debian packages the emulator without its header. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
void qemu_plugin_outs(const char *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { NO_CPU_REGISTERS = 0, INLINE_ADD = 0 };
enum { OPEN = 0xd5032f1f, CLOSE = 0xd5032f3f };

/* Instructions of one function. They are always counted, which the emulator does inline; the markers take notes. */
struct function {
    const char *name;
    uint64_t executed, at_open, counted;
};
enum { MOST_FUNCTIONS = 1 << 16 };
static struct function functions[MOST_FUNCTIONS];
static size_t known;
static unsigned listed;
static bool open;

static struct function *function_of(const struct qemu_plugin_insn *instruction) {
    const char *name = listed ? qemu_plugin_insn_symbol(instruction) : NULL;
    if (!name) name = "(no symbol)";
    for (size_t i = 0; i < known; i++)
        if (!strcmp(functions[i].name, name)) return &functions[i];
    /* The last one stands for all that found no place. */
    if (known == MOST_FUNCTIONS) return &functions[known - 1];
    functions[known].name = strdup(name);
    return &functions[known++];
}

static void on_open(unsigned cpu, void *data) {
    open = true;
    for (size_t i = 0; i < known; i++) functions[i].at_open = functions[i].executed;
}

static void on_close(unsigned cpu, void *data) {
    if (!open) return;
    open = false;
    for (size_t i = 0; i < known; i++) {
        functions[i].counted += functions[i].executed - functions[i].at_open;
    }
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block) {
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(block); i < n; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
        if (word == OPEN || word == CLOSE) {
            void (*marker)(unsigned, void *) = word == OPEN ? on_open : on_close;
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, marker, NO_CPU_REGISTERS, NULL);
        } else {
            struct function *function = function_of(instruction);
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, INLINE_ADD, &function->executed, 1);
        }
    }
}

static int by_count(const void *a, const void *b) {
    uint64_t x = ((const struct function *)a)->counted, y = ((const struct function *)b)->counted;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void on_exit_of_program(plugin_id id, void *data) {
    char line[512];
    uint64_t all = 0;
    for (size_t i = 0; i < known; i++) all += functions[i].counted;
    snprintf(line, sizeof line, "instructions=%" PRIu64 "\n", all);
    qemu_plugin_outs(line);
    qsort(functions, known, sizeof *functions, by_count);
    for (size_t i = 0; i < known && i < listed && functions[i].counted; i++) {
        snprintf(line, sizeof line, "%14" PRIu64 " %5.1f %%  %s\n", functions[i].counted,
                 100.0 * (double)functions[i].counted / (double)all, functions[i].name);
        qemu_plugin_outs(line);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (sscanf(argv[i], "functions=%u", &listed) == 1) continue;
        fprintf(stderr, "icount: unknown option '%s'; there is functions=N\n", argv[i]);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
    return 0;
}
