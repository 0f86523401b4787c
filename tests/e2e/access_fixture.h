/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A proxy with rules and tokens: files that each test begins with and may change, and clients that
 * are let in or not.
 */
#ifndef TEST_ACCESS_FIXTURE_H
#define TEST_ACCESS_FIXTURE_H

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

static inline void token_many(unsigned number, char token[64])
{
	snprintf(token, 64, "many-%04u-0123456789abcdef", number);
}

static inline void digest_write(FILE *file, const char *name, const char *token)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)token, strlen(token), digest);
	fprintf(file, "%s sha256:", name);
	for (size_t i = 0; i < sizeof(digest); i++)
		fprintf(file, "%02x", digest[i]);
	fputc('\n', file);
}

/* Tokens of those named here, and many more, every other one as a digest. */
static inline void tokens_write(const char *const *names)
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

static inline void rules_write(const char *users, const char *rules)
{
	char text[8192];

	snprintf(text, sizeof(text),
		 "{\n\"access\": {\n\"users\": [%s],\n\"identities\": {%s}\n}\n}\n", users, rules);
	file_with("xylem.json", text, 1);
}

static inline void files_write(void)
{
	tokens_write(STRINGS("alice", "bob", "eve"));
	rules_write(USERS, RULES);
}

static inline void reload(const struct proxy *proxy)
{
	RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
	ended(OK);
	says(outcome.out, STRINGS("in force"));
}

static inline void rules_set(const struct proxy *proxy, const char *rules)
{
	rules_write(USERS, rules);
	reload(proxy);
}

/* ---- clients --------------------------------------------------------------------------------- */

static inline const char *hello_of(const char *token)
{
	static char text[1024];

	if (token == NULL)
		return RAW_HELLO;
	snprintf(text, sizeof(text), "{\"name\": \"raw\", \"ack\": true, \"token\": \"%s\"}",
		 token);
	return text;
}

static inline struct raw *enter(const struct proxy *proxy, const char *token)
{
	struct raw *raw = raw_connect(proxy);

	raw_hello(raw, hello_of(token));
	raw_sync(raw);
	assert_int_equal(raw->lane, proxy_kernel_path(proxy) == KERNEL_PATH_ON);
	return raw;
}

static inline void refused(struct raw *raw, const char *token)
{
	struct xy_frame hello = {.version = 1, .type = XY_HELLO, .correlation = 7};
	const char *json = hello_of(token);

	raw_send_frame(raw, hello, json, strlen(json));
	raw_expect_error(raw, XY_E_UNAUTHORIZED);
	assert_int_equal(raw->frame.header.correlation, 7);
}

/* It asks, and is told that it may not. */
static inline void forbidden(struct raw *raw, uint8_t type, const char *payload)
{
	struct xy_frame frame = raw_header(raw, type);

	frame.correlation = ++raw->correlation;
	raw_send_frame(raw, frame, payload, strlen(payload));
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.correlation, frame.correlation);
}

static inline void subscribe_forbidden(struct raw *raw, const char *pattern)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\": \"%s\"}", pattern);
	forbidden(raw, XY_SUBSCRIBE, json);
}

static inline void send_direct(struct raw *raw, uint64_t endpoint, uint64_t correlation,
			       const char *text)
{
	struct xy_frame frame = raw_header(raw, XY_DATA);

	frame.flags = XY_DIRECT;
	frame.target = endpoint;
	frame.correlation = correlation;
	raw_send_frame(raw, frame, text, strlen(text));
}

static inline void direct_forbidden(struct raw *raw, uint64_t endpoint)
{
	uint64_t correlation = ++raw->correlation;

	send_direct(raw, endpoint, correlation, "no");
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.target, endpoint);
	assert_int_equal(raw->frame.header.correlation, correlation);
}

static inline void publish_forbidden(struct raw *raw, uint64_t topic, uint64_t sequence)
{
	raw_publish(raw, topic, sequence, "no");
	raw_expect_error(raw, XY_E_FORBIDDEN);
	assert_int_equal(raw->frame.header.target, topic);
	assert_int_equal(raw->frame.header.sequence, sequence);
}

static inline void says_ended(unsigned flows, unsigned subscriptions, unsigned connections)
{
	char text[128];

	snprintf(text, sizeof(text), "%u flows, %u subscriptions, %u connections", flows,
		 subscriptions, connections);
	says(outcome.out, STRINGS(text));
}

static inline void subscribers_are(const struct proxy *proxy, size_t count)
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

/* ---- all of them ----------------------------------------------------------------------------- */

#define access_test(function) \
	cmocka_unit_test_setup_teardown(function, files_setup, proxy_test_teardown)
#define access_run(tests) access_run_tests(#tests, tests, sizeof(tests) / sizeof((tests)[0]))

static inline int files_setup(void **state)
{
	files_write();
	reload(*state);
	return 0;
}

static inline int access_run_tests(const char *name, const struct CMUnitTest *tests, size_t count)
{
	const char *arguments[] = {"--config",    config_path,   "--token-file",
				   token_path,    "--unix-mode", "0666",
				   "--log-level", "debug",       NULL};
	int failures;

	directory_make();
	snprintf(config_path, sizeof(config_path), "%s", in_directory("xylem.json"));
	snprintf(token_path, sizeof(token_path), "%s", in_directory("tokens"));
	files_write();
	failures = proxy_run_group_both(name, tests, count, arguments);
	directory_remove();
	return failures;
}

#endif
