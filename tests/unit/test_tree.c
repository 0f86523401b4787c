/* SPDX-License-Identifier: BSD-2-Clause */
/* The subject tree: places, removal, and random contents against matching every pair by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#include <xylem/wire.h>

#include "proto/subject.h"

struct entry {
	struct xy_tree_item item; /* first */
	char text[XY_SUBJECT_MAX + 1];
	unsigned found;
};

static void entry_found(struct xy_tree_item *item, void *context)
{
	((struct entry *)item)->found++;
	(*(unsigned *)context)++;
}

static unsigned patterns_of(const struct xy_tree *tree, const char *subject)
{
	unsigned count = 0;

	xy_tree_patterns_of(tree, subject, entry_found, &count);
	return count;
}

static unsigned topics_of(const struct xy_tree *tree, const char *pattern)
{
	unsigned count = 0;

	xy_tree_topics_of(tree, pattern, entry_found, &count);
	return count;
}

static struct xy_tree *tree_new(void)
{
	struct xy_tree *tree = xy_tree_new();

	assert_non_null(tree);
	return tree;
}

static void test_empty_tree_finds_nothing(void **state)
{
	struct xy_tree *tree = tree_new();

	(void)state;
	assert_null(xy_tree_find_topic(tree, "a.b"));
	assert_int_equal(patterns_of(tree, "a.b"), 0);
	assert_int_equal(topics_of(tree, ">"), 0);
	assert_int_equal(topics_of(tree, "a.*"), 0);
	xy_tree_free(tree);
	xy_tree_free(NULL);
}

static void test_topics_and_patterns_of_one_place_are_told_apart(void **state)
{
	struct xy_tree *tree = tree_new();
	struct entry topic = {0}, pattern = {0};

	(void)state;
	assert_int_equal(xy_tree_add_pattern(tree, "a.b", &pattern.item), 0);
	assert_null(xy_tree_find_topic(tree, "a.b"));
	assert_int_equal(topics_of(tree, "a.b"), 0);
	assert_int_equal(topics_of(tree, ">"), 0);
	assert_int_equal(xy_tree_add_topic(tree, "a.b", &topic.item), 0);
	assert_ptr_equal(xy_tree_find_topic(tree, "a.b"), &topic.item);
	assert_null(xy_tree_find_topic(tree, "a"));
	assert_null(xy_tree_find_topic(tree, "a.b.c"));
	assert_int_equal(patterns_of(tree, "a.b"), 1);
	assert_int_equal(pattern.found, 1);
	assert_int_equal(topics_of(tree, "a.>"), 1);
	assert_int_equal(topic.found, 1);
	xy_tree_remove(tree, &pattern.item);
	assert_int_equal(patterns_of(tree, "a.b"), 0);
	assert_ptr_equal(xy_tree_find_topic(tree, "a.b"), &topic.item);
	xy_tree_remove(tree, &topic.item);
	assert_null(xy_tree_find_topic(tree, "a.b"));
	xy_tree_free(tree);
}

static void test_many_items_share_a_place_and_leave_in_any_order(void **state)
{
	struct xy_tree *tree = tree_new();
	struct entry entries[5] = {0};
	static const int order[] = {2, 0, 4, 1, 3};

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(xy_tree_add_pattern(tree, "x.*", &entries[i].item), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(patterns_of(tree, "x.y"), 5 - i);
		xy_tree_remove(tree, &entries[order[i]].item);
		xy_tree_remove(tree, &entries[order[i]].item);
	}
	assert_int_equal(patterns_of(tree, "x.y"), 0);
	xy_tree_free(tree);
}

static void test_removal_of_an_item_in_no_tree_does_nothing(void **state)
{
	struct xy_tree *tree = tree_new();
	struct entry entry = {0};

	(void)state;
	xy_tree_remove(tree, &entry.item);
	assert_null(xy_tree_find_topic(tree, "a"));
	xy_tree_free(tree);
}

static void test_removal_keeps_ancestors_that_are_needed(void **state)
{
	struct xy_tree *tree = tree_new();
	struct entry upper = {0}, lower = {0}, beside = {0};

	(void)state;
	assert_int_equal(xy_tree_add_topic(tree, "a.b", &upper.item), 0);
	assert_int_equal(xy_tree_add_topic(tree, "a.b.c.d", &lower.item), 0);
	assert_int_equal(xy_tree_add_topic(tree, "a.x", &beside.item), 0);
	xy_tree_remove(tree, &lower.item);
	assert_ptr_equal(xy_tree_find_topic(tree, "a.b"), &upper.item);
	assert_int_equal(xy_tree_add_topic(tree, "a.b.c.d", &lower.item), 0);
	xy_tree_remove(tree, &upper.item);
	assert_null(xy_tree_find_topic(tree, "a.b"));
	assert_ptr_equal(xy_tree_find_topic(tree, "a.b.c.d"), &lower.item);
	assert_int_equal(topics_of(tree, ">"), 2);
	xy_tree_remove(tree, &lower.item);
	assert_ptr_equal(xy_tree_find_topic(tree, "a.x"), &beside.item);
	xy_tree_remove(tree, &beside.item);
	xy_tree_free(tree);
}

static void test_deepest_subject_and_pattern(void **state)
{
	struct xy_tree *tree = tree_new();
	struct entry topic = {0}, pattern = {0}, all = {0};
	char subject[XY_SUBJECT_MAX + 1] = "", wild[XY_SUBJECT_MAX + 1] = "";

	(void)state;
	for (int i = 0; i < XY_SUBJECT_MAX; i++) {
		subject[i] = i % 2 == 0 ? 'a' : '.';
		wild[i] = i % 2 == 0 ? '*' : '.';
	}
	assert_int_equal(xy_tree_add_topic(tree, subject, &topic.item), 0);
	assert_int_equal(xy_tree_add_pattern(tree, wild, &pattern.item), 0);
	assert_int_equal(xy_tree_add_pattern(tree, ">", &all.item), 0);
	assert_int_equal(patterns_of(tree, subject), 2);
	assert_int_equal(topics_of(tree, wild), 1);
	assert_int_equal(topics_of(tree, ">"), 1);
	assert_ptr_equal(xy_tree_find_topic(tree, subject), &topic.item);
	xy_tree_remove(tree, &topic.item);
	xy_tree_remove(tree, &pattern.item);
	xy_tree_remove(tree, &all.item);
	xy_tree_free(tree);
}

/* ---- random ---------------------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned random_below(unsigned bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 16) % bound;
}

/* Few tokens and few levels, so that chance matches happen often. */
static void random_text(char *to, bool wildcards)
{
	static const char *const tokens[] = {"a", "b", "aa", "ab", "*a", "a>", "c"};
	unsigned depth = 1 + random_below(5);

	to[0] = '\0';
	for (unsigned level = 0; level < depth; level++) {
		unsigned choice = random_below(10);

		if (level > 0)
			strcat(to, ".");
		if (wildcards && choice < 3)
			strcat(to, "*");
		else if (wildcards && choice == 3 && level == depth - 1)
			strcat(to, ">");
		else
			strcat(to, tokens[random_below(7)]);
	}
}

#define ENTRIES 300
#define STEPS   20000

static struct entry topics[ENTRIES], patterns[ENTRIES];

static bool entry_in(const struct entry *entry)
{
	return entry->item.link != NULL;
}

static void step_change(struct xy_tree *tree)
{
	bool is_topic = random_below(2) == 0;
	struct entry *entry = &(is_topic ? topics : patterns)[random_below(ENTRIES)];

	if (entry_in(entry)) {
		xy_tree_remove(tree, &entry->item);
		return;
	}
	random_text(entry->text, !is_topic);
	if (is_topic)
		assert_int_equal(xy_tree_add_topic(tree, entry->text, &entry->item), 0);
	else
		assert_int_equal(xy_tree_add_pattern(tree, entry->text, &entry->item), 0);
}

static void step_compare(const struct xy_tree *tree)
{
	char text[XY_SUBJECT_MAX + 1];
	const struct entry *topic;
	bool there = false;

	random_text(text, false);
	for (int i = 0; i < ENTRIES; i++)
		patterns[i].found = 0;
	patterns_of(tree, text);
	for (int i = 0; i < ENTRIES; i++)
		if (patterns[i].found !=
		    (entry_in(&patterns[i]) && xy_pattern_match(patterns[i].text, text) ? 1 : 0))
			fail_msg("patterns_of %s: %s found %u times", text, patterns[i].text,
				 patterns[i].found);

	topic = (struct entry *)xy_tree_find_topic(tree, text);
	for (int i = 0; i < ENTRIES; i++)
		there |= entry_in(&topics[i]) && strcmp(topics[i].text, text) == 0;
	assert_int_equal(topic != NULL, there);
	if (topic != NULL)
		assert_string_equal(topic->text, text);

	random_text(text, true);
	for (int i = 0; i < ENTRIES; i++)
		topics[i].found = 0;
	topics_of(tree, text);
	for (int i = 0; i < ENTRIES; i++)
		if (topics[i].found !=
		    (entry_in(&topics[i]) && xy_pattern_match(text, topics[i].text) ? 1 : 0))
			fail_msg("topics_of %s: %s found %u times", text, topics[i].text,
				 topics[i].found);
}

/* However many there are, and after all have gone but one. */
static void test_a_pattern_looks_at_no_patterns(void **state)
{
	enum { PATTERNS = 50 };
	struct xy_tree *tree = tree_new();
	struct entry patterns[PATTERNS] = {0}, topics[2] = {{.text = "p7.x.y"}, {.text = "q.x"}};
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < PATTERNS; i++) {
		snprintf(patterns[i].text, sizeof(patterns[i].text), "p%u.x.%s", i,
			 i % 2 ? "*" : ">");
		assert_int_equal(xy_tree_add_pattern(tree, patterns[i].text, &patterns[i].item), 0);
	}
	assert_int_equal(xy_tree_topics_of(tree, "*.x", entry_found, &count), 1);
	assert_int_equal(xy_tree_topics_of(tree, ">", entry_found, &count), 1);
	assert_int_equal(count, 0);
	for (unsigned t = 0; t < 2; t++)
		assert_int_equal(xy_tree_add_topic(tree, topics[t].text, &topics[t].item), 0);
	assert_int_equal(xy_tree_topics_of(tree, "*.x", entry_found, &count), 1 + 2 + 2);
	assert_int_equal(xy_tree_topics_of(tree, ">", entry_found, &count), 1 + 2 + 2 + 1);
	assert_int_equal(count, 1 + 2);
	xy_tree_remove(tree, &topics[0].item);
	assert_int_equal(xy_tree_topics_of(tree, ">", entry_found, &count), 1 + 1 + 1);
	xy_tree_remove(tree, &topics[1].item);
	assert_int_equal(xy_tree_topics_of(tree, ">", entry_found, &count), 1);
	for (unsigned i = 0; i < PATTERNS; i++)
		xy_tree_remove(tree, &patterns[i].item);
	xy_tree_free(tree);
}

static void test_wildcards_tell_how_many_nodes_they_looked_at(void **state)
{
	enum { TOPICS = 50 };
	struct xy_tree *tree = tree_new();
	struct entry topics[TOPICS] = {0}, pattern = {.text = "*.*.c"};
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < TOPICS; i++) {
		snprintf(topics[i].text, sizeof(topics[i].text), "a%u.b", i);
		assert_int_equal(xy_tree_add_topic(tree, topics[i].text, &topics[i].item), 0);
	}
	assert_int_equal(xy_tree_add_pattern(tree, pattern.text, &pattern.item), 0);
	/* The root; then all children of it but "*", where no topics are; of each its only one. */
	assert_int_equal(xy_tree_topics_of(tree, "*.b", entry_found, &count), 1 + TOPICS + TOPICS);
	assert_int_equal(count, TOPICS);
	assert_int_equal(xy_tree_topics_of(tree, "*.c", entry_found, &count), 1 + TOPICS);
	assert_int_equal(xy_tree_topics_of(tree, "a7.b", entry_found, &count), 3);
	/* Down the subject, and down the wildcards beside it. */
	assert_int_equal(xy_tree_patterns_of(tree, "a7.b", entry_found, &count), 1 + 2 + 2);
	assert_int_equal(count, TOPICS + 1);
	for (unsigned i = 0; i < TOPICS; i++)
		xy_tree_remove(tree, &topics[i].item);
	xy_tree_remove(tree, &pattern.item);
	xy_tree_free(tree);
}

static void test_random_contents_agree_with_matching_every_pair(void **state)
{
	const char *seed = getenv("XYLEM_SEED");
	struct xy_tree *tree = tree_new();

	(void)state;
	if (seed != NULL)
		random_state = strtoull(seed, NULL, 0);
	else
		assert_int_equal(getrandom(&random_state, sizeof(random_state), 0),
				 sizeof(random_state));
	random_state |= 1;
	print_message("XYLEM_SEED=%#llx\n", (unsigned long long)random_state);
	for (int i = 0; i < STEPS; i++) {
		step_change(tree);
		if (i % 4 == 0)
			step_compare(tree);
	}
	for (int i = 0; i < ENTRIES; i++) {
		xy_tree_remove(tree, &topics[i].item);
		xy_tree_remove(tree, &patterns[i].item);
	}
	/* Asserts that nothing is left. */
	xy_tree_free(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_tree_finds_nothing),
		cmocka_unit_test(test_topics_and_patterns_of_one_place_are_told_apart),
		cmocka_unit_test(test_many_items_share_a_place_and_leave_in_any_order),
		cmocka_unit_test(test_removal_of_an_item_in_no_tree_does_nothing),
		cmocka_unit_test(test_removal_keeps_ancestors_that_are_needed),
		cmocka_unit_test(test_deepest_subject_and_pattern),
		cmocka_unit_test(test_a_pattern_looks_at_no_patterns),
		cmocka_unit_test(test_wildcards_tell_how_many_nodes_they_looked_at),
		cmocka_unit_test(test_random_contents_agree_with_matching_every_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
