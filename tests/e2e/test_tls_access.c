/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a certificate makes of a client, what that may do, and what becomes of it when files change.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"
#include "common/status.h"

#define TOKEN "till-0123456789abcdefgh"

/* May publish what others only hear. */
#define RULES                                                                                \
	"\"shop.till\": {\"publish\": [\"orders.>\"], \"subscribe\": [\">\"]},"              \
	"\"shop.*\": {\"subscribe\": [\"prices.*\"]},"                                       \
	"\"spiffe://cluster/agent\": {\"publish\": [\"prices.*\"], \"subscribe\": [\">\"]}," \
	"\"by.token\": {\"publish\": [\"tokens\"]}"

static struct cert *ca, *next_ca, *proxy_cert, *next_cert, *till, *agent;
static char config_path[128];

/* ---- files ----------------------------------------------------------------------------------- */

/* "tls-ca" is left out where `authorities` is NULL. */
static void files_write(const struct cert *own, const char *authorities, const char *rules)
{
	char text[4096], member[256] = "";

	cert_write(in_directory("cert.pem"), 0644, own->pem);
	cert_write(in_directory("key.pem"), 0600, own->key_pem);
	file_with("tokens", "by.token " TOKEN "\n", 1);
	if (authorities != NULL) {
		cert_write(in_directory("ca.pem"), 0644, authorities);
		snprintf(member, sizeof(member), "\"tls-ca\": \"%s\",\n", in_directory("ca.pem"));
	}
	snprintf(text, sizeof(text),
		 "{\n%s\"tls-cert\": \"%s/cert.pem\",\n\"tls-key\": \"%s/key.pem\",\n"
		 "\"token-file\": \"%s/tokens\",\n\"access\": {\"identities\": {%s},\n"
		 "\"users\": [{\"uid\": 0, \"identity\": \"local\"}]}\n}\n",
		 member, directory_path(), directory_path(), directory_path(), rules);
	file_with("xylem.json", text, 1);
}

static void files_usual(void)
{
	files_write(proxy_cert, ca->pem, RULES);
}

static void reload(const struct proxy *proxy)
{
	RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
	ended(OK);
	says(outcome.out, STRINGS("in force"));
}

static int usual(void **state)
{
	files_usual();
	reload(*state);
	return 0;
}

/* ---- clients --------------------------------------------------------------------------------- */

static struct raw *open_as(const struct cert *own)
{
	return secure_open(&(struct secure_options){.ca = ca, .own = own});
}

static const char *with_token(const char *token)
{
	static char text[256];

	snprintf(text, sizeof(text), "{\"name\":\"raw\",\"ack\":true,\"token\":\"%s\"}", token);
	return text;
}

static void expect_identity(const struct proxy *proxy, const struct raw *raw, const char *name)
{
	json_t *status = status_take_with(proxy, raw);
	const json_t *connection = status_connection(status, raw);

	assert_string_equal(json_string_value(json_object_get(connection, "identity")), name);
	json_decref(status);
}

static void refused(const struct cert *own, const char *hello, const char *why)
{
	struct raw *raw = secure_reach(&(struct secure_options){.own = own});
	struct xy_frame frame = {.version = 1, .type = XY_HELLO};

	raw_send_frame(raw, frame, hello, strlen(hello));
	raw_expect_error(raw, XY_E_UNAUTHORIZED);
	assert_false(raw->cut);
	if (!strstr((const char *)raw->frame.payload, why))
		fail_msg("'%s' is not in %s", why, (const char *)raw->frame.payload);
	raw_close(raw);
}

static bool may_declare(struct raw *raw, const char *subject)
{
	struct xy_frame request = raw_header(raw, XY_DECLARE);

	raw_send_frame(raw, request, subject, strlen(subject));
	while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME)
		if (raw->frame.header.type == XY_OK)
			return true;
		else if (raw->frame.header.type == XY_ERROR)
			return false;
	fail_msg("no answer");
	return false;
}

/* ---- who it is ------------------------------------------------------------------------------- */

static void test_a_certificate_says_who_it_is(void **state)
{
	struct proxy *proxy = *state;
	struct raw *first = open_as(till), *second = open_as(agent);
	uint64_t topic;

	expect_identity(proxy, first, "shop.till");
	expect_identity(proxy, second, "spiffe://cluster/agent");
	assert_true(may_declare(first, "orders.new"));
	assert_false(may_declare(first, "prices.milk"));
	assert_false(may_declare(second, "orders.new"));
	raw_subscribe_to(first, "prices.*");
	topic = raw_declare(second, "prices.milk");
	raw_publish(second, topic, 1, "2");
	raw_expect_text(first, "2");
}

static void test_who_shows_nothing_is_refused(void **state)
{
	(void)state;
	refused(NULL, RAW_HELLO, "asks for a certificate, or for a token");
}

static void test_a_token_will_do(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = secure_reach(&(struct secure_options){.ca = ca});

	raw_hello(raw, with_token(TOKEN));
	raw_sync(raw);
	expect_identity(proxy, raw, "by.token");
	/* Of two the one that was said; a wrong one is not made good. */
	raw = secure_reach(&(struct secure_options){.ca = ca, .own = till});
	raw_hello(raw, with_token(TOKEN));
	raw_sync(raw);
	expect_identity(proxy, raw, "by.token");
	refused(till, with_token("till-0123456789abcdefgi"), "token");
}

/* Unless somebody has said otherwise. */
static void test_old_versions_are_refused(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw =
		secure_connect(&(struct secure_options){.own = till, .version = TLS1_2_VERSION});

	assert_false(secure_try(raw));
	if (!strstr(secure_why(), "protocol version"))
		fail_msg("%s", secure_why());
	proxy_await_logged(proxy, "no version of TLS is spoken by both");
}

static void test_names_that_no_identity_can_have(void **state)
{
	static const struct cert_options bad[] = {
		{.name = "anonymous"},
		{.name = "shop..till"},
		{.name = "shop.*"},
		{.name = "two words"},
		{.name = "shop.till", .alternatives = "DNS:*"},
		{.alternatives = "IP:127.0.0.1"},
		{0},
	};

	(void)state;
	for (unsigned n = 0; n < LENGTH(bad); n++) {
		struct cert_options options = bad[n];
		struct cert *cert;

		options.issuer = ca;
		cert = cert_make(&options);
		refused(cert, RAW_HELLO, "name");
		cert_free(cert);
	}
}

/* ---- files that change ----------------------------------------------------------------------- */

static void test_a_certificate_whose_authority_is_gone_is_let_in_no_more(void **state)
{
	struct proxy *proxy = *state;
	struct raw *by_certificate = open_as(till);
	struct raw *by_token = secure_reach(&(struct secure_options){.ca = ca});
	struct cert *newer =
		cert_make(&(struct cert_options){.name = "shop.till", .issuer = next_ca});
	struct raw *raw;

	raw_hello(by_token, with_token(TOKEN));
	raw_sync(by_token);
	files_write(proxy_cert, next_ca->pem, RULES);
	reload(proxy);
	raw_expect_error(by_certificate, XY_E_UNAUTHORIZED);
	assert_false(by_certificate->cut);
	raw_expect_silence(by_token);
	raw = open_as(newer);
	expect_identity(proxy, raw, "shop.till");
	/* The handshake fails, or what comes after it. */
	raw = secure_connect(&(struct secure_options){.ca = ca, .own = till});
	if (secure_try(raw))
		raw_drain(raw);
	cert_free(newer);
}

static void test_authorities_may_overlap(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = open_as(till);
	char both[8192];

	snprintf(both, sizeof(both), "%s%s", next_ca->pem, ca->pem);
	files_write(proxy_cert, both, RULES);
	reload(proxy);
	raw_expect_silence(raw);
	expect_identity(proxy, open_as(till), "shop.till");
}

static void test_without_authorities_nobody_is_known_by_a_certificate(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = open_as(till);

	files_write(proxy_cert, NULL, RULES);
	reload(proxy);
	raw_expect_error(raw, XY_E_UNAUTHORIZED);
	refused(till, RAW_HELLO, "asks for a token");
}

static void test_rules_that_change_count_for_certificates(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = open_as(till);

	assert_true(may_declare(raw, "orders.new"));
	files_write(proxy_cert, ca->pem, "\"shop.till\": {\"publish\": [\"other\"]}");
	reload(proxy);
	assert_false(may_declare(raw, "orders.more"));
	assert_true(may_declare(raw, "other"));
}

static void test_a_new_certificate_is_shown_to_the_next(void **state)
{
	struct proxy *proxy = *state;
	struct raw *before = open_as(till), *after;

	files_write(next_cert, ca->pem, RULES);
	reload(proxy);
	after = open_as(till);
	assert_true(secure_shows(before, proxy_cert));
	assert_true(secure_shows(after, next_cert));
	raw_expect_silence(before);
}

static void fails(const struct proxy *proxy, const char *path, const char *why)
{
	RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
	ended(FAILURE);
	says(outcome.err, STRINGS(path, why));
	files_usual();
}

static void test_a_bad_file_leaves_what_was(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = open_as(till);
	uint64_t failed = status_counter(proxy, "reloads_failed");
	char text[1024];

	cert_write(in_directory("cert.pem"), 0644, "nothing");
	fails(proxy, in_directory("cert.pem"), "no certificate");
	cert_write(in_directory("key.pem"), 0600, next_cert->key_pem);
	fails(proxy, in_directory("key.pem"), "not the key");
	cert_write(in_directory("key.pem"), 0644, proxy_cert->key_pem);
	fails(proxy, in_directory("key.pem"), "chmod");
	cert_write(in_directory("ca.pem"), 0644, "");
	fails(proxy, in_directory("ca.pem"), "no certificate");
	/* Nobody's certificate is worth more for want of rules. */
	snprintf(text, sizeof(text),
		 "{\"tls-cert\": \"%s/cert.pem\", \"tls-key\": \"%s/key.pem\","
		 " \"tls-ca\": \"%s/ca.pem\"}",
		 directory_path(), directory_path(), directory_path());
	file_with("xylem.json", text, 1);
	fails(proxy, "tls-ca", "rules must say what they may do");
	assert_false(may_declare(raw, "prices.milk"));
	/* A listener with TLS stays one. */
	file_with("xylem.json", "{\"anonymous\": \"any\"}", 1);
	fails(proxy, SECURE_LISTEN, "give --tls-cert");
	assert_int_equal(status_counter(proxy, "reloads_failed"), failed + 6);
	raw_expect_silence(raw);
	assert_true(secure_shows(open_as(till), proxy_cert));
}

/* ---- set-up ---------------------------------------------------------------------------------- */

#define one(function) cmocka_unit_test_setup_teardown(function, usual, proxy_test_teardown)
int main(void)
{
	const char *arguments[] = {"--listen", SECURE_LISTEN, "--config", config_path, NULL};
	const struct CMUnitTest tests[] = {
		one(test_a_certificate_says_who_it_is),
		one(test_who_shows_nothing_is_refused),
		one(test_a_token_will_do),
		one(test_old_versions_are_refused),
		one(test_names_that_no_identity_can_have),
		one(test_a_certificate_whose_authority_is_gone_is_let_in_no_more),
		one(test_authorities_may_overlap),
		one(test_without_authorities_nobody_is_known_by_a_certificate),
		one(test_rules_that_change_count_for_certificates),
		one(test_a_new_certificate_is_shown_to_the_next),
		one(test_a_bad_file_leaves_what_was),
	};
	int failed;

	directory_make();
	snprintf(config_path, sizeof(config_path), "%s", in_directory("xylem.json"));
	ca = cert_make(&(struct cert_options){.name = "ca", .is_ca = true});
	next_ca = cert_make(&(struct cert_options){.name = "next", .is_ca = true});
	proxy_cert = cert_make(&(struct cert_options){
		.name = "proxy", .alternatives = "IP:127.0.0.1", .issuer = ca});
	next_cert = cert_make(&(struct cert_options){.name = "proxy", .issuer = ca});
	till = cert_make(&(struct cert_options){.name = "shop.till", .issuer = ca});
	agent = cert_make(&(struct cert_options){
		.name = "shop.till", .alternatives = "URI:spiffe://cluster/agent", .issuer = ca});
	files_usual();
	failed = proxy_run_both(tests, arguments);
	cert_free(ca);
	cert_free(next_ca);
	cert_free(proxy_cert);
	cert_free(next_cert);
	cert_free(till);
	cert_free(agent);
	directory_remove();
	return failed;
}
