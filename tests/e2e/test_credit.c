/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Credit of lanes that was counted wrong is set right. What a failed redirect of a client leaves
 * behind, `sent` too high, is written into the sessions map, because the kernel fails a redirect
 * when it likes; one test makes it fail for real.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "kernel/session.h"

#define FRAME_BYTES 16384
#define LENGTH(a)   (sizeof(a) / sizeof((a)[0]))

/* The record of a lane, to write. */
struct record {
	struct xy_session *all, *session;
	size_t bytes;
};

static struct record record_open(const struct proxy *proxy, const struct raw *raw)
{
	struct bpf_map_info info = {0};
	uint32_t length = sizeof(info);
	struct record record = {0};
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/bpf/xylem/%s/sessions", proxy_instance(proxy));
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	record.bytes = info.max_entries * sizeof(struct xy_session);
	record.all = mmap(NULL, record.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(record.all != MAP_FAILED);
	close(fd);
	for (uint32_t s = 0; s < info.max_entries; s++)
		if (record.all[s].state == XY_SESSION_LIVE &&
		    record.all[s].endpoint == raw->endpoint)
			record.session = &record.all[s];
	assert_non_null(record.session);
	return record;
}

static void record_close(struct record *record)
{
	munmap(record->all, record->bytes);
}

/* As redirects of clients that failed after their verdict. */
static void fail_redirects(struct record *record, uint64_t bytes)
{
	__atomic_fetch_add(&record->session->sent, bytes, __ATOMIC_RELAXED);
}

struct pair {
	struct raw *publisher, *subscriber;
	uint64_t topic, sequence, window;
	struct record record;
};

static struct pair pair_open(const struct proxy *proxy, const char *subject)
{
	struct pair pair = {.publisher = raw_open(proxy), .subscriber = raw_open(proxy)};

	raw_subscribe_to(pair.subscriber, subject);
	pair.topic = raw_declare(pair.publisher, subject);
	pair.window = pair.subscriber->welcome.window;
	pair.record = record_open(proxy, pair.subscriber);
	return pair;
}

static void pair_send(struct pair *pair)
{
	static uint8_t payload[FRAME_BYTES - XY_HEADER_SIZE];
	struct xy_frame data = raw_header(pair->publisher, XY_DATA);

	data.target = pair->topic;
	data.sequence = ++pair->sequence;
	raw_send_frame(pair->publisher, data, payload, sizeof(payload));
}

/* One message there, in order, and everything read is acked. */
static void pair_exchange(struct pair *pair)
{
	pair_send(pair);
	assert_int_equal(raw_expect_data(pair->subscriber)->header.sequence, pair->sequence);
	raw_send_frame(pair->subscriber, raw_header(pair->subscriber, XY_ACK), NULL, 0);
}

/* What would be outstanding if everything counted had been received is: at most a PING and what the
 * test has not read yet. */
#define OUTSTANDING_MAX 1024
#define SLOWER          (1000 / test_scaled(1000)) /* the machine: so many times */

static void assert_right(const struct pair *pair)
{
	assert_in_range(xy_session_outstanding(pair->record.session), 0, OUTSTANDING_MAX);
}

/* Set right at once. On a slow machine a PONG comes when more is on its way already, and shows a
 * part only; the next one shows the rest. */
static void await_right(struct pair *pair)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	while (SLOWER > 1 && xy_session_outstanding(pair->record.session) > OUTSTANDING_MAX) {
		assert_true(test_now_ms() < deadline);
		pair_exchange(pair);
	}
	assert_right(pair);
}

static bool off(void **state)
{
	return proxy_kernel_path(*state) == KERNEL_PATH_OFF; /* nothing is counted */
}

static void test_a_lane_that_seems_full_is_set_right_while_somebody_waits(void **state)
{
	uint64_t righted, moved;
	struct pair pair;

	if (off(state))
		return;
	pair = pair_open(*state, "right.waits");
	pair_exchange(&pair);
	righted = status_counter(*state, "credit_righted");
	/* As if it had not read a whole window: nothing fits, and nothing would ever be acked. */
	fail_redirects(&pair.record, pair.window);
	pair_exchange(&pair);
	assert_int_equal(status_counter(*state, "credit_righted"), righted + 1);
	assert_right(&pair);
	/* The lane is used again. */
	raw_sync(pair.publisher);
	moved = pair.record.session->sent_frames;
	pair_exchange(&pair);
	assert_int_equal(pair.record.session->sent_frames, moved + 1);
	record_close(&pair.record);
}

/* The publisher pauses by its own promise, and the proxy holds nothing. */
static void test_a_publisher_that_waits_for_synced_gets_it_when_credit_is_right(void **state)
{
	uint64_t righted, deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct pair pair;

	if (off(state))
		return;
	pair = pair_open(*state, "right.synced");
	pair_exchange(&pair);
	righted = status_counter(*state, "credit_righted");
	fail_redirects(&pair.record, pair.window / 4 * 3);
	raw_send_frame(pair.publisher,
		       (struct xy_frame){.version = XY_WIRE_VERSION,
					 .type = XY_SYNC,
					 .source = pair.publisher->endpoint,
					 .ack = pair.publisher->consumed,
					 .correlation = ++pair.publisher->syncs},
		       NULL, 0);
	/* It must read the PING that rights it. */
	while (status_counter(*state, "credit_righted") == righted) {
		assert_true(test_now_ms() < deadline);
		if (raw_read(pair.subscriber, 10) == RAW_FRAME)
			raw_answer(pair.subscriber);
	}
	raw_expect(pair.publisher, XY_SYNCED);
	pair_exchange(&pair);
	assert_right(&pair);
	record_close(&pair.record);
}

static void test_pongs_show_what_was_never_received(void **state)
{
	uint64_t righted, deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct pair pair;

	if (off(state))
		return;
	pair = pair_open(*state, "right.pongs");
	pair_exchange(&pair);
	righted = status_counter(*state, "credit_righted");
	/* Little enough that nobody ever waits. */
	fail_redirects(&pair.record, pair.window / 4);
	while (status_counter(*state, "credit_righted") == righted) {
		assert_true(test_now_ms() < deadline);
		for (int i = 0; i < 8; i++)
			pair_exchange(&pair);
	}
	await_right(&pair);
	assert_in_range(status_counter(*state, "credit_righted"), righted + 1, righted + SLOWER);
	righted = status_counter(*state, "credit_righted");
	for (int i = 0; i < 200; i++)
		pair_exchange(&pair);
	assert_int_equal(status_counter(*state, "credit_righted"), righted);
	assert_right(&pair);
	record_close(&pair.record);
}

/* PONGs with acks that never grow: `sent` is set too low again and again, and still no more than
 * two windows lie unread in the receiver's queue. */
static void test_acks_that_are_too_low_get_nobody_more_than_two_windows(void **state)
{
	uint64_t righted, deadline = test_now_ms() + TEST_TIMEOUT_MS, sent;
	struct pair pair;
	int queued;

	if (off(state))
		return;
	pair = pair_open(*state, "right.liar");
	righted = status_counter(*state, "credit_righted");
	pair.subscriber->silent = true;
	while (status_counter(*state, "credit_righted") < righted + 3) {
		assert_true(test_now_ms() < deadline);
		/* Reads and answers everything, and acks only now and then, when nobody asks. */
		for (int i = 0; i < 16; i++) {
			pair_send(&pair);
			while (raw_read(pair.subscriber, TEST_TIMEOUT_MS) == RAW_FRAME &&
			       pair.subscriber->frame.header.type != XY_DATA)
				raw_answer_with(pair.subscriber, 0);
			assert_int_equal(pair.subscriber->frame.header.sequence, pair.sequence);
		}
	}
	while (raw_read(pair.subscriber, 0) == RAW_FRAME)
		raw_answer_with(pair.subscriber, UINT64_MAX);
	/* Now it acks all that may ever come, and reads nothing. */
	deadline = test_now_ms() + TEST_TIMEOUT_MS;
	do {
		sent = pair.record.session->sent;
		for (int i = 0; i < 32; i++)
			pair_send(&pair);
		raw_answer_with(pair.subscriber, UINT64_MAX);
		while (raw_read(pair.publisher, 0) == RAW_FRAME)
			;
		assert_int_equal(ioctl(pair.subscriber->fd, FIONREAD, &queued), 0);
		assert_in_range(queued, 0, 2 * pair.window + FRAME_BYTES);
		assert_true(test_now_ms() < deadline);
	} while (pair.record.session->sent != sent);
	record_close(&pair.record);
}

/* One message by the lane. Whether what the receiver answered with it made the proxy begin to set
 * its credit right: then `queued` is raised, and nothing else raises it. */
static bool exchange_begins_it(struct pair *pair)
{
	struct raw *subscriber = pair->subscriber;
	const struct xy_session *session = pair->record.session;
	uint64_t frames = session->sent_frames, deadline = test_now_ms() + TEST_TIMEOUT_MS;
	uint64_t proven = __atomic_load_n(&session->proven, __ATOMIC_ACQUIRE);
	bool answered = false;

	pair_send(pair);
	while (raw_read(subscriber, TEST_TIMEOUT_MS) == RAW_FRAME &&
	       subscriber->frame.header.type != XY_DATA) {
		answered = answered || subscriber->frame.header.type == XY_PING;
		raw_answer(subscriber);
	}
	assert_int_equal(subscriber->frame.header.sequence, pair->sequence);
	raw_send_frame(subscriber, raw_header(subscriber, XY_ACK), NULL, 0);
	if (!answered || session->sent_frames == frames)
		return false;
	while (__atomic_load_n(&session->proven, __ATOMIC_ACQUIRE) == proven)
		assert_true(test_now_ms() < deadline);
	return __atomic_load_n(&session->queued, __ATOMIC_ACQUIRE) > 0;
}

/* What is sent meanwhile comes behind the PING whose answer shows what is missing: acks of it could
 * hide a part. */
static void test_nothing_is_sent_to_a_lane_while_it_is_set_right(void **state)
{
	uint64_t righted, deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct pair pair;

	if (off(state))
		return;
	pair = pair_open(*state, "right.quiet");
	pair_exchange(&pair);
	for (int seen = 0; seen < 3;) {
		assert_true(test_now_ms() < deadline);
		raw_sync(pair.publisher);
		if (xy_session_outstanding(pair.record.session) < pair.window / 8)
			fail_redirects(&pair.record, pair.window / 4);
		righted = status_counter(*state, "credit_righted");
		if (!exchange_begins_it(&pair))
			continue;
		pair_send(&pair);
		assert_int_equal(raw_read(pair.subscriber, TEST_TIMEOUT_MS), RAW_FRAME);
		assert_int_equal(pair.subscriber->frame.header.type, XY_PING);
		raw_answer(pair.subscriber);
		assert_int_equal(raw_expect_data(pair.subscriber)->header.sequence, pair.sequence);
		raw_send_frame(pair.subscriber, raw_header(pair.subscriber, XY_ACK), NULL, 0);
		while (status_counter(*state, "credit_righted") == righted)
			assert_true(test_now_ms() < deadline);
		seen++;
	}
	record_close(&pair.record);
}

/* ---- for real -------------------------------------------------------------------------------- */

static void test_redirects_that_fail_for_want_of_memory_are_set_right(void **state)
{
	enum { FAILURES = 20 };
	static uint8_t bytes[FRAME_BYTES], payload[FRAME_BYTES];
	uint64_t arrives[FAILURES * 50], righted, deadline = test_now_ms() + TEST_TIMEOUT_MS;
	unsigned count = 0, failed = 0;
	struct pair pair;

	if (off(state))
		return;
	if (!sandbox_tight_enter("300000"))
		skip(); /* no memory cgroup that counts TCP */
	pair = (struct pair){.subscriber = raw_open(*state)};
	assert_true(sandbox_tight_leave());
	pair.publisher = raw_open(*state);
	raw_subscribe_to(pair.subscriber, "right.memory");
	pair.topic = raw_declare(pair.publisher, "right.memory");
	pair.record = record_open(*state, pair.subscriber);
	righted = status_counter(*state, "credit_righted");
	pair_exchange(&pair);
	raw_sync(pair.publisher);
	while (failed < FAILURES) {
		struct xy_frame data = raw_header(pair.publisher, XY_DATA);
		size_t size;

		data.target = pair.topic;
		data.sequence = ++pair.sequence;
		size = raw_put(bytes, data, payload, FRAME_BYTES - XY_HEADER_SIZE);
		if (send(pair.publisher->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size) {
			assert_true(count < LENGTH(arrives));
			arrives[count++] = data.sequence;
		} else {
			assert_int_equal(errno, ENOMEM);
			failed++;
		}
	}
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(raw_expect_data(pair.subscriber)->header.sequence, arrives[i]);
	/* What has failed is counted, until the PONGs show it. */
	while (status_counter(*state, "credit_righted") == righted) {
		assert_true(test_now_ms() < deadline);
		for (int i = 0; i < 8; i++)
			pair_exchange(&pair);
	}
	await_right(&pair);
	record_close(&pair.record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_a_lane_that_seems_full_is_set_right_while_somebody_waits),
		proxy_test(test_a_publisher_that_waits_for_synced_gets_it_when_credit_is_right),
		proxy_test(test_pongs_show_what_was_never_received),
		proxy_test(test_nothing_is_sent_to_a_lane_while_it_is_set_right),
		proxy_test(test_redirects_that_fail_for_want_of_memory_are_set_right),
		proxy_test(test_acks_that_are_too_low_get_nobody_more_than_two_windows),
	};

	return proxy_run_both(tests, NULL);
}
