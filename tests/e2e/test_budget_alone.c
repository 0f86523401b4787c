/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory budget and many clients: what receivers do not read, and senders do not finish, stays
 * within it.
 */
#include "e2e/budget_fixture.h"

/* ---- many that never read -------------------------------------------------------------------- */

#define DEAF  64
#define FRAME (16 << 10)

static void test_many_that_never_read_are_closed_and_everybody_else_goes_on(void **state)
{
	struct proxy *proxy = *state;
	uint64_t pressed_before = status_counter(proxy, "memory_pressed");
	uint64_t shed_before = status_counter(proxy, "closed_for_memory");
	uint64_t deadline, kernel;
	struct watch watch = watch_begin(proxy);
	struct raw *publisher = raw_open(proxy);
	static struct flood flood[DEAF];
	struct pair pair;
	json_t *status;
	unsigned d;

	pair_open(&pair, proxy);
	for (d = 0; d < DEAF; d++) {
		char subject[32];

		snprintf(subject, sizeof(subject), "deaf.%u", d);
		deaf_open(proxy, subject, d % 2 == 0 ? "drop-newest" : "drop-oldest");
		flood_begin(&flood[d], publisher, subject);
		raw_publish(publisher, flood[d].topic, ++flood[d].sequence, "first");
	}
	raw_sync(publisher);
	d = 0;

	/* Together their windows, or their sockets and pipes, hold several times the budget; and
	 * the publisher goes on as long as none has been closed. */
	deadline = deadline_after(2 * TEST_TIMEOUT_MS);
	while (status_counter(proxy, "closed_for_memory") == shed_before) {
		uint64_t idle = deadline_after(20);

		assert_true(test_now_ms() < deadline);
		for (unsigned n = 0; n < 256 && test_now_ms() < idle;)
			if (flood_one(&flood[d], FRAME)) {
				d = (d + 1) % DEAF;
				idle = deadline_after(20);
				n++;
			} else {
				take(publisher);
			}
		pair_turn(&pair);
		watch_look(&watch);
	}
	while (pressed(proxy)) {
		assert_true(test_now_ms() < deadline);
		pair_turn(&pair);
		watch_look(&watch);
	}
	assert_in_range(status_counter(proxy, "memory_pressed"), pressed_before + 1, UINT64_MAX);
	assert_in_range(status_memory(proxy, "used"), 0, BUDGET / 4 * 3);
	watch_end(&watch, "many");

	/* The dearest went, not all; the healthy ones are still there, and on their lane again. */
	status = status_take_whole(proxy);
	assert_non_null(status_connection(status, pair.subscriber));
	assert_non_null(status_connection(status, pair.publisher));
	json_decref(status);
	if (proxy_kernel_path(proxy) == KERNEL_PATH_OFF)
		return;
	assert_int_not_equal(status_reason(proxy, pair.publisher, "switched-off"), 0);
	raw_sync(pair.publisher);
	for (unsigned n = 0; n < 100; n++)
		pair_turn(&pair);
	status = status_take_whole(proxy);
	kernel = status_number(json_object_get(status_connection(status, pair.publisher), "kernel"),
			       "frames");
	json_decref(status);
	assert_in_range(kernel, 90, UINT64_MAX);
}

/* ---- pairs that read late -------------------------------------------------------------------- */

#define PAIRS       32
#define PAIR_FRAMES 200

struct late {
	struct flood flood;
	struct raw *subscriber;
	uint64_t received;
};

/* Takes one frame and answers it; false: there was none. */
static bool late_read(struct late *late)
{
	struct raw *raw = late->subscriber;
	struct xy_frame answer;

	if (raw_read(raw, 0) != RAW_FRAME)
		return false;
	if (raw->frame.header.type == XY_PING) {
		answer = raw_header(raw, XY_PONG);
		answer.correlation = raw->frame.header.correlation;
		raw_send_frame(raw, answer, raw->frame.payload, raw->frame.length);
	} else if (raw->consumed - raw->acked >= raw->welcome.window / 4) {
		raw_send_frame(raw, raw_header(raw, XY_ACK), NULL, 0);
	}
	if (raw->frame.header.type == XY_DATA)
		assert_int_equal(raw->frame.header.sequence, ++late->received);
	else
		assert_int_not_equal(raw->frame.header.type, XY_ERROR);
	return true;
}

/* True when all has come. */
static bool late_turn(struct late *late, bool reads)
{
	struct flood *flood = &late->flood;

	take(flood->raw);
	for (unsigned n = 0; n < 4; n++)
		if (flood->sequence < PAIR_FRAMES || flood->unsent != 0)
			flood_one(flood, FRAME);
	for (unsigned n = 0; n < 8 && reads; n++)
		if (!late_read(late))
			break;
	return late->received == PAIR_FRAMES;
}

static void test_who_reads_late_gets_everything_in_order(void **state)
{
	struct proxy *proxy = *state;
	uint64_t before = status_counter(proxy, "memory_pressed"), deadline;
	static struct late late[PAIRS];
	unsigned whole = 0;

	memset(late, 0, sizeof(late));
	for (unsigned p = 0; p < PAIRS; p++) {
		char subject[32], json[128];

		snprintf(subject, sizeof(subject), "late.%u", p);
		snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"stall_ms\":60000}", subject);
		late[p].subscriber = p % 4 == 3 ? raw_connect_unix(proxy) : raw_connect(proxy);
		raw_hello(late[p].subscriber, RAW_HELLO);
		raw_sync(late[p].subscriber);
		raw_subscribe(late[p].subscriber, json);
		flood_begin(&late[p].flood, raw_open(proxy), subject);
	}
	deadline = deadline_after(TEST_TIMEOUT_MS);
	while (status_counter(proxy, "memory_pressed") == before) {
		assert_true(test_now_ms() < deadline);
		for (unsigned p = 0; p < PAIRS; p++)
			late_turn(&late[p], false);
	}
	deadline = deadline_after(3 * TEST_TIMEOUT_MS);
	while (whole < PAIRS) {
		assert_true(test_now_ms() < deadline);
		whole = 0;
		for (unsigned p = 0; p < PAIRS; p++)
			whole += late_turn(&late[p], true);
	}
	deadline = deadline_after(TEST_TIMEOUT_MS);
	while (pressed(proxy))
		assert_true(test_now_ms() < deadline);
	print_message("used at most %llu KiB\n",
		      (unsigned long long)status_memory(proxy, "high") >> 10);
}

/* ---- lanes at rest --------------------------------------------------------------------------- */

#define RESTING 60
#define REST_FRAMES \
	11 /* of 16 KiB: together less than a quarter of the window, so that no ack is due */

static void test_what_is_read_and_not_acked_does_not_count_for_ever(void **state)
{
	struct proxy *proxy = *state;
	struct raw *publisher = raw_open(proxy);
	static struct late late[RESTING];
	uint64_t deadline;
	unsigned whole = 0;

	memset(late, 0, sizeof(late));
	for (unsigned r = 0; r < RESTING; r++) {
		char subject[32];

		snprintf(subject, sizeof(subject), "rest.%u", r);
		late[r].subscriber = raw_open(proxy);
		raw_subscribe_to(late[r].subscriber, subject);
		flood_begin(&late[r].flood, publisher, subject);
	}
	deadline = deadline_after(TEST_TIMEOUT_MS);
	for (unsigned r = 0; r < RESTING; r++)
		while (late[r].flood.sequence < REST_FRAMES || late[r].flood.unsent != 0) {
			assert_true(test_now_ms() < deadline);
			take(publisher);
			flood_one(&late[r].flood, FRAME);
			late_read(&late[r]);
		}
	/* Sooner than a heartbeat, which would bring the acks as well. */
	deadline = deadline_after(publisher->welcome.heartbeat_ms / 10 * 8);
	while (whole < RESTING || status_memory(proxy, "outstanding") > BUDGET / 16) {
		assert_true(test_now_ms() < deadline);
		whole = 0;
		for (unsigned r = 0; r < RESTING; r++) {
			while (late_read(&late[r]))
				;
			whole += late[r].received == REST_FRAMES;
		}
	}
}

/* ---- senders that finish nothing ------------------------------------------------------------- */

#define DRIBBLERS 90
#define DRIBBLE   60000

static bool subscribe_is_refused(struct raw *raw)
{
	static const char json[] = "{\"subject\":\"late.comer\"}";

	raw_send_frame(raw, raw_header(raw, XY_SUBSCRIBE), json, strlen(json));
	do {
		assert_int_equal(raw_read(raw, TEST_TIMEOUT_MS), RAW_FRAME);
	} while (raw->frame.header.type != XY_OK && raw->frame.header.type != XY_ERROR);
	if (raw->frame.header.type == XY_ERROR)
		assert_non_null(strstr((const char *)raw->frame.payload, "overloaded"));
	return raw->frame.header.type == XY_ERROR;
}

static void test_when_it_is_used_up_nobody_new_is_let_in(void **state)
{
	struct proxy *proxy = *state;
	uint64_t deadline = deadline_after(TEST_TIMEOUT_MS);
	struct raw *dribbler[DRIBBLERS], *other = raw_open(proxy), *fresh;
	uint8_t part[DRIBBLE] = {0};
	struct xy_frame frame;
	uint64_t topic = raw_declare(other, "other");
	enum raw_result result;

	for (unsigned d = 0; d < DRIBBLERS; d++)
		dribbler[d] = raw_open(proxy);
	for (unsigned d = 0; d < DRIBBLERS; d++) {
		frame = raw_header(dribbler[d], XY_DATA);
		frame.target = topic;
		frame.length = XY_FRAME_MAX;
		xy_frame_encode(&frame, part);
		raw_send(dribbler[d], part, sizeof(part));
	}
	/* Refused as soon as all of it has been read. */
	for (;;) {
		bool refused = subscribe_is_refused(other);

		assert_true(test_now_ms() < deadline);
		fresh = raw_connect(proxy);
		frame = (struct xy_frame){.version = XY_WIRE_VERSION, .type = XY_HELLO};
		raw_send_frame(fresh, frame, RAW_HELLO, strlen(RAW_HELLO));
		assert_int_equal(raw_read(fresh, TEST_TIMEOUT_MS), RAW_FRAME);
		if (refused && fresh->frame.header.type == XY_ERROR)
			break;
		raw_close(fresh);
	}
	assert_non_null(strstr((const char *)fresh->frame.payload, "overloaded"));
	assert_int_equal(raw_read(fresh, TEST_TIMEOUT_MS), RAW_CLOSED);
	assert_in_range(status_counter(proxy, "refused_for_memory"), 1, UINT64_MAX);

	/* Who was there and does no harm stays; the others are told, and have to go. */
	do {
		assert_true(test_now_ms() < deadline);
		raw_expect_silence(other);
	} while (pressed(proxy) || status_counter(proxy, "closed_for_memory") == 0);
	assert_in_range(status_memory(proxy, "used"), 0, SMALL / 2);
	while ((result = raw_read(dribbler[0], TEST_TIMEOUT_MS)) == RAW_FRAME &&
	       dribbler[0]->frame.header.type != XY_ERROR)
		;
	assert_int_equal(result, RAW_FRAME);
	assert_non_null(strstr((const char *)dribbler[0]->frame.payload, "slow-consumer"));
	raw_open(proxy);
}

int main(void)
{
	static const char *const sixteen[] = {"--memory-budget", "16M", NULL};
	static const char *const four[] = {"--memory-budget", "4M", NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_many_that_never_read_are_closed_and_everybody_else_goes_on),
		proxy_test(test_what_is_read_and_not_acked_does_not_count_for_ever),
	};
	const struct CMUnitTest small[] = {
		proxy_test(test_who_reads_late_gets_everything_in_order),
		proxy_test(test_when_it_is_used_up_nobody_new_is_let_in),
	};

	return proxy_run_both(tests, sixteen) + proxy_run_both(small, four);
}
