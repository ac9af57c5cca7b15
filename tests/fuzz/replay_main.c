/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a fuzz target over files and directories (not their subdirectories), without libFuzzer: any
 * compiler, any sanitizer. Prints how many inputs ran; a broken invariant aborts, and the file that
 * did it is the last one named when VIOMMU_FUZZ_VERBOSE is set. With FUZZ_LIBFUZZER defined,
 * libFuzzer brings its own main and this file is empty but for its declaration.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#ifndef FUZZ_LIBFUZZER

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static size_t n_run;
static bool verbose;

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0;
    long end;

    if (!file || fseek(file, 0, SEEK_END) < 0 || (end = ftell(file)) < 0 ||
        fseek(file, 0, SEEK_SET) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        if (file)
            fclose(file);
        return 1;
    }
    /* Of exact size, for the sanitizers. */
    size = (size_t)end;
    data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        fclose(file);
        return 1;
    }
    fclose(file);
    if (verbose)
        fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    n_run++;
    return 0;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int run_directory(const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, visible, alphasort), failed = 0;

    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char file[4096];

        if (snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) < (int)sizeof(file))
            failed |= run_file(file);
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    verbose = getenv("VIOMMU_FUZZ_VERBOSE") != NULL;
    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            failed |= run_directory(argv[i]);
        else
            failed |= run_file(argv[i]);
    }
    printf("%zu inputs\n", n_run);
    return failed;
}

#endif
