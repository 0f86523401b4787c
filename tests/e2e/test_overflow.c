/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens to a receiver that is too slow: policies, whole messages, and what status says. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "common/thread.h"

#define FRAGMENTS 5
#define PIECE     20000
#define BUFFER    (256 << 10)
/* Of PIECE bytes each: more than a receiver's window or sockets and its buffer take. */
#define MESSAGES  200

/* Without a lane the receiver's socket is what its buffer stands behind: kept small. */
static struct raw *slow_open(const struct proxy *proxy, const char *name)
{
	struct raw *raw = raw_connect(proxy);
	int bytes = 64 << 10;
	char hello[128];

	assert_int_equal(setsockopt(raw->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	snprintf(hello, sizeof(hello), "{\"name\":\"%s\",\"ack\":true}", name);
	raw_hello(raw, hello);
	raw_sync(raw);
	return raw;
}

static void slow_subscribe(struct raw *raw, const char *subject, const char *overflow)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"overflow\":\"%s\",\"stall_ms\":600000}",
		 subject, overflow);
	raw_subscribe(raw, json);
}

/* A source, what it has sent and what has arrived of it. */
struct source {
	struct raw *raw;
	struct xy_frame data;
	uint64_t frames;                            /* sent */
	uint64_t messages, whole, broken, received; /* messages; the last in frames */
	uint64_t last;                              /* sequence that arrived last … */
	uint16_t parts;                             /* … and how many fragments of it */
};

static struct source source_open(struct raw *raw, const char *subject)
{
	struct source source = {.raw = raw, .data = raw_header(raw, XY_DATA)};

	source.data.target = raw_declare(raw, subject);
	return source;
}

static void source_fragment(struct source *source, uint16_t fragment)
{
	static uint8_t payload[PIECE];

	memset(payload, (int)(source->data.sequence + fragment), sizeof(payload));
	source->data.fragment = fragment;
	source->data.ack = source->raw->consumed;
	raw_send_frame(source->raw, source->data, payload, sizeof(payload));
	source->frames++;
}

static void source_begin(struct source *source, uint16_t fragments)
{
	source->data.sequence = ++source->messages;
	source->data.fragments = fragments;
}

/* Whole messages of several sources, fragment by fragment in turn; every third is not cut. */
static void sources_send(struct source *sources, unsigned count, unsigned messages)
{
	for (unsigned m = 0; m < messages; m++) {
		uint16_t fragments = m % 3 == 2 ? 0 : FRAGMENTS;

		for (unsigned s = 0; s < count; s++)
			source_begin(&sources[s], fragments);
		for (uint16_t f = 0; f < (fragments ? fragments : 1); f++)
			for (unsigned s = 0; s < count; s++)
				source_fragment(&sources[s], f);
	}
	for (unsigned s = 0; s < count; s++)
		raw_sync(sources[s].raw);
}

static void message_end(struct source *source, uint16_t fragments)
{
	if (source->parts == fragments)
		source->whole++;
	else
		source->broken++;
	source->parts = 0;
}

static void source_got(struct source *source, const struct raw_frame *frame)
{
	static uint16_t fragments_of[8];
	const struct xy_frame *header = &frame->header;
	uint16_t *fragments = &fragments_of[source->raw->endpoint % 8];

	if (header->sequence != source->last) {
		assert_true(header->sequence > source->last);
		if (source->parts)
			message_end(source, 0);
		source->last = header->sequence;
	}
	source->received++;
	/* Of a message that is not whole the end is missing, and nothing else. */
	assert_int_equal(header->fragment, source->parts);
	assert_int_equal(frame->payload[0], (uint8_t)(header->sequence + header->fragment));
	assert_int_equal(frame->payload[PIECE - 1], frame->payload[0]);
	*fragments = header->fragments ? header->fragments : 1;
	source->parts++;
	if (header->fragment + 1 == *fragments)
		message_end(source, *fragments);
}

/* Reads all that lies before the fences of the first `fences` sources: a fence is a message of its
 * own, and ends the one before it. */
static void sources_read(struct raw *receiver, struct source *sources, unsigned count,
			 unsigned fences)
{
	for (unsigned s = 0; s < fences; s++)
		raw_send_fence(receiver, sources[s].raw);
	while (fences > 0) {
		const struct raw_frame *frame = raw_expect_data(receiver);

		if (raw_is_fence(frame)) {
			fences--;
			continue;
		}
		for (unsigned s = 0; s < count; s++)
			if (sources[s].raw->endpoint == frame->header.source)
				source_got(&sources[s], frame);
	}
	for (unsigned s = 0; s < count; s++)
		if (sources[s].parts)
			message_end(&sources[s], 0);
}

static void sources_drain(struct raw *receiver, struct source *sources, unsigned count)
{
	sources_read(receiver, sources, count, count);
}

static uint64_t held(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_with(proxy, raw);
	uint64_t bytes = status_number(status_connection(status, raw), "queued_bytes");

	json_decref(status);
	return bytes;
}

/* Until all that was posted to the receiver's loop has been run: in a round status comes first. */
static void await_tasks(const struct proxy *proxy, const struct raw *receiver)
{
	held(proxy, receiver);
	held(proxy, receiver);
}

static uint64_t dropped(const struct proxy *proxy, const struct raw *raw, const char *overflow,
			const char *unit)
{
	json_t *status = status_take_with(proxy, raw);
	json_t *by = json_object_get(status_connection(status, raw), "dropped_by");
	uint64_t count = status_number(json_object_get(by, overflow), unit);

	json_decref(status);
	return count;
}

/* ---- whole messages -------------------------------------------------------------------------- */

/* Everything sent has arrived, or is counted as dropped by this policy. */
static void assert_accounted_for(const struct proxy *proxy, const struct raw *receiver,
				 const struct source *sources, unsigned count, const char *overflow)
{
	uint64_t frames = dropped(proxy, receiver, overflow, "frames");
	uint64_t messages = dropped(proxy, receiver, overflow, "messages"), whole = 0;

	assert_true(messages > 0);
	for (unsigned s = 0; s < count; s++) {
		print_message("%s: %lu messages sent, %lu whole, %lu broken\n", overflow,
			      sources[s].messages, sources[s].whole, sources[s].broken);
		frames += sources[s].received;
		messages += sources[s].whole;
		frames -= sources[s].frames;
		messages -= sources[s].messages;
		whole += sources[s].whole;
	}
	assert_true(whole > 0);
	assert_int_equal(frames, 0);
	assert_int_equal(messages, 0);
}

static void test_drop_newest_drops_whole_messages(void **state)
{
	struct raw *receiver = slow_open(*state, "slow");
	struct source sources[] = {source_open(raw_open(*state), "newest.a"),
				   source_open(raw_open(*state), "newest.b"),
				   source_open(raw_open_unix(*state), "newest.c")};

	slow_subscribe(receiver, "newest.*", "drop-newest");
	sources_send(sources, 3, MESSAGES);
	sources_drain(receiver, sources, 3);
	assert_accounted_for(*state, receiver, sources, 3, "drop-newest");
}

static void test_drop_oldest_drops_whole_messages_and_keeps_the_newest(void **state)
{
	struct raw *receiver = slow_open(*state, "slow");
	struct source sources[] = {source_open(raw_open(*state), "oldest.a"),
				   source_open(raw_open(*state), "oldest.b"),
				   source_open(raw_open_unix(*state), "oldest.c")};
	bool newest = false;

	slow_subscribe(receiver, "oldest.*", "drop-oldest");
	sources_send(sources, 3, MESSAGES);
	/* What is posted to another loop, and is too much, goes without a look at what is older. */
	await_tasks(*state, receiver);
	/* Not cut: all three together fit into the buffer, so that none makes way for the others.
	 */
	for (int i = 0; i < 3; i++) {
		source_begin(&sources[i], 0);
		source_fragment(&sources[i], 0);
		raw_sync(sources[i].raw);
	}
	sources_drain(receiver, sources, 3);
	/* What came last of all is there. */
	for (int s = 0; s < 3; s++)
		newest = newest || sources[s].last == sources[s].messages;
	assert_true(newest);
	assert_accounted_for(*state, receiver, sources, 3, "drop-oldest");
}

static void test_held_fragments_go_when_a_later_one_is_dropped(void **state)
{
	struct raw *receiver = slow_open(*state, "slow");
	struct source filler = source_open(raw_open_unix(*state), "part.filler");
	struct source source = source_open(raw_open_unix(*state), "part.a");

	slow_subscribe(receiver, "part.*", "drop-newest");
	/* The receiver is full, and its buffer has room for some fragments. */
	while (held(*state, receiver) < BUFFER / 2)
		sources_send(&filler, 1, 1);
	source_begin(&source, 2 * BUFFER / PIECE);
	for (uint16_t f = 0; f < 2 * BUFFER / PIECE; f++) {
		source_fragment(&source, f);
		raw_sync(source.raw);
	}
	await_tasks(*state, receiver);
	assert_true(dropped(*state, receiver, "drop-newest", "frames") > 0);
	sources_drain(receiver, &source, 1);
	assert_int_equal(source.received, 0);
	assert_int_equal(dropped(*state, receiver, "drop-newest", "frames"), source.frames);
	assert_int_equal(dropped(*state, receiver, "drop-newest", "messages"), 1);
}

/* The rest of a message is dropped although there is room again; the next one is not. */
static void rest_of_a_dropped_message(const struct proxy *proxy, const char *overflow)
{
	struct raw *receiver = slow_open(proxy, "slow");
	struct source sources[2], *filler = &sources[0], *source = &sources[1];
	uint64_t whole;

	/* No lane, which the rest could come by. */
	*filler = source_open(raw_open_unix(proxy), "rest.filler");
	*source = source_open(raw_open_unix(proxy), "rest.a");
	slow_subscribe(receiver, "rest.*", overflow);
	sources_send(filler, 1, MESSAGES);
	await_tasks(proxy, receiver);
	source_begin(source, FRAGMENTS);
	source_fragment(source, 0);
	source_fragment(source, 1);
	raw_sync(source->raw);
	/* In the middle of its message: drop-oldest gives up what it holds of it. */
	sources_send(filler, 1, MESSAGES / 4);
	sources_read(receiver, sources, 2, 1);
	assert_int_equal(source->received, 0);
	for (uint16_t f = 2; f < FRAGMENTS; f++)
		source_fragment(source, f);
	source_begin(source, FRAGMENTS);
	for (uint16_t f = 0; f < FRAGMENTS; f++)
		source_fragment(source, f);
	sources_drain(receiver, sources, 2);
	assert_int_equal(source->last, 2);
	assert_int_equal(source->whole, 1);
	assert_int_equal(source->broken, 0);
	assert_int_equal(source->received, FRAGMENTS);
	whole = filler->whole + source->whole;
	assert_int_equal(dropped(proxy, receiver, overflow, "messages"),
			 filler->messages + source->messages - whole);
}

static void test_the_rest_of_a_dropped_message_is_dropped_on_arrival(void **state)
{
	rest_of_a_dropped_message(*state, "drop-newest");
	raw_close_all();
	rest_of_a_dropped_message(*state, "drop-oldest");
}

static void loop_of(const struct proxy *proxy, const struct raw *raw, char name[16])
{
	json_t *status = status_take_with(proxy, raw);

	snprintf(name, 16, "%s",
		 json_string_value(json_object_get(status_connection(status, raw), "loop")));
	json_decref(status);
}

static struct raw *open_elsewhere(const struct proxy *proxy, const char *loop)
{
	for (int i = 0; i < 16; i++) {
		struct raw *raw = raw_open_unix(proxy);
		char name[16];

		loop_of(proxy, raw, name);
		if (strcmp(name, loop) != 0)
			return raw;
	}
	fail_msg("all connections live on %s", loop);
	return NULL;
}

/* What its sender's loop drops because too much is on its way counts as what the receiver's does,
 * and takes with it what is held of its message, of which `begun` fragments were posted before, and
 * the rest. */
static void not_posted(const struct proxy *proxy, const char *overflow, const char *counter,
		       uint16_t begun)
{
	struct raw *receiver = slow_open(proxy, "slow");
	uint64_t counted = status_counter(proxy, counter);
	struct source sources[2], *filler = &sources[0], *source = &sources[1];
	char name[16];
	pid_t loop;

	loop_of(proxy, receiver, name);
	*filler = source_open(open_elsewhere(proxy, name), "post.filler");
	*source = source_open(open_elsewhere(proxy, name), "post.a");
	slow_subscribe(receiver, "post.*", overflow);
	/* The receiver is full, and its buffer has room for some fragments. */
	while (held(proxy, receiver) < BUFFER / 4)
		sources_send(filler, 1, 1);
	loop = thread_stop(proxy_pid(proxy), name);
	source_begin(source, FRAGMENTS);
	for (uint16_t f = 0; f < begun; f++)
		source_fragment(source, f);
	raw_sync(source->raw);
	/* Twice what may be on its way. */
	for (int m = 0; m < (2 << 20) / PIECE; m++) {
		source_begin(filler, 0);
		source_fragment(filler, 0);
	}
	raw_sync(filler->raw);
	for (uint16_t f = begun; f < begun + 2; f++) {
		source_fragment(source, f);
		raw_sync(source->raw); /* each by itself */
	}
	thread_go(loop);
	/* Its loop has taken all that was posted before anything is read. */
	await_tasks(proxy, receiver);
	sources_read(receiver, sources, 2, 1);
	assert_int_equal(source->received, 0);
	for (uint16_t f = begun + 2; f < FRAGMENTS; f++)
		source_fragment(source, f);
	source_begin(source, FRAGMENTS);
	for (uint16_t f = 0; f < FRAGMENTS; f++)
		source_fragment(source, f);
	sources_drain(receiver, sources, 2);
	assert_int_equal(source->last, 2);
	assert_int_equal(source->whole, 1);
	assert_int_equal(source->broken, 0);
	assert_int_equal(source->received, FRAGMENTS);
	assert_int_equal(dropped(proxy, receiver, overflow, "messages"),
			 filler->messages + source->messages - filler->whole - source->whole);
	assert_int_equal(dropped(proxy, receiver, overflow, "frames"),
			 filler->frames + source->frames - filler->received - source->received);
	assert_int_equal(status_counter(proxy, counter) - counted,
			 dropped(proxy, receiver, overflow, "messages"));
	raw_close_all();
}

static void test_what_is_not_posted_is_dropped_by_the_same_rules(void **state)
{
	not_posted(*state, "drop-newest", "overflow_newest", 0);
	not_posted(*state, "drop-oldest", "overflow_oldest", 0);
}

static void test_what_is_not_posted_to_its_end_is_dropped_whole(void **state)
{
	not_posted(*state, "drop-newest", "overflow_newest", 2);
	not_posted(*state, "drop-oldest", "overflow_oldest", 2);
}

/* More than a buffer at once, for one that has a window for all of it. */
static void test_a_burst_is_not_dropped_while_the_receiver_has_room(void **state)
{
	enum { SOURCES = 8, EACH = 5 };
	struct raw *receiver = slow_open(*state, "slow");
	struct source source[SOURCES];
	pid_t loop;

	if (!receiver->lane)
		return; /* a socket of a size that nobody promises */
	slow_subscribe(receiver, "burst.*", "drop-newest");
	for (int s = 0; s < SOURCES; s++)
		source[s] = source_open(raw_open_unix(*state), "burst.a");
	/* All of it comes in one turn. */
	loop = thread_stop(proxy_pid(*state), "loop-0");
	for (int m = 0; m < EACH; m++)
		for (int s = 0; s < SOURCES; s++) {
			source_begin(&source[s], 0);
			source_fragment(&source[s], 0);
		}
	thread_go(loop);
	sources_drain(receiver, source, SOURCES);
	for (int s = 0; s < SOURCES; s++)
		assert_int_equal(source[s].whole, EACH);
	assert_int_equal(dropped(*state, receiver, "drop-newest", "messages"), 0);
}

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
			n = send(sender->fd, frame + sizeof(frame) - left, left, MSG_NOSIGNAL);
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
		proxy_test(test_drop_newest_drops_whole_messages),
		proxy_test(test_drop_oldest_drops_whole_messages_and_keeps_the_newest),
		proxy_test(test_held_fragments_go_when_a_later_one_is_dropped),
		proxy_test(test_a_burst_is_not_dropped_while_the_receiver_has_room),
		proxy_test(test_the_rest_of_a_dropped_message_is_dropped_on_arrival),
		proxy_test(test_drop_oldest_spares_what_no_policy_may_drop),
		proxy_test(test_disconnect_closes_the_slow_one_and_nobody_else),
	};
	const struct CMUnitTest across_loops[] = {
		proxy_test(test_drop_newest_drops_whole_messages),
		proxy_test(test_drop_oldest_drops_whole_messages_and_keeps_the_newest),
		proxy_test(test_held_fragments_go_when_a_later_one_is_dropped),
		proxy_test(test_the_rest_of_a_dropped_message_is_dropped_on_arrival),
		proxy_test(test_what_is_not_posted_is_dropped_by_the_same_rules),
		proxy_test(test_what_is_not_posted_to_its_end_is_dropped_whole),
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
