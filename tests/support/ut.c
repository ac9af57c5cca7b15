/* SPDX-License-Identifier: GPL-2.0-only */
/* The CUnit runner of ut.h. */
#include <config.h>

#include "tests/support/ut.h"

#include <CUnit/Basic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/compiler.h"

#define EXIT_HARNESS 99 /* automake's "hard error" */

/* CUnit keeps pointers to the texts that it prints: they live until the end of the run. */
static char *kept[256];
static unsigned n_kept;

static const char *keep(char *text)
{
    if (!text || n_kept == ARRAY_SIZE(kept)) {
        free(text);
        return "(values of this failure not kept)";
    }
    kept[n_kept++] = text;
    return text;
}

static void free_kept(void)
{
    while (n_kept > 0)
        free(kept[--n_kept]);
}

bool ut_quick(void)
{
    return getenv("VIOMMU_UT_QUICK") != NULL;
}

void ut_eq_u64(uint64_t actual, uint64_t expected, const char *actual_text,
               const char *expected_text, const char *file, int line)
{
    char *text = NULL;

    if (actual == expected) {
        CU_assertImplementation(CU_TRUE, (unsigned)line, actual_text, file, "", CU_FALSE);
        return;
    }
    text = malloc(512);
    if (text)
        snprintf(text, 512, "%s == %s: got %#" PRIx64 ", want %#" PRIx64, actual_text,
                 expected_text, actual, expected);
    CU_assertImplementation(CU_FALSE, (unsigned)line, keep(text), file, "", CU_FALSE);
}

void ut_eq_str(const char *actual, const char *expected, const char *actual_text, const char *file,
               int line)
{
    char *text = NULL;

    if (actual && expected && strcmp(actual, expected) == 0) {
        CU_assertImplementation(CU_TRUE, (unsigned)line, actual_text, file, "", CU_FALSE);
        return;
    }
    text = malloc(2048);
    if (text)
        snprintf(text, 2048, "%s: got \"%s\", want \"%s\"", actual_text, actual ? actual : "(null)",
                 expected ? expected : "(null)");
    CU_assertImplementation(CU_FALSE, (unsigned)line, keep(text), file, "", CU_FALSE);
}

static bool selected(int argc, char **argv, const char *name)
{
    if (argc < 2)
        return true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return true;
    }
    return false;
}

int ut_main(int argc, char **argv, const char *suite_name, const struct ut_case *cases, size_t n)
{
    CU_pSuite suite;
    unsigned failed, run;

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < n; i++)
            puts(cases[i].name);
        return 0;
    }
    if (CU_initialize_registry() != CUE_SUCCESS)
        return EXIT_HARNESS;
    suite = CU_add_suite(suite_name, NULL, NULL);
    if (!suite)
        return EXIT_HARNESS;
    for (size_t i = 0; i < n; i++) {
        if (selected(argc, argv, cases[i].name) && !CU_add_test(suite, cases[i].name, cases[i].fn))
            return EXIT_HARNESS;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    if (CU_basic_run_tests() != CUE_SUCCESS)
        return EXIT_HARNESS;
    failed = CU_get_number_of_tests_failed() + CU_get_number_of_suites_failed();
    run = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    free_kept();
    if (run == 0)
        return EXIT_HARNESS;
    /* scripts/count-results adds these up. */
    printf("UT-SUMMARY %u %u 0\n", run > failed ? run - failed : 0, failed);
    return failed ? 1 : 0;
}
