/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The labs' companion: drives the DMA engine of QEMU's `edu` device (QEMU, docs/specs/edu) through
 * the VFIO device file, so that bytes travel through the host's real IOMMU tables. It owns the
 * device's registers and nothing else: the mappings belong to whoever holds the container.
 * tests/kmod/viommu_mdev has the same registers and some more, without hardware.
 *
 *   viommuctl endpoint open-fd DEVICE ENDPOINT -- edu COMMAND...     (VIOMMU_DEVICE_FD is set)
 *   edu --standalone PCI-ADDRESS|UUID COMMAND...     group and container are opened here
 *
 * Commands are carried out in order, one line of output each; `edu --help` lists them. QEMU's
 * engine does not tell whether an access was refused: look at the memory, and at the IOMMU's log.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Registers and bits of the device. */
#define EDU_ID        0x00u
#define EDU_ID_MASK   0xffffu
#define EDU_ID_VALUE  0x00edu
#define EDU_DMA_SRC   0x80u
#define EDU_DMA_DST   0x88u
#define EDU_DMA_COUNT 0x90u
#define EDU_DMA_CMD   0x98u
#define EDU_STATUS    0xa0u /* only viommu_mdev: errno of the last run */
#define EDU_CMD_RUN   1u
#define EDU_CMD_WRITE 2u    /* from the device's buffer to memory */
#define EDU_REPEAT    0x10u /* only viommu_mdev: again and again until a run fails */
#define EDU_BUFFER    0x40000u
#define EDU_LIMIT     4095u /* QEMU ends itself when an access touches the buffer's end */
#define EDU_ADDRESSES 28u   /* without dma_mask=; viommu_mdev takes all */

#define PCI_COMMAND        4
#define PCI_COMMAND_MEMORY 2u
#define PCI_COMMAND_MASTER 4u

#define PAGE_BYTES       4096u
#define STANDALONE_PAGES 16u
#define DMA_TIMEOUT_MS   20000

struct edu {
    int device;
    volatile uint8_t *bar; /* NULL: no mmap there, by read and write at bar_offset */
    off_t bar_offset;
    size_t bar_size;
    /* Only with --standalone. */
    int container;
    int group;
    uint8_t *memory;
};

static int fail(const char *what)
{
    fprintf(stderr, "edu: %s: %s\n", what, strerror(errno));
    return -1;
}

static int refuse(const char *what)
{
    fprintf(stderr, "edu: %s\n", what);
    return -1;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static int number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-' || *text == '+' || *out > max) {
        fprintf(stderr, "edu: '%s' is no number from 0 to %#" PRIx64 "\n", text, max);
        return -1;
    }
    return 0;
}

/* A page of our own memory, only there with --standalone. */
static int page_argument(const struct edu *edu, const char *text, uint8_t **out)
{
    uint64_t page;

    if (!edu->memory)
        return refuse("this command needs --standalone");
    if (number(text, STANDALONE_PAGES - 1, &page))
        return -1;
    *out = edu->memory + page * PAGE_BYTES;
    return 0;
}

/* ---- the device ----------------------------------------------------------------------------- */

/* Registers below 0x80 take four bytes at a time, the others eight too. */
static uint32_t read32(const struct edu *edu, size_t reg)
{
    uint32_t value = UINT32_MAX;

    if (edu->bar)
        return *(volatile uint32_t *)(volatile void *)(edu->bar + reg);
    if (pread(edu->device, &value, sizeof(value), edu->bar_offset + (off_t)reg) != sizeof(value))
        fail("reading a register");
    return value;
}

static void write64(const struct edu *edu, size_t reg, uint64_t value)
{
    if (edu->bar)
        *(volatile uint64_t *)(volatile void *)(edu->bar + reg) = value;
    else if (pwrite(edu->device, &value, sizeof(value), edu->bar_offset + (off_t)reg) !=
             sizeof(value))
        fail("writing a register");
}

static void start(const struct edu *edu, uint64_t iova, uint64_t count, uint64_t command)
{
    bool to_memory = command & EDU_CMD_WRITE;

    write64(edu, EDU_DMA_SRC, to_memory ? EDU_BUFFER : iova);
    write64(edu, EDU_DMA_DST, to_memory ? iova : EDU_BUFFER);
    write64(edu, EDU_DMA_COUNT, count);
    write64(edu, EDU_DMA_CMD, command | EDU_CMD_RUN);
}

static bool running(const struct edu *edu)
{
    return read32(edu, EDU_DMA_CMD) & EDU_CMD_RUN;
}

/* On edu a run takes 100 ms of the machine's time. */
static int wait_until_stopped(const struct edu *edu)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < DMA_TIMEOUT_MS; i++) {
        if (!running(edu))
            return 0;
        nanosleep(&pause, NULL);
    }
    return refuse("the DMA engine does not stop");
}

/* The end of a command's line: why the device was refused, where the device tells. */
static void print_status(const struct edu *edu)
{
    uint32_t status = read32(edu, EDU_STATUS);

    if (status != 0 && status != UINT32_MAX)
        printf(" refused: %s", strerror((int)status));
    printf("\n");
}

static int dma_command(const struct edu *edu, char **argv, bool to_memory)
{
    bool wide = read32(edu, EDU_STATUS) != UINT32_MAX;
    uint64_t iova;
    uint64_t count;

    if (number(argv[1], wide ? UINT64_MAX : (UINT64_C(1) << EDU_ADDRESSES) - 1, &iova) ||
        number(argv[2], EDU_LIMIT - 1, &count))
        return -1;
    start(edu, iova, count, to_memory ? EDU_CMD_WRITE : 0);
    if (wait_until_stopped(edu))
        return -1;
    printf("%s %#" PRIx64 " %" PRIu64, argv[0], iova, count);
    print_status(edu);
    return 0;
}

static int cmd_read(struct edu *edu, char **argv)
{
    return dma_command(edu, argv, false);
}

static int cmd_write(struct edu *edu, char **argv)
{
    return dma_command(edu, argv, true);
}

static int cmd_id(struct edu *edu, char **argv)
{
    printf("%s %#" PRIx32 "\n", argv[0], read32(edu, EDU_ID));
    return 0;
}

static int cmd_repeat(struct edu *edu, char **argv)
{
    uint64_t iova;
    uint64_t count;

    if (read32(edu, EDU_STATUS) == UINT32_MAX)
        return refuse("this device cannot repeat");
    if (number(argv[1], UINT64_MAX, &iova) || number(argv[2], EDU_LIMIT - 1, &count))
        return -1;
    start(edu, iova, count, EDU_CMD_WRITE | EDU_REPEAT);
    printf("%s %#" PRIx64 " %" PRIu64 "\n", argv[0], iova, count);
    return 0;
}

static int cmd_state(struct edu *edu, char **argv)
{
    printf("%s %s", argv[0], running(edu) ? "running" : "stopped");
    print_status(edu);
    return 0;
}

static int cmd_wait(struct edu *edu, char **argv)
{
    return wait_until_stopped(edu) ? -1 : cmd_state(edu, argv);
}

static int cmd_reset(struct edu *edu, char **argv)
{
    if (ioctl(edu->device, VFIO_DEVICE_RESET))
        return fail("VFIO_DEVICE_RESET");
    printf("%s\n", argv[0]);
    return 0;
}

/* ---- memory of our own (--standalone) ------------------------------------------------------- */

static int cmd_poke(struct edu *edu, char **argv)
{
    const char *hex = argv[2];
    size_t n = strlen(hex) / 2;
    uint8_t *page;

    if (page_argument(edu, argv[1], &page))
        return -1;
    if (strlen(hex) % 2 || n > PAGE_BYTES || hex[strspn(hex, "0123456789abcdefABCDEF")])
        return refuse("poke takes whole bytes in hexadecimal");
    for (size_t i = 0; i < n; i++) {
        const char byte[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        page[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    printf("%s %s\n", argv[0], argv[1]);
    return 0;
}

static int cmd_peek(struct edu *edu, char **argv)
{
    uint8_t *page;
    uint64_t n;

    if (page_argument(edu, argv[1], &page) || number(argv[2], PAGE_BYTES, &n))
        return -1;
    for (uint64_t i = 0; i < n; i++)
        printf("%02x", *(volatile uint8_t *)(page + i));
    printf("\n");
    return 0;
}

static int cmd_map(struct edu *edu, char **argv)
{
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map), .size = PAGE_BYTES};
    uint8_t *page;
    uint64_t iova;

    if (page_argument(edu, argv[2], &page) || number(argv[1], UINT64_MAX, &iova))
        return -1;
    if (argv[3][strspn(argv[3], "rw")] || !argv[3][0])
        return refuse("map takes r, w or rw");
    map.vaddr = (uintptr_t)page;
    map.iova = iova;
    map.flags = (strchr(argv[3], 'r') ? (uint32_t)VFIO_DMA_MAP_FLAG_READ : 0) |
                (strchr(argv[3], 'w') ? (uint32_t)VFIO_DMA_MAP_FLAG_WRITE : 0);
    if (ioctl(edu->container, VFIO_IOMMU_MAP_DMA, &map))
        return fail("VFIO_IOMMU_MAP_DMA");
    printf("%s %#" PRIx64 " %s\n", argv[0], iova, argv[3]);
    return 0;
}

static int cmd_unmap(struct edu *edu, char **argv)
{
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .size = PAGE_BYTES};
    uint64_t iova;

    if (!edu->memory)
        return refuse("this command needs --standalone");
    if (number(argv[1], UINT64_MAX, &iova))
        return -1;
    unmap.iova = iova;
    if (ioctl(edu->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
        return fail("VFIO_IOMMU_UNMAP_DMA");
    printf("%s %#" PRIx64 " %" PRIu64 "\n", argv[0], iova, (uint64_t)unmap.size);
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int enable(const struct edu *edu, const struct vfio_region_info *config)
{
    off_t at = (off_t)config->offset + PCI_COMMAND;
    uint16_t command;

    if (pread(edu->device, &command, sizeof(command), at) != sizeof(command))
        return fail("reading config space");
    command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    if (pwrite(edu->device, &command, sizeof(command), at) != sizeof(command))
        return fail("writing config space");
    return 0;
}

/* BAR 0 is mapped; memory accesses and bus mastering are switched on in config space. */
static int open_registers(struct edu *edu)
{
    struct vfio_region_info bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX};
    struct vfio_region_info config = {.argsz = sizeof(config),
                                      .index = VFIO_PCI_CONFIG_REGION_INDEX};
    void *mapped;

    if (ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
        ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &config))
        return fail("VFIO_DEVICE_GET_REGION_INFO");
    if (enable(edu, &config))
        return -1;
    if (bar.size <= EDU_BUFFER)
        return refuse("BAR 0 is too small for an edu device");
    edu->bar_offset = (off_t)bar.offset;
    if (bar.flags & VFIO_REGION_INFO_FLAG_MMAP) {
        mapped = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, edu->device,
                      (off_t)bar.offset);
        if (mapped == MAP_FAILED)
            return fail("mapping BAR 0");
        edu->bar = mapped;
        edu->bar_size = bar.size;
    }
    if ((read32(edu, EDU_ID) & EDU_ID_MASK) != EDU_ID_VALUE)
        return refuse("this is no edu device");
    return 0;
}

static int group_path(const char *name, char *path, size_t size)
{
    char link[PATH_MAX];
    char target[PATH_MAX];
    const char *group;
    ssize_t n;

    /* A PCI address has colons, an mdev's UUID has none. */
    if (snprintf(link, sizeof(link), "/sys/bus/%s/devices/%s/iommu_group",
                 strchr(name, ':') ? "pci" : "mdev", name) >= (int)sizeof(link))
        return refuse("the device's name is too long");
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0)
        return fail(link);
    target[n] = '\0';
    group = strrchr(target, '/');
    if (!group || snprintf(path, size, "/dev/vfio/%s", group + 1) >= (int)size)
        return refuse("the IOMMU group has a strange name");
    return 0;
}

static int join_container(struct edu *edu)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};

    if (ioctl(edu->group, VFIO_GROUP_GET_STATUS, &status))
        return fail("VFIO_GROUP_GET_STATUS");
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return refuse("a device of the group is not bound to vfio-pci");
    if (ioctl(edu->group, VFIO_GROUP_SET_CONTAINER, &edu->container))
        return fail("VFIO_GROUP_SET_CONTAINER");
    if (ioctl(edu->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
        return fail("VFIO_SET_IOMMU");
    return 0;
}

static int open_standalone(struct edu *edu, const char *name)
{
    char path[PATH_MAX];

    if (group_path(name, path, sizeof(path)))
        return -1;
    edu->memory = mmap(NULL, (size_t)STANDALONE_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (edu->memory == MAP_FAILED) {
        edu->memory = NULL;
        return fail("memory");
    }
    edu->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    if (edu->container < 0)
        return fail("/dev/vfio/vfio");
    edu->group = open(path, O_RDWR | O_CLOEXEC);
    if (edu->group < 0)
        return fail(path);
    if (join_container(edu))
        return -1;
    edu->device = ioctl(edu->group, VFIO_GROUP_GET_DEVICE_FD, name);
    if (edu->device < 0)
        return fail("VFIO_GROUP_GET_DEVICE_FD");
    return 0;
}

static int open_inherited(struct edu *edu)
{
    const char *text = getenv("VIOMMU_DEVICE_FD");
    uint64_t fd;

    if (!text)
        return refuse("neither --standalone nor VIOMMU_DEVICE_FD (viommuctl endpoint open-fd)");
    if (number(text, INT_MAX, &fd))
        return -1;
    edu->device = (int)fd;
    return 0;
}

/* The kernel undoes mappings of a container that is closed; order does not matter. */
static void close_all(struct edu *edu)
{
    if (edu->bar)
        munmap((void *)(uintptr_t)edu->bar, edu->bar_size);
    if (edu->device >= 0)
        close(edu->device);
    if (edu->group >= 0)
        close(edu->group);
    if (edu->container >= 0)
        close(edu->container);
    if (edu->memory)
        munmap(edu->memory, (size_t)STANDALONE_PAGES * PAGE_BYTES);
}

/* ---- commands ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int arguments;
    int (*run)(struct edu *edu, char **argv);
    const char *help;
} commands[] = {
    {"id", 0, cmd_id, "print the identification register"},
    {"read", 2, cmd_read, "IOVA LENGTH: DMA from memory into the device's buffer"},
    {"write", 2, cmd_write, "IOVA LENGTH: DMA from the device's buffer to memory"},
    {"repeat", 2, cmd_repeat, "IOVA LENGTH: DMA to memory until refused (viommu_mdev)"},
    {"state", 0, cmd_state, "is the engine running, and how did its last run end"},
    {"wait", 0, cmd_wait, "the same, once it has stopped"},
    {"reset", 0, cmd_reset, "reset the device"},
    {"poke", 2, cmd_poke, "PAGE HEX: write into own memory (--standalone)"},
    {"peek", 2, cmd_peek, "PAGE LENGTH: print own memory (--standalone)"},
    {"map", 3, cmd_map, "IOVA PAGE r|w|rw: map a page of own memory (--standalone)"},
    {"unmap", 1, cmd_unmap, "IOVA: unmap that page (--standalone)"},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: edu [--standalone PCI-ADDRESS|UUID] COMMAND...\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(to, "  %-6s %s\n", commands[i].name, commands[i].help);
}

/* Carries out the first command; how many words it took, or -1. */
static int run_command(struct edu *edu, int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, argv[0]) != 0)
            continue;
        if (argc <= commands[i].arguments) {
            fprintf(stderr, "edu: %s: %s\n", commands[i].name, commands[i].help);
            return -1;
        }
        if (commands[i].run(edu, argv))
            return -1;
        fflush(stdout);
        return commands[i].arguments + 1;
    }
    fprintf(stderr, "edu: unknown command '%s' (edu --help lists them)\n", argv[0]);
    return -1;
}

int main(int argc, char **argv)
{
    struct edu edu = {.device = -1, .container = -1, .group = -1};
    int r;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "--standalone") == 0) {
        r = argc >= 3 ? open_standalone(&edu, argv[2])
                      : refuse("--standalone needs a PCI address or an mdev's UUID");
        argc -= 2;
        argv += 2;
    } else {
        r = open_inherited(&edu);
    }
    if (r == 0)
        r = open_registers(&edu);
    for (int i = 1; r == 0 && i < argc;) {
        int words = run_command(&edu, argc - i, argv + i);

        r = words < 0 ? -1 : 0;
        i += words;
    }
    close_all(&edu);
    return r ? 1 : 0;
}
