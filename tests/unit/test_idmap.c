/* SPDX-License-Identifier: GPL-2.0-only */
/* The id table against a model (an array of all ids), and what it does when memory is short. */
#include <config.h>

#include "common/idmap.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "tests/support/ut.h"

/* The linker sends the table's calls here (-Wl,--wrap). */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
ssize_t __real_getrandom(void *buf, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags);

static int fail_after = -1; /* this many more succeed; -1: all do */
static bool no_random;

void *__wrap_calloc(size_t n, size_t size)
{
    if (fail_after == 0)
        return NULL;
    if (fail_after > 0)
        fail_after--;
    return __real_calloc(n, size);
}

ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags)
{
    if (no_random) {
        errno = ENOSYS;
        return -1;
    }
    return __real_getrandom(buf, size, flags);
}

static uint64_t random_u64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#define N_IDS 512u

/* The ids of a model: spread over all 32 bits, the two ends included. */
static uint32_t id_of(unsigned i, unsigned spread)
{
    return i == N_IDS - 1 ? UINT32_MAX : i * spread;
}

static bool matches(const struct idmap *map, void *const objs[N_IDS], unsigned spread)
{
    uint32_t id = 0;
    size_t n = 0;

    for (unsigned i = 0; i < N_IDS; i++) {
        if (idmap_get(map, id_of(i, spread)) != objs[i])
            return false;
        if (!objs[i])
            continue;
        n++;
        if (idmap_next(map, &id) != objs[i] || id != id_of(i, spread))
            return false;
        if (id == UINT32_MAX)
            break;
        id++;
    }
    return idmap_count(map) == n;
}

static bool random_run(uint64_t seed, unsigned spread)
{
    static char things[N_IDS];
    void *objs[N_IDS] = {NULL};
    struct idmap *map = idmap_new();
    bool ok = map != NULL;

    for (unsigned step = 0; step < 4000 && ok; step++) {
        unsigned i = random_u64(&seed) % N_IDS;
        /* Fills, then empties, by turns. */
        bool put = random_u64(&seed) % 8 < (step / 1000 % 2 ? 2 : 6);

        if (put) {
            ok = idmap_put(map, id_of(i, spread), &things[i]) == (objs[i] ? -EEXIST : 0);
            objs[i] = &things[i];
        } else {
            ok = idmap_remove(map, id_of(i, spread)) == objs[i];
            objs[i] = NULL;
        }
        if (step % 100 == 0)
            ok = ok && matches(map, objs, spread);
    }
    ok = ok && matches(map, objs, spread);
    idmap_free(map);
    return ok;
}

/* Runs first: the hash is made once in a process, so the child makes its own. */
static void without_a_random_source_the_table_works(void)
{
    int status;
    pid_t pid = fork();

    UT_REQUIRE(pid >= 0);
    if (pid == 0) {
        no_random = true;
        _exit(random_run(5, 1) && random_run(6, 65537) ? 0 : 1);
    }
    UT_EQ(waitpid(pid, &status, 0), pid);
    UT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void random_requests_do_what_the_model_does(void)
{
    static const unsigned spreads[] = {1, 8, 256, 65536, 8388608, 8388609};

    for (unsigned i = 0; i < ARRAY_SIZE(spreads); i++) {
        for (uint64_t seed = 0; seed < 10; seed++)
            UT_TRUE(random_run(seed, spreads[i]));
    }
}

static void an_empty_map_has_nothing(void)
{
    struct idmap *map = idmap_new();
    uint32_t id = 0;

    UT_REQUIRE(map);
    UT_EQ(idmap_count(map), 0);
    UT_TRUE(!idmap_get(map, 0));
    UT_TRUE(!idmap_remove(map, 0));
    UT_TRUE(!idmap_next(map, &id));
    UT_EQ(id, 0);
    UT_TRUE(!idmap_free(map));
    UT_TRUE(!idmap_free(NULL));
}

static void ids_are_taken_once(void)
{
    struct idmap *map = idmap_new();
    int a, b;

    UT_REQUIRE(map);
    UT_EQ(idmap_put(map, 7, &a), 0);
    UT_EQ(idmap_put(map, 7, &b), -EEXIST);
    UT_EQ(idmap_put(map, 8, NULL), -EINVAL);
    UT_TRUE(idmap_get(map, 7) == &a);
    UT_EQ(idmap_count(map), 1);
    UT_TRUE(idmap_remove(map, 7) == &a);
    UT_TRUE(!idmap_remove(map, 7));
    UT_EQ(idmap_put(map, 7, &b), 0);
    UT_TRUE(idmap_get(map, 7) == &b);
    idmap_free(map);
}

static void the_listing_goes_to_the_highest_id(void)
{
    struct idmap *map = idmap_new();
    uint32_t id = 0;
    int a, b;

    UT_REQUIRE(map);
    UT_EQ(idmap_put(map, UINT32_MAX, &a), 0);
    UT_EQ(idmap_put(map, 5, &b), 0);
    UT_TRUE(idmap_next(map, &id) == &b);
    UT_EQ(id, 5);
    id = 6;
    UT_TRUE(idmap_next(map, &id) == &a);
    UT_EQ(id, UINT32_MAX);
    UT_TRUE(idmap_next(map, &id) == &a);
    UT_TRUE(idmap_remove(map, UINT32_MAX) == &a);
    UT_TRUE(!idmap_next(map, &id));
    idmap_free(map);
}

static void a_failed_put_changes_nothing(void)
{
    static char things[1000];
    struct idmap *map;
    unsigned n_failed = 0;

    fail_after = 0;
    UT_TRUE(!idmap_new());
    fail_after = 1;
    UT_TRUE(!idmap_new());
    fail_after = -1;
    map = idmap_new();
    UT_REQUIRE(map);
    for (uint32_t i = 0; i < 1000; i++) {
        fail_after = 0;
        if (idmap_put(map, i * 16, &things[i]) == -ENOMEM) {
            n_failed++;
            UT_EQ(idmap_count(map), i);
            UT_TRUE(!idmap_get(map, i * 16));
            for (uint32_t j = 0; j < i; j++)
                UT_TRUE(idmap_get(map, j * 16) == &things[j]);
            fail_after = -1;
            UT_EQ(idmap_put(map, i * 16, &things[i]), 0);
        }
    }
    UT_TRUE(n_failed >= 7);
    fail_after = 0;
    for (uint32_t i = 0; i < 1000; i++)
        UT_TRUE(idmap_remove(map, i * 16) == &things[i]);
    fail_after = -1;
    UT_EQ(idmap_count(map), 0);
    idmap_free(map);
}

struct sum {
    uint64_t ids;
    unsigned n;
    bool right;
};

static void add_up(uint32_t id, void *obj, void *ctx)
{
    struct sum *sum = ctx;

    sum->ids += id;
    sum->n++;
    sum->right = sum->right && *(uint32_t *)obj == id;
}

static void for_each_sees_every_object_once(void)
{
    static uint32_t ids[300];
    struct idmap *map = idmap_new();
    struct sum sum = {.right = true};
    uint64_t expected = 0;

    UT_REQUIRE(map);
    for (uint32_t i = 0; i < 300; i++) {
        ids[i] = i * 3 + 1;
        expected += ids[i];
        UT_EQ(idmap_put(map, ids[i], &ids[i]), 0);
    }
    idmap_for_each(map, add_up, &sum);
    UT_EQ(sum.n, 300);
    UT_EQ(sum.ids, expected);
    UT_TRUE(sum.right);
    idmap_free(map);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(without_a_random_source_the_table_works),
        UT_CASE(an_empty_map_has_nothing),
        UT_CASE(ids_are_taken_once),
        UT_CASE(the_listing_goes_to_the_highest_id),
        UT_CASE(for_each_sees_every_object_once),
        UT_CASE(a_failed_put_changes_nothing),
        UT_CASE(random_requests_do_what_the_model_does),
    };

    return ut_main(argc, argv, "idmap", cases, ARRAY_SIZE(cases));
}
