/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A status is made piece by piece, by those who own what it tells of: whoever reads it slowly holds
 * up nobody and costs no memory, it stays whole while things come and go, and loops that stand
 * still do not keep it.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define ENTRY        900 /* bytes of a wide connection in a status, at least */
#define SUBSCRIPTION 500 /* of a wide subscription */
#define PIECE        (16 << 10)

static pid_t stopped[4]; /* threads that stand still */
static int reader = -1;

static void stop(const struct proxy *proxy, unsigned index, const char *name)
{
	stopped[index] = thread_stop(proxy_pid(proxy), name);
}

static void go(void)
{
	for (unsigned i = 0; i < sizeof(stopped) / sizeof(stopped[0]); i++) {
		pid_t thread = stopped[i];

		stopped[i] = 0;
		if (thread != 0)
			thread_go(thread);
	}
}

static int teardown(void **state)
{
	go();
	if (reader >= 0)
		close(reader);
	reader = -1;
	return proxy_test_teardown(state);
}

/* ---- a reader by hand ------------------------------------------------------------------------ */

static void reader_ask(const struct proxy *proxy)
{
	static const char request[] = "{\"request\":\"status\"}\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/run/xylem/%s.sock",
		 proxy_instance(proxy));
	reader = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(reader >= 0);
	assert_int_equal(connect(reader, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(reader, request, sizeof(request) - 1), sizeof(request) - 1);
}

/* What the proxy can send unread, at most; and something more. */
static size_t unread_max(void)
{
	FILE *file = fopen("/proc/sys/net/core/wmem_default", "re");
	unsigned long bytes = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &bytes), 1);
	fclose(file);
	return bytes + 4 * (size_t)PIECE;
}

static void reader_await_begun(void)
{
	struct pollfd polled = {.fd = reader, .events = POLLIN};

	assert_int_equal(poll(&polled, 1, TEST_TIMEOUT_MS), 1);
}

/* The whole status, which is one line. */
static json_t *reader_read(void)
{
	size_t length = 0, size = 64 << 10;
	char *text = malloc(size);
	json_t *status;

	assert_non_null(text);
	while (length == 0 || text[length - 1] != '\n') {
		ssize_t got;

		reader_await_begun();
		got = read(reader, text + length, size - length);
		assert_true(got > 0);
		length += (size_t)got;
		if (length < size)
			continue;
		size *= 2;
		text = realloc(text, size);
		assert_non_null(text);
	}
	status = json_loadb(text, length, 0, NULL);
	free(text);
	assert_non_null(status);
	close(reader);
	reader = -1;
	return status;
}

/* ---- connections ----------------------------------------------------------------------------- */

/* So many that their status cannot be on its way to a reader that does not read. */
static unsigned many(void)
{
	unsigned count = (unsigned)(3 * unread_max() / ENTRY) & ~1u;
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return count;
}

/* Its name takes six bytes for each of its own. */
static struct raw *open_wide(const struct proxy *proxy)
{
	struct raw *raw = raw_connect_unix(proxy);
	char hello[64 + 6 * XY_NAME_MAX] = "{\"ack\":true,\"name\":\"";

	for (int i = 0; i < XY_NAME_MAX; i++)
		strcat(hello, "\\u0001");
	raw_hello(raw, strcat(hello, "\"}"));
	raw_sync(raw);
	return raw;
}

static unsigned listed(json_t *status, uint64_t endpoint)
{
	struct raw raw = {.endpoint = endpoint};
	json_t *entry = status_connection(status, &raw);
	unsigned count = 0, i;
	json_t *other;

	json_array_foreach(json_object_get(status, "connections"), i, other) count +=
		entry != NULL &&
		json_equal(json_object_get(other, "endpoint"), json_object_get(entry, "endpoint"));
	return count;
}

/* In the list of that name. */
static size_t entries_in(const json_t *status, const char *list)
{
	return json_array_size(json_object_get(status, list));
}

static void await_entries(const struct proxy *proxy, const char *list, size_t count)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	size_t now = count + 1;

	while (now != count) {
		json_t *status = status_take_whole(proxy);

		now = entries_in(status, list);
		json_decref(status);
		assert_true(test_now_ms() < deadline);
	}
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_who_reads_slowly_gets_what_is_there_when_he_reads(void **state)
{
	struct proxy *proxy = *state;
	unsigned count = many(), gone_listed = 0, descriptors;
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS;
	struct raw **raw = calloc(count, sizeof(*raw)), *later[8];
	uint64_t *endpoint = calloc(count, sizeof(*endpoint));
	json_t *status;

	assert_true(raw != NULL && endpoint != NULL);
	for (unsigned c = 0; c < count; c++) {
		raw[c] = open_wide(proxy);
		endpoint[c] = raw[c]->endpoint;
	}
	descriptors = proxy_descriptors(proxy);
	reader_ask(proxy);
	reader_await_begun();
	/* Every other one goes, and some come to where they were. */
	for (unsigned c = 1; c < count; c += 2)
		raw_close(raw[c]);
	while (proxy_descriptors(proxy) > descriptors + 1 - count / 2)
		assert_true(test_now_ms() < deadline);
	for (unsigned i = 0; i < 8; i++)
		later[i] = raw_open_unix(proxy);

	status = reader_read();
	/* A loop that the machine does not run for so long is passed by. */
	for (unsigned c = 0; c < count; c += 2)
		assert_in_range(listed(status, endpoint[c]), status_is_whole(status), 1);
	for (unsigned c = 1; c < count; c += 2)
		gone_listed += listed(status, endpoint[c]);
	/* Were it made at once, all of them would be in it. */
	assert_true(gone_listed <= unread_max() / ENTRY);
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(listed(status, later[i]->endpoint), 0, 1);
	json_decref(status);
	free(raw);
	free(endpoint);
}

static void test_who_leaves_in_the_middle_leaves_nothing(void **state)
{
	struct proxy *proxy = *state;
	unsigned descriptors = proxy_descriptors(proxy);
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	raw_open_unix(proxy);
	for (int i = 0; i < 100; i++) {
		reader_ask(proxy);
		if (i % 2 == 0)
			assert_true(read(reader, &(char){0}, 1) == 1);
		close(reader);
		reader = -1;
	}
	while (proxy_descriptors(proxy) > descriptors + 1)
		assert_true(test_now_ms() < deadline);
	await_entries(proxy, "connections", 1);
}

/* Each of its quotation marks takes two bytes. */
static void subscribe_wide(struct raw *raw, unsigned number)
{
	char json[64 + 2 * XY_SUBJECT_MAX], *end = json;

	end += sprintf(end, "{\"subject\":\"%u.", number);
	for (unsigned i = 0; i < XY_SUBJECT_MAX - 16; i++)
		end = stpcpy(end, "\\\"");
	strcpy(end, "\"}");
	raw_subscribe(raw, json);
}

/* Page by page: the router works on in between. */
static void test_what_the_router_knows_is_listed_as_it_is_read(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = raw_open_unix(proxy);
	size_t most = unread_max() / SUBSCRIPTION, count = 2 * most;
	json_t *status;

	for (unsigned s = 0; s < count; s++)
		subscribe_wide(raw, s);
	await_entries(proxy, "subscriptions", count);
	reader_ask(proxy);
	reader_await_begun();
	raw_close(raw);
	await_entries(proxy, "subscriptions", 0);
	status = reader_read();
	assert_true(entries_in(status, "subscriptions") <= most);
	json_decref(status);
}

static void assert_stuck(json_t *status, const char *loop)
{
	assert_true(json_is_true(json_object_get(status_loop(status, loop), "stuck")));
}

/* Also where nobody says that they are stuck: the watchdog stands still, too. */
static void test_loops_that_stand_still_do_not_keep_a_status(void **state)
{
	static const char *const all[] = {"loop-0", "loop-1", "router"};
	struct proxy *proxy = *state;

	raw_open(proxy);
	for (unsigned l = 0; l < 3; l++) {
		stop(proxy, 0, "xylem");
		stop(proxy, 1, all[l]);
		for (int i = 0; i < 3; i++) {
			json_t *status = status_take(proxy);

			assert_stuck(status, all[l]);
			json_decref(status);
		}
		go();
		json_decref(status_take_whole(proxy));
	}
	for (unsigned l = 0; l < 3; l++)
		stop(proxy, l, all[l]);
	stop(proxy, 3, "xylem");
	for (int i = 0; i < 3; i++) {
		json_t *status = status_take(proxy);

		for (unsigned l = 0; l < 3; l++)
			assert_stuck(status, all[l]);
		assert_int_equal(entries_in(status, "connections"), 0);
		json_decref(status);
	}
	go();
	await_entries(proxy, "connections", 1);
}

/* What was written stays, and the rest comes to a proper end. */
static void test_loops_that_stop_in_the_middle_end_their_lists(void **state)
{
	struct proxy *proxy = *state;
	unsigned count = many();
	json_t *status;

	for (unsigned c = 0; c < count; c++)
		open_wide(proxy);
	reader_ask(proxy);
	reader_await_begun();
	stop(proxy, 0, "loop-0");
	stop(proxy, 1, "loop-1");
	status = reader_read();
	assert_stuck(status, "loop-0");
	assert_stuck(status, "loop-1");
	assert_true(entries_in(status, "connections") < count);
	json_decref(status);
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "2", "--stuck-after", "2s", NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_who_reads_slowly_gets_what_is_there_when_he_reads,
					  teardown),
		cmocka_unit_test_teardown(test_who_leaves_in_the_middle_leaves_nothing, teardown),
		cmocka_unit_test_teardown(test_what_the_router_knows_is_listed_as_it_is_read,
					  teardown),
		cmocka_unit_test_teardown(test_loops_that_stand_still_do_not_keep_a_status,
					  teardown),
		cmocka_unit_test_teardown(test_loops_that_stop_in_the_middle_end_their_lists,
					  teardown),
	};

	return proxy_run_both(tests, arguments);
}
