/* SPDX-License-Identifier: BSD-2-Clause */
/* Whatever one client sends or leaves unsent, the others exchange messages, and the proxy keeps
 * nothing of it: after each test a bystander pair is asked, and then open descriptors are counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the bystanders -------------------------------------------------------------------------- */

static struct {
	struct raw *publisher, *subscriber;
	uint64_t topic, sequence;
} bystander;

static int bystander_setup(void **state)
{
	bystander.publisher = raw_open(*state);
	bystander.subscriber = raw_open(*state);
	raw_subscribe_to(bystander.subscriber, "bystander");
	bystander.topic = raw_declare(bystander.publisher, "bystander");
	bystander.sequence = 0;
	return 0;
}

/* Each message is read before the next is sent, so that credit and acks play no part. */
static void bystander_exchange(void)
{
	for (int i = 0; i < 20; i++) {
		raw_publish(bystander.publisher, bystander.topic, ++bystander.sequence, "hello");
		raw_expect_text(bystander.subscriber, "hello");
	}
	raw_sync(bystander.publisher);
}

static int bystander_teardown(void **state)
{
	bystander_exchange();
	return proxy_test_teardown(state);
}

#define bad_input_test(function) \
	cmocka_unit_test_setup_teardown(function, bystander_setup, bystander_teardown)

/* ---- headers --------------------------------------------------------------------------------- */

static void put_length(uint8_t *header, uint32_t length)
{
	header[0] = (uint8_t)(length >> 24);
	header[1] = (uint8_t)(length >> 16);
	header[2] = (uint8_t)(length >> 8);
	header[3] = (uint8_t)length;
}

static void test_lengths_out_of_range(void **state)
{
	static const uint32_t lengths[] = {0,          1,          4,          59,        65537,
					   0x00ffffff, 0x7fffffff, 0x80000000, 0xffffffff};

	for (size_t i = 0; i < LENGTH(lengths) * 2; i++) {
		bool greeted = i % 2 == 1;
		struct raw *raw = greeted ? raw_open(*state) : raw_connect(*state);
		uint8_t bytes[XY_HEADER_SIZE];

		raw_put(bytes, raw_header(raw, greeted ? XY_PING : XY_HELLO), NULL, 0);
		put_length(bytes, lengths[i / 2]);
		raw_send(raw, bytes, sizeof(bytes));
		raw_expect_error(raw, XY_E_BAD_FRAME);
		raw_close(raw);
	}
	bystander_exchange();
}

static void test_every_type_with_an_empty_and_a_full_payload(void **state)
{
	uint8_t *payload = malloc(XY_PAYLOAD_MAX);

	assert_non_null(payload);
	memset(payload, 'x', XY_PAYLOAD_MAX);
	for (unsigned type = 0; type <= 20; type++) {
		for (int full = 0; full < 2; full++) {
			struct raw *raw = raw_open(*state);
			struct xy_frame frame = raw_header(raw, (uint8_t)type);

			frame.correlation = 1;
			raw_send_frame(raw, frame, payload, full ? XY_PAYLOAD_MAX : 0);
			raw_send_frame(raw, raw_header(raw, XY_GOODBYE), NULL, 0);
			while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME)
				;
			raw_expect_closed(raw);
			raw_close(raw);
		}
	}
	free(payload);
	bystander_exchange();
}

static void test_wrong_source_in_the_middle_of_good_frames(void **state)
{
	struct raw *raw = raw_open(*state);
	uint8_t bytes[1024];
	struct xy_frame data = raw_header(raw, XY_DATA);
	size_t size;

	data.target = raw_declare(raw, "bystander");
	size = raw_put(bytes, data, "good", 4);
	data.source = bystander.publisher->endpoint;
	size += raw_put(bytes + size, data, "evil", 4);
	data.source = raw->endpoint;
	size += raw_put(bytes + size, data, "late", 4);
	raw_send(raw, bytes, size);
	raw_expect_error(raw, XY_E_BAD_SOURCE);
	raw_close(raw);
	raw_expect_text(bystander.subscriber, "good");
	raw_expect_silence(bystander.subscriber);
	bystander_exchange();
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void test_json_of_every_kind(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		"0",
		"-1e308",
		"1e999",
		"\"\"",
		"[]",
		"[[[[]]]]",
		"{\"a\":{\"b\":{}}}",
		"{\"name\":{},\"ack\":[]}",
		"{\"subject\":{\"subject\":\"a\"}}",
		"{\"subject\":null}",
		"{\"\":\"\"}",
		"\\u0000",
		"{\"subject\":\"\\ud83c\"}",
		"\xff\xfe{\"",
		"{\"subject\":\"",
		"{\"subject\":\"a\",\"stall_ms\":18446744073709551616}",
		"{\"subject\":\"a\",\"stall_ms\":1e3}",
		"{\"a\":1,\"a\":2}",
	};
	uint8_t *deep = malloc(XY_PAYLOAD_MAX);
	struct raw *raw = raw_open(*state);

	assert_non_null(deep);
	memset(deep, '[', XY_PAYLOAD_MAX);
	for (size_t i = 0; i <= LENGTH(texts); i++) {
		const void *text = i < LENGTH(texts) ? (const void *)texts[i] : deep;
		size_t length = i < LENGTH(texts) ? strlen(texts[i]) : XY_PAYLOAD_MAX;
		struct raw *greeting = raw_connect(*state);

		/* A proxy may have a limit of its own for what it would parse. */
		enum xy_error error = length < 4096 ? XY_E_BAD_JSON : XY_E_TOO_LARGE;

		raw_send_frame(greeting, raw_header(greeting, XY_HELLO), text, length);
		raw_expect_error(greeting, error);
		raw_close(greeting);
		raw_send_frame(raw, raw_header(raw, XY_SUBSCRIBE), text, length);
		raw_expect_error(raw, error);
	}
	free(deep);
	raw_close(raw);
	bystander_exchange();
}

/* ---- framing --------------------------------------------------------------------------------- */

static void test_frames_byte_by_byte_and_cut_anywhere(void **state)
{
	struct raw *raw = raw_open(*state);
	uint8_t bytes[2 * (XY_HEADER_SIZE + 10)];
	uint64_t topic = raw_declare(raw, "bystander");

	for (size_t cut = 0; cut <= sizeof(bytes); cut += 7) {
		struct xy_frame data = raw_header(raw, XY_DATA);
		size_t size;

		data.target = topic;
		size = raw_put(bytes, data, "first half", 10);
		size += raw_put(bytes + size, data, "other half", 10);
		raw_send(raw, bytes, cut);
		raw_send(raw, bytes + cut, size - cut);
		raw_expect_text(bystander.subscriber, "first half");
		raw_expect_text(bystander.subscriber, "other half");
		for (size_t i = 0; i < size; i++)
			raw_send(raw, bytes + i, 1);
		raw_expect_text(bystander.subscriber, "first half");
		raw_expect_text(bystander.subscriber, "other half");
		/* Back to whole frames: after a SYNC everything is as it was. */
		raw_sync(raw);
		raw_publish(raw, topic, 0, "whole");
		raw_expect_text(bystander.subscriber, "whole");
	}
	raw_close(raw);
	bystander_exchange();
}

/* A frame is begun and something else follows: the stream is misread, and ends in an error or in
 * silence, but nothing that is not a frame reaches a subscriber. */
static void test_short_send_continued_with_something_else(void **state)
{
	for (size_t cut = 1; cut < 70; cut += 4) {
		struct raw *raw = raw_open(*state);
		struct xy_frame data = raw_header(raw, XY_DATA);
		uint8_t bytes[XY_HEADER_SIZE + 10];
		uint8_t noise[4096];

		data.target = raw_declare(raw, "bystander");
		raw_put(bytes, data, "begun only", 10);
		memset(noise, 0xee, sizeof(noise));
		raw_send(raw, bytes, cut);
		raw_try_send(raw, noise, sizeof(noise));
		while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME)
			assert_int_equal(raw->frame.header.type, XY_ERROR);
		raw_expect_closed(raw);
		raw_close(raw);
		/* From byte 60 on the header was whole, and noise is a payload like any other. */
		if (cut >= XY_HEADER_SIZE)
			assert_memory_equal(raw_expect_data(bystander.subscriber)->payload,
					    bytes + 60, cut - XY_HEADER_SIZE);
		raw_expect_silence(bystander.subscriber);
	}
	bystander_exchange();
}

static void test_random_bytes(void **state)
{
	static uint8_t noise[65536];

	for (int i = 0; i < 40; i++) {
		struct raw *raw = i % 2 == 0 ? raw_connect(*state) : raw_open(*state);

		assert_int_equal(getrandom(noise, 256, 0), 256);
		for (size_t at = 256; at < sizeof(noise); at += 256)
			assert_int_equal(getrandom(noise + at, 256, 0), 256);
		/* Every fourth begins like a frame. */
		if (i % 4 >= 2)
			raw_put(noise, raw_header(raw, XY_DATA), NULL, 0);
		raw_try_send(raw, noise, sizeof(noise));
		shutdown(raw->fd, SHUT_WR);
		while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME)
			;
		raw_expect_closed(raw);
		raw_close(raw);
	}
	bystander_exchange();
}

static void test_half_a_frame_then_silence(void **state)
{
	struct raw *silent[8];

	for (size_t i = 0; i < LENGTH(silent); i++) {
		struct xy_frame data;
		uint8_t bytes[XY_HEADER_SIZE + 8];

		silent[i] = raw_open(*state);
		data = raw_header(silent[i], XY_DATA);
		data.target = raw_declare(silent[i], "bystander");
		raw_put(bytes, data, "whatever", 8);
		raw_send(silent[i], bytes, 4 + i * 9);
	}
	bystander_exchange();
	raw_expect_silence(bystander.subscriber);
	for (size_t i = 0; i < LENGTH(silent); i++)
		raw_close(silent[i]);
	bystander_exchange();
}

static void test_half_a_frame_then_close(void **state)
{
	for (size_t size = 1; size < XY_HEADER_SIZE + 8; size++) {
		struct raw *raw = size % 3 == 0 ? raw_connect(*state) : raw_open(*state);
		uint8_t bytes[XY_HEADER_SIZE + 8];

		raw_put(bytes, raw_header(raw, size % 3 == 0 ? XY_HELLO : XY_PING), "whatever", 8);
		raw_send(raw, bytes, size);
		if (size % 2 == 0)
			raw_reset(raw);
		else
			raw_close(raw);
	}
	raw_expect_silence(bystander.subscriber);
	bystander_exchange();
}

static void test_hello_and_a_flood_before_welcome_is_read(void **state)
{
	struct raw *raw = raw_connect(*state);
	struct xy_frame hello = {.version = 1, .type = XY_HELLO};
	uint8_t bytes[XY_HEADER_SIZE + 64];

	/* The endpoint is not known yet, so whatever follows has the wrong source. */
	raw_send(raw, bytes, raw_put(bytes, hello, RAW_HELLO, strlen(RAW_HELLO)));
	for (int i = 0; i < 1000; i++) {
		struct xy_frame data = raw_header(raw, XY_DATA);

		if (!raw_try_send(raw, bytes, raw_put(bytes, data, "flood", 5)))
			break;
	}
	while (raw_read(raw, TEST_TIMEOUT_MS) == RAW_FRAME)
		;
	raw_expect_closed(raw);
	raw_close(raw);
	bystander_exchange();
}

/* ---- numbers of connections ------------------------------------------------------------------ */

static int silent_connect(const struct proxy *proxy)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(proxy_port(proxy)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void test_thousands_of_silent_connections(void **state)
{
	enum { SILENT = 3000 };
	static int silent[SILENT];
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_true(limit.rlim_cur > SILENT + 100);
	for (int i = 0; i < SILENT; i++) {
		silent[i] = silent_connect(*state);
		assert_true(silent[i] >= 0);
		if (i % 500 == 0)
			bystander_exchange();
	}
	/* A newcomer that speaks is served among them. */
	raw_close(raw_open(*state));
	bystander_exchange();
	for (int i = 0; i < SILENT; i++)
		close(silent[i]);
	bystander_exchange();
}

static void test_connections_that_come_and_go(void **state)
{
	for (int i = 0; i < 300; i++) {
		struct raw *raw = raw_open(*state);

		raw_subscribe_to(raw, "bystander");
		raw_declare(raw, "come.and.go");
		if (i % 3 == 0)
			raw_reset(raw);
		else
			raw_close(raw);
	}
	bystander_exchange();
}

/* ---- a client that never reads --------------------------------------------------------------- */

/* Sends as long as the socket takes it at once, at most so many bytes; returns what was taken. */
static size_t flood(struct raw *raw, const uint8_t *frame, size_t size, size_t most)
{
	size_t taken = 0, at = 0;

	while (taken < most) {
		struct pollfd pollfd = {.fd = raw->fd, .events = POLLOUT};
		ssize_t sent = send(raw->fd, frame + at, size - at, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno != EAGAIN || poll(&pollfd, 1, 200) == 0)
				break;
			continue;
		}
		taken += (size_t)sent;
		at = (at + (size_t)sent) % size;
	}
	return taken;
}

/* Reads whatever there is, to the end of the stream. */
static void drain(struct raw *raw)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	static uint8_t bytes[65536];

	for (;;) {
		struct pollfd pollfd = {.fd = raw->fd, .events = POLLIN};
		ssize_t got = recv(raw->fd, bytes, sizeof(bytes), 0);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return;
		if (test_now_ms() > deadline)
			fail_msg("the stream does not end");
		if (got < 0)
			poll(&pollfd, 1, 100);
	}
}

static void test_subscriber_that_never_reads_is_closed_alone(void **state)
{
	struct raw *deaf = raw_open(*state), *publisher = raw_open(*state);
	struct raw *healthy = raw_open(*state);
	struct xy_frame data = raw_header(publisher, XY_DATA);
	static uint8_t payload[16384];
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS;
	unsigned before;

	raw_subscribe(deaf, "{\"subject\":\"deaf.a\",\"stall_ms\":500}");
	raw_subscribe_to(healthy, "deaf.a");
	data.target = raw_declare(publisher, "deaf.a");
	before = proxy_descriptors(*state);
	/* Until the proxy has given up on it; the healthy one gets every message meanwhile. */
	while (proxy_descriptors(*state) >= before) {
		if (test_now_ms() > deadline)
			fail_msg("the proxy never closes it");
		data.sequence++;
		data.ack = publisher->consumed;
		raw_send_frame(publisher, data, payload, sizeof(payload));
		assert_int_equal(raw_expect_data(healthy)->header.sequence, data.sequence);
		if (data.sequence % 64 == 0)
			raw_sync(publisher);
	}
	bystander_exchange();
	/* What it had been sent is still there, cut off anywhere: the proxy could not wait. */
	drain(deaf);
}

static void test_client_that_asks_and_never_reads_the_answers(void **state)
{
	struct raw *deaf = raw_open(*state);
	struct xy_frame ping = raw_header(deaf, XY_PING);
	uint8_t bytes[XY_HEADER_SIZE + XY_PING_MAX];
	size_t size = raw_put(bytes, ping,
			      "0123456789012345678901234567890123456789012345678901234567890123",
			      XY_PING_MAX);

	/* The proxy stops reading, or closes; it does not pile up answers for ever. */
	assert_true(flood(deaf, bytes, size, 256u << 20) < 256u << 20);
	bystander_exchange();
	raw_close(deaf);
	bystander_exchange();
}

static void test_flood_of_errors_to_a_client_that_never_reads(void **state)
{
	struct raw *deaf = raw_open(*state);
	struct xy_frame data = raw_header(deaf, XY_DATA);
	uint8_t bytes[XY_HEADER_SIZE];
	size_t size;

	data.target = 12345;
	size = raw_put(bytes, data, NULL, 0);
	assert_true(flood(deaf, bytes, size, 256u << 20) < 256u << 20);
	bystander_exchange();
	raw_close(deaf);
	bystander_exchange();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bad_input_test(test_lengths_out_of_range),
		bad_input_test(test_every_type_with_an_empty_and_a_full_payload),
		bad_input_test(test_wrong_source_in_the_middle_of_good_frames),
		bad_input_test(test_json_of_every_kind),
		bad_input_test(test_frames_byte_by_byte_and_cut_anywhere),
		bad_input_test(test_short_send_continued_with_something_else),
		bad_input_test(test_random_bytes),
		bad_input_test(test_half_a_frame_then_silence),
		bad_input_test(test_half_a_frame_then_close),
		bad_input_test(test_hello_and_a_flood_before_welcome_is_read),
		bad_input_test(test_thousands_of_silent_connections),
		bad_input_test(test_connections_that_come_and_go),
		bad_input_test(test_subscriber_that_never_reads_is_closed_alone),
		bad_input_test(test_client_that_asks_and_never_reads_the_answers),
		bad_input_test(test_flood_of_errors_to_a_client_that_never_reads),
	};

	return proxy_run_both(tests, NULL);
}
