/* SPDX-License-Identifier: BSD-2-Clause */
/* Options from a file and from the environment: which of several wins, and what is said of each
 * that cannot work. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/command.h"

#define CHECK(...) RUN("serve", "--check-config", __VA_ARGS__)

/* A configuration file; its path. */
static const char *config(const char *text)
{
	return file_with("xylem.json", text, 1);
}

/* It is wrong, and that is said in this line; nothing else is. */
static void complains(const char *text, unsigned line, const char *words)
{
	char whole[1024];
	const char *path = config(text);

	CHECK("--config", path);
	ended(USAGE);
	snprintf(whole, sizeof(whole), "xylem serve: %s:%u: %s\n", path, line, words);
	if (strcmp(outcome.err, whole) != 0) {
		show();
		fail_msg("it does not say only: %s", whole);
	}
	assert_string_equal(outcome.out, "");
}

/* ---- what is said ---------------------------------------------------------------------------- */

static void test_a_file_that_is_right_is_said_to_be(void **state)
{
	static const char right[] = "{\n"
				    "\t\"#\": \"of the machine room\",\n"
				    "\t\"listen\": [\"127.0.0.1:0\", \"unix:/run/x.sock\"],\n"
				    "\t\"kernel-path\": \"auto\",\n"
				    "\t\"loops\": 2,\n"
				    "\t\"#lanes\": 0,\n"
				    "\t\"stuck-after\": 0.25,\n"
				    "\t\"memory-budget\": \"64M\",\n"
				    "\t\"log-level\": \"info\"\n"
				    "}\n";

	(void)state;
	CHECK("--config", config(right));
	ended(OK);
	assert_string_equal(outcome.err, "");
	says(outcome.out, STRINGS("nothing is wrong"));
	CHECK("--config", config("{}"));
	ended(OK);
	CHECK("--config", config("{\"listen\": \"127.0.0.1:0\", \"memory-budget\": 67108864}"));
	ended(OK);
	RUN("serve", "--check-config");
	ended(OK);
}

/* All options there are, commented out or not. */
static void test_the_example_is_right_and_has_every_option(void **state)
{
	const char *example = "docs/examples/xylem.json";
	char text[8192], help[TEXT_MAX], *name;
	FILE *file = fopen(example, "re");

	(void)state;
	assert_non_null(file); /* tests run in the tree's root */
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	CHECK("--config", example);
	ended(OK);
	CHECK("--config", "docs/examples/access.json");
	ended(OK);
	RUN("serve", "--help");
	memcpy(help, outcome.out, sizeof(help));
	for (char *line = strtok(help, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		char member[64];

		/* Also behind a letter. */
		if (strlen(line) < 8 || strncmp(line + 6, "--", 2) != 0)
			continue;
		name = line + 8;
		snprintf(member, sizeof(member), "%.*s\":", (int)strcspn(name, " ["), name);
		if (strncmp(name, "help", 4) != 0 && strcmp(member, "config\":") != 0 &&
		    strcmp(member, "check-config\":") != 0)
			says(text, STRINGS(member));
	}
}

static void test_each_complaint_has_file_line_and_key(void **state)
{
	(void)state;
	complains("{\n\"lanes\": 0}", 2, "lanes: '0' is not a number from 1 to 1000000");
	complains("{\n\n\"lanes\": -1}", 3, "lanes: '-1' is not a number from 1 to 1000000");
	complains("{\"lanes\": 1.5}", 1, "lanes: '1.5' is not a number from 1 to 1000000");
	complains("{\"lanes\":\n \"5\"}", 1, "lanes: must be a number");
	complains("{\"lanes\": [5]}", 1, "lanes: must be a number");
	complains("{\"kernel-path\": \"maybe\"}", 1,
		  "kernel-path: 'maybe' is not one of auto|on|off");
	complains("{\"kernel-path\": true}", 1, "kernel-path: must be a text");
	complains("{\"instance\": null}", 1, "instance: must be a text");
	complains("{\"instance\": \"\"}", 1, "instance: NAME must not be empty");
	complains("{\"instance\": \"a/b\"}", 1,
		  "instance: 'a/b' is not 1 to 64 letters, digits, '-', '_' and '.'");
	complains("{\"stuck-after\": \"soon\"}", 1,
		  "stuck-after: 'soon' is not a duration from 10 ms to 10000 ms");
	complains("{\"stuck-after\": false}", 1, "stuck-after: must be a number or a text");
	complains("{\"memory-budget\": 1024}", 1,
		  "memory-budget: '1024' is not a size of at least 4M; write 64M or 1.5G");
	complains("{\"listen\": 7400}", 1, "listen: must be a text or an array of texts");
	complains("{\"listen\": []}", 1, "listen: must not be empty");
	complains("{\n\"listen\": [\n\"127.0.0.1:0\",\n7400\n]}", 4,
		  "listen[1]: must be a text or an array of texts");
	complains("{\"listen\": [\"127.0.0.1:0\",\n\"::1:7400\"]}", 2,
		  "listen[1]: '::1:7400' is not HOST:PORT, [V6]:PORT, tls:HOST:PORT, unix:PATH or "
		  "systemd");
}

static void test_unknown_members_are_errors(void **state)
{
	(void)state;
	complains("{\n\"lane\": 5}", 2, "lane: there is no such option");
	complains("{\"\": 5}", 1, "there is no such option");
	complains("{\"config\": \"x\"}", 1, "config: cannot be said in a file");
	complains("{\"check-config\": true}", 1, "check-config: cannot be said in a file");
}

/* The text is searched for what jansson has parsed: whatever stands before it. */
static void test_lines_are_found_behind_all_kinds_of_values(void **state)
{
	(void)state;
	complains("{\"#a\": {\"lane\": [1, {\"b\": \"]}\\\"\"}, []], \"c\": {}},\n"
		  "\"#b\": [[], [[\"[{\"]], -1.5e3, true, null],\n"
		  "\"#\\u0063\": \"\\\\\",\n"
		  "\t\"l\\u0061ne\" : 5\n}",
		  4, "lane: there is no such option");
	complains("{\"#x\": \"lane\", \"#y\": 1,\r\n \"lane\":1}", 2,
		  "lane: there is no such option");
}

static void test_all_that_is_wrong_is_said_at_once(void **state)
{
	(void)state;
	CHECK("--config",
	      config("{\"lanes\": 0,\n\"flows\": 0,\n\"listen\": [\"a\", \"b\"],\n\"c\": 1}"));
	ended(USAGE);
	SAYS("xylem.json:1: lanes: ", "xylem.json:2: flows: ", "xylem.json:3: listen[0]: 'a'",
	     "xylem.json:3: listen[1]: 'b'", "xylem.json:4: c: ");
}

static void test_what_is_no_json_object_is_said_with_its_line(void **state)
{
	(void)state;
	CHECK("--config", config("{\n\"lanes\": 5,\n}"));
	ended(USAGE);
	SAYS("xylem.json:3: ");
	CHECK("--config", config("{\"lanes\": 5,\n\"lanes\": 6}"));
	ended(USAGE);
	SAYS("xylem.json:2: ", "duplicate");
	CHECK("--config", config("[]"));
	ended(USAGE);
	SAYS("xylem.json:1: not a JSON object");
	CHECK("--config", config(""));
	ended(USAGE);
	SAYS("xylem.json:1: ");
}

static void test_files_that_cannot_be_are_named(void **state)
{
	const char *missing = in_directory("missing.json"), *open = config("{}");
	const char *long_one;

	(void)state;
	CHECK("--config", missing);
	ended(USAGE);
	SAYS(missing, "No such file");
	CHECK("--config", directory_path());
	ended(USAGE);
	SAYS(directory_path(), "not a regular file");
	assert_int_equal(chmod(open, 0646), 0);
	CHECK("--config", open);
	ended(USAGE);
	SAYS(open, "everybody may write to it (mode 646)");
	assert_int_equal(unlink(open), 0);
	long_one = file_with("long.json", "0123456789abcdef", (1 << 16) + 1);
	CHECK("--config", long_one);
	ended(USAGE);
	SAYS(long_one, "File too large");
	/* Nothing starts with it, either. */
	SERVE("--listen", ANY_PORT, "--config", missing);
	ended(USAGE);
	SAYS(missing, "No such file");
}

/* ---- which of several wins ------------------------------------------------------------------- */

/* How many slots the proxy that is started so says it has room for. */
static unsigned long connections_of(const char *flag, const char *variable, const char *file)
{
	const char *arguments[16] = {"serve", "--kernel-path", "off", "--listen", ANY_PORT};
	const char *at;
	size_t count = 5;

	if (file != NULL) {
		arguments[count++] = "--config";
		arguments[count++] = config(file);
	}
	if (flag != NULL) {
		arguments[count++] = "--max-connections";
		arguments[count++] = flag;
	}
	if (variable != NULL)
		setenv("XYLEM_SERVE_MAX_CONNECTIONS", variable, 1);
	works(start(NULL, arguments));
	unsetenv("XYLEM_SERVE_MAX_CONNECTIONS");
	at = strstr(outcome.err, " connections=");
	assert_non_null(at);
	return strtoul(at + strlen(" connections="), NULL, 10);
}

static void test_flag_beats_environment_beats_file_beats_default(void **state)
{
	const char *file = "{\"max-connections\": 103}";

	(void)state;
	assert_int_equal(connections_of("101", "102", file), 101);
	assert_int_equal(connections_of("101", NULL, file), 101);
	assert_int_equal(connections_of(NULL, "102", file), 102);
	assert_int_equal(connections_of(NULL, NULL, file), 103);
	assert_int_not_equal(connections_of(NULL, NULL, NULL), 103);
}

/* One source has all of them, or none. */
static void test_addresses_of_two_sources_are_not_mixed(void **state)
{
	char address[160];

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", in_directory("one.sock"));
	setenv("XYLEM_SERVE_CONFIG", config("{\"listen\": \"127.0.0.1:1\"}"), 1);
	setenv("XYLEM_SERVE_LISTEN", ANY_PORT "  127.0.0.2:0", 1);
	works(start(NULL, STRINGS("serve", "--kernel-path", "off")));
	SAYS("address=127.0.0.1:", "address=127.0.0.2:");
	says_not(outcome.err, STRINGS("address=127.0.0.1:1 "));
	works(start(NULL, STRINGS("serve", "--kernel-path", "off", "--listen", address)));
	SAYS(address);
	says_not(outcome.err, STRINGS("address=127."));
	unsetenv("XYLEM_SERVE_CONFIG");
	unsetenv("XYLEM_SERVE_LISTEN");
}

static void test_what_is_wrong_is_said_although_something_better_wins(void **state)
{
	(void)state;
	setenv("XYLEM_SERVE_LANES", "none", 1);
	CHECK("--lanes", "5", "--config", config("{\"lanes\": 0}"));
	unsetenv("XYLEM_SERVE_LANES");
	ended(USAGE);
	SAYS("XYLEM_SERVE_LANES in the environment: 'none' is not a number",
	     "xylem.json:1: lanes: '0' is not a number");
}

static void test_variables_that_cannot_be_are_named(void **state)
{
	static const char *const bad[][3] = {
		{"XYLEM_SERVE_LISTEN", "  ", "must not be empty"},
		{"XYLEM_SERVE_LISTEN", "127.0.0.1:0 x", "'x' is not HOST:PORT"},
		{"XYLEM_SERVE_LOOPS", "65", "'65' is not a number from 1 to 64"},
		{"XYLEM_SERVE_CONFIG", "", "FILE must not be empty"},
		{"XYLEM_SERVE_CONFIG", "/nowhere", "No such file"},
		{"XYLEM_SERVE_LANE", "5", "there is no such option"},
		{"XYLEM_SERVE_CHECK_CONFIG", "true", "there is no such option"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		setenv(bad[i][0], bad[i][1], 1);
		RUN("serve", "--check-config");
		unsetenv(bad[i][0]);
		ended(USAGE);
		SAYS(bad[i][2]);
		if (bad[i][1][0] != '/')
			SAYS(bad[i][0], "in the environment");
	}
	/* Others' are nobody's business. */
	setenv("XYLEM_SERVICE_HOST", "10.0.0.1", 1);
	RUN("serve", "--check-config");
	unsetenv("XYLEM_SERVICE_HOST");
	ended(OK);
}

static void test_the_file_says_where_to_listen(void **state)
{
	char text[256], address[160];
	struct running running;

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", in_directory("file.sock"));
	snprintf(text, sizeof(text), "{\"listen\": [\"%s\"], \"kernel-path\": \"off\"}", address);
	running = start(NULL, STRINGS("serve", "--config", config(text)));
	await(running, "event=started");
	RUN("pub", "--server", address, "a.b", "c");
	ended(OK);
	works(running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_that_is_right_is_said_to_be),
		cmocka_unit_test(test_the_example_is_right_and_has_every_option),
		cmocka_unit_test(test_each_complaint_has_file_line_and_key),
		cmocka_unit_test(test_unknown_members_are_errors),
		cmocka_unit_test(test_lines_are_found_behind_all_kinds_of_values),
		cmocka_unit_test(test_all_that_is_wrong_is_said_at_once),
		cmocka_unit_test(test_what_is_no_json_object_is_said_with_its_line),
		cmocka_unit_test(test_files_that_cannot_be_are_named),
		cmocka_unit_test(test_flag_beats_environment_beats_file_beats_default),
		cmocka_unit_test(test_addresses_of_two_sources_are_not_mixed),
		cmocka_unit_test(test_what_is_wrong_is_said_although_something_better_wins),
		cmocka_unit_test(test_variables_that_cannot_be_are_named),
		cmocka_unit_test(test_the_file_says_where_to_listen),
	};

	return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
