/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who gets what: the router's routes against a model that looks at every subscription, over random
 * comings and goings. SEED repeats a run.
 *
 * The router and the worker are real, but no thread runs: the test turns their loops.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/random.h"
#include "core/notify.h"
#include "unit/router_model.h"

/* ---- instead of notify.c --------------------------------------------------------------------- */

static unsigned topic_index(const char *subject)
{
	unsigned t = 0;

	while (strcmp(subjects[t], subject) != 0)
		t++;
	return t;
}

static unsigned peer_index(const struct xy_peer *peer)
{
	unsigned p = 0;

	while (peers[p] != peer)
		p++;
	return p;
}

static bool receives(const struct xy_route *route, const struct xy_peer *peer)
{
	for (uint32_t p = 0; route != NULL && p < route->plains; p++)
		if (route->plain[p].peer == peer)
			return true;
	for (uint32_t g = 0; route != NULL && g < route->groups; g++)
		for (uint32_t m = 0; m < route->group[g]->members; m++)
			if (route->group[g]->member[m].peer == peer)
				return true;
	return false;
}

int xy_notify_binding(struct xy_peer *receiver, uint64_t topic, const char *subject)
{
	struct xy_topic *published = xy_idmap_get(&router->topics, topic);

	assert_non_null(published);
	assert_string_equal(published->subject, subject);
	/* Nobody can have posted DATA to it yet. */
	assert_false(receives(published->route, receiver));
	if (fail_in > 0 && --fail_in == 0)
		return -ENOMEM;
	told[topic_index(subject)][peer_index(receiver)] = topic;
	return 0;
}

void xy_notify_flow_gone(struct xy_peer *sender, uint64_t target)
{
	(void)sender;
	(void)target;
}

void xy_notify_revoked(struct xy_peer *peer)
{
	(void)peer;
}

void xy_notify_unsubscribed(struct xy_peer *receiver, uint64_t subscription)
{
	(void)receiver;
	(void)subscription;
}

void xy_notify_brake(struct xy_peer *sender)
{
	(void)sender;
}

void xy_notify_prove(struct xy_peer *receiver)
{
	(void)receiver;
}

void xy_notify_slow(struct xy_peer *receiver)
{
	(void)receiver;
}

void xy_notify_room(struct xy_peer *receiver)
{
	(void)receiver;
}

/* ---- asking the router ----------------------------------------------------------------------- */

static struct xy_request *answered;

static void answer(struct xy_request *request)
{
	assert_null(answered);
	answered = request;
}

/* One request, from the worker to the router and back. The caller frees it. */
static struct xy_request *ask(struct xy_request *request)
{
	answered = NULL;
	xy_request_send(router, request);
	xy_loop_stop(router->loop);
	assert_int_equal(xy_loop_run(router->loop), 0);
	assert_null(answered);
	xy_loop_stop(worker.loop);
	assert_int_equal(xy_loop_run(worker.loop), 0);
	assert_ptr_equal(answered, request);
	assert_int_equal(atomic_load(&worker.asked), 0);
	return request;
}

static struct xy_request *request_of(enum xy_request_kind kind, unsigned p)
{
	struct xy_request *request = xy_request_new(kind, peers[p], answer);

	assert_non_null(request);
	return request;
}

/* Its own reference goes after a grace period, and the peer after another. */
static void peers_reclaim(void)
{
	xy_rcu_barrier();
	xy_rcu_barrier();
}

static void attach(unsigned p)
{
	struct xy_peer *peer;
	int error = xy_peer_new(&core, "peer", &peer);

	/* Numbers come back when those who went are free. */
	if (error == -ENOSPC) {
		peers_reclaim();
		error = xy_peer_new(&core, "peer", &peer);
	}
	assert_int_equal(error, 0);
	assert_int_equal(xy_random_id(&peer->endpoint), 0);
	peer->worker = &worker;
	peers[p] = peer;
	xy_request_free(ask(request_of(XY_REQUEST_ATTACH, p)));
	assert_ptr_equal(xy_router_endpoint(router, peer->endpoint), peer);
	/* Without a kernel side lanes are known to routes only. */
	if (chance(4) != 0) {
		peer->session = (struct xy_session *)peer;
		peer->slot = (struct xy_slot){.slot = peer->number, .generation = 7 + p};
	}
}

static void detach(unsigned p)
{
	struct xy_peer *peer = peers[p];
	uint64_t endpoint = peer->endpoint;

	peer->session = NULL;
	peer->slot.generation = 0;
	xy_request_free(ask(request_of(XY_REQUEST_DETACH, p)));
	assert_null(xy_router_endpoint(router, endpoint));
	for (unsigned w = 0; w < SUBSCRIPTIONS; w++)
		if (wishes[w].peer == peer)
			wishes[w].peer = NULL;
	for (unsigned t = 0; t < TOPICS; t++) {
		declared[t][p] = false;
		told[t][p] = 0;
	}
	peers[p] = NULL;
	xy_peer_put(peer);
}

static void subscribe(unsigned p, unsigned w)
{
	struct wish wish = {.peer = peers[p],
			    .pattern = patterns[chance(LENGTH(patterns))],
			    .group = groups[chance(LENGTH(groups))],
			    .overflow = (enum xy_overflow)chance(4),
			    .echo = chance(2) == 0};
	struct xy_request *request = request_of(XY_REQUEST_SUBSCRIBE, p);
	int failing;

	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "%s",
		 wish.pattern);
	snprintf(request->subscribe->group, sizeof(request->subscribe->group), "%s", wish.group);
	request->subscribe->overflow = wish.overflow;
	request->subscribe->echo = wish.echo;
	request->subscribe->stall_ms = XY_STALL_MS_DEFAULT;
	failing = fail_in = chance(8) == 0 ? 1 + (int)chance(3) : 0;
	ask(request);
	if (failing && fail_in == 0) {
		/* Nothing has changed. */
		assert_int_equal(request->error, XY_E_OVERLOADED);
	} else {
		assert_int_equal(request->error, XY_ERROR_NONE);
		assert_int_not_equal(request->id, 0);
		wish.id = request->id;
		wishes[w] = wish;
	}
	fail_in = 0;
	xy_request_free(request);
}

static void unsubscribe(unsigned w)
{
	struct xy_peer *owner = wishes[w].peer;
	struct xy_request *request;

	/* Another one's is none. */
	for (unsigned p = 0; p < PEERS; p++) {
		if (peers[p] == NULL || peers[p] == owner)
			continue;
		request = request_of(XY_REQUEST_UNSUBSCRIBE, p);
		request->target = wishes[w].id;
		assert_int_equal(ask(request)->error, XY_E_UNKNOWN_SUBSCRIPTION);
		xy_request_free(request);
		break;
	}
	for (int again = 0; again < 2; again++) {
		request = request_of(XY_REQUEST_UNSUBSCRIBE, peer_index(owner));
		request->target = wishes[w].id;
		assert_int_equal(ask(request)->error,
				 again ? XY_E_UNKNOWN_SUBSCRIPTION : XY_ERROR_NONE);
		xy_request_free(request);
	}
	wishes[w].peer = NULL;
}

static void declare(unsigned p, unsigned t)
{
	struct xy_request *request = request_of(XY_REQUEST_DECLARE, p);
	struct xy_topic *known = topics[t];

	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "%s",
		 subjects[t]);
	ask(request);
	assert_int_equal(request->error, XY_ERROR_NONE);
	assert_int_equal(request->id, request->topic->id);
	if (known != NULL)
		assert_ptr_equal(request->topic, known);
	topics[t] = request->topic;
	declared[t][p] = true;
	xy_request_free(request);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static int setup(void **state)
{
	const struct xy_loop_options options = {.name = "worker"};

	(void)state;
	memset(&core, 0, sizeof(core));
	core.max_connections = PEERS;
	core.max_topics = TOPICS;
	core.max_subscriptions = SUBSCRIPTIONS;
	core.numbers = xy_numbers_new(PEERS);
	worker = (struct xy_worker){.core = &core};
	if (core.numbers == NULL || xy_loop_new(&options, &worker.loop) != 0 ||
	    xy_router_new(&core, &router) != 0)
		return -1;
	core.router = router;
	return 0;
}

static int teardown(void **state)
{
	uint32_t number;

	(void)state;
	for (unsigned p = 0; p < PEERS; p++)
		if (peers[p] != NULL)
			detach(p);
	check_all();
	peers_reclaim();
	for (unsigned p = 0; p < PEERS; p++)
		assert_int_equal(xy_numbers_take(core.numbers, &number), 0);
	xy_router_free(router);
	xy_loop_free(worker.loop);
	xy_numbers_free(core.numbers);
	return 0;
}

static void step(void)
{
	unsigned p = (unsigned)chance(PEERS), w = (unsigned)chance(SUBSCRIPTIONS);

	if (peers[p] == NULL) {
		attach(p);
	} else if (chance(60) == 0) {
		detach(p);
	} else if (chance(4) == 0) {
		declare(p, (unsigned)chance(TOPICS));
	} else if (wishes[w].peer != NULL) {
		unsubscribe(w);
	} else {
		subscribe(p, w);
	}
}

static void test_routes_are_what_every_subscription_says(void **state)
{
	const char *given = getenv("SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	(void)state;
	print_message("SEED=%lu\n", (unsigned long)seed);
	random_state = seed;
	for (unsigned i = 0; i < STEPS; i++) {
		step();
		check_all();
	}
}

static void test_limits_are_kept_and_told(void **state)
{
	struct xy_request *request;

	(void)state;
	random_state = 1;
	attach(0);
	for (unsigned t = 0; t < TOPICS; t++)
		declare(0, t);
	request = request_of(XY_REQUEST_DECLARE, 0);
	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), "one.more");
	assert_int_equal(ask(request)->error, XY_E_OVERLOADED);
	xy_request_free(request);
	for (unsigned w = 0; w < SUBSCRIPTIONS; w++)
		while (wishes[w].peer == NULL)
			subscribe(0, w);
	request = request_of(XY_REQUEST_SUBSCRIBE, 0);
	snprintf(request->subscribe->subject, sizeof(request->subscribe->subject), ">");
	assert_int_equal(ask(request)->error, XY_E_OVERLOADED);
	xy_request_free(request);
	check_all();
}

static void test_no_flow_without_a_kernel_side(void **state)
{
	struct xy_request *request;

	(void)state;
	random_state = 2;
	attach(0);
	declare(0, 0);
	request = request_of(XY_REQUEST_FLOW, 0);
	request->target = topics[0]->id;
	request->flow_kind = XY_FLOW_TOPIC;
	assert_false(ask(request)->installed);
	xy_request_free(request);
}

/* Who found the peer before it went may take a reference, and it lasts. */
static void test_a_reader_may_keep_a_peer_that_goes_meanwhile(void **state)
{
	const struct xy_route *route;
	struct xy_peer *found;
	uint64_t endpoint;

	(void)state;
	random_state = 3;
	attach(0);
	attach(1);
	endpoint = peers[1]->endpoint;
	declare(0, 0);
	while (wishes[0].peer == NULL || !receives(xy_topic_route(topics[0]), peers[1])) {
		if (wishes[0].peer != NULL)
			unsubscribe(0);
		subscribe(1, 0);
	}
	xy_rcu_read_lock();
	route = xy_topic_route(topics[0]);
	found = route->plains ? route->plain[0].peer : route->group[0]->member[0].peer;
	detach(1);
	assert_true(atomic_load(&found->references) > 0);
	xy_peer_get(found);
	xy_rcu_read_unlock();
	peers_reclaim();
	assert_int_equal(found->endpoint, endpoint);
	assert_int_equal(atomic_load(&found->references), 1);
	xy_peer_put(found);
}

static int group_setup(void **state)
{
	(void)state;
	xy_rcu_register_thread();
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	xy_rcu_unregister_thread();
	return 0;
}

#define ROUTER_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROUTER_TEST(test_routes_are_what_every_subscription_says),
		ROUTER_TEST(test_limits_are_kept_and_told),
		ROUTER_TEST(test_no_flow_without_a_kernel_side),
		ROUTER_TEST(test_a_reader_may_keep_a_peer_that_goes_meanwhile),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
