/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker on libxylem: publishes its channels at their rates, takes everything that comes, naps,
 * and causes the faults that it is told to.
 *
 * It looks into the client for what the public header does not offer: the descriptor, to break the
 * connection; the very moment at which endpoint and connection change (events come later, at the
 * next call that may run the application's code; in between messages have left); and wrong CRCs,
 * which stats.corrupt counts together with fragments of messages that came in part. Those three
 * functions of the library are wrapped by the linker.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "chaos/account.h"
#include "chaos/members.h"
#include "chaos/worker.h"
#include "client/internal.h"

#define BURST_MAX 512  /* messages of one channel in one turn */
#define TAKE_MAX  4096 /* messages taken in one turn */
#define REQUESTS  16   /* outstanding */
#define SYNC_MS   200
#define SEEN_MS   3000 /* from the cause of an end until it is seen */

static struct ledger *ledger;
static uint32_t number;
static struct worker *worker;
static struct account *account;
static struct dice dice;
static struct xy_client *client;
static struct xy_topic *topic[CHANNELS_MAX];
static struct xy_subscription *subscription[SUBSCRIPTIONS_MAX];
static bool member; /* of a queue group, as far as the library can make it one */
static double due[CHANNELS_MAX];
static uint64_t last_ns, next_sync_ms, next_toggle_ms;

static void doing(const char *what)
{
	snprintf(worker->doing, sizeof(worker->doing), "%s", what);
}

/* ---- what happens to the connection ---------------------------------------------------------- */

/* An ERROR that answers no call, or the library's own word of a loss. */
static void told(const char *words)
{
	trouble_add(worker, ledger_ms(ledger));
	if (strstr(words, "overloaded") != NULL || strstr(words, "unknown-endpoint") != NULL ||
	    strstr(words, "shutting-down") != NULL)
		atomic_fetch_add(&life_of(worker, worker->life_number)->errors, 1);
	else if (strstr(words, "no-responders") != NULL) /* each fragment is answered */
		return;
	else if (strstr(words, "lost") == NULL && strstr(words, "dropped") == NULL)
		ledger_fail(ledger, OTHER, "%s: %s", worker->plan.name, words);
}

void __real_xy_client_tell(struct xy_client *self, enum xy_event event);
void __wrap_xy_client_tell(struct xy_client *self, enum xy_event event);
void __wrap_xy_client_tell(struct xy_client *self, enum xy_event event)
{
	switch (event) {
	case XY_EVENT_DISCONNECTED:
		connection_ended(ledger, number, self->words);
		break;
	case XY_EVENT_CONNECTED:
		atomic_store(&worker->connected, true);
		break;
	case XY_EVENT_RECONNECTED:
		sender_back(ledger, number);
		account_connected(account);
		atomic_store(&worker->connected, true);
		atomic_fetch_add(&worker->reconnects, 1);
		ledger_note(ledger, "- %s: reconnected as %016lx", worker->plan.name,
			    self->endpoint);
		break;
	case XY_EVENT_ERROR:
		told(self->words);
		break;
	default:
		break;
	}
	__real_xy_client_tell(self, event);
}

void __real_xy_client_on_welcome(struct xy_client *self, const uint8_t *frame, uint32_t length);
void __wrap_xy_client_on_welcome(struct xy_client *self, const uint8_t *frame, uint32_t length);
void __wrap_xy_client_on_welcome(struct xy_client *self, const uint8_t *frame, uint32_t length)
{
	if (member)
		member_asks(ledger, number);
	__real_xy_client_on_welcome(self, frame, length);
	if (self->endpoint != 0)
		sender_endpoint(ledger, number, self->endpoint);
}

bool __real_xy_inbound_payload(struct xy_client *self, const uint8_t *frame,
			       const uint8_t **ret_data, size_t *ret_length);
bool __wrap_xy_inbound_payload(struct xy_client *self, const uint8_t *frame,
			       const uint8_t **ret_data, size_t *ret_length);
bool __wrap_xy_inbound_payload(struct xy_client *self, const uint8_t *frame,
			       const uint8_t **ret_data, size_t *ret_length)
{
	bool right = __real_xy_inbound_payload(self, frame, ret_data, ret_length);

	if (!right)
		ledger_fail(ledger, CORRUPT, "%s: the library found a wrong CRC",
			    worker->plan.name);
	return right;
}

/* ---- beginning ------------------------------------------------------------------------------- */

static const char *server_of(enum way way)
{
	switch (way) {
	case WAY_UNIX:
		return ledger->local[worker->plan.proxy];
	case WAY_TLS:
		return ledger->secure[worker->plan.proxy];
	default:
		return ledger->server[worker->plan.proxy];
	}
}

static int open_client(void)
{
	const struct xy_client_options options = {
		.size = sizeof(options),
		.server = server_of(worker->plan.way),
		.tls_ca = worker->plan.way == WAY_TLS ? ledger->ca : NULL,
		.name = worker->plan.name,
		.no_lane = worker->plan.way == WAY_NO_LANE,
		.no_bundle = worker->plan.no_bundle,
		.crc = worker->plan.crc,
		.reconnect_min_ms = 20,
		.reconnect_max_ms = 500,
	};

	return xy_client_connect(&options, &client);
}

static int subscribe(uint32_t i)
{
	const struct subscription_plan *plan = &worker->plan.subscription[i];
	const struct xy_subscribe_options options = {
		.size = sizeof(options),
		.group = plan->group[0] != '\0' ? plan->group : NULL,
		.overflow = plan->overflow[0] != '\0' ? plan->overflow : NULL,
		.stall_ms = plan->stall_ms,
	};
	int error;

	if (options.group != NULL) {
		member = true;
		member_asks(ledger, number);
	}
	error = xy_client_subscribe(client, plan->pattern, &options, &subscription[i]);
	if (!error)
		account_subscribed(account, i);
	else
		subscription[i] = NULL;
	return error;
}

static void unsubscribe(uint32_t i)
{
	bool group = worker->plan.subscription[i].group[0] != '\0';
	uint32_t changes;

	account_unsubscribing(account, i);
	changes = atomic_load(&worker->changes);
	if (xy_client_unsubscribe(client, subscription[i]) == 0 && group &&
	    changes == atomic_load(&worker->changes))
		member_left(ledger, number);
	member = member && !group;
	subscription[i] = NULL;
}

static int set_up(void)
{
	int error;

	doing("connect");
	error = open_client();
	for (uint32_t c = 0; c < CHANNELS_MAX && !error; c++) {
		const struct channel_plan *plan = &worker->plan.channel[c];

		if (plan->kind != CHANNEL_NONE && plan->kind != CHANNEL_DIRECT)
			error = xy_client_declare(client, plan->subject, &topic[c]);
	}
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX && !error; i++)
		if (worker->plan.subscription[i].pattern[0] != '\0')
			error = subscribe(i);
	if (!error)
		account_connected(account);
	return error;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* One message of a channel. 0, or -EAGAIN: not now. */
static int send_one(uint32_t c)
{
	const struct channel_plan *plan = &worker->plan.channel[c];
	uint64_t endpoint = 0;
	struct stamp stamp;
	size_t length;
	int error;

	if (plan->kind == CHANNEL_DIRECT) {
		endpoint = atomic_load(&ledger->worker[plan->target].endpoint);
		if (endpoint == 0)
			return -EAGAIN;
	}
	if ((plan->kind == CHANNEL_REQUEST || plan->kind == CHANNEL_NOBODY) &&
	    requests_waiting() >= REQUESTS)
		return -EAGAIN;
	length = message_length(&dice, plan->size_max);
	if (plan->kind != CHANNEL_TOPIC && length < STAMP_SIZE)
		length = STAMP_SIZE;
	stamp = sender_next(ledger, number, c);
	switch (plan->kind) {
	case CHANNEL_TOPIC:
		error = xy_client_try_publish(client, topic[c], message_make(stamp, length),
					      length);
		break;
	case CHANNEL_DIRECT:
		error = xy_client_send(client, endpoint, message_make(stamp, length), length);
		break;
	default:
		error = request_send(ledger, number, client, topic[c], stamp, length);
		break;
	}
	if (error)
		sender_undo(ledger, number, c);
	return error;
}

static void send_due(uint64_t now_ns)
{
	double elapsed = (double)(now_ns - last_ns) / 1e9;

	doing("send");
	last_ns = now_ns;
	for (uint32_t c = 0; c < CHANNELS_MAX; c++) {
		double most = worker->plan.channel[c].rate * 0.2 + 1;

		if (worker->plan.channel[c].kind == CHANNEL_NONE)
			continue;
		due[c] += worker->plan.channel[c].rate * elapsed;
		if (due[c] > most)
			due[c] = most;
		for (int i = 0; i < BURST_MAX && due[c] >= 1; i++, due[c]--)
			if (send_one(c) != 0)
				break;
	}
}

static void statistics(void)
{
	struct xy_client_stats stats;

	xy_client_stats(client, &stats);
	atomic_store(&life_of(worker, worker->life_number)->lost, stats.lost);
}

static bool synchronize(int timeout_ms)
{
	uint64_t queued[CHANNELS_MAX];

	doing("sync");
	sender_queued(ledger, number, queued);
	if (xy_client_sync(client, timeout_ms) != 0)
		return false;
	statistics(); /* of what is SYNCED, what was lost is known */
	sender_synced(ledger, number, queued);
	return true;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void take_one(const struct xy_message *message)
{
	struct stamp stamp;

	if (!account_take(account, message->subject, message->source, message->sequence,
			  message->data, message->length, &stamp))
		return;
	if (message->reply_wanted)
		(void)request_answer(client, message, stamp, &dice);
}

static void take(int timeout_ms)
{
	struct xy_message message;

	doing("take");
	for (int i = 0; i < TAKE_MAX; i++) {
		if (xy_client_next(client, i == 0 ? timeout_ms : 0, &message) != 0)
			return;
		take_one(&message);
	}
}

/* ---- faults of its own ----------------------------------------------------------------------- */

static void nap(void)
{
	uint64_t ms = 1 + dice_below(&dice, worker->plan.nap_ms);
	struct timespec time = {.tv_sec = (time_t)(ms / 1000),
				.tv_nsec = (long)(ms % 1000 * 1000000)};

	doing("nap");
	atomic_store(&worker->slow_ms, ledger_ms(ledger) + ms + ledger_bound(ledger, SEEN_MS));
	nanosleep(&time, NULL);
}

static void obey(enum order order)
{
	const struct linger linger = {.l_onoff = 1};

	if (client->fd < 0)
		return;
	atomic_store(&worker->excused_ms,
		     ledger_ms(ledger) + ledger_bound(ledger, ORDER_SEEN(order)));
	switch (order) {
	case ORDER_HALF_CLOSE:
		shutdown(client->fd, SHUT_WR);
		break;
	case ORDER_RESET:
		setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		xy_client_fail(client, -ECONNRESET, "reset by order");
		xy_client_disconnect(client);
		break;
	case ORDER_RESET_AND_DIE:
		setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		raise(SIGKILL);
		break;
	default:
		break;
	}
}

/* Mostly it is away. */
static void toggle(uint64_t now_ms)
{
	bool here = false;

	doing("toggle");
	for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
		if (!worker->plan.subscription[i].comes_and_goes)
			continue;
		ledger_note(ledger, "- %s: %s %s", worker->plan.name,
			    subscription[i] != NULL ? "unsubscribes" : "subscribes",
			    worker->plan.subscription[i].pattern);
		if (subscription[i] != NULL)
			unsubscribe(i);
		else
			here = subscribe(i) == 0;
	}
	next_toggle_ms = now_ms + 100 + dice_below(&dice, here ? 300 : 5000);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void turn(bool sends)
{
	uint64_t now_ms = ledger_ms(ledger);
	uint32_t order = atomic_exchange(&worker->order, ORDER_NONE);

	atomic_fetch_add(&worker->turns, 1);
	if (order != ORDER_NONE)
		obey(order);
	if (worker->plan.naps > 0 && dice_chance(&dice, worker->plan.naps, 1000))
		nap();
	if (now_ms >= next_toggle_ms)
		toggle(now_ms);
	if (sends) {
		send_due(xy_clock_ns());
		if (now_ms >= next_sync_ms) {
			synchronize(SYNC_MS);
			next_sync_ms = now_ms + 50 + dice_below(&dice, 400);
		}
	}
	take(sends ? 4 : 50);
	statistics();
}

int library_worker(struct ledger *the_ledger, uint32_t the_number, uint32_t life)
{
	bool sends = false;

	ledger = the_ledger;
	number = the_number;
	worker = &ledger->worker[number];
	dice = dice_of(ledger->seed, number * 1000003ull + life);
	account = account_open(ledger, number);
	if (account == NULL)
		return 1;
	sender_begin(ledger, number, life);
	if (set_up() != 0)
		return EXIT_TRY_AGAIN;
	for (uint32_t c = 0; c < CHANNELS_MAX; c++)
		sends = sends || worker->plan.channel[c].kind != CHANNEL_NONE;
	last_ns = xy_clock_ns();
	next_toggle_ms = ledger_ms(ledger) + dice_below(&dice, 3000);
	while (atomic_load(&ledger->phase) == PHASE_RUN)
		turn(sends);
	while (atomic_load(&ledger->phase) == PHASE_QUIET) {
		atomic_fetch_add(&worker->turns, 1);
		if (!atomic_load(&worker->quiet) && requests_waiting() == 0 && synchronize(2000))
			atomic_store(&worker->quiet, true);
		take(20);
		statistics();
	}
	doing("drain");
	(void)xy_client_drain(client, 5000);
	xy_client_close(client);
	return 0;
}
