/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar of subjects and patterns, and which matches which. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/subject.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* From a heap block of exactly that length, so that reading beyond it is seen. */
static int check_bytes(int (*check)(const char *, size_t, const char **), const char *text,
		       size_t length)
{
	const char *why = NULL;
	char *copy = malloc(length > 0 ? length : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, length);
	r = check(copy, length, &why);
	assert_int_equal(check(copy, length, NULL), r);
	free(copy);
	if (r == 0)
		assert_null(why);
	else
		assert_true(why != NULL && why[0] != '\0');
	return r;
}

static void assert_both(const char *text, size_t length, int expected)
{
	assert_int_equal(check_bytes(xy_subject_check, text, length), expected);
	assert_int_equal(check_bytes(xy_pattern_check, text, length), expected);
}

static void test_ordinary_subjects_are_good(void **state)
{
	static const char *const good[] = {
		"a",
		"a.b",
		"orders.eu.42",
		"A.b.C",
		"-._",
		"a*.b",
		"*a",
		"**",
		"a.>b",
		">>",
		"a.b>",
		"\xc3\xa9t\xc3\xa9.\xe6\x97\xa5\xe6\x9c\xac.\xf0\x9f\x8c\xb3",
		"$SYS.#",
		"a\xc2\xa1",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(good); i++)
		assert_both(good[i], strlen(good[i]), 0);
}

static void test_empty_tokens_are_refused(void **state)
{
	static const char *const bad[] = {"", ".", ".a", "a.", "a..b", "..", "a.b..", "...a"};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_both(bad[i], strlen(bad[i]), -EINVAL);
}

static void test_length_is_at_most_255_bytes(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_both(text, 255, 0);
	assert_both(text, 256, -EINVAL);
	assert_both(text, 300, -EINVAL);
	for (size_t i = 1; i < 255; i += 2)
		text[i] = '.';
	assert_both(text, 255, 0);
	/* Bytes are counted, not characters. */
	for (size_t i = 0; i < 256; i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	assert_both(text, 254, 0);
	assert_both(text, 256, -EINVAL);
}

static void test_white_space_and_control_characters_are_refused(void **state)
{
	static const char *const bad[] = {
		"a b",          " a",           "a\t",          "a\n.b",        "a\r",
		"a\x7f",        "a\xc2\x80",    "a\xc2\x85",    "a\xc2\x9f",    "a\xc2\xa0",
		"\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9",
		"\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80", "\x1b[31m",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_both(bad[i], strlen(bad[i]), -EINVAL);
	for (char c = 0; c < 0x20; c++)
		assert_both((char[]){'a', c, 'b'}, 3, -EINVAL);
}

static void test_invalid_utf8_is_refused(void **state)
{
	static const char *const bad[] = {
		"\x80",
		"a\xbf",
		"\xc3",
		"\xc3.",
		"\xc0\x80",
		"\xc1\xbf",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xe2\x82",
		"\xe2\x82.",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x9f\x8c",
		"\xf4\x90\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xfe",
		"\xff",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_both(bad[i], strlen(bad[i]), -EINVAL);
}

static void test_wildcards_stand_in_patterns_only(void **state)
{
	static const char *const patterns[] = {"*",   ">",   "*.*",   "a.*",  "*.a",
					       "a.>", "*.>", "a.*.b", "*.*.>"};
	static const char *const never[] = {">.a", "a.>.b", ">.>", "*.>.*"};

	(void)state;
	for (size_t i = 0; i < LENGTH(patterns); i++) {
		size_t length = strlen(patterns[i]);

		assert_int_equal(check_bytes(xy_pattern_check, patterns[i], length), 0);
		assert_int_equal(check_bytes(xy_subject_check, patterns[i], length), -EINVAL);
	}
	for (size_t i = 0; i < LENGTH(never); i++)
		assert_both(never[i], strlen(never[i]), -EINVAL);
}

static void test_match_table(void **state)
{
	static const struct {
		const char *pattern, *subject;
		bool match;
	} table[] = {
		{"a", "a", true},
		{"a", "b", false},
		{"a", "A", false},
		{"a", "aa", false},
		{"aa", "a", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.b", "a.b", true},
		{"*", "a", true},
		{"*", "a.b", false},
		{"*.b", "a.b", true},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"*.*", "a.b", true},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{">", "a", true},
		{">", "a.b.c", true},
		{"a.>", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "b.c", false},
		{"*.>", "a", false},
		{"*.>", "a.b", true},
		{"a.*.>", "a.b", false},
		{"a.*.>", "a.b.c.d", true},
		{"a*", "a*", true},
		{"a*", "ab", false},
		{"a.>b", "a.>b", true},
		{"a.>b", "a.c", false},
		{"**", "**", true},
		{"**", "ab", false},
		{"*.*.*.*", "a.b.c.d", true},
		{"*.*.*.*", "a.b.c", false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(table); i++)
		if (xy_pattern_match(table[i].pattern, table[i].subject) != table[i].match)
			fail_msg("%s and %s", table[i].pattern, table[i].subject);
}

/* Every text of at most `most` tokens out of these. */
static size_t texts_of(const char *const *tokens, size_t count, size_t most, char texts[][16],
		       int (*check)(const char *, size_t, const char **))
{
	size_t made = 0, begin = 0;

	texts[made++][0] = '\0';
	for (size_t level = 0; level < most; level++) {
		size_t end = made;

		for (; begin < end; begin++)
			for (size_t t = 0; t < count; t++) {
				char *text = texts[made];

				snprintf(text, 16, "%s%s%s", texts[begin],
					 texts[begin][0] != '\0' ? "." : "", tokens[t]);
				made += check(text, strlen(text), NULL) == 0;
			}
	}
	/* The first one is empty. */
	memmove(texts[0], texts[1], (made - 1) * sizeof(texts[0]));
	return made - 1;
}

/* Against what the words mean: a token that no pattern has, and one more token than any pattern,
 * stand for all others. */
static void test_covering_and_overlapping_is_about_all_subjects(void **state)
{
	static const char *const of_patterns[] = {"a", "b", "*", ">", "a*"};
	static const char *const of_subjects[] = {"a", "b", "c", "a*"};
	static char patterns[256][16], subjects[512][16];
	size_t count = texts_of(of_patterns, LENGTH(of_patterns), 3, patterns, xy_pattern_check);
	size_t total = texts_of(of_subjects, LENGTH(of_subjects), 4, subjects, xy_subject_check);

	(void)state;
	assert_int_equal(count, 5 + 4 * 5 + 4 * 4 * 5);
	assert_int_equal(total, 4 + 16 + 64 + 256);
	for (size_t a = 0; a < count; a++)
		for (size_t b = 0; b < count; b++) {
			bool covers = true, overlaps = false;

			for (size_t s = 0; s < total; s++) {
				bool first = xy_pattern_match(patterns[a], subjects[s]);
				bool second = xy_pattern_match(patterns[b], subjects[s]);

				covers = covers && (first || !second);
				overlaps = overlaps || (first && second);
			}
			if (xy_pattern_covers(patterns[a], patterns[b]) != covers ||
			    xy_pattern_overlaps(patterns[a], patterns[b]) != overlaps)
				fail_msg("%s and %s", patterns[a], patterns[b]);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ordinary_subjects_are_good),
		cmocka_unit_test(test_empty_tokens_are_refused),
		cmocka_unit_test(test_length_is_at_most_255_bytes),
		cmocka_unit_test(test_white_space_and_control_characters_are_refused),
		cmocka_unit_test(test_invalid_utf8_is_refused),
		cmocka_unit_test(test_wildcards_stand_in_patterns_only),
		cmocka_unit_test(test_match_table),
		cmocka_unit_test(test_covering_and_overlapping_is_about_all_subjects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
