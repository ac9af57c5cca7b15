/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's side of the platform for the lab's frontend. Nothing here knows the protocol, and
 * nothing comes from the backend's headers: a mistake in one of those must not hide itself here.
 */
#ifndef LAB_FRONTEND_GUEST_H
#define LAB_FRONTEND_GUEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xenevtchn.h>
#include <xenstore.h>

#define PAGE ((size_t)4096)

/* How long the backend may take for anything. Everything is emulated here. */
#define PATIENCE_MS 15000

/* Results: one line "TAP ok TEXT" or "TAP not ok TEXT" each. */
extern unsigned int tests_seen;
bool check(bool passed, const char *format, ...) __attribute__((format(printf, 2, 3)));
void comment(const char *format, ...) __attribute__((format(printf, 1, 2)));
void give_up(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

int64_t now_ms(void);

/* xenstore. Paths are relative to our own domain's. */
extern struct xs_handle *store;
extern uint16_t backend_domid;
extern char *backend_path; /* the device's directory on the backend's side */
char *store_read(const char *path);
void store_write(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool store_wait(int64_t deadline);
int ask(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* One page of ours, granted to the backend. */
struct page {
    void *data;
    uint64_t index; /* gntalloc's handle */
    uint32_t ref;
};

void page_grant(struct page *page, bool writable);
void pages_grant(struct page *pages, size_t count, bool writable);
bool page_revoke(struct page *page);
bool pages_revoke(struct page *pages, size_t count);
uint64_t grant_address(const struct page *page);

/*
 * What the kernel logs when a grant cannot be taken back because the other side still has it
 * mapped, and when a later try of its own (every second) succeeded. init-guest switches these
 * messages on.
 */
#define LOG_DEFERRED "deferring g.e."
#define LOG_FREED    "freeing g.e."
bool kernel_says(const char *message, uint32_t ref);
bool kernel_wait(const char *message, uint32_t ref);

/* Event channels. */
extern xenevtchn_handle *events;
extern unsigned int lost_notifications;
uint32_t port_open(void);
bool wait_until(bool (*condition)(void *), void *arg, int patience_ms);

void guest_open(void);

/* Memory that the backend reads and writes too. */
static inline uint32_t load32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint16_t load16(const uint16_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store16(uint16_t *word, uint16_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif
