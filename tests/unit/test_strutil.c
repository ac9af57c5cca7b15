/* SPDX-License-Identifier: GPL-2.0-only */
/* The strict parsers: what they take, what they refuse, and that a refusal writes nothing. */
#include <config.h>

#include "common/strutil.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/ut.h"

#define UNTOUCHED 0x5a5a5a5a5a5a5a5au

struct number_case {
    const char *text;
    uint64_t max;
    int result;
    uint64_t value;
};

static const struct number_case u64_cases[] = {
    {"0", UINT64_MAX, 0, 0},
    {"1", UINT64_MAX, 0, 1},
    {"010", UINT64_MAX, 0, 10},
    {"00000000000000000000000000007", UINT64_MAX, 0, 7},
    {"0x0", UINT64_MAX, 0, 0},
    {"0x10", UINT64_MAX, 0, 16},
    {"0xFfaA", UINT64_MAX, 0, 0xffaa},
    {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
    {"0xffffffffffffffff", UINT64_MAX, 0, UINT64_MAX},
    {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
    {"0x10000000000000000", UINT64_MAX, -ERANGE, 0},
    {"99999999999999999999999999999999", UINT64_MAX, -ERANGE, 0},
    {"99999999999999999999999999999999x", UINT64_MAX, -EINVAL, 0},
    {"100", 100, 0, 100},
    {"101", 100, -ERANGE, 0},
    {"1", 0, -ERANGE, 0},
    {"", UINT64_MAX, -EINVAL, 0},
    {"0x", UINT64_MAX, -EINVAL, 0},
    {"0X10", UINT64_MAX, -EINVAL, 0},
    {"x10", UINT64_MAX, -EINVAL, 0},
    {"+1", UINT64_MAX, -EINVAL, 0},
    {"-1", UINT64_MAX, -EINVAL, 0},
    {"0x-1", UINT64_MAX, -EINVAL, 0},
    {" 1", UINT64_MAX, -EINVAL, 0},
    {"1 ", UINT64_MAX, -EINVAL, 0},
    {"1\n", UINT64_MAX, -EINVAL, 0},
    {"1a", UINT64_MAX, -EINVAL, 0},
    {"0x1g", UINT64_MAX, -EINVAL, 0},
    {"1.5", UINT64_MAX, -EINVAL, 0},
    {"\xff", UINT64_MAX, -EINVAL, 0},
};

static const struct number_case size_cases[] = {
    {"0", UINT64_MAX, 0, 0},
    {"4096", UINT64_MAX, 0, 4096},
    {"4K", UINT64_MAX, 0, 4096},
    {"0x10M", UINT64_MAX, 0, 16u << 20},
    {"3G", UINT64_MAX, 0, 3ull << 30},
    {"1T", UINT64_MAX, 0, 1ull << 40},
    {"16777215T", UINT64_MAX, 0, 16777215ull << 40},
    {"16777216T", UINT64_MAX, -ERANGE, 0},
    {"18446744073709551615K", UINT64_MAX, -ERANGE, 0},
    {"1M", 1u << 20, 0, 1u << 20},
    {"1M", (1u << 20) - 1, -ERANGE, 0},
    {"", UINT64_MAX, -EINVAL, 0},
    {"K", UINT64_MAX, -EINVAL, 0},
    {"1k", UINT64_MAX, -EINVAL, 0},
    {"1KK", UINT64_MAX, -EINVAL, 0},
    {"1 K", UINT64_MAX, -EINVAL, 0},
    {"1KB", UINT64_MAX, -EINVAL, 0},
    {"0xK", UINT64_MAX, -EINVAL, 0},
    {"-1K", UINT64_MAX, -EINVAL, 0},
    {"1.5G", UINT64_MAX, -EINVAL, 0},
};

static void check_numbers(const struct number_case *cases, size_t n,
                          int (*parse)(const char *s, uint64_t max, uint64_t *out))
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = UNTOUCHED;
        int r = parse(cases[i].text, cases[i].max, &value);

        if (r != cases[i].result)
            printf("    at \"%s\"\n", cases[i].text);
        UT_EQ(r, cases[i].result);
        UT_EQ(value, r == 0 ? cases[i].value : UNTOUCHED);
    }
}

static void u64_takes_decimal_and_hexadecimal_only(void)
{
    check_numbers(u64_cases, ARRAY_SIZE(u64_cases), parse_u64);
}

static void size_takes_binary_suffixes_and_catches_overflow(void)
{
    check_numbers(size_cases, ARRAY_SIZE(size_cases), parse_size);
}

static void u32_is_bounded_by_its_maximum(void)
{
    uint32_t value = 7;

    UT_EQ(parse_u32("4294967295", UINT32_MAX, &value), 0);
    UT_EQ(value, UINT32_MAX);
    UT_EQ(parse_u32("4294967296", UINT32_MAX, &value), -ERANGE);
    UT_EQ(parse_u32("256", 255, &value), -ERANGE);
    UT_EQ(parse_u32("two", UINT32_MAX, &value), -EINVAL);
    UT_EQ(value, UINT32_MAX);
}

static void range_needs_two_ordered_numbers(void)
{
    static const struct {
        const char *text;
        char sep;
        uint64_t max;
        int result;
        struct range range;
    } cases[] = {
        {"0-0", '-', UINT64_MAX, 0, {0, 0}},
        {"0x1000-0x1fff", '-', UINT64_MAX, 0, {0x1000, 0x1fff}},
        {"5:9", ':', UINT64_MAX, 0, {5, 9}},
        {"0-18446744073709551615", '-', UINT64_MAX, 0, {0, UINT64_MAX}},
        {"0-18446744073709551616", '-', UINT64_MAX, -ERANGE, {0, 0}},
        {"0-100", '-', 99, -ERANGE, {0, 0}},
        {"100-x", '-', 99, -EINVAL, {0, 0}},
        {"x-100", '-', 99, -EINVAL, {0, 0}},
        {"9-5", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"5", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"5-", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"-5", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"-", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"1-2-3", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"1 - 2", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"1:2", '-', UINT64_MAX, -EINVAL, {0, 0}},
        {"12", '\0', UINT64_MAX, -EINVAL, {0, 0}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct range range = {UNTOUCHED, 1};
        int r = parse_range(cases[i].text, cases[i].sep, cases[i].max, &range);

        if (r != cases[i].result)
            printf("    at \"%s\"\n", cases[i].text);
        UT_EQ(r, cases[i].result);
        UT_EQ(range.first, r == 0 ? cases[i].range.first : UNTOUCHED);
        UT_EQ(range.last, r == 0 ? cases[i].range.last : 1);
    }
}

static void hex_fills_whole_bytes(void)
{
    uint8_t out[4] = {0};
    size_t len = 0;

    UT_EQ(parse_hex("00fFA5", out, sizeof(out), &len), 0);
    UT_EQ(len, 3);
    UT_EQ(out[0], 0x00);
    UT_EQ(out[1], 0xff);
    UT_EQ(out[2], 0xa5);
    UT_EQ(parse_hex("01020304", out, sizeof(out), &len), 0);
    UT_EQ(len, 4);
    UT_EQ(out[3], 4);
}

static void hex_refuses_and_writes_nothing(void)
{
    static const struct {
        const char *text;
        int result;
    } cases[] = {
        {"", -EINVAL},     {"0", -EINVAL},    {"012", -EINVAL},        {"0x12", -EINVAL},
        {"12 3", -EINVAL}, {"12g4", -EINVAL}, {"0102030405", -ENOSPC}, {"010203040z", -EINVAL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t out[4] = {0xee, 0xee, 0xee, 0xee};
        size_t len = 99;

        UT_EQ(parse_hex(cases[i].text, out, sizeof(out), &len), cases[i].result);
        UT_EQ(len, 99);
        UT_TRUE(memcmp(out, "\xee\xee\xee\xee", 4) == 0);
    }
}

static void bool_is_zero_or_one(void)
{
    static const char *const bad[] = {"", "2", "00", "01", "10", "true", "yes", " 1", "1 ", "-1"};
    bool value = false;

    UT_EQ(parse_bool("1", &value), 0);
    UT_TRUE(value);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        UT_EQ(parse_bool(bad[i], &value), -EINVAL);
    UT_TRUE(value);
    UT_EQ(parse_bool("0", &value), 0);
    UT_FALSE(value);
}

/* Collects "[key|value]" of each pair; asked to, ends the walk at the key "stop". */
static int collect(const char *key, const char *value, void *ctx)
{
    char *text = ctx;
    size_t len = strlen(text);

    if (strcmp(key, "stop") == 0)
        return -ECANCELED;
    snprintf(text + len, 1024 - len, "[%.300s|%.300s]", key, value);
    return 0;
}

static void pairs_are_split_at_blanks(void)
{
    static const struct {
        const char *text;
        int result;
        const char *pairs;
    } cases[] = {
        {"", 0, ""},
        {" \t ", 0, ""},
        {"a=1", 0, "[a|1]"},
        {"id=0x8 driver=vfio guest=pci:0000:00:05.0", 0,
         "[id|0x8][driver|vfio][guest|pci:0000:00:05.0]"},
        {"  a=1\t\tb=2  ", 0, "[a|1][b|2]"},
        {"a=", 0, "[a|]"},
        {"a=b=c", 0, "[a|b=c]"},
        {"a==", 0, "[a|=]"},
        {"a", -EINVAL, ""},
        {"a=1 b", -EINVAL, "[a|1]"},
        {"=1", -EINVAL, ""},
        {"=", -EINVAL, ""},
        {"a =1", -EINVAL, ""},
        {"a=1 stop=1 b=2", -ECANCELED, "[a|1]"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char got[1024] = "";

        UT_EQ(parse_pairs(cases[i].text, collect, got), cases[i].result);
        UT_STR(got, cases[i].pairs);
    }
}

static void pairs_have_a_longest_word(void)
{
    char text[600] = "", got[1024] = "";

    memset(text, 'k', 255);
    text[255] = '=';
    memset(text + 256, 'v', 255);
    UT_EQ(parse_pairs(text, collect, got), 0);
    UT_EQ(strlen(got), 255 + 255 + 3);
    got[0] = '\0';
    text[511] = 'v';
    UT_EQ(parse_pairs(text, collect, got), -E2BIG);
    memset(text, 'k', 256);
    memcpy(text + 256, "=v", 3);
    UT_EQ(parse_pairs(text, collect, got), -E2BIG);
    UT_STR(got, "");
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(u64_takes_decimal_and_hexadecimal_only),
        UT_CASE(size_takes_binary_suffixes_and_catches_overflow),
        UT_CASE(u32_is_bounded_by_its_maximum),
        UT_CASE(range_needs_two_ordered_numbers),
        UT_CASE(hex_fills_whole_bytes),
        UT_CASE(hex_refuses_and_writes_nothing),
        UT_CASE(bool_is_zero_or_one),
        UT_CASE(pairs_are_split_at_blanks),
        UT_CASE(pairs_have_a_longest_word),
    };

    return ut_main(argc, argv, "strutil", cases, ARRAY_SIZE(cases));
}
