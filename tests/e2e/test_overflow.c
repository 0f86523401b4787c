/* SPDX-License-Identifier: BSD-2-Clause */
/* Of a receiver that is too slow: messages are dropped whole, and counted. */
#include "e2e/overflow_fixture.h"

/* ---- whole messages -------------------------------------------------------------------------- */

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

int main(void)
{
	const struct CMUnitTest within_a_loop[] = {
		proxy_test(test_drop_newest_drops_whole_messages),
		proxy_test(test_drop_oldest_drops_whole_messages_and_keeps_the_newest),
		proxy_test(test_held_fragments_go_when_a_later_one_is_dropped),
		proxy_test(test_a_burst_is_not_dropped_while_the_receiver_has_room),
		proxy_test(test_the_rest_of_a_dropped_message_is_dropped_on_arrival),
	};
	const struct CMUnitTest across_loops[] = {
		proxy_test(test_drop_newest_drops_whole_messages),
		proxy_test(test_drop_oldest_drops_whole_messages_and_keeps_the_newest),
		proxy_test(test_held_fragments_go_when_a_later_one_is_dropped),
		proxy_test(test_the_rest_of_a_dropped_message_is_dropped_on_arrival),
		proxy_test(test_what_is_not_posted_is_dropped_by_the_same_rules),
		proxy_test(test_what_is_not_posted_to_its_end_is_dropped_whole),
	};
	static const char *const one[] = {"--loops", "1", NULL};
	static const char *const two[] = {"--loops", "2", NULL};

	return proxy_run_both(within_a_loop, one) + proxy_run_both(across_loops, two);
}
