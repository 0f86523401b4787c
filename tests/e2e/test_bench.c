/* SPDX-License-Identifier: BSD-2-Clause */
/* `xylem bench`: what it counts is what went through the proxy, and in which words it tells. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "e2e/bench_fixture.h"

#define COUNT 200

/* ---- publish --------------------------------------------------------------------------------- */

static const struct pattern {
	const char *publishers, *subscribers, *pairs;
	unsigned producers, fan_out;
} patterns[] = {
	{"1", "1", NULL, 1, 1}, {"3", "1", NULL, 3, 1},      {"1", "3", NULL, 1, 3},
	{"2", "2", NULL, 2, 2}, {"2", "2", "--pairs", 2, 1},
};

static void test_every_pattern_counts_every_message(void **state)
{
	static const uint64_t sizes[] = {0, 1, 64, 1024};
	static const char *const sends[] = {"each", "batch"};
	bool lane = proxy_kernel_path(*state) == KERNEL_PATH_ON;

	for (size_t i = 0; i < 2 * LENGTH(patterns); i++) {
		const struct pattern *pattern = &patterns[i / 2];
		uint64_t expected = (uint64_t)COUNT * pattern->producers * pattern->fan_out;

		BENCH(*state, OK, "publish", "--json", "--size", "0,1,64,1K", "--count", "200",
		      "--send", sends[i % 2], "--publishers", pattern->publishers, "--subscribers",
		      pattern->subscribers, pattern->pairs);
		assert_string_equal(outcome.err, "");
		assert_int_equal(bench_lines(), LENGTH(sizes));
		for (unsigned line = 0; line < LENGTH(sizes); line++) {
			json_t *json = bench_line(line);

			assert_exact(json, expected);
			ARE(json, expected, "measured");
			ARE(json, sizes[line], "size");
			assert_int_equal(bench_true(json, "lane"), lane);
			assert_true(json_is_null(json_object_get(json, "latency")));
			assert_false(bench_true(json, "interrupted"));
			assert_string_equal(json_string_value(json_object_get(json, "send")),
					    sends[i % 2]);
			json_decref(json);
		}
	}
}

static void test_messages_of_several_frames_are_whole(void **state)
{
	BENCH(*state, OK, "--json", "--size", "65476,65477,1M", "--count", "12", "--every-byte");
	assert_int_equal(bench_lines(), 6);
	for (unsigned line = 0; line < 6; line++) {
		json_t *json = bench_line(line);

		assert_exact(json, 12);
		json_decref(json);
	}
}

static void test_over_a_unix_socket_and_without_lanes_it_works_and_says_no(void **state)
{
	json_t *json;

	finish(start(NULL, STRINGS("bench", "publish", "--json", "--count", "100", "--server",
				   proxy_unix(*state))));
	ended(OK);
	json = bench_line(0);
	assert_exact(json, 100);
	assert_false(bench_true(json, "lane"));
	json_decref(json);
	BENCH(*state, OK, "publish", "--json", "--count", "100", "--no-lane");
	json = bench_line(0);
	assert_exact(json, 100);
	ARE(json, 0, "lanes");
	ARE(json, 2, "workers");
	json_decref(json);
}

/* ---- latency --------------------------------------------------------------------------------- */

static void assert_ordered(const json_t *times)
{
	static const char *const names[] = {"min_ns",   "p50_ns",    "p90_ns", "p99_ns",
					    "p99_9_ns", "p99_99_ns", "max_ns"};

	for (size_t i = 0; i + 1 < LENGTH(names); i++)
		assert_true(bench_number(times, names[i]) <= bench_number(times, names[i + 1]));
	assert_true(bench_number(times, "min_ns") > 0);
	assert_true(bench_number(times, "mean_ns") <= bench_number(times, "max_ns"));
}

static void test_each_request_has_a_reply_and_a_latency(void **state)
{
	static const char *const rates[] = {NULL, "--rate"};

	for (size_t i = 0; i < 2 * LENGTH(patterns); i++) {
		const struct pattern *pattern = &patterns[i / 2];
		uint64_t expected = (uint64_t)COUNT * pattern->producers;
		const json_t *latency;
		json_t *json;

		BENCH(*state, OK, "request", "--json", "--count", "200", "--publishers",
		      pattern->publishers, "--subscribers", pattern->subscribers,
		      pattern->pairs ? "--pairs" : "--every-byte", rates[i % 2], "2000");
		json = bench_line(0);
		assert_exact(json, expected);
		latency = json_object_get(json, "latency");
		ARE(latency, expected, "count");
		assert_ordered(latency);
		if (rates[i % 2] != NULL)
			ARE(json_object_get(json, "late"), expected, "count");
		else
			assert_true(json_is_null(json_object_get(json, "late")));
		json_decref(json);
	}
}

/* Messages that were due in the time measured: however late, and whether sent or not, they count.
 */
static void test_with_a_rate_every_message_that_was_due_has_a_latency(void **state)
{
	static const struct {
		const char *rate, *subscribers;
		uint64_t due, near;
		bool kept;
	} cases[] = {
		{"1000", "1", 300, 2, true},
		{"1000", "3", 900, 6, true},
		/* No machine can; groups of those that were not sent are counted as one. */
		{"50000000", "1", 15000000, 100, false},
	};
	static const char *const works[] = {"publish", "request"};

	for (size_t i = 0; i < 2 * LENGTH(cases); i++) {
		bool request = i % 2;
		uint64_t due = cases[i / 2].due /
			       (request ? (uint64_t)*cases[i / 2].subscribers - '0' : 1);
		uint64_t count;
		json_t *json;

		BENCH(*state, OK, works[request], "--json", "--duration", "300ms", "--warmup",
		      "20ms", "--rate", cases[i / 2].rate, "--subscribers",
		      cases[i / 2].subscribers);
		json = bench_line(0);
		assert_true(bench_true(json, "good"));
		count = bench_number(json_object_get(json, "latency"), "count");
		if (count + cases[i / 2].near < due || count > due + cases[i / 2].near) {
			show();
			fail_msg("%llu latencies", (unsigned long long)count);
		}
		if (!cases[i / 2].kept) {
			assert_true(bench_number(json, "unsent") > 0);
			SAYS("the rate was not kept");
		}
		json_decref(json);
	}
}

static void test_latency_counts_from_when_a_message_was_due(void **state)
{
	struct raw *onlooker = bench_onlooker(*state);
	struct running running =
		BENCH_START(*state, "publish", "--json", "--rate", "200", "--count", "400");
	uint64_t stopped_ms;
	const json_t *latency;
	pid_t workers[2];
	json_t *json;

	raw_expect_data(onlooker);
	assert_int_equal(bench_workers(running, workers, 2), 2);
	/* The publisher hangs: what is due meanwhile, a fifth of all, is late before it is sent. */
	kill(workers[0], SIGSTOP);
	stopped_ms = test_now_ms();
	while (test_now_ms() < stopped_ms + 400)
		poll(NULL, 0, 10);
	kill(workers[0], SIGCONT);
	raw_close(onlooker);
	finish(running);
	ended(OK);
	json = bench_line(0);
	assert_exact(json, 400);
	latency = json_object_get(json, "latency");
	ARE(latency, 400, "count");
	assert_true(bench_number(latency, "max_ns") >= 350000000);
	assert_true(bench_number(latency, "p90_ns") >= 100000000);
	/* And whose fault it was is told. */
	assert_true(bench_number(json_object_get(json, "late"), "max_ns") >= 350000000);
	json_decref(json);
}

/* ---- the proxy, the workers ------------------------------------------------------------------ */

static void test_what_the_proxy_spent_is_told(void **state)
{
	bool off = proxy_kernel_path(*state) == KERNEL_PATH_OFF;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)proxy_pid(*state));
	for (int named = 0; named < 2; named++) {
		const json_t *proxy;
		json_t *json;

		finish(start(NULL,
			     STRINGS("bench", "request", "--json", "--count", "500", "--server",
				     proxy_server(*state), named ? "--instance" : "--proxy-pid",
				     named ? proxy_instance(*state) : pid)));
		ended(OK);
		json = bench_line(0);
		proxy = json_object_get(json, "proxy");
		ARE(proxy, (uint64_t)proxy_pid(*state), "pid");
		assert_true(bench_number(proxy, "cpu_ns") > 0);
		/* In user space each message wakes a loop, on a lane none does. */
		if (off)
			assert_true(bench_number(proxy, "switches") > 100);
		json_decref(json);
	}
}

static void test_another_proxy_s_figures_are_refused(void **state)
{
	const char *name = strrchr(directory_path(), '/') + 1;
	struct running other = LISTENING("--kernel-path", "off", "--instance", name);

	await(other, "event=started");
	finish(start(NULL, STRINGS("bench", "--server", proxy_server(*state), "--instance", name)));
	ended(USAGE);
	assert_string_equal(outcome.err,
			    "xylem bench: option --instance: that proxy is not the one that "
			    "--server names\nTry 'xylem bench --help'.\n");
	works(other);
	finish(start(NULL, STRINGS("bench", "--server", proxy_server(*state), "--instance", name)));
	ended(UNREACHABLE);
	SAYS("no proxy listens there", name);
}

static void test_workers_are_pinned(void **state)
{
	struct raw *onlooker = bench_onlooker(*state);
	struct running running =
		BENCH_START(*state, "publish", "--rate", "50", "--duration", "1h", "--cpus", "0");
	pid_t workers[2];

	raw_expect_data(onlooker);
	assert_int_equal(bench_workers(running, workers, 2), 2);
	for (int i = 0; i < 2; i++) {
		char path[64], text[4096];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/status", (int)workers[i]);
		file = fopen(path, "re");
		assert_non_null(file);
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
		assert_non_null(strstr(text, "Cpus_allowed_list:\t0\n"));
	}
	raw_close(onlooker);
	kill(running.pid, SIGINT);
	finish(running);
	ended(SIGNALLED);
}

/* ---- words ----------------------------------------------------------------------------------- */

static unsigned fields_of(const char *line)
{
	unsigned fields = 1;

	for (; *line != '\n' && *line != '\0'; line++)
		fields += *line == ',';
	return fields;
}

static void test_csv_has_a_name_for_every_field(void **state)
{
	const char *line;
	unsigned names;

	BENCH(*state, OK, "--csv", "--size", "0,64", "--count", "50", "--repeat", "2");
	assert_string_equal(outcome.err, "");
	assert_int_equal(bench_lines(), 1 + 2 * 2 * 2);
	assert_int_equal(strncmp(outcome.out, "work,publishers,", 16), 0);
	names = fields_of(outcome.out);
	line = strchr(outcome.out, '\n') + 1;
	for (; *line != '\0'; line = strchr(line, '\n') + 1) {
		assert_int_equal(fields_of(line), names);
		/* The last of all is whether it was good. */
		assert_int_equal(strchr(line, '\n')[-1], '1');
	}
}

static void test_text_is_a_table_with_a_row_for_each_run(void **state)
{
	BENCH(*state, OK, "--size", "0,1K", "--count", "50");
	assert_string_equal(outcome.err, "");
	assert_int_equal(bench_lines(), 5);
	says(outcome.out, STRINGS("WORK", "MESSAGES/s", "request", "publish", "1.00 KiB",
				  proxy_kernel_path(*state) == KERNEL_PATH_ON ? " yes " : " no "));
}

static int terminal;

static void on_a_terminal(void)
{
	dup2(terminal, STDERR_FILENO);
}

static void test_on_a_terminal_it_shows_how_far_it_is(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char text[4096];
	ssize_t got;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(terminal >= 0);
	run(on_a_terminal, STRINGS("bench", "publish", "--duration", "1s", "--rate", "100",
				   "--server", proxy_server(*state)));
	ended(OK);
	got = read(master, text, sizeof(text) - 1);
	assert_true(got > 0);
	text[got] = '\0';
	says(text, STRINGS("\rpublish, 64 B: ", " messages, ", "/s\033[K"));
	close(terminal);
	close(master);
}

static void test_what_cannot_be_is_told(void **state)
{
	static const struct {
		const char *const line[7], *words;
	} bad[] = {
		{{"bench", "frob"}, "no work 'frob'; there are request and publish"},
		{{"bench", "--size", "2M"},
		 "option --size: '2M' is not a list of up to 32 sizes from 0 to 1M; write 64 or "
		 "0,64,1K,1M"},
		{{"bench", "--size", "64,"},
		 "option --size: '64,' is not a list of up to 32 sizes from 0 to 1M; write 64 or "
		 "0,64,1K,1M"},
		{{"bench", "--size", "1G"},
		 "option --size: '1G' is not a list of up to 32 sizes from 0 to 1M; write 64 or "
		 "0,64,1K,1M"},
		{{"bench", "--cpus", "0-"},
		 "option --cpus: '0-' is not a list of CPUs; write 0,1 or 0-3,8"},
		{{"bench", "--cpus", "1-0"},
		 "option --cpus: '1-0' is not a list of CPUs; write 0,1 or 0-3,8"},
		{{"bench", "--cpus", "0,1023"},
		 "option --cpus: this process may not run on CPU 1023"},
		{{"bench", "--json", "--csv"}, "options --json and --csv: give one of them"},
		{{"bench", "--count", "5", "--duration", "3s"},
		 "options --count and --duration: give one of them"},
		{{"bench", "--count", "5", "--warmup", "1s"},
		 "option --warmup: with --count everything is measured"},
		{{"bench", "--pairs", "--publishers", "2"},
		 "option --pairs: needs as many subscribers as publishers"},
		{{"bench", "--rate", "1e9"},
		 "option --rate: at most 100,000,000 messages per second"},
		{{"bench", "--proxy-pid", "1", "--admin", "/x"},
		 "options --proxy-pid and --admin or --instance: give one of them"},
		{{"bench", "--admin", "/x", "--instance", "y"},
		 "options --admin and --instance: give one of them"},
		{{"bench", "--proxy-pid", "2147483647"},
		 "option --proxy-pid: there is no process 2147483647"},
		{{"bench", "--publishers", "65"},
		 "option --publishers: '65' is not a number from 1 to 64"},
		{{"bench", "--send", "all"}, "option --send: 'all' is not one of batch|each"},
		{{"bench", "--server", "nonsense"},
		 "cannot connect to nonsense: not an address; write HOST:PORT, [V6]:PORT or "
		 "unix:PATH, with TLS tls:HOST:PORT or tls:[V6]:PORT"},
	};
	char words[512];

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		bool remedy = i + 1 < LENGTH(bad);

		run(NULL, bad[i].line);
		ended(USAGE);
		snprintf(words, sizeof(words), "xylem bench: %s\n%s", bad[i].words,
			 remedy ? "Try 'xylem bench --help'.\n" : "");
		assert_string_equal(outcome.err, words);
	}
}

/* ---- all of them ----------------------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_every_pattern_counts_every_message),
		proxy_test(test_messages_of_several_frames_are_whole),
		proxy_test(test_over_a_unix_socket_and_without_lanes_it_works_and_says_no),
		proxy_test(test_each_request_has_a_reply_and_a_latency),
		proxy_test(test_with_a_rate_every_message_that_was_due_has_a_latency),
		proxy_test(test_latency_counts_from_when_a_message_was_due),
		proxy_test(test_what_the_proxy_spent_is_told),
		proxy_test(test_another_proxy_s_figures_are_refused),
		proxy_test(test_workers_are_pinned),
		proxy_test(test_csv_has_a_name_for_every_field),
		proxy_test(test_text_is_a_table_with_a_row_for_each_run),
		proxy_test(test_on_a_terminal_it_shows_how_far_it_is),
		proxy_test(test_what_cannot_be_is_told),
	};
	int failed;

	unsetenv("XYLEM_SERVER");
	directory_make();
	failed = proxy_run_both(tests, NULL);
	directory_remove();
	return failed;
}
