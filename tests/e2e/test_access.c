/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is let in, and who may do what. */
#include "e2e/access_fixture.h"

/* ---- who is let in --------------------------------------------------------------------------- */

static void test_a_wrong_token_an_absent_one_and_parts_of_one_are_refused(void **state)
{
	static const char *const wrong[] = {
		NULL,
		"",
		"x",
		"alice",
		"alice-0123456789abcde", /* a part of it … */
		"lice-0123456789abcdefgh",
		"alice-0123456789abcdefg",
		"alice-0123456789abcdefghi", /* … and more */
		"Alice-0123456789abcdefgh",
		"alice-0123456789abcdefgH",
		"alice alice-0123456789abcdefgh",
		" alice-0123456789abcdefgh",
		"many.1",
	};
	struct proxy *proxy = *state;
	uint64_t before = status_counter(proxy, "unauthorized");

	for (size_t i = 0; i < LENGTH(wrong); i++)
		refused(raw_connect(proxy), wrong[i]);
	assert_int_equal(status_counter(proxy, "unauthorized"), before + LENGTH(wrong));
	raw_close(enter(proxy, ALICE));
}

/* Who shows something wrong is not asked for anything else. */
static void test_a_wrong_token_is_refused_though_the_user_would_do(void **state)
{
	struct raw *raw = raw_connect_unix(*state);

	raw_hello(raw, RAW_HELLO);
	refused(raw_connect_unix(*state), "alice-0123456789abcdefg");
	raw_hello(raw_connect_unix(*state), hello_of(ALICE));
}

static void identity_is(const struct proxy *proxy, const struct raw *raw, const char *name)
{
	json_t *status = status_take_with(proxy, raw);
	json_t *connection = status_connection(status, raw);

	assert_string_equal(json_string_value(json_object_get(connection, "identity")), name);
	json_decref(status);
}

static void test_each_of_many_tokens_is_its_own_identity(void **state)
{
	const struct proxy *proxy = *state;
	char token[64], name[32];

	for (unsigned n = 0; n < MANY; n += 33) {
		struct raw *raw = raw_connect(proxy);

		token_many(n, token);
		snprintf(name, sizeof(name), "many.%u", n);
		raw_hello(raw, hello_of(token));
		raw_sync(raw);
		identity_is(proxy, raw, name);
	}
	/* A digest is none. */
	refused(raw_connect(proxy),
		"sha256:0000000000000000000000000000000000000000000000000000000000000000");
}

/* ---- users ----------------------------------------------------------------------------------- */

/* The type of the answer to HELLO of a process with these ids; in a child. */
static int answer_to(const struct proxy *proxy, uid_t uid, gid_t gid, gid_t group)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct xy_frame hello = {.version = 1, .type = XY_HELLO}, answer;
	uint8_t bytes[XY_HEADER_SIZE + sizeof(RAW_HELLO)];
	size_t size = raw_put(bytes, hello, RAW_HELLO, strlen(RAW_HELLO));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, proxy_unix(proxy) + strlen("unix:"));
	if (setgroups(1, &group) || setgid(gid) || setuid(uid) || fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, bytes, size, 0) != (ssize_t)size ||
	    recv(fd, bytes, XY_HEADER_SIZE, MSG_WAITALL) != XY_HEADER_SIZE)
		return 0;
	xy_frame_decode(bytes, &answer);
	return answer.type;
}

static void user_is_answered(const struct proxy *proxy, uid_t uid, gid_t gid, gid_t group, int type)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(answer_to(proxy, uid, gid, group));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != type)
		fail_msg("user %u of group %u, and of %u, is answered %d", uid, gid, group,
			 WEXITSTATUS(status));
}

static void test_users_and_groups_are_let_in_by_rule(void **state)
{
	const struct proxy *proxy = *state;
	uint64_t before = status_counter(proxy, "unauthorized");

	user_is_answered(proxy, 0, 0, 0, XY_WELCOME);
	user_is_answered(proxy, 1000, 1000, 1000, XY_ERROR);
	user_is_answered(proxy, 1000, 4242, 1000, XY_WELCOME);
	user_is_answered(proxy, 1000, 1000, 4242, XY_WELCOME);
	user_is_answered(proxy, 4242, 1000, 1000, XY_ERROR);
	assert_int_equal(status_counter(proxy, "unauthorized"), before + 2);
}

/* ---- who may do what ------------------------------------------------------------------------- */

static void test_publish_subscribe_and_direct_are_by_rule_and_deny_wins(void **state)
{
	const struct proxy *proxy = *state;
	uint64_t before = status_counter(proxy, "forbidden");
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct raw *eve = enter(proxy, EVE);

	raw_declare(alice, "a.x");
	forbidden(alice, XY_DECLARE, "b.x");
	forbidden(alice, XY_DECLARE, "a");
	forbidden(alice, XY_DECLARE, "a.secret.x");
	forbidden(eve, XY_DECLARE, "a.open");

	raw_subscribe_to(alice, "b.*");
	subscribe_forbidden(alice, "b.secret.x");
	subscribe_forbidden(alice, "b.secret.*");
	subscribe_forbidden(alice, "b.>"); /* a part of it is denied */
	subscribe_forbidden(alice, "b.*.x");
	subscribe_forbidden(alice, ">");
	raw_subscribe_to(alice, "b.secret.x.y");
	raw_subscribe_to(eve, "a.open");
	subscribe_forbidden(eve, "a.*");

	raw_expect_fence(bob, alice);
	direct_forbidden(alice, eve->endpoint);
	direct_forbidden(eve, alice->endpoint);
	direct_forbidden(eve, eve->endpoint);
	raw_expect_fence(eve, bob);
	assert_int_equal(status_counter(proxy, "forbidden"), before + 13);
	raw_expect_silence(alice);
	raw_expect_silence(eve);
}

static void test_what_is_forbidden_arrives_nowhere(void **state)
{
	const struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct raw *eve = enter(proxy, EVE);
	uint64_t topic = raw_declare(alice, "a.x");

	/* Bob gets what is there for him, and eve, whom it was sent to as well, nothing. */
	raw_subscribe_to(bob, "a.x");
	raw_publish(alice, topic, 1, "one");
	raw_expect_text(bob, "one");
	for (int i = 0; i < 20; i++)
		direct_forbidden(alice, eve->endpoint);
	raw_expect_fence(eve, bob);
	raw_expect_fence(bob, alice);
}

static void test_names_of_rules_are_patterns_and_all_that_match_count(void **state)
{
	const struct proxy *proxy = *state;
	char token[64];
	struct raw *raw;

	rules_set(proxy, "\"many.*\": {\"publish\": [\"m.*\"], \"subscribe\": [\">\"]},"
			 "\"many.7\": {\"publish\": {\"deny\": [\"m.7\"]}},"
			 "\">\": {\"publish\": [\"all\"], \"subscribe\": {\"deny\": [\"x.>\"]}}");
	token_many(7, token);
	raw = enter(proxy, token);
	raw_declare(raw, "m.8");
	raw_declare(raw, "all");
	forbidden(raw, XY_DECLARE, "m.7");
	raw_subscribe_to(raw, "y.>");
	subscribe_forbidden(raw, "x.y");
	subscribe_forbidden(raw, "*.y");
	token_many(8, token);
	raw = enter(proxy, token);
	raw_declare(raw, "m.7");
	raw = enter(proxy, ALICE);
	raw_declare(raw, "all");
	forbidden(raw, XY_DECLARE, "m.8");
	subscribe_forbidden(raw, "y");
	/* No rule at all. */
	rules_set(proxy, "");
	forbidden(raw, XY_DECLARE, "all");
}

/* ---- secrets --------------------------------------------------------------------------------- */

static char *file_of(pid_t pid, const char *name, size_t *ret_length)
{
	char path[64], *text = malloc(1 << 20);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(text);
	*ret_length = fread(text, 1, 1 << 20, file);
	fclose(file);
	return text;
}

static void lacks(pid_t pid, const char *name, const char *secret)
{
	size_t length;
	char *text = file_of(pid, name, &length);

	if (memmem(text, length, secret, strlen(secret)) != NULL)
		fail_msg("/proc/%d/%s has a token", pid, name);
	free(text);
}

static void test_tokens_are_neither_in_the_process_list_nor_in_the_log(void **state)
{
	struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct running running;

	refused(raw_connect(proxy), "a-token-that-nobody-knows");
	file_with("tokens", "alice alice-0123456789abcdefgh\nbob\tshort-token\n", 1);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	says_not(outcome.err, STRINGS(ALICE, "short-token"));
	files_write();
	reload(proxy);
	lacks(proxy_pid(proxy), "cmdline", "0123456789abcdefgh");
	lacks(proxy_pid(proxy), "environ", "0123456789abcdefgh");
	assert_int_equal(proxy_logged(proxy, "0123456789abcdefgh"), 0);
	assert_int_equal(proxy_logged(proxy, "a-token-that-nobody-knows"), 0);
	assert_int_equal(proxy_logged(proxy, "short-token"), 0);
	/* Nor do its clients show them. */
	running = start(NULL, STRINGS("sub", "--server", proxy_server(proxy), "--token-file",
				      file_with("mine", "bob-0123456789abcdefgh\n", 1), "--count",
				      "1", "a.x"));
	subscribers_are(proxy, 1);
	lacks(running.pid, "cmdline", "0123456789abcdefgh");
	raw_publish(alice, raw_declare(alice, "a.x"), 1, "text");
	finish(running);
	ended(OK);
}

/* ---- clients that show tokens ---------------------------------------------------------------- */

static void pub_with(const struct proxy *proxy, const char *flag, const char *token,
		     const char *file, int status)
{
	if (token != NULL)
		setenv("XYLEM_TOKEN", token, 1);
	if (file != NULL)
		setenv("XYLEM_TOKEN_FILE", file, 1);
	if (flag != NULL)
		RUN("pub", "--server", proxy_server(proxy), "--token-file", flag, "a.x", "hi");
	else
		RUN("pub", "--server", proxy_server(proxy), "a.x", "hi");
	unsetenv("XYLEM_TOKEN");
	unsetenv("XYLEM_TOKEN_FILE");
	ended(status);
}

static void test_clients_show_a_token_from_a_file_or_the_environment(void **state)
{
	const struct proxy *proxy = *state;
	const char *mine = file_with("alice", ALICE "\r\n", 1),
		   *wrong = file_with("wrong", EVE "x", 1);
	const char *two = file_with("two", ALICE "\n" BOB "\n", 1), *far;
	char apart[1024] = ALICE;

	memset(apart + strlen(apart), '\n', 600);
	far = file_with("far", strcat(apart, BOB), 1);
	pub_with(proxy, NULL, NULL, NULL, UNREACHABLE);
	SAYS("refused", "--token-file", "XYLEM_TOKEN");
	pub_with(proxy, mine, NULL, NULL, OK);
	pub_with(proxy, NULL, ALICE, NULL, OK);
	pub_with(proxy, NULL, NULL, mine, OK);
	/* The first of them counts, and it alone. */
	pub_with(proxy, mine, "wrong", wrong, OK);
	pub_with(proxy, wrong, ALICE, mine, UNREACHABLE);
	pub_with(proxy, NULL, "wrong", mine, UNREACHABLE);
	pub_with(proxy, NULL, ALICE, wrong, OK);
	pub_with(proxy, two, NULL, NULL, USAGE);
	SAYS("option --token-file: ", "two must hold one token");
	pub_with(proxy, far, NULL, NULL, USAGE);
	SAYS("option --token-file: ", "far must hold one token");
	pub_with(proxy, NULL, NULL, "/nowhere/token", USAGE);
	SAYS("XYLEM_TOKEN_FILE in the environment: /nowhere/token: No such file");
	/* Let in, and told what it may not. */
	pub_with(proxy, NULL, EVE, NULL, FAILURE);
	SAYS("a.x: forbidden");
}

/* The library reads its file anew when it comes back. */
static void test_a_client_whose_token_is_changed_comes_back_with_the_new_one(void **state)
{
	const struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct running running;
	uint64_t topic = raw_declare(alice, "a.x");

	running = start(NULL, STRINGS("sub", "--server", proxy_server(proxy), "--token-file",
				      file_with("mine", BOB "\n", 1), "--count", "1", "a.x"));
	subscribers_are(proxy, 1);
	file_with("mine", "bob-new-0123456789abcdef\n", 1);
	file_with("tokens", "alice " ALICE "\nbob bob-new-0123456789abcdef\n", 1);
	reload(proxy);
	says_ended(0, 1, 1);
	subscribers_are(proxy, 1);
	raw_publish(alice, topic, 1, "again");
	finish(running);
	ended(OK);
	assert_string_equal(outcome.out, "again\n");
	SAYS("connection lost", "connected again");
}

static void test_a_client_hears_that_its_subscription_has_ended(void **state)
{
	const struct proxy *proxy = *state;
	struct running running;

	running = start(NULL, STRINGS("sub", "--server", proxy_server(proxy), "--token-file",
				      file_with("mine", BOB "\n", 1), "--timeout", "60s", "a.x"));
	subscribers_are(proxy, 1);
	rules_set(proxy, "\"alice\": {}");
	await(running, "forbidden");
	kill(running.pid, SIGTERM);
	finish(running);
	SAYS("the proxy says: ", "the subscription has ended");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		access_test(test_a_wrong_token_an_absent_one_and_parts_of_one_are_refused),
		access_test(test_a_wrong_token_is_refused_though_the_user_would_do),
		access_test(test_each_of_many_tokens_is_its_own_identity),
		access_test(test_users_and_groups_are_let_in_by_rule),
		access_test(test_publish_subscribe_and_direct_are_by_rule_and_deny_wins),
		access_test(test_what_is_forbidden_arrives_nowhere),
		access_test(test_names_of_rules_are_patterns_and_all_that_match_count),
		access_test(test_tokens_are_neither_in_the_process_list_nor_in_the_log),
		access_test(test_clients_show_a_token_from_a_file_or_the_environment),
		access_test(test_a_client_whose_token_is_changed_comes_back_with_the_new_one),
		access_test(test_a_client_hears_that_its_subscription_has_ended),
	};

	return access_run(tests);
}
