/* SPDX-License-Identifier: BSD-2-Clause */
/* `xylem bench` when something is wrong: a message, a worker, its user's patience. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "e2e/bench_fixture.h"

/* ---- messages -------------------------------------------------------------------------------- */

/* Harms one message of each publisher (tests/preload/harm.c). False: a sanitizer wants to be loaded
 * before everything else. */
static bool harm_begin(const char *how)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)how;
	return false;
#else
	char binary[PATH_MAX], library[PATH_MAX + 32];

	snprintf(binary, sizeof(binary), "%s", proxy_binary());
	snprintf(library, sizeof(library), "%s/tests/harm.so", dirname(binary));
	assert_int_equal(access(library, R_OK), 0);
	setenv("LD_PRELOAD", library, 1);
	setenv("XY_HARM", how, 1);
	return true;
#endif
}

static void harm_end(void)
{
	unsetenv("LD_PRELOAD");
	unsetenv("XY_HARM");
}

static int harm_teardown(void **state)
{
	harm_end();
	return proxy_test_teardown(state);
}

/* Two publishers harm one message each; what is wrong is counted under this name, as often as it
 * arrives, and nothing else is wrong. */
static void harmed(struct proxy *proxy, const char *work, const char *how, const char *name,
		   uint64_t times)
{
	static const char *const names[] = {"missing", "corrupt", "repeated", "foreign"};
	json_t *json;

	if (!harm_begin(how))
		return;
	BENCH(proxy, FAILURE, work, "--json", "--count", "50", "--send", "each", "--publishers",
	      "2", "--subscribers", "3");
	harm_end();
	SAYS("the figures are worth nothing");
	json = bench_line(0);
	assert_false(bench_true(json, "good"));
	for (size_t i = 0; i < LENGTH(names); i++)
		ARE(json, strcmp(names[i], name) == 0 ? times : 0, names[i]);
	json_decref(json);
}

static void test_a_damaged_message_is_found_by_every_subscriber(void **state)
{
	harmed(*state, "publish", "flip", "corrupt", 2 * 3);
}

static void test_a_damaged_request_is_found_by_its_reply(void **state)
{
	harmed(*state, "request", "flip", "corrupt", 2);
}

static void test_a_lost_message_is_found(void **state)
{
	harmed(*state, "publish", "drop", "missing", 2 * 3);
}

static void test_a_repeated_message_is_found(void **state)
{
	harmed(*state, "publish", "twice", "repeated", 2 * 3);
}

static void test_the_table_says_that_it_failed(void **state)
{
	if (!harm_begin("flip"))
		return;
	BENCH(*state, FAILURE, "publish", "--count", "50", "--send", "each");
	says(outcome.out, STRINGS(" FAILED"));
	assert_string_equal(outcome.err,
			    "xylem bench: publish, 64 B: of 50 messages 0 missing, 1 corrupt, 0 "
			    "repeated, 0 of strangers: the figures are worth nothing\n");
}

static void test_a_stranger_s_message_is_found(void **state)
{
	struct raw *onlooker = bench_onlooker(*state), *stranger = raw_open(*state);
	struct running running =
		BENCH_START(*state, "publish", "--json", "--rate", "100", "--count", "100");
	uint64_t topic;
	json_t *json;

	raw_expect_data(onlooker);
	assert_int_equal(onlooker->bound_count, 1);
	topic = raw_declare(stranger, onlooker->bound[0].subject);
	raw_publish(stranger, topic, 1, "not yours");
	raw_leave(stranger);
	raw_close(onlooker);
	finish(running);
	ended(FAILURE);
	json = bench_line(0);
	ARE(json, 100, "begun", "done");
	ARE(json, 1, "foreign");
	json_decref(json);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_sigint_ends_it_with_what_it_has_and_130(void **state)
{
	static const char *const works[] = {"publish", "request"};

	for (size_t i = 0; i < LENGTH(works); i++) {
		struct raw *onlooker = bench_onlooker(*state);
		struct running running = BENCH_START(*state, works[i], "--json", "--rate", "100",
						     "--duration", "1h", "--warmup", "1ms");
		uint64_t done;
		json_t *json;

		for (int message = 0; message < 10; message++)
			raw_expect_data(onlooker);
		raw_close(onlooker);
		kill(running.pid, SIGINT);
		finish(running);
		ended(SIGNALLED);
		SAYS("stopped before its time");
		json = bench_line(0);
		assert_true(bench_true(json, "interrupted"));
		done = bench_number(json, "done");
		assert_true(done >= 10);
		assert_exact(json, done);
		json_decref(json);
	}
}

static void test_a_worker_that_dies_fails_the_run(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct raw *onlooker = bench_onlooker(*state);
		struct running running =
			BENCH_START(*state, "publish", "--rate", "100", "--duration", "1h");
		pid_t workers[2];

		raw_expect_data(onlooker);
		assert_int_equal(bench_workers(running, workers, 2), 2);
		kill(workers[i], SIGKILL);
		finish(running);
		ended(FAILURE);
		SAYS("a worker was killed by signal 9");
		/* The other one has left. */
		assert_int_equal(kill(workers[1 - i], 0), -1);
		assert_int_equal(errno, ESRCH);
		raw_close(onlooker);
	}
}

static void test_its_workers_do_not_outlive_it(void **state)
{
	struct raw *onlooker = bench_onlooker(*state);
	struct running running =
		BENCH_START(*state, "publish", "--rate", "100", "--duration", "1h");
	pid_t workers[2];

	raw_expect_data(onlooker);
	assert_int_equal(bench_workers(running, workers, 2), 2);
	kill(running.pid, SIGKILL);
	finish(running);
	ended(-SIGKILL);
	/* Their connections end, or this client would be the last to go in vain. */
	raw_close(onlooker);
	proxy_wait_idle(*state);
}

static void test_a_proxy_that_goes_away_fails_the_run(void **state)
{
	const char *name = strrchr(directory_path(), '/') + 1;
	char address[160];
	struct running proxy, running;

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", in_directory("gone.sock"));
	proxy = start(NULL, STRINGS("serve", "--listen", address, "--kernel-path", "off",
				    "--instance", name));
	await(proxy, "event=started");
	running = start(NULL, STRINGS("bench", "publish", "--rate", "100", "--duration", "1h",
				      "--server", address));
	/* It is at work when one of its messages comes. */
	RUN("sub", "--server", address, "--count", "1", "_bench.>");
	ended(OK);
	kill(proxy.pid, SIGKILL);
	finish(proxy);
	finish(running);
	ended(FAILURE);
	SAYS("connection lost");
}

/* ---- all of them ----------------------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_damaged_message_is_found_by_every_subscriber,
					  harm_teardown),
		cmocka_unit_test_teardown(test_a_damaged_request_is_found_by_its_reply,
					  harm_teardown),
		cmocka_unit_test_teardown(test_a_lost_message_is_found, harm_teardown),
		cmocka_unit_test_teardown(test_a_repeated_message_is_found, harm_teardown),
		cmocka_unit_test_teardown(test_the_table_says_that_it_failed, harm_teardown),
		proxy_test(test_a_stranger_s_message_is_found),
		proxy_test(test_sigint_ends_it_with_what_it_has_and_130),
		proxy_test(test_a_worker_that_dies_fails_the_run),
		proxy_test(test_its_workers_do_not_outlive_it),
		proxy_test(test_a_proxy_that_goes_away_fails_the_run),
	};
	int failed;

	unsetenv("XYLEM_SERVER");
	directory_make();
	failed = proxy_run_both(tests, NULL);
	directory_remove();
	return failed;
}
