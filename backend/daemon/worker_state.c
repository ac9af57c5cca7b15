/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's state file, and taking over from a worker that has died (docs/architecture.md,
 * "Recovery"). The file comes from the supervisor; what is in it was written by a process that may
 * have been in the guest's hands.
 */
#include <config.h>

#include "backend/daemon/worker_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

/*
 * After the supervisor's own death nobody has waited for its workers: they are being killed
 * (PR_SET_PDEATHSIG), and the hypervisor sees their ends a little later than we see their locks go.
 */
#define LOCK_WAIT_MS 5000u
#define BIND_WAIT_MS 2000u
#define STEP_MS      5u

static void pause_a_step(void)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};

    (void)nanosleep(&step, NULL);
}

/* --- the file -----------------------------------------------------------------------------------
 */

/*
 * One process writes a state file: a lock of the process, which goes when it ends, in whatever way.
 */
static int lock_file(int fd)
{
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    for (unsigned waited = 0;; waited += STEP_MS) {
        if (fcntl(fd, F_SETLK, &whole) == 0)
            return 0;
        if ((errno != EAGAIN && errno != EACCES) || waited >= LOCK_WAIT_MS)
            return -errno;
        pause_a_step();
    }
}

static int map_file(struct worker *w, int fd)
{
    struct stat st;
    void *map;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size <= 0)
        return -EINVAL;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    r = statefile_new(&w->file, map, (size_t)st.st_size);
    if (r < 0) {
        w->file = NULL;
        (void)munmap(map, (size_t)st.st_size);
        return r;
    }
    w->file_map = map;
    w->file_size = (size_t)st.st_size;
    return 0;
}

int worker_state_open(struct worker *w, int fd)
{
    int r = lock_file(fd);

    if (r == 0)
        r = map_file(w, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    w->file_fd = fd;
    return 0;
}

void worker_state_close(struct worker *w)
{
    if (!w->file)
        return;
    w->file = statefile_free(w->file);
    (void)munmap(w->file_map, w->file_size);
    close(w->file_fd);
    w->file_fd = -1;
}

void worker_state_commit(struct worker *w, const uint32_t remote[N_PORTS])
{
    struct statefile_setup setup = {.has_text = w->has_config_text};

    _Static_assert(STATEFILE_TEXT_MAX == XS_ADMIN_VALUE_MAX, "viommu/config");
    _Static_assert(N_PORTS == STATEFILE_N_PORTS, "the ports of a connection");
    _Static_assert(sizeof(setup.text) == sizeof(w->config_text), "viommu/config");
    memcpy(setup.text, w->config_text, sizeof(setup.text));
    memcpy(setup.port, remote, sizeof(setup.port));
    device_setup(w->device, &setup);
    statefile_commit(w->file, &setup);
}

int worker_state_read(struct worker *w, char *why, size_t why_size)
{
    const char *reason = "no state file";
    int r = w->file ? statefile_read_setup(w->file, &w->setup, &reason) : -ENOENT;

    if (r == 0)
        return 0;
    if (r == -ENOENT)
        reason = "it holds no connection";
    snprintf(why, why_size, "the worker cannot be replaced: state file: %s", reason);
    return r;
}

/* --- taking over --------------------------------------------------------------------------------
 */

/*
 * When one side of an interdomain channel closes, Xen leaves the other side unbound, still meant
 * for us (evtchn_close: ECS_INTERDOMAIN -> ECS_UNBOUND with remote_domid): it can be bound again.
 */
static int bind_again(struct worker *w, char *why, size_t why_size)
{
    int r;

    for (unsigned waited = 0;; waited += STEP_MS) {
        r = worker_bind_ports(w, w->setup.port, why, why_size);
        if (r == 0 || waited >= BIND_WAIT_MS)
            return r;
        pause_a_step();
    }
}

int worker_recover(struct worker *w, char *why, size_t why_size)
{
    int r = device_recover(w->device, &w->setup, why, why_size);

    if (r < 0)
        return r;
    r = bind_again(w, why, why_size);
    if (r < 0) {
        device_disconnect(w->device);
        return r;
    }
    w->negotiated = w->setup.connection.features;
    worker_endpoints_were_reset(w);
    /* Whom the dead worker would have told, and what has come since it died. */
    worker_notify_all(w);
    worker_look_everywhere(w);
    return 0;
}
