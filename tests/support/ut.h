/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CUnit runner shared by all unit tests: a table of cases, one program per module, an exit code
 * that is right (CUnit's own idioms return 0 for 256 failures, for a suite that failed to start
 * and for an empty registry), and asserts that print both values.
 */
#ifndef VIOMMU_TESTS_UT_H
#define VIOMMU_TESTS_UT_H

#include <CUnit/CUnit.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

struct ut_case {
    const char *name;
    void (*fn)(void);
};

#define UT_CASE(fn_)            \
    {                           \
        .name = #fn_, .fn = fn_ \
    }

/*
 * Runs the cases (all, or those named on the command line; --list prints names). Returns the exit
 * code for main: 0 all passed, 1 failures, 99 the harness itself failed.
 */
int ut_main(int argc, char **argv, const char *suite, const struct ut_case *cases, size_t n);

/*
 * True where VIOMMU_UT_QUICK is set (valgrind, which takes 30 times as long): a case that repeats
 * itself many thousand times to meet a race does so fewer times.
 */
bool ut_quick(void);

void ut_eq_u64(uint64_t actual, uint64_t expected, const char *actual_text,
               const char *expected_text, const char *file, int line);
void ut_eq_str(const char *actual, const char *expected, const char *actual_text, const char *file,
               int line);

/* Compares integers (converted to 64 bits) and prints both values on a difference. */
#define UT_EQ(actual, expected) \
    ut_eq_u64((uint64_t)(actual), (uint64_t)(expected), #actual, #expected, __FILE__, __LINE__)
#define UT_STR(actual, expected) ut_eq_str((actual), (expected), #actual, __FILE__, __LINE__)
#define UT_TRUE(cond) \
    CU_assertImplementation((cond) ? CU_TRUE : CU_FALSE, __LINE__, #cond, __FILE__, "", CU_FALSE)
#define UT_FALSE(cond) UT_TRUE(!(cond))
/* Leaves the test function when the condition does not hold. */
#define UT_REQUIRE(cond)                                                                         \
    do {                                                                                         \
        if (!CU_assertImplementation((cond) ? CU_TRUE : CU_FALSE, __LINE__, #cond, __FILE__, "", \
                                     CU_FALSE))                                                  \
            return;                                                                              \
    } while (0)

#endif
