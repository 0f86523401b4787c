/* SPDX-License-Identifier: BSD-2-Clause */
/* A client in another language, written from the protocol's page alone: with itself, and with the
 * commands of `xylem`. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/program.h"
#include "common/proxy.h"
#include "common/raw.h"

#define WORDS_MAX 24

static int teardown(void **state)
{
	program_kill_all();
	return proxy_test_teardown(state);
}

#define python_test(function) cmocka_unit_test_teardown(function, teardown)

/* Copies words up to a NULL behind those that are there. */
static void append(const char **argv, const char *const *words)
{
	size_t count = 0;

	while (argv[count] != NULL)
		count++;
	while (*words != NULL) {
		assert_true(count + 1 < WORDS_MAX);
		argv[count++] = *words++;
	}
}

static struct program *start_python(const char *server, const char *const *words)
{
	static char path[512];
	const char *argv[WORDS_MAX] = {"python3", "-B", path, "--server", server};
	const char *slash = strrchr(__FILE__, '/');

	snprintf(path, sizeof(path), "%.*s/xylem_cli.py", (int)(slash - __FILE__), __FILE__);
	if (access(path, R_OK) < 0)
		fail_msg("%s is not there: run the tests in the root of the sources", path);
	append(argv, words);
	return program_start(argv);
}

static struct program *start_xylem(const char *command, const char *server,
				   const char *const *words)
{
	const char *argv[WORDS_MAX] = {proxy_binary(), command, "--server", server};

	append(argv, words);
	return program_start(argv);
}

#define WORDS(...)                  ((const char *const[]){__VA_ARGS__, NULL})
#define python(server, ...)         start_python(server, WORDS(__VA_ARGS__))
#define xylem(command, server, ...) start_xylem(command, server, WORDS(__VA_ARGS__))

static void expect_ready(struct program *program, const struct proxy *proxy)
{
	program_expect(program,
		       proxy_kernel_path(proxy) == KERNEL_PATH_ON ? "ready lane" : "ready no-lane");
}

/* Asks on a subject until somebody gets it. Stays connected, for a reply. */
static void await_subscriber(const struct proxy *proxy, const char *subject)
{
	uint64_t deadline = test_now_ms() + PROGRAM_TIMEOUT_MS;
	struct raw *raw = raw_open(proxy);
	struct xy_frame probe = raw_header(raw, XY_DATA);
	bool heard = false;

	probe.target = raw_declare(raw, subject);
	probe.flags = XY_REPLY_WANTED;
	while (!heard) {
		assert_true(test_now_ms() < deadline);
		raw_send_frame(raw, probe, "probe", 5);
		raw_send_frame(raw, raw_header(raw, XY_PING), NULL, 0);
		heard = true;
		while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME &&
		       raw->frame.header.type != XY_PONG)
			heard = heard && raw->frame.header.type != XY_ERROR;
	}
}

/* ---- with itself ----------------------------------------------------------------------------- */

static void test_messages_arrive(void **state)
{
	const char *server = proxy_server(*state);
	struct program *sub = python(server, "sub", "py.>", "--count", "3"), *pub;

	expect_ready(sub, *state);
	pub = python(server, "pub", "py.a.b", "one", "two", "three");
	expect_ready(pub, *state);
	program_expect(sub, "message py.a.b 1 3 one");
	program_expect(sub, "message py.a.b 2 3 two");
	program_expect(sub, "message py.a.b 3 5 three");
	program_finish(pub, 0);
	program_finish(sub, 0);
}

static void assert_stream(const struct proxy *proxy, const char *server, const char *count,
			  const char *size, const char *bundle, const char *global)
{
	struct program *sub, *pub;
	char line[64];

	sub = python(server, global, "sub", "py.stream", "--count", count, "--verify");
	assert_memory_equal(program_line(sub), "ready", 5);
	pub = python(server, global, "pub", "py.stream", "--count", count, "--size", size,
		     "--bundle", bundle);
	assert_memory_equal(program_line(pub), "ready", 5);
	snprintf(line, sizeof(line), "verified %s", count);
	program_expect(sub, line);
	program_finish(pub, 0);
	program_finish(sub, 0);
	proxy_check(proxy);
}

static void test_a_long_stream_arrives_whole_and_in_order(void **state)
{
	assert_stream(*state, proxy_server(*state), "10000", "300", "1", "--timeout=60");
}

static void test_large_messages_are_reassembled(void **state)
{
	assert_stream(*state, proxy_server(*state), "8", "3000000", "1", "--timeout=60");
}

static void test_bundles_and_crcs_are_right(void **state)
{
	assert_stream(*state, proxy_server(*state), "2000", "100", "50", "--crc");
	assert_stream(*state, proxy_server(*state), "3", "200000", "1", "--crc");
}

static void test_without_lane_the_same_arrives(void **state)
{
	assert_stream(*state, proxy_server(*state), "2000", "1000", "1", "--no-lane");
	assert_stream(*state, proxy_unix(*state), "2000", "1000", "1", "--timeout=60");
}

static void test_requests_are_replied_to(void **state)
{
	const char *server = proxy_server(*state);
	struct program *replier, *asker;

	replier = python(server, "reply", "py.ask", "--count", "2", "--prefix", "re:");
	expect_ready(replier, *state);
	asker = python(server, "request", "py.ask", "this", "that");
	expect_ready(asker, *state);
	program_expect(asker, "reply 7 re:this");
	program_expect(asker, "reply 7 re:that");
	program_finish(asker, 0);
	program_finish(replier, 0);
}

static void test_errors_are_told(void **state)
{
	struct program *program = python(proxy_server(*state), "request", "py.nobody", "?");

	expect_ready(program, *state);
	program_expect(program, "error no-responders");
	program_end(program, 3);
	program = python(proxy_server(*state), "sub", "bad..subject");
	program_expect(program, "error bad-subject");
	program_end(program, 3);
}

/* ---- with the commands of `xylem` ------------------------------------------------------------ */

static void test_xylem_sub_prints_what_python_publishes(void **state)
{
	const char *server = proxy_server(*state);
	struct program *sub = xylem("sub", server, "--count", "3", "--format", "subject", "mix.>");
	struct program *pub;

	await_subscriber(*state, "mix.probe");
	program_line(sub);
	pub = python(server, "pub", "mix.a", "from", "python");
	assert_non_null(strstr(program_line(sub), "from"));
	assert_non_null(strstr(program_line(sub), "python"));
	program_finish(pub, 0);
	program_end(sub, 0);
}

static void test_python_prints_what_xylem_pub_publishes(void **state)
{
	const char *server = proxy_server(*state);
	struct program *sub = python(server, "sub", "mix.>", "--count", "1002");

	expect_ready(sub, *state);
	program_end(xylem("pub", server, "mix.a", "from xylem"), 0);
	program_expect(sub, "message mix.a 1 10 from xylem");
	/* Many small ones at once: bundles, if the library makes them. */
	program_end(xylem("pub", server, "--count", "1000", "mix.b", "again"), 0);
	for (int i = 1; i <= 1000; i++) {
		char line[64];

		snprintf(line, sizeof(line), "message mix.b %d 5 again", i);
		program_expect(sub, line);
	}
	program_end(xylem("pub", server, "mix.c", ""), 0);
	program_expect(sub, "message mix.c 1 0 -");
	program_finish(sub, 0);
}

#define LARGE 3000000

/* The message that `pub --size` makes with index 0. */
static void generate(uint8_t *message)
{
	memset(message, 0, 8);
	for (size_t i = 8; i < LARGE; i++)
		message[i] = (uint8_t)((i - 8) % 251 * 7);
}

static void test_large_messages_pass_from_python_to_xylem(void **state)
{
	char path[] = "/tmp/xylem-large-XXXXXX";
	const char *server = proxy_server(*state);
	uint8_t *expected = malloc(LARGE), *got = malloc(LARGE);
	int fd = mkstemp(path);
	struct program *sub;
	struct stat info;

	assert_true(fd >= 0 && expected != NULL && got != NULL);
	generate(expected);
	sub = xylem("sub", server, "--count", "2", "--raw", "--output", path, "large.*");
	await_subscriber(*state, "large.probe");
	program_finish(python(server, "pub", "large.a", "--size", "3000000"), 0);
	program_end(sub, 0);
	assert_int_equal(fstat(fd, &info), 0);
	assert_int_equal(info.st_size, 5 + LARGE);
	assert_int_equal(pread(fd, got, LARGE, 5), LARGE);
	assert_memory_equal(got, expected, LARGE);
	close(fd);
	unlink(path);
	free(expected);
	free(got);
}

static void test_large_messages_pass_from_xylem_to_python(void **state)
{
	char path[] = "/tmp/xylem-large-XXXXXX";
	const char *server = proxy_server(*state);
	uint8_t *message = malloc(LARGE);
	int fd = mkstemp(path);
	struct program *sub;

	assert_true(fd >= 0 && message != NULL);
	generate(message);
	assert_int_equal(write(fd, message, LARGE), LARGE);
	sub = python(server, "sub", "large.b", "--count", "1", "--verify");
	expect_ready(sub, *state);
	program_end(xylem("pub", server, "--file", path, "large.b"), 0);
	program_expect(sub, "verified 1");
	program_finish(sub, 0);
	close(fd);
	unlink(path);
	free(message);
}

static void test_requests_pass_both_ways(void **state)
{
	const char *server = proxy_server(*state);
	struct program *replier = python(server, "reply", "mix.ask", "--prefix", "re:"), *asker;

	expect_ready(replier, *state);
	asker = xylem("request", server, "mix.ask", "xylem asks");
	program_expect(asker, "re:xylem asks");
	program_end(asker, 0);
	program_finish(replier, 0);

	replier = xylem("reply", server, "--echo", "--count", "2", "echo.*");
	await_subscriber(*state, "echo.probe");
	asker = python(server, "request", "echo.a", "python asks");
	expect_ready(asker, *state);
	program_expect(asker, "reply 11 python asks");
	program_finish(asker, 0);
	program_end(replier, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		python_test(test_messages_arrive),
		python_test(test_a_long_stream_arrives_whole_and_in_order),
		python_test(test_large_messages_are_reassembled),
		python_test(test_bundles_and_crcs_are_right),
		python_test(test_without_lane_the_same_arrives),
		python_test(test_requests_are_replied_to),
		python_test(test_errors_are_told),
		python_test(test_xylem_sub_prints_what_python_publishes),
		python_test(test_python_prints_what_xylem_pub_publishes),
		python_test(test_large_messages_pass_from_python_to_xylem),
		python_test(test_large_messages_pass_from_xylem_to_python),
		python_test(test_requests_pass_both_ways),
	};

	return proxy_run_both(tests, NULL);
}
