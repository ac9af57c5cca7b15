/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest whose endpoint is a device of the driver domain behind VFIO (tests/kmod/viommu_mdev): its
 * DMA goes through a real container, not through the backend's own table. What the device is to do
 * is asked of dom0, which tells the companion in the driver domain (tests/lab/vfio/edu.c).
 */
#define _GNU_SOURCE
#include "frontend_vfio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend_device.h"

#define ENDPOINT 8u
#define VDOMAIN  1u
#define VA       UINT64_C(0x100000)
#define VA2      (VA + PAGE)
#define SAMPLE   ((size_t)64)

/* ---- the device ----------------------------------------------------------------------------- */

/* What the companion said, in one line. */
static bool device(char *text, size_t size, const char *commands)
{
    return ask(text, size, "device %u %s", ENDPOINT, commands) == 0;
}

/* The device reads SAMPLE bytes at one address and writes them at another. */
static bool device_copies(uint64_t from, uint64_t to)
{
    char commands[128];
    char text[1024];

    snprintf(commands, sizeof(commands), "read 0x%" PRIx64 " %zu write 0x%" PRIx64 " %zu", from,
             SAMPLE, to, SAMPLE);
    if (device(text, sizeof(text), commands) && strstr(text, "write 0x") &&
        !strstr(text, "refused")) {
        return true;
    }
    comment("the companion says: %s", text);
    return false;
}

static bool device_refused(const char *command, uint64_t address)
{
    char commands[128];
    char text[1024];

    snprintf(commands, sizeof(commands), "%s 0x%" PRIx64 " %zu", command, address, SAMPLE);
    if (device(text, sizeof(text), commands) && strstr(text, "refused")) {
        return true;
    }
    comment("the companion says: %s", text);
    return false;
}

/* The hypervisor's own view: is this grant mapped by the backend now? */
static bool granted_page_mapped(const struct page *page)
{
    char text[1024];
    char wanted[32];

    if (ask(text, sizeof(text), "grants")) {
        give_up("dom0 cannot list the grants in use: %s", text);
    }
    snprintf(wanted, sizeof(wanted), " 0x%03" PRIx32 " ", page->ref);
    return strstr(text, wanted) != NULL;
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void connect(void)
{
    const uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK |
                            STATUS_DRIVER_OK;
    char watched[512];
    char *offered;
    char *endpoints;

    snprintf(watched, sizeof(watched), "%s", backend_path);
    if (!xs_watch(store, watched, "backend")) {
        give_up("xenstore: watching the backend's directory");
    }
    if (!check(backend_wait(2, 2) == 2, "the backend waits for us in state 2")) {
        give_up("no backend");
    }
    endpoints = backend_read("viommu-endpoints");
    check(endpoints && strstr(endpoints, "id=0x8 dma=translated"),
          "the endpoint's DMA is translated by the host: %s", endpoints ? endpoints : "(none)");
    offered = backend_read("viommu-features");
    features_offered = offered ? strtoull(offered, NULL, 16) : 0;
    features = features_offered & (FEATURE(F_MAP_UNMAP) | FEATURE(F_PROBE) | FEATURE(F_VERSION_1) |
                                   FEATURE(F_ACCESS_PLATFORM));
    free(offered);
    free(endpoints);
    connection_open();
    connection_write_nodes();
    if (!check(connection_start(), "the backend accepts the connection")) {
        give_up("refused");
    }
    check(set_status(status) == status, "the device starts");
}

/* Bytes from one of our pages to another, and nothing without a mapping. */
static void test_dma(void)
{
    struct page pages[2];
    uint8_t *from;
    uint8_t *to;

    pages_grant(pages, 2, true);
    from = pages[0].data;
    to = pages[1].data;
    for (size_t i = 0; i < SAMPLE; i++) {
        from[i] = (uint8_t)(i * 37 + 11);
    }
    map(VDOMAIN, VA, VA2 + PAGE - 1, grant_address(&pages[0]), MAP_READ | MAP_WRITE, OK,
        "MAP of two pages");
    check(device_copies(VA, VA2 + 0x123), "the device reads one page and writes the other");
    check(memcmp(to + 0x123, from, SAMPLE) == 0 && to[0x122] == 0 && to[0x123 + SAMPLE] == 0,
          "what it wrote is in our memory, at the right place and no more");
    check(granted_page_mapped(&pages[1]), "the hypervisor sees the backend's mapping");
    check(device_refused("write", VA2 + PAGE), "the device is refused behind the mapping");

    memset(to, 0, PAGE);
    unmap(VDOMAIN, VA, VA2 + PAGE - 1, OK, "UNMAP");
    check(!granted_page_mapped(&pages[1]), "after UNMAP the hypervisor sees no mapping");
    check(device_refused("write", VA2 + 0x123), "after UNMAP the device is refused to write");
    check(device_refused("read", VA), "and to read");
    check(to[0x123] == 0, "our memory has not changed");
    check(pages_revoke(pages, 2), "after UNMAP the grants can be taken back at once");
}

static void test_read_only(void)
{
    struct page page;

    page_grant(&page, false);
    map(VDOMAIN, VA, VA2 - 1, grant_address(&page), MAP_READ, OK,
        "MAP for reading, of a page that is granted read-only");
    check(device_refused("write", VA), "the device is refused to write to it");
    check(((uint8_t *)page.data)[0] == 0, "and has not written");
    unmap(VDOMAIN, VA, VA2 - 1, OK, "UNMAP");
    check(page_revoke(&page), "the grant can be taken back");
}

/* With the group in its container a guest's pages go and come without the device being closed. */
static void test_detach(void)
{
    struct page page;

    page_grant(&page, true);
    map(VDOMAIN, VA, VA2 - 1, grant_address(&page), MAP_READ | MAP_WRITE, OK, "MAP again");
    check(device_copies(VA, VA + 0x800), "the device reaches it");
    detach(VDOMAIN, ENDPOINT, OK, "DETACH");
    check(device_refused("write", VA), "after DETACH the device is refused");
    check(page_revoke(&page), "and the grant can be taken back");
}

static void leave_running(void)
{
    static struct page page;
    char text[1024];
    volatile uint8_t *bytes;

    page_grant(&page, true);
    bytes = page.data;
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "the last ATTACH");
    map(VDOMAIN, VA, VA2 - 1, grant_address(&page), MAP_READ | MAP_WRITE, OK, "the last MAP");
    bytes[0] = 0x5a;
    check(device_copies(VA, VA + 0x800), "the last DMA that ends");
    check(device(text, sizeof(text), "repeat 0x100400 64 state") && strstr(text, "running"),
          "the device writes again and again");
    bytes[0x400] = 0;
    check(device(text, sizeof(text), "state") && strstr(text, "running") && bytes[0x400] == 0x5a,
          "it overwrites what we write");
}

void run_vfio(void)
{
    connect();
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH");
    test_dma();
    test_read_only();
    test_detach();
    leave_running();
}
