/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `xylem bench` against the proxy of a test, and what it says as JSON. Every function fails the
 * running cmocka test when it cannot do what it says. One thread.
 */
#ifndef TEST_BENCH_FIXTURE_H
#define TEST_BENCH_FIXTURE_H

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/command.h"
#include "common/raw.h"
#include "common/status.h"

/* Starts it, with these arguments behind those that name the proxy. */
#define BENCH_START(proxy, ...) bench_start(proxy, STRINGS(__VA_ARGS__))
/* Runs it to its end, which is this status. */
#define BENCH(proxy, status, ...)                        \
	do {                                             \
		finish(BENCH_START(proxy, __VA_ARGS__)); \
		ended(status);                           \
	} while (0)

static inline struct running bench_start(struct proxy *proxy, const char *const *arguments)
{
	const char *line[ARGUMENTS_MAX] = {"bench", "--server", proxy_server(proxy), "--instance",
					   proxy_instance(proxy)};
	size_t count = 5;

	while (*arguments != NULL) {
		assert_true(count + 1 < LENGTH(line));
		line[count++] = *arguments++;
	}
	return start(NULL, line);
}

/* The index-th line of its output; the caller's reference. */
static inline json_t *bench_line(unsigned index)
{
	const char *at = outcome.out;
	json_t *json;

	while (index-- > 0 && at != NULL) {
		at = strchr(at, '\n');
		at = at != NULL ? at + 1 : NULL;
	}
	json = at != NULL ? json_loads(at, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	if (json == NULL) {
		show();
		fail_msg("its output is not what it should be");
	}
	return json;
}

static inline unsigned bench_lines(void)
{
	unsigned lines = 0;

	for (const char *at = outcome.out; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	return lines;
}

static inline bool bench_true(const json_t *json, const char *name)
{
	assert_true(json_is_boolean(json_object_get(json, name)));
	return json_is_true(json_object_get(json, name));
}

/* A member that must be there. */
static inline uint64_t bench_number(const json_t *json, const char *name)
{
	const json_t *value = json_object_get(json, name);

	if (!json_is_integer(value)) {
		show();
		fail_msg("no number: %s", name);
	}
	return (uint64_t)json_integer_value(value);
}

static inline void bench_numbers(const json_t *json, const char *const *names, uint64_t value)
{
	for (; *names != NULL; names++)
		if (bench_number(json, *names) != value) {
			show();
			fail_msg("%s is not %llu", *names, (unsigned long long)value);
		}
}
#define ARE(json, value, ...) bench_numbers(json, STRINGS(__VA_ARGS__), value)

/* So many messages were begun and came, and nothing was wrong with them. */
static inline void assert_exact(const json_t *json, uint64_t count)
{
	ARE(json, count, "begun", "done");
	ARE(json, 0, "missing", "corrupt", "repeated", "foreign");
	assert_true(bench_true(json, "good"));
}

/* A client that sees what is published, beside the bench; and when it begins. */
static inline struct raw *bench_onlooker(struct proxy *proxy)
{
	struct raw *raw = raw_open(proxy);

	raw_subscribe_to(raw, "_bench.>");
	return raw;
}

/* The workers of one that runs, in the order in which they were started; returns how many. */
static inline unsigned bench_workers(struct running running, pid_t *workers, unsigned most)
{
	char path[64];
	unsigned count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)running.pid,
		 (int)running.pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (count < most && fscanf(file, "%d", &workers[count]) == 1)
		count++;
	fclose(file);
	return count;
}

#endif
