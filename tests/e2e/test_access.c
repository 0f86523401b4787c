/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is let in, who may do what, and what becomes of those who may no more. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"
#include "common/status.h"

#define ALICE "alice-0123456789abcdefgh"
#define BOB   "bob-0123456789abcdefgh"
#define EVE   "eve-0123456789abcdefgh"
#define MANY  200

/* What most tests begin with. */
#define RULES                                                                               \
	"\"alice\": {\"publish\": {\"allow\": [\"a.>\"], \"deny\": [\"a.secret.>\"]},"      \
	"            \"subscribe\": {\"allow\": [\"b.>\"], \"deny\": [\"b.secret.*\"]},"    \
	"            \"direct\": [\"bob\"]},"                                               \
	"\"bob\": {\"publish\": [\"b.>\"], \"subscribe\": [\"a.>\"], \"direct\": [\">\"]}," \
	"\"eve\": {\"subscribe\": [\"a.open\"]},"                                           \
	"\"local\": {\"publish\": [\">\"]}"
#define USERS "{\"uid\": 0, \"identity\": \"local\"}, {\"gid\": 4242, \"identity\": \"crew\"}"

static char config_path[128], token_path[128];

/* ---- files ----------------------------------------------------------------------------------- */

static void token_many(unsigned number, char token[64])
{
	snprintf(token, 64, "many-%04u-0123456789abcdef", number);
}

static void digest_write(FILE *file, const char *name, const char *token)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)token, strlen(token), digest);
	fprintf(file, "%s sha256:", name);
	for (size_t i = 0; i < sizeof(digest); i++)
		fprintf(file, "%02x", digest[i]);
	fputc('\n', file);
}

/* Tokens of those named here, and many more, every other one as a digest. */
static void tokens_write(const char *const *names)
{
	FILE *file = fopen(file_with("tokens", "# who they are\n\n", 1), "ae");
	char token[64], name[32];

	assert_non_null(file);
	for (; *names != NULL; names++)
		fprintf(file, "%s\t %s-0123456789abcdefgh\n", *names, *names);
	for (unsigned n = 0; n < MANY; n++) {
		token_many(n, token);
		snprintf(name, sizeof(name), "many.%u", n);
		if (n & 1)
			digest_write(file, name, token);
		else
			fprintf(file, "%s %s\n", name, token);
	}
	assert_int_equal(fclose(file), 0);
}

static void rules_write(const char *users, const char *rules)
{
	char text[8192];

	snprintf(text, sizeof(text),
		 "{\n\"access\": {\n\"users\": [%s],\n\"identities\": {%s}\n}\n}\n", users, rules);
	file_with("xylem.json", text, 1);
}

static void files_write(void)
{
	tokens_write(STRINGS("alice", "bob", "eve"));
	rules_write(USERS, RULES);
}

static void reload(const struct proxy *proxy)
{
	RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
	ended(OK);
	says(outcome.out, STRINGS("in force"));
}

static void rules_set(const struct proxy *proxy, const char *rules)
{
	rules_write(USERS, rules);
	reload(proxy);
}

/* ---- clients --------------------------------------------------------------------------------- */

static const char *hello_of(const char *token)
{
	static char text[1024];

	if (token == NULL)
		return RAW_HELLO;
	snprintf(text, sizeof(text), "{\"name\": \"raw\", \"ack\": true, \"token\": \"%s\"}",
		 token);
	return text;
}

static struct raw *enter(const struct proxy *proxy, const char *token)
{
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, hello_of(token));
	raw_sync(raw);
	assert_int_equal(raw->lane, proxy_kernel_path(proxy) == KERNEL_PATH_ON);
	return raw;
}

static void refused(struct raw *raw, const char *token)
{
	struct xy_frame hello = {.version = 1, .type = XY_HELLO, .correlation = 7};
	const char *json = hello_of(token);

	raw_send_frame(raw, hello, json, strlen(json));
	raw_expect_error(raw, XY_E_UNAUTHORIZED);
	assert_int_equal(raw->frame.header.correlation, 7);
}

/* It asks, and is told that it may not. */
static void forbidden(struct raw *raw, uint8_t type, const char *payload)
{
	struct xy_frame frame = raw_header(raw, type);

	frame.correlation = ++raw->correlation;
	raw_send_frame(raw, frame, payload, strlen(payload));
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.correlation, frame.correlation);
}

static void subscribe_forbidden(struct raw *raw, const char *pattern)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\": \"%s\"}", pattern);
	forbidden(raw, XY_SUBSCRIBE, json);
}

static void send_direct(struct raw *raw, uint64_t endpoint, uint64_t correlation, const char *text)
{
	struct xy_frame frame = raw_header(raw, XY_DATA);

	frame.flags = XY_DIRECT;
	frame.target = endpoint;
	frame.correlation = correlation;
	raw_send_frame(raw, frame, text, strlen(text));
}

static void direct_forbidden(struct raw *raw, uint64_t endpoint)
{
	uint64_t correlation = ++raw->correlation;

	send_direct(raw, endpoint, correlation, "no");
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.target, endpoint);
	assert_int_equal(raw->frame.header.correlation, correlation);
}

static void publish_forbidden(struct raw *raw, uint64_t topic, uint64_t sequence)
{
	raw_publish(raw, topic, sequence, "no");
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.target, topic);
	assert_int_equal(raw->frame.header.sequence, sequence);
}

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

/* ---- reload ---------------------------------------------------------------------------------- */

/* Publishes until the kernel does it, where it can. */
static uint64_t warm(const struct proxy *proxy, struct raw *sender, struct raw *receiver,
		     uint64_t topic, uint64_t sequence)
{
	bool kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;

	do {
		raw_publish(sender, topic, ++sequence, "warm");
		raw_expect_text(receiver, "warm");
	} while (kernel && !status_has_flow(proxy, sender));
	return sequence;
}

static uint64_t moved(const struct sessions *sessions, const struct raw *raw)
{
	const struct xy_session *session = sessions_of(sessions, raw->endpoint);

	return session != NULL ? xy_session_frames(session) : 0;
}

static void says_ended(unsigned flows, unsigned subscriptions, unsigned connections)
{
	char text[128];

	snprintf(text, sizeof(text), "%u flows, %u subscriptions, %u connections", flows,
		 subscriptions, connections);
	says(outcome.out, STRINGS(text));
}

static void test_a_reload_ends_flows_of_who_may_publish_no_more(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct sessions *sessions = sessions_open(proxy);
	uint64_t topic = raw_declare(alice, "a.x"), sequence, frames;

	raw_subscribe_to(bob, "a.>");
	sequence = warm(proxy, alice, bob, topic, 0);
	assert_int_equal(flows_used(proxy), kernel);
	rules_set(proxy, "\"bob\": {\"subscribe\": [\"a.>\"], \"direct\": [\">\"]}");
	says_ended(kernel, 0, 0);
	assert_int_equal(flows_used(proxy), 0);
	assert_false(status_has_flow(proxy, alice));
	frames = moved(sessions, alice);
	for (int i = 0; i < 10; i++)
		publish_forbidden(alice, topic, ++sequence);
	assert_int_equal(moved(sessions, alice), frames);
	forbidden(alice, XY_DECLARE, "a.x");
	raw_expect_fence(bob, bob);
	/* Allowed again, by the kernel too. */
	rules_set(proxy, RULES);
	says_ended(0, 0, 0);
	warm(proxy, alice, bob, topic, sequence);
	sessions_close(sessions);
}

static void test_a_reload_ends_subscriptions_and_says_so(void **state)
{
	const struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	uint64_t topic = raw_declare(alice, "a.x"), sequence, id, kept;
	struct xy_frame frame;

	id = raw_subscribe_to(bob, "a.x");
	kept = raw_subscribe_to(bob, "a.y");
	sequence = warm(proxy, alice, bob, topic, 0);
	rules_set(proxy, "\"alice\": {\"publish\": [\"a.>\"]},"
			 "\"bob\": {\"subscribe\": {\"allow\": [\"a.>\"], \"deny\": [\"*.x\"]}}");
	says_ended(0, 1, 0);
	assert_int_equal(flows_used(proxy), 0);
	raw_expect_error(bob, XY_E_FORBIDDEN);
	assert_int_equal(bob->frame.header.target, id);
	assert_int_equal(bob->frame.header.correlation, 0);
	raw_publish(alice, topic, ++sequence, "for nobody");
	raw_expect_silence(alice);
	rules_set(proxy, RULES);
	raw_expect_fence(bob, alice);
	/* It has gone for good; the other one has not. */
	frame = raw_header(bob, XY_UNSUBSCRIBE);
	frame.target = id;
	frame.correlation = ++bob->correlation;
	raw_send_frame(bob, frame, NULL, 0);
	raw_expect_error(bob, XY_E_UNKNOWN_SUBSCRIPTION);
	raw_publish(alice, raw_declare(alice, "a.y"), 1, "kept");
	raw_expect_text(bob, "kept");
	raw_request(bob, XY_UNSUBSCRIBE, kept, "");
}

static void test_a_reload_ends_what_is_sent_to_endpoints(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct sessions *sessions = sessions_open(proxy);
	uint64_t frames;

	do
		raw_expect_fence(bob, alice);
	while (kernel && !status_has_flow(proxy, alice));
	rules_set(proxy, "\"bob\": {\"direct\": [\"alice\"]}");
	says_ended(kernel, 0, 0);
	assert_int_equal(flows_used(proxy), 0);
	frames = moved(sessions, alice);
	for (int i = 0; i < 10; i++)
		direct_forbidden(alice, bob->endpoint);
	assert_int_equal(moved(sessions, alice), frames);
	raw_expect_fence(alice, bob);
	rules_set(proxy, RULES);
	raw_expect_fence(bob, alice);
	sessions_close(sessions);
}

static void test_a_reload_closes_who_would_not_be_let_in_any_more(void **state)
{
	const struct proxy *proxy = *state;
	unsigned kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	struct raw *local = raw_connect_unix(proxy), *greeted = raw_connect(proxy);
	uint64_t topic = raw_declare(alice, "a.x");

	raw_hello(local, RAW_HELLO);
	raw_sync(local);
	raw_hello(greeted, hello_of(ALICE)); /* not a word more */
	raw_subscribe_to(bob, "a.x");
	raw_subscribe_to(alice, "b.x");
	warm(proxy, alice, bob, topic, 0);
	tokens_write(STRINGS("bob", "eve"));
	rules_write("{\"uid\": 7, \"identity\": \"local\"}", RULES);
	reload(proxy);
	says_ended(kernel, 1, 2);
	assert_int_equal(flows_used(proxy), 0);
	raw_expect_error(alice, XY_E_UNAUTHORIZED);
	raw_expect_error(local, XY_E_UNAUTHORIZED);
	refused(raw_connect(proxy), ALICE);
	refused(raw_connect_unix(proxy), NULL);
	/* Who was between WELCOME and the first frame is found, too. */
	raw_send_frame(greeted, raw_header(greeted, XY_PING), NULL, 0);
	do
		assert_int_equal(raw_read(greeted, TEST_TIMEOUT_MS), RAW_FRAME);
	while (greeted->frame.header.type != XY_ERROR);
	assert_non_null(strstr((char *)greeted->frame.payload, "unauthorized"));
	raw_expect_closed(greeted);
	assert_true(status_counter(proxy, "revoked_connections") >= 3);
	raw_expect_fence(bob, bob);
	files_write();
	reload(proxy);
}

static void test_a_broken_reload_changes_nothing_and_says_so(void **state)
{
	struct proxy *proxy = *state;
	struct raw *alice = enter(proxy, ALICE);
	struct raw *bob = enter(proxy, BOB);
	uint64_t topic = raw_declare(alice, "a.x"), sequence;
	uint64_t before = status_counter(proxy, "reloads_failed");

	raw_subscribe_to(bob, "a.x");
	sequence = warm(proxy, alice, bob, topic, 0);
	rules_write(USERS, "\"alice\": {\"publish\": \"a.>\"}, \"bob\": {\"subscribe\": [\"..\"]}");
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("nothing has changed", "xylem.json:4: access.identities.alice.publish: must be",
	     "and 1 more");
	assert_true(proxy_logged(proxy, "event=reload-failed") > 0);
	file_with("xylem.json", "{", 1);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("xylem.json:1: ");
	rules_write(USERS, RULES);
	file_with("tokens", "alice short\n", 1);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("tokens:1: a token has at least 16 bytes");
	assert_int_equal(unlink(token_path), 0);
	RUN("reload", "--instance", proxy_instance(proxy));
	ended(FAILURE);
	SAYS("tokens: No such file");
	assert_int_equal(status_counter(proxy, "reloads_failed"), before + 4);
	if (proxy_kernel_path(proxy) == KERNEL_PATH_ON)
		assert_true(status_has_flow(proxy, alice));
	warm(proxy, alice, bob, topic, sequence);
	subscribe_forbidden(alice, "a.x");
	raw_close(enter(proxy, EVE));
	refused(raw_connect(proxy), "alice-0123456789abcdefg");
	files_write();
	reload(proxy);
}

static uint64_t generation(const struct proxy *proxy)
{
	json_t *status = status_take(proxy);
	uint64_t number = status_number(status, "access_generation");

	json_decref(status);
	return number;
}

static void test_sighup_reloads(void **state)
{
	struct proxy *proxy = *state;
	uint64_t before = generation(proxy);
	struct raw *alice = enter(proxy, ALICE);
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	raw_declare(alice, "a.x");
	rules_write(USERS, "");
	proxy_signal(proxy, SIGHUP);
	while (generation(proxy) == before) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 2);
	}
	forbidden(alice, XY_DECLARE, "a.x");
	rules_set(proxy, RULES);
	raw_declare(alice, "a.x");
}

static void test_many_reloads_at_once_all_come_true(void **state)
{
	struct proxy *proxy = *state;
	struct running running[8];
	struct raw *alice = enter(proxy, ALICE);

	for (int round = 0; round < 4; round++) {
		rules_write(USERS, round & 1 ? RULES : "");
		for (size_t i = 0; i < LENGTH(running); i++) {
			running[i] = start(NULL, STRINGS("reload", "--timeout", "60s", "--instance",
							 proxy_instance(proxy)));
			proxy_signal(proxy, SIGHUP);
		}
		for (size_t i = 0; i < LENGTH(running); i++) {
			finish(running[i]);
			ended(OK);
		}
		if (round & 1)
			raw_declare(alice, "a.x");
		else
			forbidden(alice, XY_DECLARE, "a.x");
	}
}

static void test_a_reload_says_which_changes_it_does_not_make(void **state)
{
	struct proxy *proxy = *state;

	file_with("xylem.json",
		  "{\"lanes\": 17, \"max-connections\": 99, \"log-level\": \"error\", \"access\": "
		  "{\"users\": [{\"uid\": 0, \"identity\": \"local\"}], \"identities\": {}}}",
		  1);
	reload(proxy);
	assert_int_equal(proxy_logged(proxy, "event=reload-ignored option=--lanes "), 1);
	assert_true(proxy_logged(proxy, "event=reload-ignored option=--max-connections ") > 0);
	/* That one stands on the command line, which wins. */
	assert_int_equal(proxy_logged(proxy, "event=reload-ignored option=--log-level "), 0);
	files_write();
	reload(proxy);
}

static void subscribers_are(const struct proxy *proxy, size_t count)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	size_t found;

	do {
		json_t *status = status_take(proxy);

		found = json_array_size(json_object_get(status, "subscriptions"));
		json_decref(status);
		assert_true(test_now_ms() < deadline);
	} while (found != count);
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
	const char *two = file_with("two", ALICE "\n" BOB "\n", 1);

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

/* ---- all of them ----------------------------------------------------------------------------- */

#define access_test(function) \
	cmocka_unit_test_setup_teardown(function, files_setup, proxy_test_teardown)

static int files_setup(void **state)
{
	files_write();
	reload(*state);
	return 0;
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
		access_test(test_a_reload_ends_flows_of_who_may_publish_no_more),
		access_test(test_a_reload_ends_subscriptions_and_says_so),
		access_test(test_a_reload_ends_what_is_sent_to_endpoints),
		access_test(test_a_reload_closes_who_would_not_be_let_in_any_more),
		access_test(test_a_broken_reload_changes_nothing_and_says_so),
		access_test(test_sighup_reloads),
		access_test(test_many_reloads_at_once_all_come_true),
		access_test(test_a_reload_says_which_changes_it_does_not_make),
		access_test(test_tokens_are_neither_in_the_process_list_nor_in_the_log),
		access_test(test_clients_show_a_token_from_a_file_or_the_environment),
		access_test(test_a_client_whose_token_is_changed_comes_back_with_the_new_one),
		access_test(test_a_client_hears_that_its_subscription_has_ended),
	};
	const char *arguments[] = {"--config",    config_path,   "--token-file",
				   token_path,    "--unix-mode", "0666",
				   "--log-level", "debug",       NULL};
	int failures;

	directory_make();
	snprintf(config_path, sizeof(config_path), "%s", in_directory("xylem.json"));
	snprintf(token_path, sizeof(token_path), "%s", in_directory("tokens"));
	files_write();
	failures = proxy_run_both(tests, arguments);
	directory_remove();
	return failures;
}
