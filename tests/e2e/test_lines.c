/* SPDX-License-Identifier: BSD-2-Clause */
/* The newline server of docs/examples, over real sockets: what it answers, and what it holds. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/program.h"
#include "common/proxy.h"

#define LENGTH(a)    (sizeof(a) / sizeof((a)[0]))
#define STRINGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CLIENTS_MAX  256
#define MIB          ((size_t)1 << 20)

#define LINE_MAX_GIVEN 100000u
#define TOO_LONG       "error: a line has at most 100000 bytes\n"
/* What the server may take for one client at most, whatever that sends: both pipes up to their
 * pause, a line, the segments at their ends; and the cache of its pool. With reserve. */
#ifdef __SANITIZE_THREAD__
#define HELD_MAX (48 * MIB) /* the sanitizer's notes of each byte are resident, too */
#else
#define HELD_MAX (6 * MIB)
#endif

static struct program *server;
static uint16_t port;
static int clients[CLIENTS_MAX];
static size_t client_count;

static const char *binary(void)
{
	static char path[4096];
	const char *build = getenv("XY_BUILD");

	snprintf(path, sizeof(path), "%s/examples/lines", build != NULL ? build : "build");
	return path;
}

static int setup(void **state)
{
	const char *const argv[] = {binary(), "--port", "0", "--line-max", "100000", NULL};
	int number;

	(void)state;
	server = program_start(argv);
	assert_int_equal(sscanf(program_line(server), "listening at 127.0.0.1 port %d", &number),
			 1);
	port = (uint16_t)number;
	client_count = 0;
	return 0;
}

/* Whatever a test did to it, the server ends when it is told to, and without complaint. */
static int teardown(void **state)
{
	(void)state;
	while (client_count > 0)
		close(clients[--client_count]);
	kill(program_pid(server), SIGTERM);
	program_end(server, 0);
	return 0;
}

static int client_open(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0 && client_count < CLIENTS_MAX);
	clients[client_count++] = fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

static void wait_for(int fd, short events)
{
	struct pollfd polled = {.fd = fd, .events = events};

	if (poll(&polled, 1, TEST_TIMEOUT_MS) != 1)
		fail_msg("the server does not move");
}

static void send_all(int fd, const void *data, size_t length)
{
	const char *from = data;

	while (length > 0) {
		ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);

		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			wait_for(fd, POLLOUT);
			continue;
		}
		from += sent;
		length -= (size_t)sent;
	}
}

static void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

/* Reads exactly these bytes. */
static void expect(int fd, const void *data, size_t length)
{
	static char got[1 << 18];
	const char *wanted = data;

	while (length > 0) {
		ssize_t n = recv(fd, got, length < sizeof(got) ? length : sizeof(got), 0);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			wait_for(fd, POLLIN);
			continue;
		}
		assert_int_not_equal(n, 0);
		assert_memory_equal(got, wanted, (size_t)n);
		wanted += n;
		length -= (size_t)n;
	}
}

static void expect_text(int fd, const char *text)
{
	expect(fd, text, strlen(text));
}

static void expect_end(int fd)
{
	char byte;

	wait_for(fd, POLLIN);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* The most memory that the server ever had. */
static size_t server_peak(void)
{
	char path[64], line[128];
	size_t kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", program_pid(server));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL && sscanf(line, "VmHWM: %zu", &kib) != 1)
		;
	fclose(file);
	assert_true(kib > 0);
	return kib << 10;
}

/* ---- lines --------------------------------------------------------------------------------- */

static void split_lines_are_put_together(void **state)
{
	int fd = client_open();

	(void)state;
	for (const char *at = "hello\n\nwor"; *at; at++)
		send_all(fd, at, 1);
	expect_text(fd, "5 hello\n0 \n");
	send_text(fd, "ld\nnext");
	expect_text(fd, "5 world\n");
	send_text(fd, "\n");
	expect_text(fd, "4 next\n");
}

static void many_lines_in_one_send_are_all_answered(void **state)
{
	char *lines = malloc(20 * 10000), *answers = malloc(20 * 10000);
	size_t in = 0, out = 0;
	int fd = client_open();

	(void)state;
	assert_true(lines != NULL && answers != NULL);
	for (int i = 0; i < 10000; i++) {
		int length = sprintf(lines + in, "line %d\n", i);

		out += (size_t)sprintf(answers + out, "%d %s", length - 1, lines + in);
		in += (size_t)length;
	}
	send_all(fd, lines, in);
	expect(fd, answers, out);
	free(lines);
	free(answers);
}

static void lines_of_all_sizes_up_to_the_limit_come_back_whole(void **state)
{
	static const size_t sizes[] = {1,     2,     4094,  4095,  4096,          65534,
				       65535, 65536, 65537, 99999, LINE_MAX_GIVEN};
	static char line[LINE_MAX_GIVEN + 1];
	int fd = client_open();
	char text[32];

	(void)state;
	for (size_t i = 0; i < 10 * LENGTH(sizes); i++) {
		size_t size = sizes[i % LENGTH(sizes)];

		for (size_t k = 0; k < size; k++)
			line[k] = (char)('a' + (i + k / 7) % 26);
		line[size] = '\n';
		send_all(fd, line, size + 1);
		sprintf(text, "%zu ", size);
		expect_text(fd, text);
		expect(fd, line, size + 1);
	}
}

static void line_above_the_limit_is_refused_and_the_next_one_answered(void **state)
{
	static char line[2 * LINE_MAX_GIVEN];
	int fd = client_open();

	(void)state;
	memset(line, 'x', sizeof(line));
	/* At once, its end with it; and piece by piece, its end later. */
	line[LINE_MAX_GIVEN + 1] = '\n';
	send_all(fd, line, LINE_MAX_GIVEN + 2);
	send_text(fd, "good\n");
	expect_text(fd, TOO_LONG "4 good\n");
	line[LINE_MAX_GIVEN + 1] = 'x';
	send_all(fd, line, sizeof(line));
	expect_text(fd, TOO_LONG);
	send_text(fd, "still the same line\ngood again\n");
	expect_text(fd, "10 good again\n");
}

static void endless_line_takes_bounded_memory(void **state)
{
	static char part[MIB];
	int fd = client_open();
	size_t before;

	(void)state;
	send_text(fd, "ready\n");
	expect_text(fd, "5 ready\n");
	before = server_peak();
	memset(part, 'x', sizeof(part));
	for (int i = 0; i < 64; i++)
		send_all(fd, part, sizeof(part));
	send_text(fd, "\nover\n");
	expect_text(fd, TOO_LONG "4 over\n");
	assert_true(server_peak() - before < HELD_MAX);
}

static void half_closed_client_gets_all_its_answers_and_the_end(void **state)
{
	int fd = client_open();

	(void)state;
	send_text(fd, "one\ntwo\nlast");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_text(fd, "3 one\n3 two\n4 last\n");
	expect_end(fd);
	fd = client_open();
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_end(fd);
}

/* ---- clients that do not read -------------------------------------------------------------- */

#define SLOW_LINE  1000u
#define SLOW_LINES 65536u /* 64 MiB, more than all the socket buffers between the two */

/* The i-th line: all of its bytes depend on i. */
static void slow_line(char line[SLOW_LINE + 1], size_t i)
{
	memset(line, 'a' + (int)(i % 26), SLOW_LINE);
	line[sprintf(line, "%zu", i)] = ':';
	line[SLOW_LINE] = '\n';
}

/* Sends lines until the server takes no more; returns how many. The next one may be sent in part:
 * *ret_sent says how much of it. */
static size_t fill_up(int fd, size_t *ret_sent)
{
	char line[SLOW_LINE + 1];
	size_t i = 0, at = 0;

	while (i < SLOW_LINES) {
		struct pollfd polled = {.fd = fd, .events = POLLOUT};
		ssize_t sent;

		slow_line(line, i);
		sent = send(fd, line + at, sizeof(line) - at, MSG_NOSIGNAL);
		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			/* A server that is merely late makes this test weaker, and not red. */
			if (poll(&polled, 1, 300) == 0)
				break;
			continue;
		}
		at += (size_t)sent;
		if (at == sizeof(line)) {
			at = 0;
			i++;
		}
	}
	*ret_sent = at;
	return i;
}

static void client_that_does_not_read_is_not_read_and_loses_nothing(void **state)
{
	char line[SLOW_LINE + 1];
	int fd = client_open(), other = client_open();
	size_t before, sent, lines;

	(void)state;
	send_text(other, "ready\n");
	expect_text(other, "5 ready\n");
	before = server_peak();
	lines = fill_up(fd, &sent);
	print_message("the server stopped reading after %zu lines\n", lines);
	assert_true(lines < SLOW_LINES);
	assert_true(server_peak() - before < HELD_MAX);
	/* Nobody else notices. */
	send_text(other, "still there?\n");
	expect_text(other, "12 still there?\n");
	for (size_t i = 0; i <= lines; i++) {
		slow_line(line, i);
		if (i == lines)
			send_all(fd, line + sent, sizeof(line) - sent);
		expect_text(fd, "1000 ");
		expect(fd, line, sizeof(line));
	}
	assert_true(server_peak() - before < HELD_MAX);
}

static void client_that_goes_while_its_answers_wait_is_forgotten(void **state)
{
	struct linger reset = {.l_onoff = 1};
	int other = client_open(), fd = client_open();
	size_t sent;

	(void)state;
	fill_up(fd, &sent);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd);
	client_count--;
	send_text(other, "still there?\n");
	expect_text(other, "12 still there?\n");
}

static void many_clients_are_served_at_once(void **state)
{
	char text[64];

	(void)state;
	for (int i = 0; i < 200; i++)
		client_open();
	for (int half = 0; half < 2; half++) {
		for (int i = 0; i < 200; i++) {
			sprintf(text, half == 0 ? "client %03d, fir" : "st line\nclient %03d\n", i);
			send_text(clients[i], text);
		}
	}
	for (int i = 0; i < 200; i++) {
		sprintf(text, "22 client %03d, first line\n10 client %03d\n", i, i);
		expect_text(clients[i], text);
	}
}

/* ---- command line -------------------------------------------------------------------------- */

static void help_and_complaints_end_with_the_right_status(void **state)
{
	char taken[16];
	const struct {
		const char *const *arguments;
		int status;
		const char *says; /* begins with, on standard output; NULL: nothing there */
	} table[] = {
		{STRINGS("--help"), 0,
		 "usage: lines [--host HOST] [--port PORT] [--line-max BYTES]"},
		{STRINGS("--port", "65536"), 2, NULL},
		{STRINGS("--port", "-1"), 2, NULL},
		{STRINGS("--line-max", "0"), 2, NULL},
		{STRINGS("--line-max", "1k"), 2, NULL},
		{STRINGS("--host"), 2, NULL},
		{STRINGS("--nothing"), 2, NULL},
		{STRINGS("something"), 2, NULL},
		{STRINGS("--port", taken), 1, NULL},
	};

	(void)state;
	snprintf(taken, sizeof(taken), "%u", port);
	for (size_t i = 0; i < LENGTH(table); i++) {
		const char *argv[8] = {binary()};
		struct program *program;

		for (size_t a = 0; table[i].arguments[a] != NULL; a++)
			argv[a + 1] = table[i].arguments[a];
		program = program_start(argv);
		if (table[i].says != NULL) {
			program_expect(program, table[i].says);
			program_finish(program, table[i].status);
		} else {
			program_end(program, table[i].status);
		}
	}
}

#define LINES_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINES_TEST(split_lines_are_put_together),
		LINES_TEST(many_lines_in_one_send_are_all_answered),
		LINES_TEST(lines_of_all_sizes_up_to_the_limit_come_back_whole),
		LINES_TEST(line_above_the_limit_is_refused_and_the_next_one_answered),
		LINES_TEST(endless_line_takes_bounded_memory),
		LINES_TEST(half_closed_client_gets_all_its_answers_and_the_end),
		LINES_TEST(client_that_does_not_read_is_not_read_and_loses_nothing),
		LINES_TEST(client_that_goes_while_its_answers_wait_is_forgotten),
		LINES_TEST(many_clients_are_served_at_once),
		LINES_TEST(help_and_complaints_end_with_the_right_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
