/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Order and integrity while publishers, subscriptions, groups and connections come and go.
 *
 * Environment: SEED repeats a run's choices (the threads' timing stays their own), MESSAGES is how
 * many deliveries are checked.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "common/proxy.h"
#include "common/status.h"
#include "e2e/churn_check.h"

#define MESSAGES   1000000
#define PATIENCE   (2 * TEST_TIMEOUT_MS) /* without a single delivery */
#define STALL_MS   120000                /* nobody is closed because the machine is busy */
#define EXTRAS_MAX 4
#define INBOUND_SLOW \
	(2u << 20) /* the largest message of every publisher at once, and little more */
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum way { LANE, LOCAL, NO_LANE, ANY };

struct actor {
	const char *name;
	void *(*run)(void *actor);
	enum way way;
	const char *pattern, *group;
	int group_index;
	unsigned topics; /* bits of those that the pattern matches */
	bool slow;       /* stops reading now and then */
	bool no_echo;

	pthread_t thread;
	bool started;
	uint64_t random;
	struct xy_client *client;
	struct receiver *receiver;
	struct source *source;
	struct xy_topic *topic[TOPICS];
	const char *_Atomic doing;
};

static struct proxy *proxy;
static uint64_t wanted; /* deliveries */
static _Atomic(unsigned) ready, publishing, running;

static uint64_t chance(struct actor *actor, uint64_t below)
{
	actor->random = mixed(actor->random);
	return actor->random % below;
}

static void broken_call(struct actor *actor, const char *what, int error)
{
	if (!atomic_load(&broken))
		BREAK("%s: %s: %s (%s)", actor->name, what, strerror(-error),
		      actor->client != NULL ? xy_client_error(actor->client) : "");
}

/* ---- connections ----------------------------------------------------------------------------- */

static bool actor_connect(struct actor *actor)
{
	enum way way = actor->way == ANY ? (enum way)chance(actor, ANY) : actor->way;
	const struct xy_client_options options = {
		.size = sizeof(options),
		.server = way == LOCAL ? proxy_unix(proxy) : proxy_server(proxy),
		.name = actor->name,
		.no_lane = way == NO_LANE,
		.no_reconnect = true,
		.connect_timeout_ms = TEST_TIMEOUT_MS,
		.inbound_max = actor->slow ? INBOUND_SLOW : 0,
		.crc = chance(actor, 4) == 0,
		.no_bundle = actor->topics != 0 && chance(actor, 8) == 0,
	};
	bool lane = way == LANE && proxy_kernel_path(proxy) == KERNEL_PATH_ON;
	int error;

	actor->client = NULL;
	atomic_store(&actor->doing, "connect");
	error = xy_client_connect(&options, &actor->client);
	if (error) {
		broken_call(actor, "connect", error);
		return false;
	}
	if (xy_client_on_lane(actor->client) != lane)
		BREAK("%s: is %son a lane", actor->name, lane ? "not " : "");
	actor->receiver->connection++;
	return true;
}

/* What the library gave up, it counted. */
static void actor_close(struct actor *actor)
{
	struct xy_client_stats stats = {0};

	if (actor->client != NULL)
		xy_client_stats(actor->client, &stats);
	if (stats.lost != 0 || (stats.corrupt != 0 && actor->receiver->whole))
		BREAK("%s: the library has lost %lu messages and found %lu corrupt", actor->name,
		      (unsigned long)stats.lost, (unsigned long)stats.corrupt);
	xy_client_close(actor->client);
	actor->client = NULL;
}

static bool actor_subscribe(struct actor *actor, const char *pattern, const char *overflow,
			    struct xy_subscription **ret_subscription)
{
	const struct xy_subscribe_options options = {.size = sizeof(options),
						     .group = actor->group,
						     .overflow = overflow,
						     .stall_ms = STALL_MS};
	int error;

	atomic_store(&actor->doing, "subscribe");
	error = xy_client_subscribe(actor->client, pattern, &options, ret_subscription);
	if (error)
		broken_call(actor, "subscribe", error);
	return error == 0;
}

/* ---- receivers that stay --------------------------------------------------------------------- */

static bool has_everything(const struct actor *actor)
{
	unsigned topic = 0;

	if (actor->group_index == NO_GROUP)
		return receiver_complete(actor->receiver, actor->topics);
	while ((actor->topics & 1u << topic) == 0)
		topic++;
	return atomic_load(&group_had[actor->group_index]) == sent_on(topic);
}

/* A slow one lets its window run full. */
static void pause_at_times(struct actor *actor)
{
	if (actor->slow && chance(actor, 20000) == 0)
		poll(NULL, 0, 50);
}

static bool take_next(struct actor *actor, int timeout_ms, int *ret_error)
{
	struct xy_message message;
	int error = xy_client_next(actor->client, timeout_ms, &message);

	*ret_error = error;
	if (error)
		return false;
	if (!receiver_take(actor->receiver, &message))
		*ret_error = -EBADMSG;
	pause_at_times(actor);
	return *ret_error == 0;
}

static void *stays(void *context)
{
	struct actor *actor = context;
	uint64_t since = 0;
	char words[128];
	int error = 0;

	if (!actor_connect(actor) || !actor_subscribe(actor, actor->pattern, "block", NULL))
		goto out;
	atomic_fetch_add(&ready, 1);
	atomic_store(&actor->doing, "receive");
	while (!atomic_load(&broken)) {
		if (take_next(actor, 20, &error)) {
			since = 0;
			continue;
		}
		if (error != -ETIMEDOUT) {
			broken_call(actor, "next", error);
			break;
		}
		if (atomic_load(&publishing) != 0)
			continue;
		if (has_everything(actor))
			break;
		since = since ? since : test_now_ms();
		if (test_now_ms() - since > TEST_TIMEOUT_MS)
			BREAK("%s: all is published, but it lacks %s", actor->name,
			      missing_of(actor->receiver, actor->topics, words, sizeof(words)));
	}
	/* Nothing is left behind that should not have come at all. */
	atomic_store(&actor->doing, "end");
	if (!atomic_load(&broken) && (error = xy_client_sync(actor->client, TEST_TIMEOUT_MS)) != 0)
		broken_call(actor, "sync", error);
	while (!atomic_load(&broken) && take_next(actor, 0, &error))
		continue;
out:
	actor_close(actor);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* ---- receivers that come and go -------------------------------------------------------------- */

static bool over(void)
{
	return atomic_load(&broken) || atomic_load(&publishing) == 0;
}

/* Up to `most` messages. False: the connection has ended. */
static bool take_some(struct actor *actor, uint64_t most, bool may_end)
{
	int error = 0;

	atomic_store(&actor->doing, "receive");
	while (most-- > 0 && !over())
		if (!take_next(actor, 5, &error) && error != -ETIMEDOUT)
			break;
	if (error == 0 || error == -ETIMEDOUT)
		return true;
	if (!may_end)
		broken_call(actor, "next", error);
	return false;
}

static const char *overflow_any(struct actor *actor, bool *ret_disconnect)
{
	static const char *const policies[] = {"block", "drop-oldest", "drop-newest", "disconnect"};
	uint64_t which = chance(actor, LENGTH(policies));

	*ret_disconnect |= which == 3;
	return policies[which];
}

static void leave(struct actor *actor)
{
	atomic_store(&actor->doing, "leave");
	if (actor->client != NULL && chance(actor, 2) == 0)
		xy_client_drain(actor->client, TEST_TIMEOUT_MS);
	actor_close(actor);
}

/* Adds or takes back one of its subscriptions. */
static bool turn_one(struct actor *actor, struct xy_subscription **extra, bool *ret_disconnect,
		     bool may_end)
{
	static const char *const patterns[] = {"churn.a.*", "churn.*.0", "*.a.1", "churn.b.>",
					       "churn.a.0"};
	struct xy_subscription **one = &extra[chance(actor, EXTRAS_MAX)];
	const char *pattern = actor->pattern;
	int error;

	if (*one != NULL) {
		atomic_store(&actor->doing, "unsubscribe");
		error = xy_client_unsubscribe(actor->client, *one);
		*one = NULL;
		if (error && !may_end)
			broken_call(actor, "unsubscribe", error);
		return error == 0;
	}
	if (actor->receiver->gapless || actor->topics == 7)
		pattern = patterns[chance(actor, LENGTH(patterns))];
	if (may_end) {
		const struct xy_subscribe_options options = {
			.size = sizeof(options),
			.group = actor->group,
			.overflow = overflow_any(actor, ret_disconnect),
			.stall_ms = STALL_MS};

		return xy_client_subscribe(actor->client, pattern, &options, one) == 0;
	}
	return actor_subscribe(actor, pattern, overflow_any(actor, ret_disconnect), one);
}

/*
 * One with `gapless` keeps a blocking subscription for as long as it is connected: whatever else it
 * subscribes to meanwhile makes no gap. Others subscribe as they like.
 */
static void *flits(void *context)
{
	struct actor *actor = context;
	bool gapless = actor->receiver->gapless;

	atomic_fetch_add(&ready, 1);
	while (atomic_load(&publishing) == 0 && !atomic_load(&broken))
		poll(NULL, 0, 1);
	while (!over()) {
		struct xy_subscription *extra[EXTRAS_MAX] = {NULL};
		uint64_t turns = 1 + chance(actor, 30);
		bool may_end = false;

		if (!actor_connect(actor) ||
		    (gapless && !actor_subscribe(actor, actor->pattern, "block", NULL)))
			break;
		while (turns-- > 0 && !over()) {
			/* The weakest policy rules only where no stronger one matches. */
			if (!turn_one(actor, extra, &may_end, !gapless) ||
			    !take_some(actor, chance(actor, 3000), !gapless && may_end))
				break;
		}
		leave(actor);
	}
	actor_close(actor);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* ---- publishers ------------------------------------------------------------------------------ */

static void heard(struct xy_client *client, const struct xy_message *message, void *context)
{
	(void)client;
	receiver_take(context, message);
}

static bool publisher_open(struct actor *actor)
{
	const struct xy_subscribe_options options = {.size = sizeof(options),
						     .stall_ms = STALL_MS,
						     .no_echo = actor->no_echo,
						     .on_message = heard,
						     .context = actor->receiver};
	int error = 0;

	if (!actor_connect(actor))
		return false;
	actor->source = source_add(xy_client_endpoint(actor->client));
	if (actor->source == NULL)
		return false;
	actor->receiver->deaf = actor->no_echo ? actor->source->endpoint : 0;
	atomic_store(&actor->doing, "declare");
	for (unsigned t = 0; t < TOPICS && !error; t++)
		error = xy_client_declare(actor->client, subject[t], &actor->topic[t]);
	if (!error && actor->pattern != NULL)
		error = xy_client_subscribe(actor->client, actor->pattern, &options, NULL);
	if (error)
		broken_call(actor, "declare and subscribe", error);
	return error == 0;
}

static bool publish_one(struct actor *actor, unsigned topic)
{
	static _Thread_local uint8_t payload[LARGEST + 8];
	struct source *source = actor->source;
	uint64_t sequence = atomic_fetch_add(&source->sent[topic], 1) + 1;
	size_t length = payload_make(source->endpoint, topic, sequence, payload);
	int error = -EAGAIN;

	if (chance(actor, 3) == 0)
		error = xy_client_try_publish(actor->client, actor->topic[topic], payload, length);
	while (error == -EAGAIN && !atomic_load(&broken)) {
		error = xy_client_publish(actor->client, actor->topic[topic], payload, length);
		if (error == -EAGAIN) /* full of what came in */
			xy_client_process(actor->client);
	}
	if (error)
		broken_call(actor, "publish", error);
	return error == 0;
}

static bool publish_burst(struct actor *actor)
{
	unsigned topic = (unsigned)chance(actor, TOPICS);
	uint64_t burst = 1 + chance(actor, 1 + chance(actor, 500));
	int error = 0;

	atomic_store(&actor->doing, "publish");
	while (burst-- > 0) {
		if (grouped[topic] && atomic_load(&actor->source->sent[topic]) >= GROUP_MESSAGES)
			break;
		if (!publish_one(actor, topic))
			return false;
	}
	switch (chance(actor, 24)) {
	case 0:
		atomic_store(&actor->doing, "sync");
		error = xy_client_sync(actor->client, PATIENCE);
		break;
	case 1:
		atomic_store(&actor->doing, "flush");
		error = xy_client_flush(actor->client, PATIENCE);
		break;
	default:
		error = xy_client_process(actor->client);
	}
	if (error == -EAGAIN)
		error = xy_client_process(actor->client);
	if (error)
		broken_call(actor, "sync, flush or process", error);
	return error == 0;
}

/* Everything is handed on before the connection ends. */
static bool publisher_end(struct actor *actor)
{
	int error;

	if (chance(actor, 2) == 0) {
		atomic_store(&actor->doing, "last sync");
		while ((error = xy_client_sync(actor->client, PATIENCE)) == -EAGAIN)
			xy_client_process(actor->client);
	} else {
		atomic_store(&actor->doing, "drain");
		error = xy_client_drain(actor->client, PATIENCE);
	}
	if (error)
		broken_call(actor, "sync or drain", error);
	actor_close(actor);
	return error == 0;
}

static void *publishes(void *context)
{
	struct actor *actor = context;
	bool good = true;

	for (unsigned lives = 0;
	     good && !atomic_load(&broken) && (lives < 3 || atomic_load(&checked) < wanted);
	     lives++) {
		uint64_t bursts = 1 + chance(actor, chance(actor, 4) == 0 ? 400 : 40);

		good = publisher_open(actor);
		while (good && bursts-- > 0 && !atomic_load(&broken))
			good = publish_burst(actor);
		good = good && !atomic_load(&broken) && publisher_end(actor);
	}
	actor_close(actor);
	atomic_fetch_sub(&publishing, 1);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* ---- the run --------------------------------------------------------------------------------- */

#define STAYS(...)                                                 \
	{                                                          \
		.run = stays, .group_index = NO_GROUP, __VA_ARGS__ \
	}
#define MEMBER(...)                       \
	{                                 \
		.run = stays, __VA_ARGS__ \
	}
#define FLITS(...)                                    \
	{                                             \
		.run = flits, .way = ANY, __VA_ARGS__ \
	}
#define PUBLISHES(...)                                                 \
	{                                                              \
		.run = publishes, .group_index = NO_GROUP, __VA_ARGS__ \
	}

static const struct actor cast[] = {
	STAYS(.name = "all-lane", .way = LANE, .pattern = "churn.>", .topics = 7),
	STAYS(.name = "unix", .way = LOCAL, .pattern = "churn.*.0", .topics = 1 | 4, .slow = true),
	STAYS(.name = "no-lane", .way = NO_LANE, .pattern = "*.a.*", .topics = 1 | 2),
	STAYS(.name = "slow-lane", .way = LANE, .pattern = "churn.b.0", .topics = 4, .slow = true),
	STAYS(.name = "solo-lane", .way = LANE, .pattern = "solo.0", .topics = 8, .slow = true),
#define WORKER .pattern = "work.mixed", .group = "workers", .group_index = 0, .topics = 16
	MEMBER(.name = "worker-lane-1", .way = LANE, WORKER),
	MEMBER(.name = "worker-lane-2", .way = LANE, WORKER, .slow = true),
	MEMBER(.name = "worker-unix", .way = LOCAL, WORKER),
	MEMBER(.name = "worker-no-lane", .way = NO_LANE, WORKER),
#define LANES .pattern = "work.lanes", .group = "lanes", .group_index = 1, .topics = 32
	MEMBER(.name = "member-1", .way = LANE, LANES),
	MEMBER(.name = "member-2", .way = LANE, LANES, .slow = true),
	FLITS(.name = "adds", .pattern = "churn.>", .group_index = NO_GROUP, .topics = 7),
	FLITS(.name = "hops", .pattern = "churn.>", .group_index = NO_GROUP, .topics = 7,
	      .slow = true),
	FLITS(.name = "solo-guest", .pattern = "solo.>", .group_index = NO_GROUP, .topics = 8),
	FLITS(.name = "guest-1", .pattern = "work.mixed", .group = "guests", .group_index = 2,
	      .topics = 16),
	FLITS(.name = "guest-2", .pattern = "*.mixed", .group = "guests", .group_index = 2,
	      .topics = 16),
	PUBLISHES(.name = "pub-lane", .way = LANE),
	PUBLISHES(.name = "pub-echo", .way = LANE, .pattern = "churn.b.*"),
	PUBLISHES(.name = "pub-deaf", .way = ANY, .pattern = "churn.a.0", .no_echo = true),
	PUBLISHES(.name = "pub-any", .way = ANY),
};
#define ACTORS LENGTH(cast)

static struct actor actors[ACTORS];

static void actors_start(void *(*run)(void *), bool others, uint64_t seed)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *actor = &actors[i];

		if ((actor->run == run) == others)
			continue;
		actor->random = mixed(seed + i);
		atomic_fetch_add(&running, 1);
		assert_int_equal(pthread_create(&actor->thread, NULL, actor->run, actor), 0);
		actor->started = true;
	}
}

static void actors_prepare(void)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *actor = &actors[i];

		*actor = cast[i];
		actor->receiver = calloc(1, sizeof(*actor->receiver));
		assert_non_null(actor->receiver);
		actor->receiver->name = actor->name;
		actor->receiver->group = actor->group_index;
		actor->receiver->whole = actor->run == stays;
		actor->receiver->gapless = actor->group_index == NO_GROUP &&
					   (actor->run != flits || !strcmp(actor->name, "adds"));
	}
}

static bool wait_for(_Atomic(unsigned) *counter, unsigned value)
{
	uint64_t before = 0, since = test_now_ms();

	while (atomic_load(counter) != value) {
		uint64_t now = atomic_load(&checked);

		if (now != before)
			since = test_now_ms();
		before = now;
		if (test_now_ms() - since > PATIENCE)
			return false;
		poll(NULL, 0, 5);
	}
	return true;
}

/* Threads that wait inside the library come back when their connection ends. */
static void actors_release(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		print_message("%-16s %s, %lu received\n", actors[i].name,
			      actors[i].doing != NULL ? actors[i].doing : "",
			      (unsigned long)actors[i].receiver->count);
	proxy_print_log(proxy);
	proxy_signal(proxy, SIGKILL);
}

static void churn(uint64_t seed)
{
	unsigned publishers = 0;
	bool moved;

	print_message("SEED=%lu MESSAGES=%lu\n", seed, wanted);
	checks_begin();
	actors_prepare();
	atomic_store(&ready, 0);
	atomic_store(&publishing, 0);
	actors_start(publishes, true, seed);
	for (unsigned i = 0; i < ACTORS; i++)
		publishers += cast[i].run == publishes;
	moved = wait_for(&ready, (unsigned)ACTORS - publishers);
	if (moved) {
		atomic_store(&publishing, publishers);
		actors_start(publishes, false, seed);
		moved = wait_for(&running, 0);
	}
	if (!moved) {
		BREAK("nothing moves any more");
		actors_release();
	}
	for (unsigned i = 0; i < ACTORS; i++)
		if (actors[i].started)
			pthread_join(actors[i].thread, NULL);
	for (unsigned i = 0; i < ACTORS; i++)
		free(actors[i].receiver);
	if (atomic_load(&broken)) {
		if (moved)
			proxy_print_log(proxy);
		fail_msg("SEED=%lu: %s", seed, broken_why);
	}
	print_message("%lu deliveries from %u connections\n", (unsigned long)atomic_load(&checked),
		      source_count);
	assert_true(atomic_load(&checked) >= wanted);
	checks_begin();
}

static void test_order_and_integrity_under_churn(void **state)
{
	const char *given = getenv("SEED"), *messages = getenv("MESSAGES");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	proxy = *state;
	wanted = messages != NULL ? strtoull(messages, NULL, 0) : test_scaled(MESSAGES);
	churn(seed);
	/* Few messages on a busy machine may be through before the kernel takes over any. */
	while (proxy_kernel_path(proxy) == KERNEL_PATH_ON &&
	       status_counter(proxy, "flows_installed") == 0) {
		assert_true(test_now_ms() < deadline);
		churn(++seed);
	}
}

int main(void)
{
	static const char *const arguments[] = {"--loops", "3", NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_order_and_integrity_under_churn),
	};

	return proxy_run_both(tests, arguments);
}
