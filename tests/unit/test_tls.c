/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS on socket pairs, both sides ours. */
#include "unit/tls_fixture.h"

/* ---- who it is ------------------------------------------------------------------------------- */

static void test_both_sides_know_each_other(void **state)
{
	struct xy_tls_peer peer;
	const uint8_t(*anchors)[XY_TLS_DIGEST];

	(void)state;
	ends_usual();
	shake_well();
	assert_string_equal(xy_tls_version(ends.tls[SERVER]), "TLSv1.3");
	assert_string_equal(xy_tls_cipher(ends.tls[SERVER]), xy_tls_cipher(ends.tls[CLIENT]));
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), 0);
	assert_string_equal(peer.name, "shop.till");
	assert_int_equal(xy_tls_context_anchors(ends.context[SERVER], &anchors), 1);
	assert_memory_equal(peer.anchor, anchors[0], XY_TLS_DIGEST);
	assert_int_equal(xy_tls_peer(ends.tls[CLIENT], &peer), 0);
	assert_string_equal(peer.name, "proxy.test");
}

/* The name of a client with such a certificate; "" = it has none that counts. */
static void expect_name(const struct cert_options *made, const char *name)
{
	struct cert *cert = cert_make(made);
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, cert, ca);
	struct xy_tls_peer peer;

	ends_make(&server, &client, "proxy.test");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), *name ? 0 : -EINVAL);
	if (*name)
		assert_string_equal(peer.name, name);
	test_teardown(NULL);
	cert_free(cert);
}

static void test_the_name_is_the_first_that_counts(void **state)
{
	char longest[XY_TLS_NAME_MAX + 1 + 4] = "DNS:";

	(void)state;
	expect_name(&(struct cert_options){.issuer = ca, .name = "a.b"}, "a.b");
	expect_name(&(struct cert_options){.issuer = ca, .name = "a", .alternatives = "IP:1.2.3.4"},
		    "a");
	expect_name(
		&(struct cert_options){.issuer = ca, .name = "a", .alternatives = "URI:s://b/c"},
		"s://b/c");
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = "email:a@b.c,DNS:d"},
		    "a@b.c");
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = "IP:1.2.3.4"}, "");
	expect_name(&(struct cert_options){.issuer = ca}, "");
	memset(longest + 4, 'a', XY_TLS_NAME_MAX);
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = longest}, longest + 4);
}

static void test_nobody_has_to_show_a_certificate(void **state)
{
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, NULL, ca);
	struct xy_tls_peer peer;

	(void)state;
	ends_make(&server, &client, "127.0.0.1");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), -ENOENT);
}

static void test_a_server_without_ca_asks_for_nothing(void **state)
{
	struct xy_tls_options server = options_of(true, server_cert, NULL);
	struct xy_tls_options client = options_of(false, client_cert, ca);
	struct xy_tls_peer peer;

	(void)state;
	ends_make(&server, &client, "proxy.test");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), -ENOENT);
}

/* A client with such a certificate is refused, and hears why. */
static void expect_refused(const struct cert_options *made, const char *server_why,
			   const char *client_why)
{
	struct cert *cert = cert_make(made);
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, cert, ca);
	uint8_t byte;
	int results[2];

	ends_make(&server, &client, "proxy.test");
	shake(results);
	assert_int_equal(results[SERVER], -EPROTO);
	expect_why(SERVER, server_why);
	assert_int_equal(results[CLIENT], 0);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], &byte, 1), -EPROTO);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], &byte, 1), -EPROTO);
	expect_why(CLIENT, client_why);
	test_teardown(NULL);
	cert_free(cert);
}

static void test_bad_clients_are_refused(void **state)
{
	(void)state;
	expect_refused(&(struct cert_options){.name = "a", .issuer = other_ca}, "issuer",
		       "unknown ca");
	expect_refused(&(struct cert_options){.name = "a"}, "self-signed", "unknown ca");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .from = -2, .until = -1},
		       "expired", "expired");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .from = 100, .until = 200},
		       "not yet valid", "bad certificate");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .usage = "serverAuth"},
		       "purpose", "certificate");
}

static void expect_refused_by(const struct cert *cert, const struct cert *trusted, const char *host,
			      const char *why)
{
	struct xy_tls_options server = options_of(true, cert, NULL);
	struct xy_tls_options client = options_of(false, NULL, trusted);
	int results[2];

	ends_make(&server, &client, host);
	shake(results);
	assert_int_equal(results[CLIENT], -EPROTO);
	expect_why(CLIENT, why);
	assert_int_equal(results[SERVER], -EPROTO);
	test_teardown(NULL);
}

static void expect_server_refused(const struct cert *trusted, const char *host, const char *why)
{
	expect_refused_by(server_cert, trusted, host, why);
}

static void test_bad_servers_are_refused(void **state)
{
	struct cert *subject =
		cert_make(&(struct cert_options){.name = "proxy.test", .issuer = ca});

	(void)state;
	expect_server_refused(other_ca, "proxy.test", "issuer");
	expect_server_refused(ca, "other.test", "hostname mismatch");
	expect_server_refused(ca, "127.0.0.2", "IP address mismatch");
	expect_server_refused(NULL, "proxy.test", "issuer");
	/* What the subject is called names no host. */
	expect_refused_by(subject, ca, "proxy.test", "hostname mismatch");
	cert_free(subject);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The stream: each byte follows from its place. */
static uint8_t byte_at(size_t place)
{
	return (uint8_t)(place ^ place >> 8 ^ place >> 16);
}

struct flow {
	unsigned from, to;
	size_t total, sent, got;
	size_t piece; /* of a send */
};

static void flow_send(struct flow *flow)
{
	static uint8_t bytes[100000];
	size_t length = flow->total - flow->sent, head;
	struct iovec iov[3];
	ssize_t taken;

	length = length < flow->piece ? length : flow->piece;
	if (!length) {
		xy_tls_flush(ends.tls[flow->from]);
		return;
	}
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(flow->sent + i);
	head = length / 3;
	iov[0] = (struct iovec){bytes, 0};
	iov[1] = (struct iovec){bytes, head};
	iov[2] = (struct iovec){bytes + head, length - head};
	taken = xy_tls_send(ends.tls[flow->from], iov, 3);
	/* What was not taken may be something else the next time. */
	memset(bytes, 0xee, sizeof(bytes));
	if (taken > 0)
		flow->sent += (size_t)taken;
	else
		assert_int_equal(taken, -EAGAIN);
}

/* As a loop does: what is ready, or pending. */
static void flow_recv(struct flow *flow, size_t size)
{
	static uint8_t bytes[100000];
	struct xy_tls *tls = ends.tls[flow->to];
	ssize_t got;

	if (!readable(flow->to) && !xy_tls_pending(tls))
		return;
	got = xy_tls_recv(tls, bytes, size);
	if (got < 0) {
		assert_int_equal(got, -EAGAIN);
		return;
	}
	assert_true(got > 0);
	for (ssize_t i = 0; i < got; i++)
		if (bytes[i] != byte_at(flow->got + (size_t)i))
			fail_msg("byte %zu is another one", flow->got + (size_t)i);
	flow->got += (size_t)got;
}

static void test_bytes_arrive_as_they_were(void **state)
{
	static const size_t pieces[] = {1, 59, 4096, 16384, 16385, 100000};

	(void)state;
	ends_usual();
	shake_well();
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		size_t total = pieces[p] == 1 ? 3000 : 600000;
		struct flow flow[2] = {{SERVER, CLIENT, total, 0, 0, pieces[p]},
				       {CLIENT, SERVER, total, 0, 0, pieces[p]}};

		for (unsigned n = 0; flow[0].got < total || flow[1].got < total; n++) {
			assert_in_range(n, 0, 1000000);
			flow_send(&flow[n & 1]);
			flow_send(&flow[n & 1]);
			flow_recv(&flow[n >> 1 & 1], n % 3 ? 1000 : 100000);
		}
	}
	for (unsigned side = 0; side < 2; side++) {
		assert_int_equal(xy_tls_unsent(ends.tls[side]), 0);
		assert_int_equal(xy_tls_buffers(ends.tls[side]), 0);
	}
}

static void test_what_is_unsent_is_bounded(void **state)
{
	static uint8_t bytes[100000];
	struct iovec iov = {bytes, sizeof(bytes)};
	size_t taken = 0;
	ssize_t one;

	(void)state;
	ends_usual();
	shake_well();
	while ((one = xy_tls_send(ends.tls[SERVER], &iov, 1)) > 0) {
		assert_in_range(one, 1, 16384);
		taken += (size_t)one;
		assert_in_range(taken, 1, 1000000);
	}
	assert_int_equal(one, -EAGAIN);
	assert_in_range(xy_tls_unsent(ends.tls[SERVER]), 1, XY_TLS_RECORD);
	assert_int_equal(xy_tls_buffers(ends.tls[SERVER]), XY_TLS_RECORD);
	assert_int_equal(xy_tls_flush(ends.tls[SERVER]), -EAGAIN);
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void test_an_end_is_said(void **state)
{
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_true(xy_tls_pending(ends.tls[SERVER]) || readable(SERVER));
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
	/* The other direction goes on. */
	say(SERVER, "more");
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], buffer, sizeof(buffer)), 4);
}

static void test_a_cut_is_no_end(void **state)
{
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	shutdown(ends.fd[CLIENT], SHUT_WR);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), -ECONNABORTED);
	expect_why(SERVER, "cut");
}

static void test_who_has_gone_raises_no_signal(void **state)
{
	static uint8_t bytes[1000];
	struct iovec iov = {bytes, sizeof(bytes)};
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	close(ends.fd[CLIENT]);
	ends.fd[CLIENT] = -1;
	assert_int_equal(xy_tls_send(ends.tls[SERVER], &iov, 1), -EPIPE);
	assert_int_equal(xy_tls_flush(ends.tls[SERVER]), -EPIPE);
	expect_why(SERVER, "pipe");
	/* What it had sent is there. */
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static void expect_no_context(struct xy_tls_options options, enum xy_tls_part part, const char *why)
{
	struct xy_tls_context *context = NULL;
	enum xy_tls_part bad = XY_TLS_OTHER;
	char said[XY_TLS_WHY_SIZE] = "";

	assert_int_equal(xy_tls_context_new(&options, &context, &bad, said), -EINVAL);
	assert_null(context);
	assert_int_equal(bad, part);
	if (!strstr(said, why))
		fail_msg("'%s' is not in '%s'", why, said);
}

static void test_what_is_wrong_is_said(void **state)
{
	struct xy_tls_options good = options_of(true, server_cert, ca), bad;
	char *cut = strdup(server_cert->pem);

	(void)state;
	bad = good;
	bad.certificate = pem("nothing");
	expect_no_context(bad, XY_TLS_CERTIFICATE, "no certificate");
	cut[strlen(cut) / 2] = '!';
	bad.certificate = pem(cut);
	expect_no_context(bad, XY_TLS_CERTIFICATE, "damaged");
	bad = good;
	bad.key = pem(server_cert->pem);
	expect_no_context(bad, XY_TLS_KEY, "no private key");
	bad.key = pem(client_cert->key_pem);
	expect_no_context(bad, XY_TLS_KEY, "not the key");
	bad = good;
	bad.ca = pem("");
	expect_no_context(bad, XY_TLS_CA, "no certificate");
	bad.ca = pem(cut);
	expect_no_context(bad, XY_TLS_CA, "damaged");
	free(cut);
}

static void expect_warning(long from, long until, const char *expected)
{
	struct cert *cert = cert_make(
		&(struct cert_options){.name = "a", .issuer = ca, .from = from, .until = until});
	struct xy_tls_options options = options_of(true, cert, NULL);
	struct xy_tls_context *context = context_make(&options);
	char why[XY_TLS_WHY_SIZE] = "";

	assert_int_equal(xy_tls_context_warns(context, why), *expected != 0);
	if (!strstr(why, expected))
		fail_msg("'%s' is not in '%s'", expected, why);
	xy_tls_context_put(context);
	cert_free(cert);
}

static void test_time_is_told(void **state)
{
	(void)state;
	expect_warning(-1000, -10, "has expired");
	expect_warning(1000, 2000, "not valid before");
	expect_warning(-1000, 1000, "expires on");
	expect_warning(-1000, 1000000, "");
}

#define one(function) cmocka_unit_test_teardown(function, test_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		one(test_both_sides_know_each_other),
		one(test_the_name_is_the_first_that_counts),
		one(test_nobody_has_to_show_a_certificate),
		one(test_a_server_without_ca_asks_for_nothing),
		one(test_bad_clients_are_refused),
		one(test_bad_servers_are_refused),
		one(test_bytes_arrive_as_they_were),
		one(test_what_is_unsent_is_bounded),
		one(test_an_end_is_said),
		one(test_a_cut_is_no_end),
		one(test_who_has_gone_raises_no_signal),
		one(test_what_is_wrong_is_said),
		one(test_time_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
