/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS listeners: what goes through them, and what does not. */
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"
#include "common/status.h"
#include "io/tls.h"

static struct cert *ca, *other_ca, *proxy_cert, *client_cert;
static char cert_path[128], key_path[128], ca_path[128], rules_path[128];

static struct raw *tls_open(void)
{
	return secure_open(&(struct secure_options){.ca = ca, .own = client_cert});
}

static json_t *connection_of(const struct proxy *proxy, const struct raw *raw, json_t **status)
{
	json_t *connection;

	*status = status_take_with(proxy, raw);
	connection = status_connection(*status, raw);
	assert_non_null(connection);
	return connection;
}

/* ---- what goes through ----------------------------------------------------------------------- */

/* A message of its publisher: which, and the place in its stream, all over. */
static void fill(uint8_t *payload, size_t length, unsigned publisher, unsigned number)
{
	for (size_t i = 0; i < length; i++)
		payload[i] = (uint8_t)(publisher * 91 + number + i * 7);
}

static void publish(struct raw *raw, uint64_t topic, unsigned publisher, unsigned number,
		    size_t length)
{
	static uint8_t payload[XY_PAYLOAD_MAX];
	struct xy_frame data = raw_header(raw, XY_DATA);

	fill(payload, length, publisher, number);
	data.target = topic;
	data.sequence = number;
	raw_send_frame(raw, data, payload, length);
}

static void expect_message(struct raw *raw, unsigned publisher, unsigned number, size_t length)
{
	static uint8_t payload[XY_PAYLOAD_MAX];
	const struct raw_frame *data = raw_expect_data(raw);

	fill(payload, length, publisher, number);
	assert_int_equal(data->header.sequence, number);
	assert_int_equal(data->length, length);
	assert_memory_equal(data->payload, payload, length);
}

static void test_lanes_unix_and_tls_meet(void **state)
{
	static const size_t sizes[] = {0, 1, 59, 1000, 16384, 16385, 40000, XY_PAYLOAD_MAX};
	struct proxy *proxy = *state;
	struct raw *publisher[] = {raw_open(proxy), raw_open_unix(proxy), tls_open()};
	struct raw *receiver[] = {raw_open(proxy), raw_open_unix(proxy), tls_open()};
	char subject[32];

	for (unsigned p = 0; p < 3; p++) {
		uint64_t topic;

		snprintf(subject, sizeof(subject), "meet.%u", p);
		for (unsigned r = 0; r < 3; r++)
			raw_subscribe_to(receiver[r], subject);
		topic = raw_declare(publisher[p], subject);
		for (unsigned round = 0; round < 3; round++) {
			/* As much as the buffers hold, so that nobody waits for this thread. */
			for (unsigned s = 0; s < LENGTH(sizes); s++)
				publish(publisher[p], topic, p, round * 10 + s, sizes[s]);
			for (unsigned r = 0; r < 3; r++)
				for (unsigned s = 0; s < LENGTH(sizes); s++)
					expect_message(receiver[r], p, round * 10 + s, sizes[s]);
		}
	}
}

static void test_megabytes_arrive_in_order(void **state)
{
	struct raw *publisher = tls_open(), *receiver = tls_open();
	unsigned rounds = (unsigned)test_scaled(64), number = 0;
	uint64_t topic;

	(void)state;
	raw_subscribe_to(receiver, "much");
	topic = raw_declare(publisher, "much");
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned n = 0; n < 4; n++)
			publish(publisher, topic, 1, number + n, XY_PAYLOAD_MAX);
		for (unsigned n = 0; n < 4; n++)
			expect_message(receiver, 1, number++, XY_PAYLOAD_MAX);
	}
}

/* Many frames in one record, and frames over many records. */
static void test_records_and_frames_are_independent(void **state)
{
	static uint8_t bytes[64 * 1024];
	struct raw *publisher = tls_open(), *receiver = tls_open();
	struct xy_frame data = raw_header(publisher, XY_DATA);
	size_t length = 0, at = 0;

	(void)state;
	raw_subscribe_to(receiver, "records");
	data.target = raw_declare(publisher, "records");
	for (unsigned n = 0; n < 200; n++) {
		uint8_t payload[100];

		fill(payload, sizeof(payload), 2, n);
		data.sequence = n;
		length += raw_put(bytes + length, data, payload, sizeof(payload));
	}
	for (size_t piece = 1; at<length; piece = piece * 2> 9000 ? 1 : piece * 2) {
		size_t part = length - at < piece ? length - at : piece;

		raw_send(publisher, bytes + at, part);
		at += part;
	}
	for (unsigned n = 0; n < 200; n++)
		expect_message(receiver, 2, n, 100);
}

/* What TLS has read already is announced by nothing: the frames behind HELLO in the same record. */
static void test_what_comes_with_hello_is_read(void **state)
{
	struct raw *raw = secure_reach(&(struct secure_options){.ca = ca});
	struct xy_frame hello = {.version = 1, .type = XY_HELLO},
			sync = {.version = 1, .type = XY_SYNC};
	struct xy_welcome *welcome = &raw->welcome;
	const struct raw_frame *answer;
	char why[XY_WHY_SIZE];
	uint8_t bytes[8192];
	size_t length;

	(void)state;
	length = raw_put(bytes, hello, RAW_HELLO, strlen(RAW_HELLO));
	/* Its source is not known yet, so that it is refused, but it is heard. */
	sync.source = 1;
	length += raw_put(bytes + length, sync, NULL, 0);
	raw_send(raw, bytes, length);
	answer = raw_expect(raw, XY_WELCOME);
	assert_int_equal(xy_welcome_decode(answer->payload, answer->length, welcome, why), 0);
	assert_false(welcome->lane);
	raw->endpoint = welcome->endpoint;
	raw_expect_error(raw, XY_E_BAD_SOURCE);
	assert_false(raw->cut);
}

static void test_requests_are_answered(void **state)
{
	struct proxy *proxy = *state;
	struct raw *responder = tls_open(), *requester = raw_open(proxy);
	struct xy_frame request = raw_header(requester, XY_DATA), reply;
	const struct raw_frame *data;

	raw_subscribe_to(responder, "ask");
	request.target = raw_declare(requester, "ask");
	request.correlation = 77;
	raw_send_frame(requester, request, "how", 3);
	data = raw_expect_data(responder);
	reply = raw_header(responder, XY_DATA);
	reply.flags = XY_DIRECT;
	reply.target = data->header.source;
	reply.correlation = data->header.correlation;
	raw_send_frame(responder, reply, "so", 2);
	raw_expect_text(requester, "so");
	assert_int_equal(requester->frame.header.correlation, 77);
}

/* ---- what it is ------------------------------------------------------------------------------ */

static void test_status_says_what_it_speaks(void **state)
{
	struct proxy *proxy = *state;
	struct raw *newer = tls_open(), *plain = raw_open(proxy);
	struct raw *older = secure_open(&(struct secure_options){.version = TLS1_2_VERSION});
	json_t *status, *tls, *connection = connection_of(proxy, newer, &status);

	assert_string_equal(json_string_value(json_object_get(connection, "kind")), "tls");
	tls = json_object_get(connection, "tls");
	assert_string_equal(json_string_value(json_object_get(tls, "version")), "TLSv1.3");
	assert_string_equal(json_string_value(json_object_get(tls, "cipher")),
			    SSL_get_cipher_name(newer->ssl));
	assert_true(status_number(json_object_get(status, "memory"), "tls") >= 2 * XY_TLS_MEMORY);
	json_decref(status);
	connection = connection_of(proxy, older, &status);
	tls = json_object_get(connection, "tls");
	assert_string_equal(json_string_value(json_object_get(tls, "version")), "TLSv1.2");
	json_decref(status);
	connection = connection_of(proxy, plain, &status);
	assert_string_equal(json_string_value(json_object_get(connection, "kind")), "tcp");
	assert_true(json_is_null(json_object_get(connection, "tls")));
	json_decref(status);
	RUN("status", "--instance", proxy_instance(proxy));
	says(outcome.out, STRINGS("- tls 1.3", "- tls 1.2", "tls:127.0.0.1:7443"));
}

static uint64_t slots_taken(const struct proxy *proxy)
{
	json_t *status = status_take(proxy);
	const json_t *path = json_object_get(status, "kernel_path");
	uint64_t taken = status_number(path, "slots") - status_number(path, "slots_free");

	json_decref(status);
	return taken;
}

static void test_it_is_never_a_lane(void **state)
{
	struct proxy *proxy = *state;
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct raw *raw = tls_open();

	assert_false(raw->welcome.lane);
	assert_false(raw->lane);
	/* Those of earlier connections go back in time. */
	while (slots_taken(proxy) && test_now_ms() < deadline)
		poll(NULL, 0, 5);
	assert_int_equal(slots_taken(proxy), 0);
}

static void test_its_memory_counts_until_it_goes(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw[20];

	assert_int_equal(status_memory(proxy, "tls"), 0);
	for (unsigned n = 0; n < LENGTH(raw); n++)
		raw[n] = tls_open();
	assert_in_range(status_memory(proxy, "tls"), LENGTH(raw) * XY_TLS_MEMORY,
			LENGTH(raw) * 10 * XY_TLS_MEMORY);
	for (unsigned n = 0; n < LENGTH(raw); n++)
		raw_close(raw[n]);
	proxy_wait_idle(proxy);
	assert_int_equal(status_memory(proxy, "tls"), 0);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_goodbye_ends_with_a_word(void **state)
{
	struct raw *raw = tls_open();
	enum raw_result result;

	(void)state;
	raw_send_frame(raw, raw_header(raw, XY_GOODBYE), NULL, 0);
	while ((result = raw_read(raw, TEST_TIMEOUT_MS)) == RAW_FRAME)
		;
	assert_int_equal(result, RAW_CLOSED);
	assert_false(raw->cut);
}

static void await_counter(const struct proxy *proxy, const char *name, uint64_t value)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	while (status_counter(proxy, name) < value && test_now_ms() < deadline)
		poll(NULL, 0, 5);
	assert_int_equal(status_counter(proxy, name), value);
}

static void test_a_cut_is_told_from_an_end(void **state)
{
	struct proxy *proxy = *state;
	uint64_t cut = status_counter(proxy, "tls_cut");
	struct raw *cutter = tls_open(), *ender = tls_open(), *receiver = tls_open();
	uint64_t topic;

	raw_subscribe_to(receiver, "last");
	topic = raw_declare(cutter, "last");
	raw_publish(cutter, topic, 1, "word");
	topic = raw_declare(ender, "last");
	raw_publish(ender, topic, 1, "word");
	SSL_shutdown(ender->ssl);
	raw_expect_closed(ender);
	assert_false(ender->cut);
	assert_int_equal(status_counter(proxy, "tls_cut"), cut);
	shutdown(cutter->fd, SHUT_WR);
	raw_expect_closed(cutter);
	await_counter(proxy, "tls_cut", cut + 1);
	/* Whatever it was, what had come before counts. */
	raw_expect_text(receiver, "word");
	raw_expect_text(receiver, "word");
}

static void test_what_breaks_the_stream_ends_it(void **state)
{
	static const uint8_t junk[64] = {0x17, 3, 3, 0, 40, 1, 2, 3};
	struct proxy *proxy = *state;
	struct raw *raw = tls_open(), *neighbour = tls_open();

	assert_int_equal(send(raw->fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
	raw_expect_closed(raw);
	raw_expect_silence(neighbour);
	proxy_check(proxy);
}

static void test_keys_may_change(void **state)
{
	struct raw *raw = tls_open();

	(void)state;
	for (unsigned n = 0; n < 20; n++) {
		assert_true(SSL_key_update(raw->ssl, SSL_KEY_UPDATE_REQUESTED));
		raw_expect_silence(raw);
	}
}

/* ---- handshakes ------------------------------------------------------------------------------ */

static void expect_failure(const struct proxy *proxy, const struct secure_options *options,
			   const char *why)
{
	uint64_t failed = status_counter(proxy, "tls_failed");
	struct raw *raw = secure_connect(options);

	if (secure_try(raw)) {
		char byte;

		/* With 1.3 the client has finished before the server has looked at it. */
		ERR_clear_error();
		while (SSL_read(raw->ssl, &byte, 1) < 0 &&
		       SSL_get_error(raw->ssl, -1) == SSL_ERROR_WANT_READ)
			poll(&(struct pollfd){.fd = raw->fd, .events = POLLIN}, 1, 100);
		if (!strstr(ERR_reason_error_string(ERR_peek_error()), why))
			fail_msg("'%s'", ERR_reason_error_string(ERR_peek_error()));
		ERR_clear_error();
	} else if (!strstr(secure_why(), why)) {
		fail_msg("'%s' is not in '%s'", why, secure_why());
	}
	await_counter(proxy, "tls_failed", failed + 1);
	raw_close(raw);
}

static void test_bad_certificates_are_refused(void **state)
{
	const struct proxy *proxy = *state;
	struct cert *stranger =
		cert_make(&(struct cert_options){.name = "client", .issuer = other_ca});
	struct cert *expired = cert_make(
		&(struct cert_options){.name = "client", .issuer = ca, .from = -20, .until = -10});
	struct cert *own = cert_make(&(struct cert_options){.name = "client"});

	expect_failure(proxy, &(struct secure_options){.own = stranger}, "unknown ca");
	expect_failure(proxy, &(struct secure_options){.own = expired}, "expired");
	expect_failure(proxy, &(struct secure_options){.own = own}, "unknown ca");
	expect_failure(proxy, &(struct secure_options){.ca = other_ca}, "verify failed");
	expect_failure(proxy, &(struct secure_options){.version = TLS1_1_VERSION}, "protocol");
	proxy_await_logged(proxy, "event=tls-failed peer=127.0.0.1:");
	proxy_await_logged(proxy, "certificate has expired");
	cert_free(stranger);
	cert_free(expired);
	cert_free(own);
}

static void test_what_is_no_tls_is_told_so(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = raw_connect_port(SECURE_PORT);
	struct xy_frame hello = {.version = 1, .type = XY_HELLO};

	raw_send_frame(raw, hello, RAW_HELLO, strlen(RAW_HELLO));
	raw_expect_error(raw, XY_E_BAD_VERSION);
	assert_non_null(strstr((const char *)raw->frame.payload, "speaks TLS"));
	/* The other way round the answer is no TLS, but it is in the log. */
	raw = secure_connect(&(struct secure_options){0});
	close(raw->fd);
	raw->fd = raw_connect(proxy)->fd;
	assert_true(SSL_set_fd(raw->ssl, raw->fd));
	assert_false(secure_try(raw));
	proxy_await_logged(proxy, "this listener does not speak TLS");
	raw->fd = -1; /* the other one's */
}

static void test_a_handshake_may_come_byte_by_byte(void **state)
{
	struct proxy *proxy = *state;
	struct raw *raw = secure_connect(&(struct secure_options){.own = client_cert});
	BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_socket());
	uint64_t handshakes = status_counter(proxy, "tls_handshakes");
	int r;

	BIO_set_fd(in, raw->fd, BIO_NOCLOSE);
	SSL_set_bio(raw->ssl, in, out);
	do {
		char byte;

		r = SSL_do_handshake(raw->ssl);
		while (BIO_read(out, &byte, 1) == 1)
			assert_int_equal(send(raw->fd, &byte, 1, MSG_NOSIGNAL), 1);
		if (r != 1)
			poll(&(struct pollfd){.fd = raw->fd, .events = POLLIN}, 1, 100);
	} while (r != 1);
	assert_true(SSL_set_fd(raw->ssl, raw->fd));
	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	assert_int_equal(status_counter(proxy, "tls_handshakes"), handshakes + 1);
}

/* Ends within the handshake, junk after its first byte, and one that goes on for ever. */
static void test_broken_handshakes_end(void **state)
{
	static const uint8_t hello[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};
	struct proxy *proxy = *state;
	uint64_t failed = status_counter(proxy, "tls_failed");
	struct raw *raw = raw_connect_port(SECURE_PORT);
	uint8_t junk[1 << 12];

	assert_int_equal(send(raw->fd, hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
	raw_close(raw);
	await_counter(proxy, "tls_failed", failed + 1);
	raw = raw_connect_port(SECURE_PORT);
	memset(junk, 0x16, sizeof(junk));
	assert_int_equal(send(raw->fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
	raw_drain(raw);
	await_counter(proxy, "tls_failed", failed + 2);
	raw_expect_silence(tls_open());
}

static void test_half_handshakes_are_not_kept(void **state)
{
	struct proxy *proxy = *state;
	uint64_t failed = status_counter(proxy, "tls_failed");
	struct raw *half[200];

	for (unsigned n = 0; n < LENGTH(half); n++) {
		half[n] = raw_connect_port(SECURE_PORT);
		if (n & 1)
			assert_int_equal(send(half[n]->fd, "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
	}
	/* Others are served meanwhile. */
	raw_expect_silence(tls_open());
	raw_expect_silence(raw_open(proxy));
	for (unsigned n = 0; n < LENGTH(half); n++)
		raw_drain(half[n]);
	await_counter(proxy, "tls_failed", failed + LENGTH(half));
	proxy_await_logged(proxy, "no handshake within 5 seconds");
}

/* Probes of whether the port is open: nothing is counted, nor logged. */
static void test_who_ends_before_a_first_byte_has_not_failed(void **state)
{
	struct proxy *proxy = *state;
	uint64_t failed = status_counter(proxy, "tls_failed");
	uint64_t accepted = status_counter(proxy, "accepted");
	unsigned logged = proxy_logged(proxy, "event=tls-failed");

	for (unsigned n = 0; n < 20; n++) {
		struct raw *raw = raw_connect_port(SECURE_PORT);

		/* Before the proxy has taken it, and while that waits. */
		if (n & 2)
			await_counter(proxy, "accepted", accepted + n + 1);
		if (n & 1)
			raw_reset(raw);
		else
			raw_close(raw);
	}
	await_counter(proxy, "accepted", accepted + 20);
	proxy_wait_idle(proxy);
	assert_int_equal(status_counter(proxy, "tls_failed"), failed);
	assert_int_equal(proxy_logged(proxy, "event=tls-failed"), logged);
}

/* Whoever they are, they do not press those who are known. */
static void test_half_handshakes_have_a_share_of_the_budget(void **state)
{
	struct proxy *proxy = *state;
	uint64_t refused = status_counter(proxy, "refused_for_memory"), budget, deadline;
	struct raw *known = tls_open(), *half[400];

	budget = status_memory(proxy, "budget");
	deadline = test_now_ms() + TEST_TIMEOUT_MS;
	for (unsigned n = 0; n < LENGTH(half); n++) {
		half[n] = raw_connect_port(SECURE_PORT);
		assert_int_equal(send(half[n]->fd, "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
	}
	while (status_counter(proxy, "refused_for_memory") == refused) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 5);
	}
	assert_in_range(status_memory(proxy, "used"), budget / 16, budget / 6);
	raw_expect_silence(known);
	raw_expect_silence(raw_open(proxy));
	for (unsigned n = 0; n < LENGTH(half); n++)
		raw_close(half[n]);
}

static void test_many_connections(void **state)
{
	enum { COUNT = 150 };
	struct proxy *proxy = *state;
	struct raw *raw[COUNT];
	uint64_t topic;

	for (unsigned n = 0; n < COUNT; n++) {
		raw[n] = secure_connect(&(struct secure_options){.own = client_cert});
		SSL_do_handshake(raw[n]->ssl);
	}
	for (unsigned n = 0; n < COUNT; n++) {
		assert_true(secure_try(raw[n]));
		raw_hello(raw[n], RAW_HELLO);
		raw_sync(raw[n]);
		raw_subscribe_to(raw[n], "all");
	}
	topic = raw_declare(raw[0], "all");
	raw_publish(raw[0], topic, 1, "to all");
	for (unsigned n = 1; n < COUNT; n++)
		raw_expect_text(raw[n], "to all");
	proxy_check(proxy);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

int main(void)
{
	static const char rules[] =
		"{\"access\": {\"identities\": {\">\":"
		" {\"publish\": [\">\"], \"subscribe\": [\">\"], \"direct\": [\">\"]}}}}";
	const char *arguments[] = {
		"--listen",        SECURE_LISTEN, "--tls-cert", cert_path,  "--tls-key",   key_path,
		"--tls-ca",        ca_path,       "--tls-min",  "1.2",      "--anonymous", "local",
		"--memory-budget", "64M",         "--config",   rules_path, NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_lanes_unix_and_tls_meet),
		proxy_test(test_megabytes_arrive_in_order),
		proxy_test(test_records_and_frames_are_independent),
		proxy_test(test_what_comes_with_hello_is_read),
		proxy_test(test_requests_are_answered),
		proxy_test(test_status_says_what_it_speaks),
		proxy_test(test_it_is_never_a_lane),
		proxy_test(test_its_memory_counts_until_it_goes),
		proxy_test(test_goodbye_ends_with_a_word),
		proxy_test(test_a_cut_is_told_from_an_end),
		proxy_test(test_what_breaks_the_stream_ends_it),
		proxy_test(test_keys_may_change),
		proxy_test(test_bad_certificates_are_refused),
		proxy_test(test_what_is_no_tls_is_told_so),
		proxy_test(test_a_handshake_may_come_byte_by_byte),
		proxy_test(test_broken_handshakes_end),
		proxy_test(test_who_ends_before_a_first_byte_has_not_failed),
		proxy_test(test_half_handshakes_are_not_kept),
		proxy_test(test_half_handshakes_have_a_share_of_the_budget),
		proxy_test(test_many_connections),
	};
	int failed;

	directory_make();
	snprintf(cert_path, sizeof(cert_path), "%s", in_directory("cert.pem"));
	snprintf(key_path, sizeof(key_path), "%s", in_directory("key.pem"));
	snprintf(ca_path, sizeof(ca_path), "%s", in_directory("ca.pem"));
	snprintf(rules_path, sizeof(rules_path), "%s", file_with("rules.json", rules, 1));
	ca = cert_make(&(struct cert_options){.name = "ca", .is_ca = true});
	other_ca = cert_make(&(struct cert_options){.name = "other", .is_ca = true});
	proxy_cert = cert_make(&(struct cert_options){
		.name = "proxy", .alternatives = "IP:127.0.0.1", .issuer = ca});
	client_cert = cert_make(&(struct cert_options){.name = "client", .issuer = ca});
	cert_write(cert_path, 0644, proxy_cert->pem);
	cert_write(key_path, 0600, proxy_cert->key_pem);
	cert_write(ca_path, 0644, ca->pem);
	failed = proxy_run_both(tests, arguments);
	cert_free(ca);
	cert_free(other_ca);
	cert_free(proxy_cert);
	cert_free(client_cert);
	directory_remove();
	return failed;
}
