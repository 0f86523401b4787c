/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WHOLE, ORDER and BOUNDED over every mixture of paths: two publishers send to two subscribers that
 * pause, while a third thread installs and removes flows, so that frames change between lane and
 * slow path at any moment. A fourth thread is the proxy in small: it keeps the rules of
 * kernel/session.h, and nothing else decides about the order.
 *
 * No cmocka here but in the main thread: threads end with a sentence, or NULL when all went well.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/kernel_env.h"

#define PAIRS    2 /* publishers, and subscribers */
#define CLIENTS  (2 * PAIRS)
#define SENDS    1500 /* of a publisher */
#define WINDOW   (256u << 10)
#define TOPIC(i) (UINT64_C(0x7000000000000000) + (uint64_t)(i))
#define LAST     UINT64_C(0x1a57) /* correlation of a publisher's last frame to a topic */
#define PROOFS   64

#define CHECK(condition)                                           \
	do {                                                       \
		if (!(condition)) {                                \
			atomic_store(&stop, true);                 \
			return (void *)(__FILE__ ": " #condition); \
		}                                                  \
	} while (0)

struct held {
	struct held *next;
	uint32_t size;
	unsigned char frame[];
};

/* The proxy's view of a connection. */
struct connection {
	struct client *client;
	unsigned char input[2 * XY_FRAME_MAX];
	size_t filled;
	uint32_t epoch, read;       /* of the last SYNC; DATA frames read since */
	struct held *first, **last; /* waiting for room; counted in `queued` */
	uint64_t proof[PROOFS], pings;
};

static struct env *env;
static struct client client[CLIENTS]; /* publishers, then subscribers */
static struct connection connection[CLIENTS];
static atomic_bool stop, flowing;
static atomic_int publishing;
static uint64_t worst; /* most that was outstanding, as far as the proxy saw */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	for (int waited = 0; waited < ENV_TIMEOUT && !atomic_load(&stop); waited += 100)
		if (poll(&poller, 1, 100) == 1)
			return true;
	return false;
}

static bool receive_exactly(int fd, unsigned char *to, size_t size)
{
	ssize_t received;

	for (size_t at = 0; at < size; at += (size_t)received) {
		if (!readable(fd))
			return false;
		received = recv(fd, to + at, size - at, 0);
		if (received <= 0)
			return false;
	}
	return true;
}

/* ---- clients --------------------------------------------------------------------------------- */

static bool send_control(struct client *from, struct frame *frame)
{
	unsigned char data[XY_HEADER_SIZE + XY_PING_MAX];
	size_t size;

	frame->source = from->endpoint;
	size = frame_put(data, frame);
	return send(from->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool sync_and_wait(struct client *self, uint64_t *consumed)
{
	struct frame sync = {.type = XY_SYNC, .correlation = ++self->correlation, .ack = *consumed};
	unsigned char header[XY_HEADER_SIZE];
	struct frame answer;

	if (!send_control(self, &sync) || !receive_exactly(self->fd, header, sizeof(header)))
		return false;
	*consumed += sizeof(header);
	answer = frame_get(header);
	return answer.type == XY_SYNCED && answer.correlation == self->correlation;
}

static void *publisher_run(void *context)
{
	struct client *self = context;
	uint64_t seed = self->endpoint, sequence[PAIRS] = {0}, consumed = XY_HEADER_SIZE;
	uint64_t passed = 0;
	static _Thread_local unsigned char data[4 * XY_FRAME_MAX];

	for (int sends = 0;; sends++) {
		/* At the end, enough frames have gone either way. */
		bool last = sends >= SENDS && self->session->frames > SENDS / 2 &&
			    self->session->passed > SENDS / 2;
		size_t topic = random_next(&seed) % PAIRS, size = 0;
		uint32_t frames = 1 + random_next(&seed) % 5;

		CHECK(!atomic_load(&stop) && sends < 100 * SENDS);
		if (last)
			break;
		for (uint32_t i = 0; i < frames && size < 40000; i++)
			size += frame_put(data + size,
					  FRAME(.source = self->endpoint, .target = TOPIC(topic),
						.sequence = ++sequence[topic], .ack = consumed,
						.payload = random_next(&seed) % (i ? 500 : 20000)));
		CHECK(send(self->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
		/* Often enough to be back on the lane, seldom enough to leave it with frames
		 * behind. */
		if (self->session->passed != passed && random_next(&seed) % 3 == 0) {
			CHECK(sync_and_wait(self, &consumed));
			passed = self->session->passed;
		}
	}
	for (size_t topic = 0; topic < PAIRS; topic++) {
		size_t size =
			frame_put(data, FRAME(.source = self->endpoint, .target = TOPIC(topic),
					      .correlation = LAST, .sequence = ++sequence[topic]));

		CHECK(send(self->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	}
	atomic_fetch_sub(&publishing, 1);
	return NULL;
}

static void *subscriber_run(void *context)
{
	struct client *self = context;
	uint64_t seed = self->endpoint, sequence[PAIRS] = {0};
	uint64_t consumed = XY_HEADER_SIZE, acked = consumed;
	static _Thread_local unsigned char data[XY_FRAME_MAX];
	int lasting = PAIRS;

	while (lasting) {
		struct frame frame;

		CHECK(receive_exactly(self->fd, data, XY_HEADER_SIZE));
		frame = frame_get(data);
		CHECK(frame.version == XY_WIRE_VERSION);
		CHECK(frame.length >= XY_HEADER_SIZE && frame.length <= XY_FRAME_MAX);
		CHECK(receive_exactly(self->fd, data + XY_HEADER_SIZE, frame.payload));
		CHECK(frame_intact(data));
		consumed += frame.length;
		if (frame.type == XY_DATA) {
			size_t from = frame.source == client[0].endpoint ? 0 : 1;

			CHECK(frame.source == client[from].endpoint);
			CHECK(frame.target == TOPIC(self - client - PAIRS));
			CHECK(frame.sequence == ++sequence[from]);
			lasting -= frame.correlation == LAST;
		} else {
			struct frame pong = {
				.type = XY_PONG, .correlation = frame.correlation, .ack = consumed};

			CHECK(frame.type == XY_PING);
			CHECK(send_control(self, &pong));
			acked = consumed;
		}
		if (consumed - acked >= WINDOW / 4) {
			struct frame ack = {.type = XY_ACK, .ack = consumed};

			CHECK(send_control(self, &ack));
			acked = consumed;
		}
		if (random_next(&seed) % 64 == 0)
			usleep(random_next(&seed) % 500);
	}
	return NULL;
}

/* ---- the proxy ------------------------------------------------------------------------------- */

static bool redirect(struct connection *to, const void *data, size_t size)
{
	ssize_t sent = send(to->client->proxy, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno == ENOMEM)
		xy_session_unsend(to->client->session, size);
	return sent == (ssize_t)size;
}

/* Sends what is held for a receiver and has room. */
static void flush(struct connection *to)
{
	struct held *held;

	while ((held = to->first)) {
		if (xy_session_room(to->client->session, WINDOW) < held->size ||
		    !redirect(to, held->frame, held->size))
			return;
		xy_session_queued_sub(to->client->session, 1);
		to->first = held->next;
		if (!to->first)
			to->last = &to->first;
		free(held);
	}
}

static void hold(struct connection *to, const unsigned char *frame, uint32_t size)
{
	struct held *held = malloc(sizeof(*held) + size);

	xy_session_queued_add(to->client->session, 1);
	held->next = NULL;
	held->size = size;
	memcpy(held->frame, frame, size);
	*to->last = held;
	to->last = &held->next;
}

static bool ping(struct connection *to)
{
	unsigned char data[XY_HEADER_SIZE + 8];
	size_t size =
		frame_put(data, FRAME(.type = XY_PING, .correlation = ++to->pings, .payload = 8));

	to->proof[to->pings % PROOFS] = xy_session_sent(to->client->session);
	return redirect(to, data, size);
}

static bool take(struct connection *from, const unsigned char *data)
{
	struct frame frame = frame_get(data);
	struct xy_session *session = from->client->session;
	unsigned char synced[XY_HEADER_SIZE];

	xy_session_ack(session, frame.ack);
	switch (frame.type) {
	case XY_DATA:
		from->read++;
		if (xy_session_count_check(session, from->epoch, from->read))
			return false;
		hold(&connection[PAIRS + frame.target - TOPIC(0)], data, frame.length);
		xy_session_barrier_add(session, 1);
		atomic_store(&flowing, true);
		return true;
	case XY_SYNC:
		from->epoch = (uint32_t)frame.correlation;
		from->read = 0;
		xy_session_epoch_start(session, frame.correlation);
		return redirect(from, synced,
				frame_put(synced, FRAME(.type = XY_SYNCED,
							.correlation = frame.correlation)));
	case XY_PONG:
		xy_session_prove(session, from->proof[frame.correlation % PROOFS]);
		return true;
	default:
		return frame.type == XY_ACK;
	}
}

static bool input(struct connection *from)
{
	size_t at = 0;
	ssize_t received = recv(from->client->proxy, from->input + from->filled,
				sizeof(from->input) - from->filled, MSG_DONTWAIT);

	if (received < 0)
		return errno == EAGAIN;
	from->filled += (size_t)received;
	while (from->filled - at >= XY_HEADER_SIZE) {
		struct frame frame = frame_get(from->input + at);

		if (frame.length > from->filled - at)
			break;
		if (!frame_intact(from->input + at) || !take(from, from->input + at))
			return false;
		at += frame.length;
	}
	memmove(from->input, from->input + at, from->filled - at);
	from->filled -= at;
	return true;
}

static void marked(const struct xy_pressure *pressure, void *context)
{
	bool *ok = context;

	if (pressure->marks & XY_PRESSURE_HALF)
		for (size_t i = PAIRS; i < CLIENTS; i++)
			if (client[i].slot.slot == pressure->slot)
				*ok = *ok && ping(&connection[i]);
}

static void *proxy_run(void *context)
{
	struct pollfd poller[CLIENTS + 1];
	bool ok = true;

	(void)context;
	for (size_t i = 0; i < CLIENTS; i++)
		poller[i] = (struct pollfd){.fd = client[i].proxy, .events = POLLIN};
	poller[CLIENTS] =
		(struct pollfd){.fd = xy_kernel_pressure_fd(env->kernel), .events = POLLIN};
	while (!atomic_load(&stop)) {
		poll(poller, CLIENTS + 1, 1);
		for (size_t i = 0; i < CLIENTS; i++) {
			if (poller[i].revents)
				CHECK(input(&connection[i]));
			flush(&connection[i]);
			if (xy_session_outstanding(client[i].session) > worst)
				worst = xy_session_outstanding(client[i].session);
		}
		CHECK(xy_kernel_pressure_read(env->kernel, marked, &ok) == 0);
		CHECK(ok);
	}
	return NULL;
}

/* ---- flows that come and go ------------------------------------------------------------------ */

static void *flows_run(void *context)
{
	uint64_t seed = 88172645463325252;

	(void)context;
	while (!atomic_load(&stop) && atomic_load(&publishing)) {
		const struct client *from = &client[random_next(&seed) % PAIRS];
		size_t topic = random_next(&seed) % PAIRS;
		const struct client *to = &client[PAIRS + topic];
		struct xy_flow flow = {
			.key = {.target = TOPIC(topic), .slot = from->slot.slot},
			.generation = from->slot.generation,
			.members = 1,
			.member[0] = {to->slot.slot, to->slot.generation},
		};

		usleep(random_next(&seed) % 300);
		if (!atomic_load(&flowing))
			continue;
		if (random_next(&seed) % 4)
			CHECK(xy_kernel_flow_put(env->kernel, &flow) == 0);
		else
			xy_kernel_flow_delete(env->kernel, &flow.key);
	}
	return NULL;
}

static void *joined(pthread_t thread)
{
	void *failure;

	assert_int_equal(pthread_join(thread, &failure), 0);
	return failure;
}

static void frames_arrive_whole_and_in_order_on_changing_paths(void **state)
{
	pthread_t proxy, flows, clients[CLIENTS];
	const char *failure = NULL, *other;

	(void)state;
	env = env_open(&(struct env_options){.window = WINDOW});
	atomic_store(&publishing, PAIRS);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_open(env, &client[i]);
		connection[i].client = &client[i];
		connection[i].epoch = (uint32_t)client[i].correlation;
		connection[i].last = &connection[i].first;
	}
	assert_int_equal(pthread_create(&proxy, NULL, proxy_run, NULL), 0);
	assert_int_equal(pthread_create(&flows, NULL, flows_run, NULL), 0);
	for (size_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&clients[i], NULL,
						i < PAIRS ? publisher_run : subscriber_run,
						&client[i]),
				 0);
	for (size_t i = 0; i < CLIENTS; i++)
		if ((other = joined(clients[i])) && !failure)
			failure = other;
	if ((other = joined(flows)) && !failure)
		failure = other;
	atomic_store(&stop, true);
	if ((other = joined(proxy)))
		failure = other;
	if (failure)
		fail_msg("%s", failure);

	for (size_t i = 0; i < CLIENTS; i++) {
		print_message("%llu frames by lane, %llu by the slow path, %llu for want of room\n",
			      client[i].session->frames, client[i].session->passed,
			      client[i].session->reasons[XY_REASON_NO_ROOM]);
		assert_int_equal(client[i].session->queued, 0);
		assert_int_equal(client[i].session->reasons[XY_REASON_FRAMING], 0);
	}
	/* Each of the two publishers and the proxy may have one send above it. */
	assert_in_range(worst, 1, WINDOW + 3 * XY_SEND_BYTES_MAX);
	for (size_t i = 0; i < CLIENTS; i++)
		client_close(env, &client[i]);
	env_close(env);
}

/* ---- a subscriber that leaves ---------------------------------------------------------------- */

static void *leave(void *context)
{
	usleep(*(unsigned int *)context);
	close(client[1].fd);
	return NULL;
}

/* K20: whoever sends when the receiver closes may see an error of that send; the next ones go to
 * the proxy, and the connection lives on. */
static void a_publisher_outlives_a_subscriber_that_leaves(void **state)
{
	struct client *publisher = &client[0], *subscriber = &client[1];
	uint64_t seed = 2463534242;

	(void)state;
	env = env_open(NULL);
	client_open(env, publisher);
	for (int round = 0; round < 100; round++) {
		unsigned char data[4096];
		unsigned int when = random_next(&seed) % 300;
		uint64_t gone = publisher->session->reasons[XY_REASON_RECEIVER_GONE];
		struct frame frame = {.source = publisher->endpoint,
				      .target = TOPIC(0),
				      .payload = random_next(&seed) % 4000};
		size_t size = frame_put(data, &frame);
		pthread_t leaver;

		client_open(env, subscriber);
		flow_to(env, publisher, TOPIC(0), subscriber);
		assert_int_equal(pthread_create(&leaver, NULL, leave, &when), 0);
		while (publisher->session->reasons[XY_REASON_RECEIVER_GONE] == gone) {
			ssize_t sent = send(publisher->fd, data, size, MSG_NOSIGNAL);

			assert_true(sent == (ssize_t)size ||
				    (sent == -1 && (errno == EPIPE || errno == ENOMEM)));
			/* As if it had read, so that nothing else keeps the lane closed. */
			subscriber->session->acked_loop = subscriber->session->sent;
			subscriber->session->proven = subscriber->session->sent;
		}
		receive_frame(publisher->proxy);
		assert_int_equal(joined(leaver), 0);
		subscriber->fd = dup(publisher->fd);
		client_close(env, subscriber);
		client_resync(publisher);
	}
	client_close(env, publisher);
	env_close(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_arrive_whole_and_in_order_on_changing_paths),
		cmocka_unit_test(a_publisher_outlives_a_subscriber_that_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
