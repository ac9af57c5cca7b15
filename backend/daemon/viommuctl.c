/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * viommuctl: the administrator's view of xen-viommud, over its control socket. Finds the command
 * in the table, checks its words and options, runs it. Exit codes: 0 done, 1 refused, 2 usage.
 */
#include <config.h>

#include "backend/daemon/ctl_client.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#ifndef VIOMMU_CONTROL_PATH
#error "VIOMMU_CONTROL_PATH comes from backend/daemon/local.mk"
#endif

enum option_key {
    KEY_JSON = 'j',
    KEY_CONTROL = 'c',
    KEY_HELP = 'h',
    KEY_VERSION = 'V',
    KEY_VDOMAIN = 'd',
    KEY_LIMIT = 'n',
    KEY_OUTPUT = 'o',
    KEY_INPUT = 'i',
};

static const struct option option_table[] = {
    {"json", no_argument, NULL, KEY_JSON},
    {"control", required_argument, NULL, KEY_CONTROL},
    {"help", no_argument, NULL, KEY_HELP},
    {"version", no_argument, NULL, KEY_VERSION},
    {"vdomain", required_argument, NULL, KEY_VDOMAIN},
    {"limit", required_argument, NULL, KEY_LIMIT},
    {"output", required_argument, NULL, KEY_OUTPUT},
    {"input", required_argument, NULL, KEY_INPUT},
    {NULL, 0, NULL, 0},
};

static const struct {
    enum ctl_option bit;
    const char *name;
} option_names[] = {
    {CTL_OPT_VDOMAIN, "--vdomain"},
    {CTL_OPT_LIMIT, "--limit"},
    {CTL_OPT_OUTPUT, "--output"},
    {CTL_OPT_INPUT, "--input"},
};

static void print_usage(FILE *f)
{
    fputs("Usage: viommuctl [OPTION...] COMMAND [ARGUMENT...]\n\nCommands:\n", f);
    for (size_t i = 0; i < n_ctl_commands; i++)
        fprintf(f, "  %s%s%s\n        %s\n", ctl_commands[i].name,
                *ctl_commands[i].usage ? " " : "", ctl_commands[i].usage, ctl_commands[i].help);
    fputs("\nDEVICE is DOMID/NUMBER, such as 2/0. Numbers are decimal or 0x and hexadecimal.\n"
          "\nOptions:\n"
          "  -j, --json          print JSON\n"
          "  -c, --control PATH  the daemon's control socket (default " VIOMMU_CONTROL_PATH ")\n"
          "  -h, --help          print this text\n"
          "  -V, --version       print the version\n",
          f);
}

/* Words of `name` if argv begins with them, else 0. */
static int match_words(const char *name, int argc, char **argv)
{
    const char *blank = strchr(name, ' ');
    size_t first = blank ? (size_t)(blank - name) : strlen(name);

    if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], name, first) != 0)
        return 0;
    if (!blank)
        return 1;
    return argc >= 2 && strcmp(argv[1], blank + 1) == 0 ? 2 : 0;
}

static const struct ctl_command *find_command(struct ctl_args *args)
{
    for (size_t i = 0; i < n_ctl_commands; i++) {
        int words = match_words(ctl_commands[i].name, args->argc, args->argv);

        if (words == 0)
            continue;
        args->argc -= words;
        args->argv += words;
        return &ctl_commands[i];
    }
    return NULL;
}

static void print_unknown(const struct ctl_args *args)
{
    ctl_error(args->argc > 0 ? "unknown command '%s%s%s'; the commands are:"
                             : "a command is wanted%s%s%s; the commands are:",
              args->argc > 0 ? args->argv[0] : "", args->argc > 1 ? " " : "",
              args->argc > 1 ? args->argv[1] : "");
    for (size_t i = 0; i < n_ctl_commands; i++)
        fprintf(stderr, "  %s %s\n", ctl_commands[i].name, ctl_commands[i].usage);
}

static bool options_fit(const struct ctl_command *command, const struct ctl_args *args)
{
    for (size_t i = 0; i < ARRAY_SIZE(option_names); i++) {
        if (args->given & ~command->options & (unsigned)option_names[i].bit) {
            ctl_error("%s does not belong to '%s'", option_names[i].name, command->name);
            return false;
        }
    }
    return true;
}

static enum ctl_exit run(struct ctl_args *args)
{
    const struct ctl_command *command = find_command(args);

    if (!command) {
        print_unknown(args);
        return CTL_USAGE;
    }
    if (args->argc < command->min_args || args->argc > command->max_args) {
        ctl_error("usage: viommuctl %s %s", command->name, command->usage);
        return CTL_USAGE;
    }
    if (!options_fit(command, args))
        return CTL_USAGE;
    return command->run(args);
}

/* True for an option that belongs to single commands. */
static bool take_command_option(int key, struct ctl_args *args)
{
    const struct {
        int key;
        enum ctl_option bit;
        const char **value;
    } slots[] = {
        {KEY_VDOMAIN, CTL_OPT_VDOMAIN, &args->vdomain},
        {KEY_LIMIT, CTL_OPT_LIMIT, &args->limit},
        {KEY_OUTPUT, CTL_OPT_OUTPUT, &args->output},
        {KEY_INPUT, CTL_OPT_INPUT, &args->input},
    };

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        if (slots[i].key == key) {
            args->given |= (unsigned)slots[i].bit;
            *slots[i].value = optarg;
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct ctl_args args = {.socket = VIOMMU_CONTROL_PATH};
    enum ctl_exit e;
    int key;

    while ((key = getopt_long(argc, argv, "jc:hV", option_table, NULL)) != -1) {
        if (key == KEY_JSON) {
            args.json = true;
        } else if (key == KEY_CONTROL) {
            args.socket = optarg;
        } else if (key == KEY_HELP) {
            print_usage(stdout);
            return CTL_DONE;
        } else if (key == KEY_VERSION) {
            printf("viommuctl %s\n", PACKAGE_VERSION);
            return CTL_DONE;
        } else if (!take_command_option(key, &args)) {
            return CTL_USAGE; /* getopt has said why */
        }
    }
    args.argc = argc - optind;
    args.argv = argv + optind;
    e = run(&args);
    if (fflush(stdout) != 0 && e == CTL_DONE) {
        ctl_error("cannot write the output");
        e = CTL_REFUSED;
    }
    return e;
}
