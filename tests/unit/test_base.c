/* SPDX-License-Identifier: BSD-2-Clause */
/* The leaves: log lines and their limits, random ids, lists, RCU. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/random.h"
#include "base/rcu.h"

/* ---- log ----------------------------------------------------------------------------------- */

static int log_file;
static char log_text[512 * 1024];

static int log_setup(void **state)
{
	(void)state;
	log_file = memfd_create("log", MFD_CLOEXEC);
	/* Of two writes at once to a memfd that does not append, one covers the other. */
	if (log_file < 0 || fcntl(log_file, F_SETFL, O_APPEND) < 0)
		return -1;
	xy_log_set_fd(log_file);
	xy_log_set_level(XY_LOG_INFO);
	return 0;
}

static int log_teardown(void **state)
{
	(void)state;
	xy_log_flush(true);
	xy_log_set_fd(STDERR_FILENO);
	xy_log_set_level(XY_LOG_INFO);
	return close(log_file);
}

static const char *logged(void)
{
	ssize_t n = pread(log_file, log_text, sizeof(log_text) - 1, 0);

	assert_in_range(n, 0, sizeof(log_text) - 2);
	log_text[n] = '\0';
	return log_text;
}

static unsigned count_of(const char *text, const char *wanted)
{
	unsigned count = 0;

	while ((text = strstr(text, wanted))) {
		count++;
		text += strlen(wanted);
	}
	return count;
}

static void line_has_time_level_event_and_fields(void **state)
{
	unsigned year, month, day, hour, minute, second, ms;
	int end = 0;

	(void)state;
	xy_log(XY_LOG_WARN, "thing", "a=%d b=%s", 1, "two");
	xy_log(XY_LOG_ERROR, "bare");
	assert_int_equal(sscanf(logged(), "time=%4u-%2u-%2uT%2u:%2u:%2u.%3uZ%n", &year, &month,
				&day, &hour, &minute, &second, &ms, &end),
			 7);
	assert_true(year >= 2024);
	assert_int_equal(end, strlen("time=2026-01-02T03:04:05.678Z"));
	assert_int_equal(strncmp(log_text + end, " level=warn event=thing a=1 b=two\ntime=",
				 strlen(" level=warn event=thing a=1 b=two\ntime=")),
			 0);
	assert_non_null(strstr(log_text, " level=error event=bare\n"));
}

static int evaluated;

static int evaluate(void)
{
	return ++evaluated;
}

static void levels_below_the_threshold_cost_nothing_and_can_change(void **state)
{
	(void)state;
	evaluated = 0;
	xy_log(XY_LOG_DEBUG, "quiet", "n=%d", evaluate());
	assert_int_equal(evaluated, 0);
	assert_string_equal(logged(), "");
	xy_log_set_level(XY_LOG_DEBUG);
	xy_log(XY_LOG_DEBUG, "loud", "n=%d", evaluate());
	assert_int_equal(evaluated, 1);
	assert_non_null(strstr(logged(), "level=debug event=loud n=1\n"));
}

static void level_texts_go_both_ways(void **state)
{
	enum xy_log_level level;

	(void)state;
	for (int i = XY_LOG_ERROR; i <= XY_LOG_DEBUG; i++) {
		const char *text = xy_log_level_text((enum xy_log_level)i);

		assert_int_equal(xy_log_level_from_text(text, &level), 0);
		assert_int_equal(level, i);
	}
	assert_int_equal(xy_log_level_from_text("loud", &level), -EINVAL);
}

static void values_cannot_forge_lines(void **state)
{
	(void)state;
	xy_log(XY_LOG_INFO, "name", "name=%s", xy_log_quoted("a\"b\\c\nevent=forged\t\x7f"));
	assert_non_null(strstr(logged(), "name=\"a\\\"b\\\\c?event=forged??\"\n"));
	assert_int_equal(count_of(log_text, "\n"), 1);
	/* U+009B begins an escape sequence, too; what is no control character stays. */
	xy_log(XY_LOG_INFO, "name", "name=%s",
	       xy_log_quoted("\xc2\x9b"
			     "2J\xc2\xa0\xc3\xa9"));
	assert_non_null(strstr(logged(), "name=\"??2J\xc2\xa0\xc3\xa9\"\n"));
}

static void quoted_text_is_cut_with_its_quotes_whole(void **state)
{
	char buffer[16], text[64];

	(void)state;
	for (size_t size = 3; size <= sizeof(buffer); size++) {
		for (int escapes = 0; escapes < 2; escapes++) {
			memset(text, escapes ? '"' : 'x', sizeof(text) - 1);
			text[sizeof(text) - 1] = '\0';
			assert_ptr_equal(xy_log_quote(buffer, size, text), buffer);
			assert_true(strlen(buffer) < size);
			assert_int_equal(buffer[0], '"');
			assert_int_equal(buffer[strlen(buffer) - 1], '"');
			/* An escape is never cut from what it escapes. */
			if (escapes)
				assert_int_equal(strlen(buffer) % 2, 0);
		}
	}
	assert_string_equal(xy_log_quote(buffer, sizeof(buffer), ""), "\"\"");
}

static void long_line_is_cut_and_ended(void **state)
{
	char text[2 * XY_LOG_LINE_MAX];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	xy_log(XY_LOG_INFO, "long", "text=%s", text);
	assert_int_equal(strlen(logged()), XY_LOG_LINE_MAX);
	assert_int_equal(log_text[XY_LOG_LINE_MAX - 1], '\n');
}

static void flood_of_one_place_is_counted_and_others_still_speak(void **state)
{
	unsigned lines, suppressed = 0;
	const char *at;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		xy_log(XY_LOG_INFO, "flood", "i=%d", i);
		/* What was reported is not counted again. */
		if (i == 500)
			xy_log_flush(true);
	}
	xy_log(XY_LOG_INFO, "other");
	assert_int_equal(count_of(logged(), "event=other"), 1);
	xy_log_flush(true);
	lines = count_of(logged(), "event=flood");
	/* A second may have ended in between; then more were allowed. */
	assert_true(lines >= XY_LOG_BURST && lines <= 500);
	for (at = log_text; (at = strstr(at, "of=flood lines=")); at++)
		suppressed += (unsigned)atoi(at + strlen("of=flood lines="));
	assert_int_equal(lines + suppressed, 1000);
	xy_log_flush(true);
	assert_int_equal(count_of(logged(), "\n"), count_of(log_text, "time="));
}

#define LOGGERS 4

static atomic_uint calls;

static uint64_t second_now(void)
{
	return xy_clock_realtime_ns() / XY_NS_PER_S;
}

/* Until well into the next second: what is counted changes while all of them log. */
static void *log_many(void *argument)
{
	uint64_t start = second_now();

	for (unsigned more = 1000; more > 0; more -= second_now() != start) {
		xy_log(XY_LOG_INFO, "shared", "thread=%d", (int)(intptr_t)argument);
		atomic_fetch_add(&calls, 1);
	}
	return NULL;
}

static void lines_of_many_threads_stay_whole_and_none_is_lost_unreported(void **state)
{
	pthread_t threads[LOGGERS];
	unsigned total = 0, burst = 0;
	char last[sizeof("time=2026-01-02T03:04:05")] = "";

	(void)state;
	atomic_store(&calls, 0);
	for (intptr_t i = 0; i < LOGGERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)i), 0);
	for (int i = 0; i < LOGGERS; i++)
		pthread_join(threads[i], NULL);
	xy_log_flush(true);
	for (char *line = strtok((char *)logged(), "\n"); line; line = strtok(NULL, "\n")) {
		const char *lines = strstr(line, "event=suppressed of=shared lines=");

		assert_int_equal(strncmp(line, "time=", 5), 0);
		if (lines) {
			total += (unsigned)atoi(strrchr(line, '=') + 1);
			continue;
		}
		assert_non_null(strstr(line, " event=shared thread="));
		total++;
		if (strncmp(line, last, sizeof(last) - 1) != 0)
			burst = 0;
		memcpy(last, line, sizeof(last) - 1);
		assert_true(++burst <= XY_LOG_BURST);
	}
	assert_int_equal(total, calls);
}

/* ---- random ids, lists, clocks ------------------------------------------------------------- */

static int id_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void *draw_ids(void *argument)
{
	uint64_t *drawn = argument;

	for (int i = 0; i < 1000; i++) {
		if (xy_random_id(&drawn[i]) < 0)
			abort();
	}
	return NULL;
}

static void ids_are_not_zero_and_not_repeated_over_threads(void **state)
{
	static uint64_t drawn[3][1000];
	uint64_t *all = drawn[0];
	pthread_t threads[3];
	uint64_t set = 0, cleared = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, draw_ids, drawn[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	qsort(all, 3000, sizeof(*all), id_compare);
	assert_true(all[0] != 0);
	for (int i = 0; i < 3000; i++) {
		set |= all[i];
		cleared |= ~all[i];
		assert_true(i == 0 || all[i] != all[i - 1]);
	}
	assert_true(set == UINT64_MAX && cleared == UINT64_MAX);
}

struct item {
	int number;
	struct xy_list node;
};

static void list_keeps_order_and_items_may_go_while_it_is_walked(void **state)
{
	struct item items[6], *item, *after;
	struct xy_list head;
	int expected[] = {5, 3, 1};
	int seen = 0;

	(void)state;
	xy_list_init(&head);
	assert_true(xy_list_empty(&head));
	assert_null(xy_list_first(&head, struct item, node));
	assert_null(xy_list_last(&head, struct item, node));
	xy_list_each (item, &head, node)
		fail();
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		if (i % 2)
			xy_list_add_head(&head, &items[i].node);
		else
			xy_list_add_tail(&head, &items[i].node);
	}
	assert_int_equal(xy_list_first(&head, struct item, node)->number, 5);
	assert_int_equal(xy_list_last(&head, struct item, node)->number, 4);
	xy_list_each_safe (item, after, &head, node) {
		if (item->number % 2 == 0) {
			xy_list_remove(&item->node);
			memset(&item->node, 0xff, sizeof(item->node));
		}
	}
	xy_list_each (item, &head, node)
		assert_int_equal(item->number, expected[seen++]);
	assert_int_equal(seen, 3);
	xy_list_remove(&items[3].node);
	xy_list_remove(&items[3].node);
	assert_int_equal(xy_list_last(&head, struct item, node)->number, 1);
}

static void clocks_advance_and_agree(void **state)
{
	uint64_t ns = xy_clock_ns(), ms = xy_clock_ms();

	(void)state;
	assert_true(ms >= ns / XY_NS_PER_MS);
	assert_true(xy_clock_ns() >= ns);
	assert_true(xy_clock_realtime_ns() / XY_NS_PER_S >= 1700000000);
}

/* ---- RCU ----------------------------------------------------------------------------------- */

#define REPLACEMENTS 2000
#define READERS      2

struct shared {
	struct xy_rcu_head head;
	int a, b;
};

static struct shared *shared_now;
static _Atomic bool readers_stop, torn;
static _Atomic unsigned freed;

static void *read_shared(void *argument)
{
	(void)argument;
	xy_rcu_register_thread();
	while (!readers_stop) {
		const struct shared *shared;

		xy_rcu_read_lock();
		shared = xy_rcu_dereference(shared_now);
		if (shared->a != shared->b)
			torn = true;
		xy_rcu_read_unlock();
	}
	xy_rcu_unregister_thread();
	return NULL;
}

static void shared_free(struct xy_rcu_head *head)
{
	struct shared *shared = xy_container_of(head, struct shared, head);

	shared->b = -1;
	free(shared);
	freed++;
}

static struct shared *shared_new(int value)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	assert_non_null(shared);
	shared->a = shared->b = value;
	return shared;
}

static void readers_never_see_what_was_freed(void **state)
{
	pthread_t threads[READERS];

	(void)state;
	xy_rcu_register_thread();
	xy_rcu_assign(shared_now, shared_new(0));
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_shared, NULL), 0);
	for (int i = 1; i <= REPLACEMENTS; i++) {
		struct shared *old = shared_now;

		xy_rcu_assign(shared_now, shared_new(i));
		if (i % 100 == 0) {
			xy_rcu_synchronize();
			shared_free(&old->head);
		} else {
			xy_rcu_defer(&old->head, shared_free);
		}
	}
	readers_stop = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	xy_rcu_barrier();
	assert_int_equal(freed, REPLACEMENTS);
	assert_false(torn);
	free(shared_now);
	xy_rcu_unregister_thread();
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, log_setup, log_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(line_has_time_level_event_and_fields),
		LOG_TEST(levels_below_the_threshold_cost_nothing_and_can_change),
		LOG_TEST(level_texts_go_both_ways),
		LOG_TEST(values_cannot_forge_lines),
		LOG_TEST(quoted_text_is_cut_with_its_quotes_whole),
		LOG_TEST(long_line_is_cut_and_ended),
		LOG_TEST(flood_of_one_place_is_counted_and_others_still_speak),
		LOG_TEST(lines_of_many_threads_stay_whole_and_none_is_lost_unreported),
		cmocka_unit_test(ids_are_not_zero_and_not_repeated_over_threads),
		cmocka_unit_test(list_keeps_order_and_items_may_go_while_it_is_walked),
		cmocka_unit_test(clocks_advance_and_agree),
		cmocka_unit_test(readers_never_see_what_was_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
