/* SPDX-License-Identifier: BSD-2-Clause */
/* What commands say when they are given what cannot work, and with which status. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/command.h"
#include "common/sandbox.h"

static const char *const commands[] = {"serve",  "pub",    "sub",    "request", "reply",
				       "status", "doctor", "reload", "bench"};

/* ---- every command --------------------------------------------------------------------------- */

static void test_help_is_there_for_every_command(void **state)
{
	char usage[64];

	(void)state;
	for (size_t i = 0; i < LENGTH(commands); i++) {
		const char *const forms[][3] = {{commands[i], "--help", NULL},
						{commands[i], "-h", NULL},
						{"help", commands[i], NULL}};

		snprintf(usage, sizeof(usage), "Usage: xylem %s ", commands[i]);
		for (size_t form = 0; form < LENGTH(forms); form++) {
			run(NULL, forms[form]);
			ended(OK);
			says(outcome.out, STRINGS(usage, "--help", "  xylem "));
			assert_string_equal(outcome.err, "");
		}
		RUN("--help");
		ended(OK);
		says(outcome.out, STRINGS("Usage: xylem COMMAND", commands[i], "Exit status"));
	}
	RUN("--version");
	ended(OK);
	says(outcome.out, STRINGS("xylem " XY_VERSION));
}

static void test_unknown_commands_and_options_are_named_with_the_remedy(void **state)
{
	char remedy[64];

	(void)state;
	RUN("frobnicate");
	ended(USAGE);
	SAYS("'frobnicate'", "serve", "status", "Try 'xylem --help'");
	RUN("--frobnicate");
	ended(USAGE);
	SAYS("no option '--frobnicate'", "Try 'xylem --help'");
	run(NULL, (const char *const[]){NULL});
	ended(USAGE);
	SAYS("Usage: xylem COMMAND");
	for (size_t i = 0; i < LENGTH(commands); i++) {
		snprintf(remedy, sizeof(remedy), "Try 'xylem %s --help'", commands[i]);
		RUN(commands[i], "--frobnicate=7");
		ended(USAGE);
		SAYS("no option --frobnicate", remedy);
		RUN(commands[i], "-Z");
		ended(USAGE);
		SAYS("no option -Z", remedy);
		assert_string_equal(outcome.out, "");
	}
}

static void test_arguments_that_are_missing_or_too_many_are_told(void **state)
{
	static const struct {
		const char *const line[6], *words;
	} bad[] = {
		{{"pub"}, "arguments are missing"},
		{{"sub"}, "arguments are missing"},
		{{"request"}, "arguments are missing"},
		{{"reply", "--echo"}, "arguments are missing"},
		{{"pub", "a", "b", "c"}, "'c' is one argument too many"},
		{{"serve", "extra"}, "'extra' is one argument too many"},
		{{"pub", "--count"}, "option --count needs N"},
		{{"serve", "--listen"}, "option --listen needs HOST:PORT"},
		{{"pub", "--no-lane=1", "a", "b"}, "option --no-lane takes no argument"},
		{{"sub", "--count", "0", "a"}, "--count: '0'"},
		{{"sub", "--timeout", "soon", "a"}, "--timeout: 'soon'"},
		{{"sub", "--overflow", "spill", "a"}, "--overflow: 'spill'"},
		{{"pub", "--rate", "0", "a", "b"}, "--rate: '0'"},
		{{"status", "nonsense"}, "no section 'nonsense'"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		run(NULL, bad[i].line);
		ended(USAGE);
		SAYS(bad[i].words, "Try 'xylem ");
	}
}

/* ---- clients --------------------------------------------------------------------------------- */

static void test_where_nobody_listens_clients_end_with_3_and_the_remedy(void **state)
{
	char address[32], missing[160];

	(void)state;
	close(port_take(address));
	snprintf(missing, sizeof(missing), "unix:%s", in_directory("nobody.sock"));
	for (int i = 0; i < 2; i++) {
		const char *server = i == 0 ? address : missing;

		RUN("pub", "--server", server, "a", "b");
		ended(UNREACHABLE);
		SAYS("xylem pub: cannot connect to", server, "xylem serve");
		RUN("sub", "--server", server, "a");
		ended(UNREACHABLE);
		SAYS("xylem sub: cannot connect to", server);
		RUN("request", "--server", server, "a", "b");
		ended(UNREACHABLE);
		SAYS("xylem request: cannot connect to", server);
		RUN("reply", "--server", server, "--echo", "a");
		ended(UNREACHABLE);
		SAYS("xylem reply: cannot connect to", server);
	}
	setenv("XYLEM_SERVER", address, 1);
	RUN("pub", "a", "b");
	unsetenv("XYLEM_SERVER");
	ended(UNREACHABLE);
	SAYS(address);
	RUN("pub", "--server", "nonsense", "a", "b");
	ended(USAGE);
	SAYS("nonsense", "HOST:PORT");
	RUN("status", "--instance", "no-such-instance");
	ended(UNREACHABLE);
	SAYS("no-such-instance", "xylem serve");
	RUN("status", "--instance", "no-such-instance", "--ready");
	ended(FAILURE);
	assert_string_equal(outcome.err, "");
}

static void test_who_is_no_proxy_is_unreachable(void **state)
{
	static const char garbage[128] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	struct running running;
	char address[32];
	int fd = port_take(address), peer;

	(void)state;
	running = start(NULL, STRINGS("pub", "--server", address, "a", "b"));
	peer = accept(fd, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(write(peer, garbage, sizeof(garbage)), sizeof(garbage));
	finish(running);
	ended(UNREACHABLE);
	SAYS(address, "no xylem proxy");
	close(peer);
	close(fd);
}

static void test_nobody_answers_is_4(void **state)
{
	struct proxy *proxy = *state;
	const char *server = proxy_server(proxy);
	struct running listener;

	RUN("request", "--server", server, "options.nobody", "?");
	ended(UNANSWERED);
	SAYS("no-responders");
	RUN("sub", "--server", server, "--timeout", "50ms", "options.silence");
	ended(UNANSWERED);
	SAYS("--timeout");
	/* Somebody listens and does not answer. */
	listener = start(NULL, STRINGS("sub", "--server", server, "--count", "1", "options.mute"));
	do
		RUN("request", "--server", server, "--timeout", "100ms", "options.mute", "?");
	while (outcome.status == UNANSWERED && strstr(outcome.err, "no-responders") != NULL);
	ended(UNANSWERED);
	SAYS("no reply within 100 ms");
	finish(listener);
	ended(OK);
}

static void test_done_is_0(void **state)
{
	struct proxy *proxy = *state;
	const char *server = proxy_server(proxy), *name = proxy_instance(proxy);
	struct running answers = start(
		NULL, STRINGS("reply", "--server", server, "--count", "1", "--echo", "opt.e"));

	do
		RUN("request", "--server", server, "opt.e", "payload");
	while (outcome.status == UNANSWERED);
	ended(OK);
	assert_string_equal(outcome.out, "payload\n");
	finish(answers);
	ended(OK);
	RUN("pub", "--server", proxy_unix(proxy), "--count", "10", "a.b", "x");
	ended(OK);
	RUN("status", "--instance", name);
	ended(OK);
	RUN("status", "--instance", name, "--json");
	ended(OK);
	says(outcome.out, STRINGS("\"instance\"", name));
	RUN("status", "--instance", name, "--admin", "/nowhere");
	ended(USAGE);
	SAYS("--admin", "--instance");
}

static void test_what_the_proxy_or_the_library_refuses_is_told(void **state)
{
	const char *server = proxy_server(*state);

	RUN("pub", "--server", server, "a..b", "x");
	ended(USAGE);
	SAYS("a..b");
	RUN("pub", "--server", server, "a.*", "x");
	ended(USAGE);
	SAYS("a.*");
	RUN("sub", "--server", server, "a.>.b");
	ended(USAGE);
	SAYS("a.>.b");
	RUN("pub", "--server", server, "--file", in_directory("no-input"), "a.b");
	assert_int_not_equal(outcome.status, OK);
	SAYS("no-input", "No such file");
}

static void test_a_signal_before_the_work_is_done_is_130(void **state)
{
	const char *server = proxy_server(*state);
	struct running running;

	running = start(NULL, STRINGS("pub", "--server", server, "--rate", "1", "--count", "1000",
				      "options.slow", "x"));
	RUN("sub", "--server", server, "--count", "1", "options.slow");
	ended(OK);
	kill(running.pid, SIGTERM);
	finish(running);
	ended(SIGNALLED);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int setup(void **state)
{
	sandbox_enter();
	unsetenv("XYLEM_SERVER");
	directory_make();
	*state = proxy_start(KERNEL_PATH_OFF, NULL);
	return 0;
}

static int teardown(void **state)
{
	proxy_stop(*state);
	directory_remove();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help_is_there_for_every_command),
		cmocka_unit_test(test_unknown_commands_and_options_are_named_with_the_remedy),
		cmocka_unit_test(test_arguments_that_are_missing_or_too_many_are_told),
		cmocka_unit_test(test_where_nobody_listens_clients_end_with_3_and_the_remedy),
		cmocka_unit_test(test_who_is_no_proxy_is_unreachable),
		cmocka_unit_test(test_nobody_answers_is_4),
		cmocka_unit_test(test_done_is_0),
		cmocka_unit_test(test_what_the_proxy_or_the_library_refuses_is_told),
		cmocka_unit_test(test_a_signal_before_the_work_is_done_is_130),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
