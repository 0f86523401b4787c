/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subjects and patterns: the grammar and the matching against a second account of them, the tree
 * against brute force over everything that is in it; two patterns against what both match.
 *
 * Input: lines. Each is a text to check; what is a subject becomes a topic, what is a pattern a
 * subscription. An empty line takes out every second item.
 */
#include "fuzz/fuzz.h"

#include <xylem/wire.h>

#include "proto/subject.h"

#define ITEMS_MAX 64

struct item {
	struct xy_tree_item tree;
	char *text;
	bool topic;
	unsigned found;
};

/* ---- a second account ------------------------------------------------------------------------ */

/* The length of the well-formed character at text (Unicode, table 3-7), or 0. */
static size_t character_length(const uint8_t *text, size_t left)
{
	static const struct {
		uint8_t first_low, first_high, second_low, second_high;
		size_t length;
	} forms[] = {
		{0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t length = forms[i].length;

		if (text[0] < forms[i].first_low || text[0] > forms[i].first_high)
			continue;
		if (length > left)
			return 0;
		if (length > 1 && (text[1] < forms[i].second_low || text[1] > forms[i].second_high))
			return 0;
		for (size_t at = 2; at < length; at++)
			if (text[at] < 0x80 || text[at] > 0xbf)
				return 0;
		return length;
	}
	return 0;
}

static bool is_separator(const uint8_t *text, size_t length)
{
	static const char *const separators[] = {
		"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
		"\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
		"\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
		"\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
	};

	if (length == 1)
		return text[0] <= 0x20 || text[0] == 0x7f;
	if (length == 2 && text[0] == 0xc2 && text[1] < 0xa0)
		return true;
	for (size_t i = 0; i < sizeof(separators) / sizeof(separators[0]); i++)
		if (strlen(separators[i]) == length && memcmp(separators[i], text, length) == 0)
			return true;
	return false;
}

static bool expected_check(const uint8_t *text, size_t length, bool wildcards)
{
	size_t token = 0; /* bytes of the one at hand */

	if (length == 0 || length > XY_SUBJECT_MAX)
		return false;
	for (size_t at = 0; at < length;) {
		size_t bytes = character_length(text + at, length - at);

		if (bytes == 0 || is_separator(text + at, bytes))
			return false;
		at += bytes;
		token = text[at - bytes] == '.' ? 0 : token + bytes;
		if (text[at - bytes] == '.' && (at == 1 || text[at - 2] == '.'))
			return false;
		if (token != 1 || (at < length && text[at] != '.'))
			continue;
		if (text[at - 1] != '*' && text[at - 1] != '>')
			continue;
		if (!wildcards || (text[at - 1] == '>' && at < length))
			return false;
	}
	return token > 0;
}

static bool expected_match(const char *pattern, const char *subject)
{
	if (strcmp(pattern, ">") == 0)
		return true;
	if (*pattern == '\0' || *subject == '\0')
		return *pattern == *subject;
	if (pattern[0] == '*' && (pattern[1] == '.' || pattern[1] == '\0')) {
		pattern++;
		while (*subject != '\0' && *subject != '.')
			subject++;
	} else {
		while (*pattern != '\0' && *pattern != '.')
			if (*pattern++ != *subject++)
				return false;
	}
	if (*pattern != *subject)
		return false;
	return *pattern == '\0' || expected_match(pattern + 1, subject + 1);
}

/* ---- the tree -------------------------------------------------------------------------------- */

static void found(struct xy_tree_item *item, void *context)
{
	struct item *whole = (struct item *)item;

	fuzz_check(whole->topic == *(bool *)context);
	whole->found++;
}

static void check_topic(const struct xy_tree *tree, struct item *items, size_t count,
			const struct item *topic)
{
	const struct item *first = (struct item *)xy_tree_find_topic(tree, topic->text);
	bool wanted = false;

	fuzz_check(first != NULL && strcmp(first->text, topic->text) == 0);
	xy_tree_patterns_of(tree, topic->text, found, &wanted);
	for (size_t i = 0; i < count; i++) {
		bool matches = !items[i].topic && expected_match(items[i].text, topic->text);

		fuzz_check(items[i].topic ||
			   xy_pattern_match(items[i].text, topic->text) == matches);
		fuzz_check(items[i].found == matches);
		items[i].found = 0;
	}
}

static void check_pattern(const struct xy_tree *tree, struct item *items, size_t count,
			  const struct item *pattern)
{
	bool wanted = true;

	xy_tree_topics_of(tree, pattern->text, found, &wanted);
	for (size_t i = 0; i < count; i++) {
		bool matches = items[i].topic && expected_match(pattern->text, items[i].text);

		fuzz_check(items[i].found == matches);
		items[i].found = 0;
	}
}

/* What two patterns have to do with each other, by the subjects that are here. */
static void check_pair(const struct item *items, size_t count, const char *a, const char *b)
{
	bool covers = xy_pattern_covers(a, b), overlaps = xy_pattern_overlaps(a, b);

	fuzz_check(xy_pattern_covers(a, a) && xy_pattern_overlaps(b, b));
	fuzz_check(overlaps == xy_pattern_overlaps(b, a));
	fuzz_check(!covers || overlaps);
	for (size_t i = 0; i < count; i++) {
		bool first, second;

		if (!items[i].topic)
			continue;
		first = xy_pattern_match(a, items[i].text);
		second = xy_pattern_match(b, items[i].text);
		fuzz_check(!covers || !second || first);
		fuzz_check(overlaps || !first || !second);
		/* Of a subject all is one. */
		fuzz_check(xy_pattern_covers(a, items[i].text) == first);
		fuzz_check(xy_pattern_overlaps(a, items[i].text) == first);
	}
}

static void check_tree(const struct xy_tree *tree, struct item *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (items[i].topic)
			check_topic(tree, items, count, &items[i]);
		else
			check_pattern(tree, items, count, &items[i]);
	for (size_t i = 0; i + 1 < count; i++)
		if (!items[i].topic && !items[i + 1].topic)
			check_pair(items, count, items[i].text, items[i + 1].text);
}

static void add(struct xy_tree *tree, struct item *item, struct fuzz_input text, bool topic)
{
	*item = (struct item){.text = fuzz_text(text), .topic = topic};
	fuzz_check((topic ? xy_tree_add_topic(tree, item->text, &item->tree)
			  : xy_tree_add_pattern(tree, item->text, &item->tree)) == 0);
}

static void take_out(struct xy_tree *tree, struct item *item)
{
	xy_tree_remove(tree, &item->tree);
	xy_tree_remove(tree, &item->tree);
	free(item->text);
}

/* Items are linked by address: the tree is filled again rather than moved. */
static size_t thin_out(struct xy_tree *tree, struct item *items, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i += 2)
		take_out(tree, &items[i]);
	for (size_t i = 1; i < count; i += 2) {
		struct item moved = items[i];

		xy_tree_remove(tree, &items[i].tree);
		add(tree, &items[kept++],
		    (struct fuzz_input){(const uint8_t *)moved.text, strlen(moved.text)},
		    moved.topic);
		free(moved.text);
	}
	return kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct item items[2 * ITEMS_MAX];
	struct xy_tree *tree = xy_tree_new();
	size_t count = 0;

	fuzz_check(tree != NULL);
	while (input.size > 0 && count < ITEMS_MAX) {
		struct fuzz_input line = fuzz_take_line(&input);
		const char *why = NULL;
		void *exact = fuzz_copy(line.data, line.size);
		bool subject = xy_subject_check(exact, line.size, &why) == 0;
		bool pattern = xy_pattern_check(exact, line.size, &why) == 0;

		fuzz_check(subject == expected_check(exact, line.size, false));
		fuzz_check(pattern == expected_check(exact, line.size, true));
		fuzz_check((subject && pattern) || why != NULL);
		free(exact);
		if (subject)
			add(tree, &items[count++], line, true);
		if (pattern)
			add(tree, &items[count++], line, false);
		if (line.size == 0) {
			check_tree(tree, items, count);
			count = thin_out(tree, items, count);
		}
	}
	check_tree(tree, items, count);
	for (size_t i = 0; i < count; i++)
		take_out(tree, &items[i]);
	xy_tree_free(tree);
	return 0;
}
