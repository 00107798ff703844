/* A plugin for qemu-user: how many instructions its program executed, in all threads.
 *
 *     cc -shared -fPIC -O2 -I QEMU/include/qemu -o count_plugin.so count_plugin.c
 *     qemu-aarch64 -plugin count_plugin.so,count=COUNT PROGRAM
 *
 * The plugins that come with the emulator count in eight places, whatever number of threads there are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static uint64_t executed;
static char file[4096];

static void block_begins(unsigned int cpu, void *length)
{
    (void)cpu;
    __atomic_fetch_add(&executed, (uintptr_t)length, __ATOMIC_RELAXED);
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(
        block, block_begins, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void write_count(qemu_plugin_id_t id, void *nothing)
{
    FILE *out = fopen(file, "w");
    (void)id;
    (void)nothing;
    if (!out) {
        perror(file);
        return;
    }
    fprintf(out, "Total instructions: %" PRIu64 "\n", executed);
    fclose(out);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int count, char **options)
{
    (void)info;
    if (count != 1 || strncmp(options[0], "count=", 6) != 0 || strlen(options[0] + 6) >= sizeof file) {
        fprintf(stderr, "count_plugin: it takes count=FILE, where the count is written\n");
        return -1;
    }
    strcpy(file, options[0] + 6);
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_atexit_cb(id, write_count, NULL);
    return 0;
}
