/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Of a receiver that is too slow: several policies at once, what waits for it instead, and what
 * status says.
 */
#include "e2e/overflow_fixture.h"

/* ---- several policies at one receiver -------------------------------------------------------- */

static uint64_t frames_read(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_with(proxy, raw);
	uint64_t frames =
		status_number(json_object_get(status_connection(status, raw), "in"), "frames");

	json_decref(status);
	return frames;
}

static void read_by_the_proxy(const struct proxy *proxy, const struct raw *raw, uint64_t frames)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	while (frames_read(proxy, raw) < frames)
		assert_true(test_now_ms() < deadline);
}

static void test_drop_oldest_spares_what_no_policy_may_drop(void **state)
{
	enum { FIRM = 40 };
	struct raw *receiver = slow_open(*state, "slow"), *direct = raw_open_unix(*state);
	struct raw *patient = raw_open(*state);
	struct source source = source_open(raw_open_unix(*state), "spare.loose");
	uint64_t topic = raw_declare(patient, "spare.firm"), firm = 0, directs = 0;
	uint64_t frames_of_patient;
	bool fenced = false;
	struct xy_frame header = raw_header(direct, XY_DATA);

	slow_subscribe(receiver, "spare.loose", "drop-oldest");
	slow_subscribe(receiver, "spare.firm", "block");
	sources_send(&source, 1, MESSAGES);
	await_tasks(*state, receiver);
	/* Into a buffer that is full of what may be dropped. The publishers wait then. */
	frames_of_patient = frames_read(*state, patient);
	for (uint64_t i = 1; i <= FIRM; i++)
		raw_publish(patient, topic, i, "firm");
	header.flags = XY_DIRECT;
	header.target = receiver->endpoint;
	raw_send_frame(direct, header, "direct", 6);
	read_by_the_proxy(*state, patient, frames_of_patient + 1);
	read_by_the_proxy(*state, direct, 2);
	sources_send(&source, 1, MESSAGES);
	await_tasks(*state, receiver); /* as above */
	sources_send(&source, 1, 1);
	raw_send_fence(receiver, source.raw);
	while (firm < FIRM || !fenced) {
		const struct raw_frame *frame = raw_expect_data(receiver);

		if (raw_is_fence(frame))
			fenced = true;
		else if (frame->header.source == source.raw->endpoint)
			source_got(&source, frame);
		else if (frame->header.source == patient->endpoint)
			assert_int_equal(frame->header.sequence, ++firm);
		else
			directs++;
	}
	assert_int_equal(directs, 1);
	assert_int_equal(source.last, source.messages);
	assert_accounted_for(*state, receiver, &source, 1, "drop-oldest");
}

static void test_disconnect_closes_the_slow_one_and_nobody_else(void **state)
{
	struct raw *receiver = slow_open(*state, "slow"), *healthy = raw_open(*state);
	struct source source = source_open(raw_open(*state), "close.a");
	uint64_t closed = status_counter(*state, "slow_consumers"), got = 0;

	slow_subscribe(receiver, "close.a", "disconnect");
	raw_subscribe_to(healthy, "close.a");
	for (unsigned m = 0; m < 2 * MESSAGES; m++) {
		source_begin(&source, 0);
		source_fragment(&source, 0);
		assert_int_equal(raw_expect_data(healthy)->header.sequence, ++got);
		if (m % 10 == 0)
			raw_sync(source.raw);
	}
	assert_int_equal(status_counter(*state, "slow_consumers"), closed + 1);
	assert_true(status_counter(*state, "overflow_disconnect") > 0);
	if (proxy_kernel_path(*state) == KERNEL_PATH_OFF) {
		raw_drain(receiver); /* a full socket takes no reason */
		return;
	}
	while (raw_read(receiver, TEST_TIMEOUT_MS) == RAW_FRAME &&
	       receiver->frame.header.type != XY_ERROR)
		;
	assert_int_equal(receiver->frame.header.type, XY_ERROR);
	assert_non_null(strstr((char *)receiver->frame.payload, "slow-consumer"));
}

/* ---- DIRECT ---------------------------------------------------------------------------------- */

static void test_direct_waits_as_long_as_its_target_says(void **state)
{
	enum { STALL_MS = 3000 };
	struct raw *receiver = slow_open(*state, "slow"), *sender = raw_open_unix(*state);
	struct xy_frame data = raw_header(sender, XY_DATA);
	static uint8_t payload[PIECE];
	uint64_t began, sent = 0;

	raw_subscribe(receiver, "{\"subject\":\"direct.any\",\"stall_ms\":3000}");
	data.flags = XY_DIRECT;
	data.target = receiver->endpoint;
	/* Until it has to wait, and then some: the answer comes when the wait is over. */
	began = test_now_ms();
	do {
		data.sequence = ++sent;
		raw_send_frame(sender, data, payload, sizeof(payload));
	} while (raw_read(sender, 0) != RAW_FRAME);
	assert_int_equal(sender->frame.header.type, XY_ERROR);
	assert_non_null(strstr((char *)sender->frame.payload, "overloaded"));
	assert_in_range(test_now_ms() - began, STALL_MS, 1000000);
	/* The target is there, and the sender may go on when it reads. */
	for (uint64_t i = 1; i < sender->frame.header.sequence; i++)
		assert_int_equal(raw_expect_data(receiver)->header.sequence, i);
}

/* From a lane, too, and when it does not pause as it is asked to. */
static void test_direct_fills_no_more_than_its_share(void **state)
{
	struct raw *receiver = slow_open(*state, "slow"), *sender = raw_open(*state);
	struct xy_frame data = raw_header(sender, XY_DATA);
	static uint8_t frame[XY_HEADER_SIZE + PIECE];
	uint64_t end = test_now_ms() + TEST_TIMEOUT_MS, settled = end, limit, bytes = 0;
	size_t left = 0;

	raw_subscribe(receiver, "{\"subject\":\"direct.much\",\"stall_ms\":600000}");
	data.flags = XY_DIRECT;
	data.target = receiver->endpoint;
	/* One is asked to pause at half of the buffer, and is not read any more at all of it. */
	limit = (sender->lane ? BUFFER : BUFFER / 2) + BUFFER + sizeof(frame);
	/* Until its share is full and, for a while, nothing more is taken. */
	while (test_now_ms() < settled + 300 && test_now_ms() < end) {
		ssize_t n = 1;

		/* Some at once: a look takes long in a sanitizer's build. */
		for (int i = 0; i < 8 && n > 0; i++) {
			if (!left) {
				data.sequence++;
				left = raw_put(frame, data, frame + XY_HEADER_SIZE, PIECE);
			}
			n = raw_send_some(sender, frame + sizeof(frame) - left, left);
			left -= n > 0 ? (size_t)n : 0;
		}
		bytes = held(*state, receiver);
		assert_in_range(bytes, 0, limit);
		if (n > 0 || bytes < BUFFER / 2)
			settled = end;
		else if (settled == end)
			settled = test_now_ms();
	}
	assert_true(bytes >= BUFFER / 2);
}

/* ---- status ---------------------------------------------------------------------------------- */

static void test_status_names_the_slow_receiver(void **state)
{
	struct raw *receiver = slow_open(*state, "the-slow-one");
	struct source source = source_open(raw_open(*state), "named.a");
	char command[512], line[512];
	json_t *status, *slow;
	bool named = false;
	FILE *pipe;

	slow_subscribe(receiver, "named.a", "drop-newest");
	sources_send(&source, 1, MESSAGES);
	status = status_take_with(*state, receiver);
	slow = json_array_get(json_object_get(status, "slow"), 0);
	assert_int_equal(json_array_size(json_object_get(status, "slow")), 1);
	assert_string_equal(json_string_value(json_object_get(slow, "name")), "the-slow-one");
	assert_in_range(status_number(slow, "held"), 1, 2 << 20);
	assert_true(status_number(json_object_get(json_object_get(slow, "dropped"), "drop-newest"),
				  "messages") > 0);
	if (proxy_kernel_path(*state) == KERNEL_PATH_ON)
		assert_in_range(status_number(slow, "outstanding"), 1, 2 << 20);
	json_decref(status);
	assert_true(status_counter(*state, "overflow_newest") > 0);

	snprintf(command, sizeof(command), "'%s' status slow --instance %s", proxy_binary(),
		 proxy_instance(*state));
	pipe = popen(command, "re");
	assert_non_null(pipe);
	while (fgets(line, sizeof(line), pipe))
		named = named || (strstr(line, "the-slow-one") && strstr(line, "drop-newest"));
	assert_int_equal(pclose(pipe), 0);
	assert_true(named);
}

int main(void)
{
	const struct CMUnitTest within_a_loop[] = {
		proxy_test(test_drop_oldest_spares_what_no_policy_may_drop),
		proxy_test(test_disconnect_closes_the_slow_one_and_nobody_else),
	};
	const struct CMUnitTest across_loops[] = {
		proxy_test(test_drop_oldest_spares_what_no_policy_may_drop),
		proxy_test(test_disconnect_closes_the_slow_one_and_nobody_else),
		proxy_test(test_direct_waits_as_long_as_its_target_says),
		proxy_test(test_direct_fills_no_more_than_its_share),
		proxy_test(test_status_names_the_slow_receiver),
	};
	static const char *const one[] = {"--loops", "1", NULL};
	static const char *const two[] = {"--loops", "2", NULL};

	return proxy_run_both(within_a_loop, one) + proxy_run_both(across_loops, two);
}
