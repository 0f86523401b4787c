/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said of rules, users and tokens that cannot be, and of listeners that let in everybody,
 * or nobody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/command.h"

#define CHECK(...) RUN("serve", "--check-config", "--listen", ANY_PORT, __VA_ARGS__)
#define TOKEN      "0123456789abcdef"
#define DIGEST     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* The last one said this line, and nothing else. */
static void said(const char *path, unsigned line, const char *words)
{
	char whole[1024];

	ended(USAGE);
	snprintf(whole, sizeof(whole), "xylem serve: %s:%u: %s\n", path, line, words);
	if (strcmp(outcome.err, whole) != 0) {
		show();
		fail_msg("it does not say only: %s", whole);
	}
}

/* "access" is this. */
static const char *access_of(const char *text)
{
	char whole[4096];

	snprintf(whole, sizeof(whole), "{\n\"access\":\n%s}\n", text);
	return file_with("xylem.json", whole, 1);
}

static void complains(const char *text, unsigned line, const char *words)
{
	const char *path = access_of(text);

	CHECK("--anonymous", "local", "--config", path);
	said(path, line, words);
}

static void token_complains(const char *text, unsigned line, const char *words)
{
	const char *path = file_with("tokens", text, 1);

	CHECK("--token-file", path);
	said(path, line, words);
	says_not(outcome.err, STRINGS("secret"));
}

/* ---- rules and users ------------------------------------------------------------------------- */

static void test_rules_that_are_right_are_said_to_be(void **state)
{
	(void)state;
	CHECK("--anonymous", "local", "--config",
	      access_of("{\"#\": 1, \"identities\": {\"#\": 1, \"a\": {\"#\": 1, \"publish\": [],"
			"\"subscribe\": {\"#\": 1, \"allow\": [\">\"], \"deny\": [\"a.*\"]},"
			"\"direct\": {\"deny\": []}}, \"b.>\": {}, \"anonymous\": {}},"
			"\"users\": [{\"#\": 1, \"uid\": 0, \"identity\": \"a\"}, {\"gid\": 5,"
			"\"uid\": 4294967294, \"identity\": \"b\"}]}"));
	ended(OK);
	CHECK("--config", access_of("{}"));
	ended(OK);
	CHECK("--config", access_of("{\"identities\": {}, \"users\": []}"));
	ended(OK);
}

static void test_each_complaint_about_rules_has_file_line_and_key(void **state)
{
	(void)state;
	complains("7", 2, "access: must be an object");
	complains("{\n\"identity\": {}}", 4,
		  "access.identity: there is no such member; there are identities and users");
	complains("{\"identities\": []}", 3, "access.identities: must be an object");
	complains("{\"identities\": {\n\"a..b\": {}}}", 4,
		  "access.identities.a..b: a subject has no empty token");
	complains("{\"identities\": {\"a\":\n[]}}", 3, "access.identities.a: must be an object");
	complains("{\"identities\": {\"a\": {\n\n\"publich\": []}}}", 5,
		  "access.identities.a.publich: there is no such member; there are publish, "
		  "subscribe and direct");
	complains("{\"identities\": {\"a\": {\"publish\": \"b\"}}}", 3,
		  "access.identities.a.publish: must be an array of patterns, or an object with "
		  "\"allow\" and \"deny\"");
	complains("{\"identities\": {\"a\": {\"direct\": {\n\"denied\": []}}}}", 4,
		  "access.identities.a.direct.denied: there is no such member; there are allow "
		  "and deny");
	complains("{\"identities\": {\"a\": {\"direct\": {\"deny\": {}}}}}", 3,
		  "access.identities.a.direct.deny: must be an array of patterns");
	complains("{\"identities\": {\"a\": {\"subscribe\": [\"b\",\n7]}}}", 4,
		  "access.identities.a.subscribe[1]: must be a text");
	complains("{\"identities\": {\"a\": {\"subscribe\": {\"allow\": [\"b\",\n\n\"c.>.d\"]}}}}",
		  5, "access.identities.a.subscribe.allow[1]: the token > stands at the end only");
}

static void test_each_complaint_about_users_has_file_line_and_key(void **state)
{
	(void)state;
	complains("{\"users\": {}}", 3, "access.users: must be an array");
	complains("{\"users\": [7]}", 3, "access.users[0]: must be an object");
	complains("{\"users\": [{\"identity\": \"a\"}]}", 3,
		  "access.users[0]: a uid, a gid or both must be asked for");
	complains("{\"users\": [{\"uid\": 1, \"identity\": \"a\"},\n{\"uid\": 2}]}", 4,
		  "access.users[1]: \"identity\" is missing");
	complains("{\"users\": [{\"uid\": 1,\n\"identity\": 2}]}", 4,
		  "access.users[0].identity: must be a text");
	complains("{\"users\": [{\"uid\": 1, \"identity\": \"*\"}]}", 3,
		  "access.users[0]: a token that is * or > stands in subscriptions only");
	complains("{\"users\": [{\"uid\": 1, \"identity\": \"anonymous\"}]}", 3,
		  "access.users[0]: that is the name of those who show nothing");
	complains("{\"users\": [{\"uid\": \"root\", \"identity\": \"a\"}]}", 3,
		  "access.users[0].uid: must be a number from 0 to 4294967294");
	complains("{\"users\": [{\"gid\": -1, \"identity\": \"a\"}]}", 3,
		  "access.users[0].gid: must be a number from 0 to 4294967294");
	complains("{\"users\": [{\"uid\": 65534, \"identity\": \"a\"}]}", 3,
		  "access.users[0].uid: 65534 stands for everybody whose number is not known here");
	complains("{\"users\": [{\"uid\": 1, \"user\": \"a\"}]}", 3,
		  "access.users[0].user: there is no such member; there are uid, gid and identity");
	complains("{\"users\": [{\"uid\": 1, \"identity\": \"a\"}]}", 3,
		  "access.users: has names, so that rules must say what they may do: add "
		  "\"identities\" to \"access\" in the file of --config");
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void test_tokens_that_are_right_are_said_to_be(void **state)
{
	const char *rules = access_of("{\"identities\": {\"a\": {}}}");
	const char *tokens = file_with(
		"tokens", "# of the shop\n\n \t\na " TOKEN "\nb\tsha256:" DIGEST " \r\n" TOKEN "x",
		1);

	(void)state;
	CHECK("--token-file", tokens, "--config", rules);
	ended(OK);
	/* Without names there is one user, who may do everything. */
	CHECK("--token-file", file_with("tokens", TOKEN "\n" TOKEN "2\n", 1));
	ended(OK);
}

static void test_each_complaint_about_tokens_has_file_and_line_and_not_the_token(void **state)
{
	char text[1024] = "", *end;

	(void)state;
	token_complains("\nsecret\n", 2,
			"a token has at least 16 bytes; make one with: openssl rand -hex 24");
	token_complains("a secret\n", 1,
			"a token has at least 16 bytes; make one with: openssl rand -hex 24");
	token_complains("a secret-0123456789 b\n", 1,
			"a line is: NAME TOKEN, or NAME sha256:DIGEST, or a token alone");
	token_complains("a..b secret-0123456789\n", 1, "a subject has no empty token");
	token_complains("anonymous secret-0123456789\n", 1,
			"that is the name of those who show nothing");
	token_complains("a sha256:" DIGEST "0\n", 1,
			"after sha256: come 64 lower-case hexadecimal digits");
	token_complains("a sha256:secret\n", 1,
			"after sha256: come 64 lower-case hexadecimal digits");
	token_complains("a sha256:\n", 1, "after sha256: come 64 lower-case hexadecimal digits");
	token_complains("a secret-0123456789\nb secret-0123456789\n", 2,
			"this token stands in the file twice");
	token_complains("secret-\xc3\xa9-0123456789\n", 1, "a token is printable ASCII");
	end = stpcpy(text, "a ");
	memset(end, 's', 513);
	token_complains(text, 1, "a token has at most 512 bytes");
}

static void test_files_with_tokens_that_cannot_be_are_named(void **state)
{
	static const mode_t open_to_others[] = {0604, 0602, 0620, 0644, 0660};
	const char *path = in_directory("no-tokens");

	(void)state;
	CHECK("--token-file", path);
	ended(USAGE);
	SAYS(path, "No such file");
	CHECK("--token-file", directory_path());
	ended(USAGE);
	SAYS(directory_path(), "not a regular file");
	path = file_with("tokens", "# nothing\n", 1);
	CHECK("--token-file", path);
	ended(USAGE);
	SAYS(path, "holds no token");
	path = file_with("tokens", TOKEN "\n", 1);
	for (size_t i = 0; i < LENGTH(open_to_others); i++) {
		assert_int_equal(chmod(path, open_to_others[i]), 0);
		CHECK("--token-file", path);
		ended(USAGE);
		SAYS(path, "others than its owner may read or write it", "chmod 600");
		/* Nothing starts with it, either. */
		SERVE("--listen", ANY_PORT, "--token-file", path);
		ended(USAGE);
	}
	assert_int_equal(chmod(path, 0640), 0);
	CHECK("--token-file", path);
	ended(OK);
	assert_int_equal(chown(path, 1000, 0), 0);
	CHECK("--token-file", path);
	ended(USAGE);
	SAYS(path, "belongs to user 1000");
	assert_int_equal(unlink(path), 0);
	path = file_with("many", "", 1);
	for (int i = 0; i <= 4096; i++) {
		FILE *file = fopen(path, "ae");

		assert_non_null(file);
		fprintf(file, TOKEN "%d\n", i);
		assert_int_equal(fclose(file), 0);
	}
	CHECK("--token-file", path);
	said(path, 4097, "more than 4096 tokens");
}

static void test_names_without_rules_are_refused(void **state)
{
	const char *path = file_with("tokens", "a " TOKEN "\n", 1);

	(void)state;
	CHECK("--token-file", path);
	ended(USAGE);
	SAYS(path, "has names, so that rules must say what they may do");
	CHECK("--token-file", path, "--config", access_of("{\"identities\": {}}"));
	ended(OK);
}

/* ---- listeners ------------------------------------------------------------------------------- */

/* A check and a start say the same. */
static void listener_is(int status, const char *address, const char *const *more)
{
	const char *check[32] = {"serve", "--check-config", "--listen", address};
	const char *start_with[32] = {"serve", "--kernel-path", "off", "--listen", address};
	size_t count = 0;

	for (; more[count] != NULL; count++)
		check[4 + count] = start_with[5 + count] = more[count];
	run(NULL, check);
	ended(status);
	if (status == USAGE)
		SAYS("listen: ", address, "--token-file", "--anonymous");
	if (status == OK) {
		works(start(NULL, start_with));
		return;
	}
	run(NULL, start_with);
	ended(status);
	SAYS("event=start-failed option=--listen", "--token-file", "--anonymous");
}

static void test_listeners_off_loopback_ask_for_authentication(void **state)
{
	static const char *const remote[] = {"0.0.0.0:0", "[::]:0"};
	static const char *const local[] = {"127.0.0.1:0", "127.1.2.3:0", "[::1]:0"};
	const char *tokens = file_with("tokens", TOKEN "\n", 1);
	const char *users = access_of("{\"users\": [{\"uid\": 0, \"identity\": \"a\"}],"
				      "\"identities\": {}}");
	char address[160];

	(void)state;
	snprintf(address, sizeof(address), "unix:%s", in_directory("one.sock"));
	for (size_t i = 0; i < LENGTH(remote); i++) {
		listener_is(USAGE, remote[i], STRINGS(NULL));
		listener_is(USAGE, remote[i], STRINGS("--anonymous", "local"));
		listener_is(USAGE, remote[i], STRINGS("--config", users));
		listener_is(OK, remote[i], STRINGS("--anonymous", "any"));
		listener_is(OK, remote[i], STRINGS("--token-file", tokens));
	}
	for (size_t i = 0; i < LENGTH(local); i++) {
		listener_is(OK, local[i], STRINGS(NULL));
		listener_is(USAGE, local[i], STRINGS("--anonymous", "none"));
		listener_is(USAGE, local[i], STRINGS("--config", users));
		listener_is(OK, local[i], STRINGS("--config", users, "--anonymous", "local"));
		listener_is(OK, local[i], STRINGS("--token-file", tokens));
	}
	listener_is(OK, address, STRINGS(NULL));
	listener_is(OK, address, STRINGS("--config", users));
	listener_is(USAGE, address, STRINGS("--anonymous", "none"));
}

static void test_a_mode_of_unix_sockets_is_set_or_complained_about(void **state)
{
	static const char *const bad[] = {"", "rw", "0888", "77", "00000"};
	const char *path = in_directory("mode.sock");
	struct running running;
	struct stat status;
	char address[160];

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		CHECK("--unix-mode", bad[i]);
		ended(USAGE);
		SAYS("option --unix-mode: ");
	}
	snprintf(address, sizeof(address), "unix:%s", path);
	running = start(NULL, STRINGS("serve", "--kernel-path", "off", "--listen", address,
				      "--unix-mode", "0606"));
	await(running, "event=started");
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0606);
	works(running);
}

static void test_without_files_there_is_nothing_to_reload(void **state)
{
	const char *name = strrchr(directory_path(), '/') + 1;
	struct running running = LISTENING("--kernel-path", "off", "--instance", name);

	(void)state;
	await(running, "event=started");
	RUN("reload", "--instance", name);
	ended(FAILURE);
	SAYS("nothing has changed", "there is nothing to read again");
	works(running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_that_are_right_are_said_to_be),
		cmocka_unit_test(test_each_complaint_about_rules_has_file_line_and_key),
		cmocka_unit_test(test_each_complaint_about_users_has_file_line_and_key),
		cmocka_unit_test(test_tokens_that_are_right_are_said_to_be),
		cmocka_unit_test(
			test_each_complaint_about_tokens_has_file_and_line_and_not_the_token),
		cmocka_unit_test(test_files_with_tokens_that_cannot_be_are_named),
		cmocka_unit_test(test_names_without_rules_are_refused),
		cmocka_unit_test(test_listeners_off_loopback_ask_for_authentication),
		cmocka_unit_test(test_a_mode_of_unix_sockets_is_set_or_complained_about),
		cmocka_unit_test(test_without_files_there_is_nothing_to_reload),
	};

	return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
