/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker does when something happens between two of its steps that no client can time, where
 * the linker lets the test be (--wrap), or when there is more than a client soon sends.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/rcu.h"
#include "core/connection.h"
#include "kernel/session.h"

#define SOURCE 7
#define BUDGET (1u << 20)

static struct xy_core core;
static struct xy_worker *worker;
static struct xy_session session;
static struct xy_peer *receiver, *sender;
static struct xy_connection *connection; /* the receiver's */

/* ---- where the test stands in between -------------------------------------------------------- */

static bool without_memory; /* nothing can be put into a pipe by reference */
static uint64_t here;       /* of endpoints below this number somebody is there, of others not */
/* Receivers whose messages a publisher has not posted to the end: others at first, all at last. */
static uint32_t others, unposted;
static uint64_t late_bytes; /* land in the lane after the look at what it has not read */

int __real_xy_pipe_append(struct xy_pipe *pipe, struct xy_chain *chain);
int __wrap_xy_pipe_append(struct xy_pipe *pipe, struct xy_chain *chain);
void __real_xy_pool_trim(struct xy_pool *pool, uint32_t keep);
void __wrap_xy_pool_trim(struct xy_pool *pool, uint32_t keep);
void __wrap_xy_connection_abort(struct xy_connection *gone, const char *why);
struct xy_peer *__wrap_xy_router_endpoint(const struct xy_router *router, uint64_t endpoint);

int __wrap_xy_pipe_append(struct xy_pipe *pipe, struct xy_chain *chain)
{
	return without_memory ? -ENOMEM : __real_xy_pipe_append(pipe, chain);
}

/* The last thing before the most costly ones are closed. */
void __wrap_xy_pool_trim(struct xy_pool *pool, uint32_t keep)
{
	session.sent += late_bytes;
	late_bytes = 0;
	__real_xy_pool_trim(pool, keep);
}

void __wrap_xy_connection_abort(struct xy_connection *gone, const char *why)
{
	(void)why;
	gone->state = XY_CONNECTION_CLOSED;
}

struct xy_peer *__wrap_xy_router_endpoint(const struct xy_router *router, uint64_t endpoint)
{
	(void)router;
	return endpoint < here ? receiver : NULL;
}

/* ---- one worker with one connection ---------------------------------------------------------- */

static int setup(void **state)
{
	struct xy_pipe_options options = {.size = sizeof(options), .never_pause = true};

	(void)state;
	xy_log_set_level(XY_LOG_ERROR);
	memset(&core, 0, sizeof(core));
	memset(&session, 0, sizeof(session));
	core.max_connections = 2;
	xy_budget_plan(&core.budget, BUDGET, 1);
	core.workers = 1;
	core.worker = &worker;
	receiver = calloc(1, sizeof(*receiver) + 1);
	sender = calloc(1, sizeof(*sender) + 1);
	connection = calloc(1, sizeof(*connection));
	if (!receiver || !sender || !connection || xy_worker_new(&core, 0, &worker))
		return -1;
	sender->endpoint = SOURCE;
	atomic_init(&sender->references, 1);
	atomic_init(&receiver->references, 1);
	receiver->worker = worker;
	connection->worker = worker;
	connection->peer = receiver;
	connection->state = XY_CONNECTION_OPEN;
	connection->watch.fd = -1;
	xy_list_init(&connection->dirty);
	xy_list_add_tail(&worker->connections, &connection->of_worker);
	options.pool = worker->pool;
	return xy_pipe_new(&options, &connection->in) ||
	       xy_pipe_new(&options, &connection->control) ||
	       xy_pipe_new(&options, &connection->data);
}

static int teardown(void **state)
{
	(void)state;
	without_memory = false;
	others = 0;
	xy_pipe_free(connection->in);
	xy_pipe_free(connection->control);
	xy_pipe_free(connection->data);
	xy_overflow_free(connection);
	xy_worker_free(worker);
	free(connection);
	free(receiver);
	free(sender);
	return 0;
}

static uint64_t counted(enum xy_counter counter)
{
	return atomic_load(&core.counter[counter]);
}

/* ---- memory that fails when something arrives ------------------------------------------------ */

/* Into the connection's input. */
static void put_frame(uint16_t fragment, uint16_t fragments)
{
	static const uint8_t payload[1000];
	struct xy_frame header = {.type = XY_DATA,
				  .source = SOURCE,
				  .sequence = 1,
				  .fragment = fragment,
				  .fragments = fragments};
	uint8_t frame[XY_HEADER_SIZE + sizeof(payload)];

	xy_frame_compose(&header, payload, sizeof(payload), frame);
	assert_int_equal(xy_pipe_write(connection->in, frame, sizeof(frame)), 0);
	xy_pipe_flush(connection->in);
}

/* One frame of SOURCE comes for the receiver. Returns the bytes that are held then. */
static size_t arrive(uint16_t fragment, uint16_t fragments, enum xy_delivery_policy policy)
{
	struct xy_chain chain = {0};
	struct xy_cursor cursor;
	struct xy_view view;

	put_frame(fragment, fragments);
	assert_int_equal(xy_pipe_read(connection->in, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(xy_cursor_share(&cursor, view.length, &chain), 0);
	xy_pipe_advance(connection->in, view.length, view.length);
	atomic_fetch_add(&receiver->pending, chain.length);
	xy_outbound_deliver(connection, sender, &chain, 1, policy);
	assert_int_equal(chain.length, 0);
	return xy_pipe_length(connection->data);
}

/* The first fragment of a message is dropped, because the buffer is full; then there is room. */
static void begin_to_drop(void)
{
	static const uint8_t bytes[XY_BUFFER_PAUSE];
	struct xy_view view;

	assert_int_equal(xy_pipe_write(connection->data, bytes, sizeof(bytes)), 0);
	xy_pipe_flush(connection->data);
	connection->writing = true;
	assert_int_equal(arrive(0, 2, XY_DELIVER_DROP_NEWEST), sizeof(bytes));
	assert_int_equal(counted(XY_COUNT_OVERFLOW), 1);
	assert_int_equal(xy_pipe_read(connection->data, &view), 0);
	xy_pipe_advance(connection->data, view.length, view.length);
}

static void dropping_takes_no_memory(void **state)
{
	(void)state;
	begin_to_drop();
	without_memory = true;
	assert_int_equal(arrive(1, 2, XY_DELIVER_DROP_NEWEST), 0);
	assert_int_equal(counted(XY_COUNT_OVERFLOW), 2);
	assert_int_equal(counted(XY_COUNT_NO_MEMORY), 0);
	assert_int_equal(atomic_load(&receiver->pending), 0);
}

static void what_may_be_dropped_is_lost_and_counted(void **state)
{
	(void)state;
	begin_to_drop();
	without_memory = true;
	assert_int_equal(arrive(0, 0, XY_DELIVER_DROP_NEWEST), 0);
	assert_int_equal(counted(XY_COUNT_NO_MEMORY), 1);
	assert_int_equal(atomic_load(&receiver->pending), 0);
	assert_false(connection->broken);
}

static void a_stream_that_may_lose_nothing_ends(void **state)
{
	static const enum xy_delivery_policy policies[] = {XY_DELIVER_BLOCK, XY_DELIVER_DISCONNECT,
							   XY_DELIVER_DIRECT};

	(void)state;
	begin_to_drop();
	without_memory = true;
	for (unsigned p = 0; p < 3; p++) {
		connection->broken = false;
		assert_int_equal(arrive(0, 0, policies[p]), 0);
		assert_int_equal(counted(XY_COUNT_NO_MEMORY), p + 1);
		assert_int_equal(atomic_load(&receiver->pending), 0);
		assert_true(connection->broken);
		assert_false(xy_list_empty(&connection->dirty));
	}
}

static void with_memory_it_arrives(void **state)
{
	(void)state;
	begin_to_drop();
	assert_int_equal(arrive(0, 0, XY_DELIVER_BLOCK), XY_HEADER_SIZE + 1000);
	assert_int_equal(counted(XY_COUNT_NO_MEMORY), 0);
	assert_false(connection->broken);
}

/* ---- what another loop is told -------------------------------------------------------------- */

/* A fragment of SOURCE's that goes on with something, for a receiver on another loop that has so
 * many bytes to take. Returns the bytes then, and what was counted before that loop runs. */
static uint64_t not_posted(uint64_t pending, uint64_t *ret_messages)
{
	struct xy_connection *publisher = calloc(1, sizeof(*publisher));
	struct xy_worker *other;
	struct xy_cursor cursor;
	struct xy_view view;
	uint64_t then;

	assert_non_null(publisher);
	assert_int_equal(xy_worker_new(&core, 1, &other), 0);
	publisher->peer = sender;
	publisher->worker = sender->worker = worker;
	receiver->worker = other;
	receiver->number = 1;
	atomic_store(&receiver->pending, pending);
	for (uint64_t key = 1; key <= others; key++)
		xy_drops_put(&publisher->unposted, &(struct xy_drop){.key = key});
	put_frame(1, 3);
	assert_int_equal(xy_pipe_read(connection->in, &view), 0);
	cursor = xy_view_cursor(&view);
	assert_int_equal(
		xy_deliver(worker, receiver, XY_DELIVER_DROP_NEWEST, &cursor, view.length, 1), 0);
	xy_pipe_advance(connection->in, view.length, view.length);
	xy_deliver_flush(worker, publisher);
	then = atomic_load(&receiver->pending);
	*ret_messages = counted(XY_COUNT_OVERFLOW_NEWEST);
	assert_int_equal(counted(XY_COUNT_OVERFLOW), 1);
	unposted = publisher->unposted.count;

	xy_loop_stop(other->loop);
	assert_int_equal(xy_loop_run(other->loop), 0);
	assert_int_equal(atomic_load(&receiver->pending), pending);
	assert_int_equal(counted(XY_COUNT_OVERFLOW_NEWEST), 1);
	xy_worker_free(other);
	free(publisher->unposted.list);
	free(publisher);
	return then;
}

static void another_loop_is_told_of_a_message_that_does_not_end(void **state)
{
	uint64_t messages;

	(void)state;
	assert_true(not_posted(1 << 20, &messages) > 1 << 20);
	assert_int_equal(messages, 0); /* there, unless it is counted already */
	assert_int_equal(unposted, 1);
}

static void what_was_not_posted_goes_with_its_receiver(void **state)
{
	uint64_t messages;

	(void)state;
	others = 1000;
	here = 101;
	not_posted(1 << 20, &messages);
	assert_int_equal(unposted, 100 + 1);
}

static void what_another_loop_is_told_is_bounded(void **state)
{
	uint64_t messages;

	(void)state;
	assert_int_equal(not_posted(2 << 20, &messages), 2 << 20);
	assert_int_equal(messages, 1);
}

/* ---- sums of the memory budget --------------------------------------------------------------- */

static void what_lands_late_in_a_lane_that_is_closed_counts_for_nobody(void **state)
{
	(void)state;
	connection->lane = true;
	receiver->session = &session;
	session.sent = session.proven = BUDGET;
	late_bytes = 60000;
	atomic_store(&core.budget.pressed, true);
	xy_budget_look(worker);
	assert_int_equal(late_bytes, 0);
	assert_int_equal(connection->state, XY_CONNECTION_CLOSED);
	assert_int_equal(counted(XY_COUNT_SHED), 1);
	assert_int_equal(atomic_load(&core.budget.outstanding), 0);
	assert_int_equal(worker->share.outstanding, 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(dropping_takes_no_memory),
		test(what_may_be_dropped_is_lost_and_counted),
		test(a_stream_that_may_lose_nothing_ends),
		test(with_memory_it_arrives),
		test(another_loop_is_told_of_a_message_that_does_not_end),
		test(what_another_loop_is_told_is_bounded),
		test(what_was_not_posted_goes_with_its_receiver),
		test(what_lands_late_in_a_lane_that_is_closed_counts_for_nobody),
	};

	int failures;

	xy_rcu_register_thread();
	failures = cmocka_run_group_tests(tests, NULL, NULL);
	xy_rcu_unregister_thread();
	return failures;
}
