/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proxy dies, stops, and comes back, under load: clients find back by themselves, lanes end in
 * time, and nothing but what was under way is lost.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xylem/client.h>

#include "common/footprint.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/sessions.h"
#include "e2e/steady.h"

#define RESTARTS 5
#define MESSAGES 2000 /* of each publisher to each subscriber between two events */
#define STALE_MS 2000 /* a dead proxy's lanes have ended by then */
#define DRAIN_MS 5000
#define RESERVE  (2 * STALE_MS) /* a machine may be slow */

static struct proxy *running;
static struct sessions *sessions;

static int teardown(void **state)
{
	(void)state;
	steady_abandon();
	raw_close_all();
	sessions_close(sessions);
	sessions = NULL;
	if (running != NULL)
		proxy_kill(running);
	running = NULL;
	return 0;
}

/* Runs the body against a proxy of its own, without and with the kernel path. */
static void with_proxies(void (*body)(struct proxy *proxy))
{
	for (int path = KERNEL_PATH_OFF; path <= KERNEL_PATH_ON; path++) {
		struct proxy *proxy;

		running = proxy_start((enum kernel_path)path, NULL);
		if (running == NULL)
			skip();
		body(running);
		raw_close_all();
		sessions_close(sessions);
		sessions = NULL;
		proxy = running;
		running = NULL;
		proxy_stop(proxy);
	}
}

/* ---- restarts under load --------------------------------------------------------------------- */

/* One that is told to end brings all that it has said SYNCED to on to its receivers. */
static void end_under_load(struct proxy *proxy, int signal)
{
	if (signal == SIGKILL) {
		proxy_end(proxy, signal);
		return;
	}
	steady_hold();
	proxy_signal(proxy, signal);
	steady_go_on();
	proxy_await_end(proxy);
}

static void restarts(struct proxy *proxy, int signal)
{
	uint64_t lost, published = 0;

	steady_start(proxy);
	steady_flow(test_scaled(MESSAGES));
	for (int restart = 0; restart < RESTARTS; restart++) {
		end_under_load(proxy, signal);
		proxy_restart(proxy);
		steady_await_back((uint64_t)restart + 1);
		steady_flow(test_scaled(MESSAGES));
		steady_gaps_end();
	}
	lost = steady_finish();
	steady_gaps_end();
	for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
		published += steady.publisher[p].count;
	print_message("%d restarts: of %lu messages a subscriber lost %lu\n", RESTARTS,
		      (unsigned long)published, (unsigned long)lost);
	/* One gap at each restart, and none between. */
	for (unsigned s = 0; s < STEADY_SUBSCRIBERS; s++)
		for (unsigned p = 0; p < STEADY_PUBLISHERS; p++)
			assert_in_range(steady.subscriber[s].gaps[p], 0, RESTARTS);
	for (unsigned c = 0; c < STEADY_PUBLISHERS; c++)
		assert_in_range(steady.publisher[c].reconnects, RESTARTS, RESTARTS + 1);
	for (unsigned c = 0; c < STEADY_SUBSCRIBERS; c++)
		assert_in_range(steady.subscriber[c].reconnects, RESTARTS, RESTARTS + 1);
}

static void killed_restarts(struct proxy *proxy)
{
	restarts(proxy, SIGKILL);
}

static void test_streams_go_on_after_a_killed_proxy_was_started_again(void **state)
{
	(void)state;
	with_proxies(killed_restarts);
}

static void ended_restarts(struct proxy *proxy)
{
	restarts(proxy, SIGTERM);
}

static void test_streams_go_on_after_a_restart(void **state)
{
	(void)state;
	with_proxies(ended_restarts);
}

static struct xy_client *waiting;
static atomic_uint_fast64_t reconnects;

/* Takes what comes until it has reconnected once more, or waited in vain. */
static void *reconnect(void *context)
{
	uint64_t deadline = test_now_ms() + 2 * TEST_TIMEOUT_MS, before = reconnects;
	struct xy_client_stats stats = {.reconnects = before};
	struct xy_message message;

	while (stats.reconnects == before && test_now_ms() < deadline) {
		xy_client_next(waiting, 100, &message);
		xy_client_stats(waiting, &stats);
	}
	reconnects = stats.reconnects;
	return context;
}

/* Who waits for a proxy connects in the very moment in which it listens. */
static void waiting_client(struct proxy *proxy)
{
	struct xy_client_options options = {.size = sizeof(options),
					    .server = proxy_server(proxy),
					    .reconnect_min_ms = 1,
					    .reconnect_max_ms = 1};
	pthread_t thread;

	reconnects = 0;
	assert_int_equal(xy_client_connect(&options, &waiting), 0);
	for (uint64_t restart = 1; restart <= RESTARTS; restart++) {
		proxy_end(proxy, SIGKILL);
		assert_int_equal(pthread_create(&thread, NULL, reconnect, NULL), 0);
		proxy_restart(proxy);
		pthread_join(thread, NULL);
		assert_int_equal(reconnects, restart);
		assert_int_equal(xy_client_on_lane(waiting),
				 proxy_kernel_path(proxy) == KERNEL_PATH_ON);
	}
	xy_client_close(waiting);
}

static void test_who_waits_for_a_new_start_has_a_lane_again(void **state)
{
	(void)state;
	with_proxies(waiting_client);
}

/* ---- what a dead proxy leaves ---------------------------------------------------------------- */

static void everything_works(struct proxy *proxy)
{
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	struct sessions *counters = sessions_open(proxy);
	uint64_t topic = raw_declare(publisher, "survival.works");

	raw_open_unix(proxy);
	raw_subscribe_to(subscriber, "survival.works");
	raw_publish(publisher, topic, 1, "slow path");
	raw_expect_text(subscriber, "slow path");
	raw_sync(publisher);
	raw_publish(publisher, topic, 2, "lane");
	raw_expect_text(subscriber, "lane");
	/* The map that is pinned is the one of this proxy. */
	if (counters != NULL)
		assert_int_equal(xy_session_frames(sessions_of(counters, publisher->endpoint)), 1);
	sessions_close(counters);
	raw_close_all();
}

static void leftovers_are_replaced(struct proxy *proxy)
{
	bool kernel = proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	char instance[64], local[128];
	struct proxy *ended;

	snprintf(instance, sizeof(instance), "%s", proxy_instance(proxy));
	snprintf(local, sizeof(local), "%s", proxy_unix(proxy) + strlen("unix:"));
	for (int times = 0; times < 2; times++) {
		everything_works(proxy);
		proxy_end(proxy, SIGKILL);
		assert_int_equal(footprint_files("/sys/fs/bpf/xylem/%s/*", instance),
				 kernel ? 4 : 0);
		assert_int_equal(footprint_files("/run/xylem/%s.*", instance), 2);
		assert_int_equal(access(local, F_OK), 0);
		proxy_restart(proxy);
	}
	everything_works(proxy);
	ended = running;
	running = NULL;
	proxy_stop(ended);
	assert_int_equal(footprint_files("/sys/fs/bpf/xylem/%s*", instance), 0);
	assert_int_equal(footprint_files("/run/xylem/%s.*", instance), 0);
	assert_int_equal(access(local, F_OK), -1);
}

static void test_a_new_start_cleans_what_a_killed_one_left(void **state)
{
	(void)state;
	for (int path = KERNEL_PATH_OFF; path <= KERNEL_PATH_ON; path++) {
		running = proxy_start((enum kernel_path)path, NULL);
		if (running == NULL)
			skip();
		leftovers_are_replaced(running);
	}
}

/* ---- the deadman ----------------------------------------------------------------------------- */

/* A proxy with a publisher and a subscriber on lanes, with a flow between them. */
static struct raw *lanes_open(struct raw **ret_subscriber, uint64_t *ret_topic)
{
	struct raw *publisher;

	running = proxy_start(KERNEL_PATH_ON, NULL);
	if (running == NULL)
		skip();
	sessions = sessions_open(running);
	publisher = raw_open(running);
	*ret_subscriber = raw_open(running);
	*ret_topic = raw_declare(publisher, "survival.lane");
	raw_subscribe_to(*ret_subscriber, "survival.lane");
	raw_publish(publisher, *ret_topic, 1, "asks for a flow");
	raw_sync(publisher);
	return publisher;
}

static size_t data_put(struct raw *publisher, uint64_t topic, uint64_t sequence, uint8_t *bytes)
{
	struct xy_frame data = raw_header(publisher, XY_DATA);

	data.target = topic;
	data.sequence = sequence;
	return raw_put(bytes, data, "text", 4);
}

/* Whatever becomes of the sends: the connection is dead. Returns how many the kernel moved. */
static uint64_t moved_by_sends(struct raw *publisher, uint64_t topic,
			       const struct xy_session *session)
{
	uint64_t before = xy_session_frames(session);
	uint8_t bytes[128];

	for (uint64_t i = 0; i < 10; i++)
		(void)!send(publisher->fd, bytes, data_put(publisher, topic, 100 + i, bytes),
			    MSG_NOSIGNAL | MSG_DONTWAIT);
	return xy_session_frames(session) - before;
}

static void test_lanes_of_a_killed_proxy_end(void **state)
{
	const struct xy_session *session;
	struct raw *publisher, *subscriber;
	uint64_t topic, killed;

	(void)state;
	publisher = lanes_open(&subscriber, &topic);
	session = sessions_of(sessions, publisher->endpoint);
	assert_int_equal(moved_by_sends(publisher, topic, session), 10);
	proxy_end(running, SIGKILL);
	killed = test_now_ms();
	/* The kernel goes on by itself (K12) … */
	if (moved_by_sends(publisher, topic, session) == 0)
		print_message("this machine is too slow to see a dead proxy's lane work\n");
	/* … but not for long. */
	while (test_now_ms() - killed < STALE_MS)
		poll(NULL, 0, 10);
	assert_int_equal(moved_by_sends(publisher, topic, session), 0);
	proxy_restart(running);
	everything_works(running);
	proxy_stop(running);
	running = NULL;
}

/* ---- a proxy that is stopped ----------------------------------------------------------------- */

static void stopped_and_continued(struct proxy *proxy)
{
	const struct xy_session *session = NULL;
	uint64_t stopped, moved, deadline;

	steady_start(proxy);
	steady_flow(test_scaled(MESSAGES));
	sessions = sessions_open(proxy);
	if (sessions != NULL)
		session = sessions_of(sessions, xy_client_endpoint(steady.publisher[0].client));
	proxy_signal(proxy, SIGSTOP);
	stopped = test_now_ms();
	while (test_now_ms() - stopped < STALE_MS)
		poll(NULL, 0, 10);
	if (session != NULL) {
		moved = xy_session_frames(session);
		deadline = test_now_ms() + 100;
		while (test_now_ms() < deadline)
			poll(NULL, 0, 10);
		assert_int_equal(xy_session_frames(session), moved);
	}
	proxy_signal(proxy, SIGCONT);
	steady_flow(test_scaled(MESSAGES));
	assert_int_equal(steady_finish(), 0);
	assert_int_equal(steady_errors(), 0);
	assert_int_equal(steady_reconnects(), 0);
}

static void test_nothing_is_lost_when_the_proxy_was_stopped_for_a_while(void **state)
{
	(void)state;
	with_proxies(stopped_and_continued);
}

/* A fresh lane while the proxy stands still: not one frame is moved, and all of it arrives. */
static void test_a_stopped_proxy_moves_nothing(void **state)
{
	enum { FRAMES = 50 };
	const struct xy_session *session;
	struct raw *publisher, *subscriber;
	uint64_t topic, stopped, moved;
	uint8_t bytes[128];

	(void)state;
	publisher = lanes_open(&subscriber, &topic);
	session = sessions_of(sessions, publisher->endpoint);
	proxy_signal(running, SIGSTOP);
	stopped = test_now_ms();
	while (test_now_ms() - stopped < STALE_MS)
		poll(NULL, 0, 10);
	moved = xy_session_frames(session);
	for (uint64_t i = 2; i < 2 + FRAMES; i++)
		raw_send(publisher, bytes, data_put(publisher, topic, i, bytes));
	assert_int_equal(xy_session_frames(session), moved);
	assert_int_equal(xy_session_reason(session, XY_REASON_DEADMAN), FRAMES);
	proxy_signal(running, SIGCONT);
	for (uint64_t i = 1; i < 2 + FRAMES; i++)
		assert_int_equal(raw_expect_data(subscriber)->header.sequence, i);
	/* On the lane again, as soon as its heart beats. */
	for (uint64_t i = 2 + FRAMES, end = test_now_ms() + TEST_TIMEOUT_MS;
	     xy_session_frames(session) == moved; i++) {
		assert_true(test_now_ms() < end);
		raw_sync(publisher);
		raw_publish(publisher, topic, i, "again");
		raw_expect_text(subscriber, "again");
	}
	raw_close_all();
	proxy_stop(running);
	running = NULL;
}

/* ---- SIGTERM --------------------------------------------------------------------------------- */

/* More than a window, to one that reads none of it before the proxy is told to end. */
static void under_way_is_finished(struct proxy *proxy)
{
	static const uint8_t payload[60000];
	uint64_t frames = proxy_kernel_path(proxy) == KERNEL_PATH_ON ? 18 : 5;
	struct raw *subscriber = raw_open(proxy), *publisher = raw_open(proxy);
	struct xy_frame data = raw_header(publisher, XY_DATA);

	data.target = raw_declare(publisher, "survival.drain");
	raw_subscribe(subscriber, "{\"subject\":\"survival.drain\",\"stall_ms\":60000}");
	for (data.sequence = 1; data.sequence <= frames; data.sequence++)
		raw_send_frame(publisher, data, payload, sizeof(payload));
	raw_expect_silence(publisher); /* the proxy has read it */
	proxy_signal(proxy, SIGTERM);
	raw_expect(publisher, XY_GOODBYE);
	for (uint64_t sequence = 1; sequence <= frames; sequence++)
		assert_int_equal(raw_expect_data(subscriber)->header.sequence, sequence);
	raw_expect(subscriber, XY_GOODBYE);
}

static void test_sigterm_finishes_what_is_under_way(void **state)
{
	(void)state;
	with_proxies(under_way_is_finished);
}

/* How long it takes to end while a client stays that has been told. */
static uint64_t end_takes(struct proxy *proxy, unsigned signals)
{
	struct raw *stays = raw_open(proxy);
	uint64_t since = test_now_ms();

	proxy_signal(proxy, SIGTERM);
	raw_expect(stays, XY_GOODBYE);
	if (signals > 1)
		proxy_signal(proxy, SIGTERM);
	proxy_await_end(proxy);
	raw_close_all();
	return test_now_ms() - since;
}

static void sigterm_waits_for_a_while(struct proxy *proxy)
{
	assert_in_range(end_takes(proxy, 1), 0, DRAIN_MS + RESERVE);
	proxy_restart(proxy);
	assert_in_range(end_takes(proxy, 2), 0, DRAIN_MS - 1);
	proxy_restart(proxy);
}

static void test_sigterm_waits_within_a_bound_and_a_second_one_does_not(void **state)
{
	(void)state;
	with_proxies(sigterm_waits_for_a_while);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_teardown(function, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_streams_go_on_after_a_killed_proxy_was_started_again),
		TEST(test_streams_go_on_after_a_restart),
		TEST(test_who_waits_for_a_new_start_has_a_lane_again),
		TEST(test_a_new_start_cleans_what_a_killed_one_left),
		TEST(test_lanes_of_a_killed_proxy_end),
		TEST(test_nothing_is_lost_when_the_proxy_was_stopped_for_a_while),
		TEST(test_a_stopped_proxy_moves_nothing),
		TEST(test_sigterm_finishes_what_is_under_way),
		TEST(test_sigterm_waits_within_a_bound_and_a_second_one_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
