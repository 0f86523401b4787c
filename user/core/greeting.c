/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/greeting.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "core/authenticate.h"
#include "core/connection.h"
#include "core/handshake.h"
#include "core/worker.h"
#include "io/stream.h"
#include "proto/json.h"

#define HELLO_MAX     4096 /* bytes of its JSON */
#define LINGER_MS     1000
#define TLS_HANDSHAKE 0x16 /* first byte of such a record; HELLO's is 0 */

/* A connection that has not been greeted yet, or is told why it will not be. */
struct greeting {
	struct xy_watch watch;
	struct xy_timer timer;
	struct xy_list list;
	struct xy_greetings *greetings;
	enum xy_reach reach;
	bool tls;     /* the listener speaks it */
	bool shaking; /* and it has begun */
	struct xy_handshake handshake;
	uint64_t generation; /* of the rules */
	bool refused;
	size_t got;
	size_t bytes; /* that it counts for in the memory budget */
	uint8_t header[XY_HEADER_SIZE];
	struct xy_frame frame;
	uint8_t *json; /* once the header is there */
	char address[XY_ADDRESS_TEXT_SIZE];
};

/* ---- saying no ------------------------------------------------------------------------------- */

static void greeting_free(struct greeting *greeting)
{
	xy_timer_stop(&greeting->timer);
	xy_loop_unwatch(greeting->greetings->loop, &greeting->watch);
	xy_list_remove(&greeting->list);
	xy_list_remove(&greeting->handshake.queued);
	greeting->greetings->count--;
	xy_budget_greeting(&greeting->greetings->core->budget, -(ptrdiff_t)greeting->bytes);
	xy_tls_free(greeting->handshake.tls);
	free(greeting->json);
	free(greeting);
}

static void greeting_close(struct greeting *greeting)
{
	close(greeting->watch.fd);
	greeting_free(greeting);
}

static int frame_send(int fd, struct xy_tls *tls, const struct xy_frame *frame, const void *payload,
		      size_t length)
{
	uint8_t whole[XY_HEADER_SIZE + 1024];
	const struct iovec iov = {whole, XY_HEADER_SIZE + length};

	if (iov.iov_len > sizeof(whole))
		return -EMSGSIZE;
	xy_frame_compose(frame, payload, length, whole);
	return xy_stream_send(fd, tls, &iov, 1) == (ssize_t)iov.iov_len ? 0 : -EPIPE;
}

static void error_send(int fd, struct xy_tls *tls, enum xy_error error,
		       const struct xy_frame *cause, const char *message)
{
	struct xy_frame frame = xy_frame_error(cause);
	char payload[512];
	ssize_t length = xy_error_encode(error, message, payload, sizeof(payload));

	if (length >= 0)
		frame_send(fd, tls, &frame, payload, (size_t)length);
}

/* Closing with input unread would be an RST that can destroy what was said last. */
static void linger(struct greeting *greeting)
{
	xy_stream_shut(greeting->watch.fd, greeting->handshake.tls);
	greeting->refused = true;
	xy_list_remove(&greeting->handshake.queued);
	xy_loop_rewatch(greeting->greetings->loop, &greeting->watch, EPOLLIN);
	xy_timer_start(greeting->greetings->loop, &greeting->timer, LINGER_MS);
}

/* Says why, and lingers. */
static void refuse(struct greeting *greeting, enum xy_error error, const char *message)
{
	struct xy_core *core = greeting->greetings->core;

	xy_log(XY_LOG_INFO, "refused", "peer=%s error=%s why=\"%s\"", greeting->address,
	       xy_error_text(error), message);
	xy_count(core, XY_COUNT_REFUSED, 1);
	xy_count(core, XY_COUNT_ERRORS, 1);
	error_send(greeting->watch.fd, greeting->handshake.tls, error,
		   greeting->got >= XY_HEADER_SIZE ? &greeting->frame : NULL, message);
	linger(greeting);
}

/* Who speaks no TLS with us yet can be told nothing else but by an alert, which has been sent. */
static void handshake_failed(struct greeting *greeting, const char *why)
{
	xy_log(XY_LOG_INFO, "tls-failed", "peer=%s why=%s", greeting->address, xy_log_quoted(why));
	linger(greeting);
}

static void greeting_grow(struct greeting *greeting, size_t bytes)
{
	greeting->bytes += bytes;
	xy_budget_greeting(&greeting->greetings->core->budget, (ptrdiff_t)bytes);
}

static void greeting_expired(struct xy_timer *timer)
{
	struct greeting *greeting = xy_container_of(timer, struct greeting, timer);

	if (greeting->refused) {
		greeting_close(greeting);
	} else if (greeting->tls && !greeting->handshake.done) {
		xy_count(greeting->greetings->core, XY_COUNT_TLS_FAILED, 1);
		handshake_failed(greeting, "no handshake within 5 seconds");
	} else {
		refuse(greeting, XY_E_HELLO_TIMEOUT, "no HELLO within 5 seconds");
	}
}

/* ---- saying yes ------------------------------------------------------------------------------ */

/* A greeted socket on its way to a worker. Unbound: another one opens it when that is stuck. */
struct handover {
	struct xy_task task;
	struct xy_request *farewell; /* names the peer */
	int fd;
	struct xy_tls *tls;
	bool is_unix;
};

static void handover_run(struct xy_task *task)
{
	struct handover *handover = xy_container_of(task, struct handover, task);
	struct xy_worker *worker = xy_loop_context(xy_loop_here());
	struct xy_worker *meant = handover->farewell->peer->worker;

	/* In this order: a connection under way always counts somewhere. */
	atomic_fetch_add(&worker->load, 1);
	atomic_fetch_sub(&meant->load, 1);
	handover->farewell->peer->worker = worker;
	xy_connection_open(worker, handover->farewell, handover->fd, handover->tls,
			   handover->is_unix);
	free(handover);
}

/* A peer with all that it needs, by the request that will end it: so that nothing of it can be lost
 * later for want of memory. On success it has taken the identity. */
static int peer_make(const struct greeting *greeting, const struct xy_hello *hello,
		     const struct xy_identity **identity, struct xy_request **ret_farewell)
{
	struct xy_core *core = greeting->greetings->core;
	struct xy_request *farewell;
	struct xy_peer *peer;
	int error = xy_peer_new(core, hello->name, &peer);

	if (error)
		return error;
	peer->reach = greeting->reach;
	peer->generation = greeting->generation;
	error = xy_random_id(&peer->endpoint);
	farewell = error ? NULL : xy_request_farewell(peer);
	if (!farewell) {
		xy_peer_put(peer);
		return error ? error : -ENOMEM;
	}
	peer->window = core->budget.window;
	peer->identity = *identity;
	*identity = NULL;
	/* Without a slot left it works without a lane. */
	if (core->kernel && greeting->reach != XY_REACH_UNIX && !greeting->tls && hello->ack &&
	    xy_kernel_claim(core->kernel, peer->endpoint, &peer->slot)) {
		peer->slot.generation = 0;
		xy_count(core, XY_COUNT_NO_SLOT, 1);
	}
	peer->worker = xy_worker_choose(core, NULL);
	*ret_farewell = farewell;
	return 0;
}

static int welcome_send(const struct greeting *greeting, const struct xy_peer *peer)
{
	const struct xy_core *core = greeting->greetings->core;
	struct xy_welcome welcome = {.endpoint = peer->endpoint,
				     .server = "xylem",
				     .version = XY_VERSION,
				     .max_frame = XY_FRAME_MAX,
				     .max_message = core->max_message,
				     .window = core->budget.window,
				     .heartbeat_ms = core->heartbeat_ms,
				     .lane = peer->slot.generation != 0};
	struct xy_frame frame = {.type = XY_WELCOME,
				 .target = peer->endpoint,
				 .correlation = greeting->frame.correlation};
	char payload[1024];
	ssize_t length = xy_welcome_encode(&welcome, payload, sizeof(payload));

	if (length < 0)
		return (int)length;
	return frame_send(greeting->watch.fd, greeting->handshake.tls, &frame, payload,
			  (size_t)length);
}

/* Gives back what peer_make() took; the slot goes through the router, like any other. */
static void peer_unmake(struct xy_core *core, struct xy_request *farewell)
{
	struct xy_peer *peer = farewell->peer;

	if (peer->slot.generation)
		xy_kernel_unclaim(core->kernel, peer->endpoint);
	xy_request_send(core->router, farewell);
	xy_peer_put(peer);
}

static void greet(struct greeting *greeting, const struct xy_hello *hello,
		  const struct xy_identity **identity)
{
	struct xy_core *core = greeting->greetings->core;
	struct handover *handover = calloc(1, sizeof(*handover));
	struct xy_request *farewell = NULL;
	struct xy_worker *worker;
	int error;

	if (!handover || peer_make(greeting, hello, identity, &farewell)) {
		free(handover);
		refuse(greeting, XY_E_OVERLOADED, "the proxy has no room for another connection");
		return;
	}
	error = welcome_send(greeting, farewell->peer);
	if (error) {
		free(handover);
		peer_unmake(core, farewell);
		if (error == -ENOMEM)
			refuse(greeting, XY_E_OVERLOADED, "the proxy is out of memory");
		else
			greeting_close(greeting);
		return;
	}
	*handover = (struct handover){.task = {.name = "connection", .run = handover_run},
				      .farewell = farewell,
				      .fd = greeting->watch.fd,
				      .tls = greeting->handshake.tls,
				      .is_unix = greeting->reach == XY_REACH_UNIX};
	if (greeting->tls)
		xy_budget_tls(&core->budget, (ptrdiff_t)xy_tls_memory(greeting->handshake.tls));
	greeting->handshake.tls = NULL;
	worker = farewell->peer->worker;
	atomic_fetch_add(&worker->load, 1);
	greeting_free(greeting);
	xy_loop_post_unbound(worker->loop, &handover->task);
}

/* ---- HELLO ----------------------------------------------------------------------------------- */

static void refuse_for_memory(struct greeting *greeting)
{
	xy_count(greeting->greetings->core, XY_COUNT_MEMORY_REFUSED, 1);
	refuse(greeting, XY_E_OVERLOADED, "the proxy's memory budget is used up");
}

static void refuse_unauthorized(struct greeting *greeting, const char *why)
{
	xy_count(greeting->greetings->core, XY_COUNT_UNAUTHORIZED, 1);
	refuse(greeting, XY_E_UNAUTHORIZED, why);
}

static void hello_take(struct greeting *greeting, const struct xy_hello *hello)
{
	const struct xy_arrival arrival = {.fd = greeting->watch.fd,
					   .reach = greeting->reach,
					   .tls = greeting->handshake.tls,
					   .token = hello->token};
	struct xy_core *core = greeting->greetings->core;
	const struct xy_identity *identity = NULL;
	const char *why;
	int error;

	/* Before the rules: if they change, that is seen when the connection is attached. */
	greeting->generation = atomic_load(&core->access_generation);
	xy_rcu_read_lock();
	error = xy_authenticate(xy_rcu_dereference(core->access), &arrival, &identity, &why);
	xy_rcu_read_unlock();
	if (error == -ENOENT)
		refuse_unauthorized(greeting, why);
	else if (error)
		refuse(greeting, XY_E_OVERLOADED, "the proxy is out of memory");
	else if (atomic_load(&core->draining))
		refuse(greeting, XY_E_SHUTTING_DOWN, "the proxy is about to end");
	else if (xy_budget_spent(&core->budget))
		refuse_for_memory(greeting);
	else
		greet(greeting, hello, &identity);
	xy_identity_free(identity);
}

static void hello_done(struct greeting *greeting)
{
	size_t length = greeting->frame.length - XY_HEADER_SIZE;
	struct xy_hello hello;
	char why[XY_WHY_SIZE];
	int error = xy_hello_decode(greeting->json, length, &hello, why);

	/* The token is in it. */
	explicit_bzero(greeting->json, length);
	if (error)
		refuse(greeting, error == -ENOMEM ? XY_E_OVERLOADED : XY_E_BAD_JSON, why);
	else
		hello_take(greeting, &hello);
	explicit_bzero(&hello, sizeof(hello));
}

static const char *header_complaint(enum xy_error error)
{
	switch (error) {
	case XY_E_BAD_VERSION:
		return "this proxy speaks version 1";
	case XY_E_BAD_SOURCE:
		return "source of HELLO is 0";
	default:
		return "the first frame must be HELLO, and a frame has 60 to 65,536 bytes";
	}
}

/* False: refused. */
static bool header_check(struct greeting *greeting)
{
	const struct xy_frame *frame = &greeting->frame;
	enum xy_error error;

	xy_frame_decode(greeting->header, &greeting->frame);
	error = xy_frame_check_hello(frame);
	if (greeting->header[0] == TLS_HANDSHAKE && !greeting->tls)
		refuse(greeting, XY_E_BAD_VERSION, "this listener does not speak TLS");
	else if (error)
		refuse(greeting, error, header_complaint(error));
	else if (frame->length > XY_HEADER_SIZE + HELLO_MAX)
		refuse(greeting, XY_E_TOO_LARGE, "HELLO has at most 4,096 bytes of JSON");
	else if (!(greeting->json = malloc(frame->length)))
		refuse(greeting, XY_E_OVERLOADED, "the proxy is out of memory");
	if (greeting->json)
		greeting_grow(greeting, frame->length);
	return !greeting->refused;
}

/* Never takes what is beyond HELLO: that is the worker's. */
static ssize_t hello_read(struct greeting *greeting)
{
	size_t got = greeting->got;

	if (got < XY_HEADER_SIZE)
		return xy_stream_recv(greeting->watch.fd, greeting->handshake.tls,
				      greeting->header + got, XY_HEADER_SIZE - got);
	return xy_stream_recv(greeting->watch.fd, greeting->handshake.tls,
			      greeting->json + (got - XY_HEADER_SIZE),
			      greeting->frame.length - got);
}

static void hello_receive(struct greeting *greeting)
{
	ssize_t got;

	for (;;) {
		got = hello_read(greeting);
		if (got == -EAGAIN)
			return;
		if (got <= 0) {
			greeting_close(greeting);
			return;
		}
		greeting->got += (size_t)got;
		if (greeting->got == XY_HEADER_SIZE && !header_check(greeting))
			return;
		if (greeting->got >= XY_HEADER_SIZE && greeting->got == greeting->frame.length) {
			hello_done(greeting);
			return;
		}
	}
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static void handshake_waits(struct xy_handshake *handshake, uint32_t events)
{
	struct greeting *greeting = xy_container_of(handshake, struct greeting, handshake);

	if (!greeting->shaking)
		greeting_grow(greeting, XY_HANDSHAKE_MEMORY);
	greeting->shaking = true;
	xy_loop_rewatch(greeting->greetings->loop, &greeting->watch, events);
}

static void handshake_over(struct xy_handshake *handshake, int error, const char *why)
{
	struct greeting *greeting = xy_container_of(handshake, struct greeting, handshake);

	if (error == -ENODATA) {
		greeting_close(greeting);
	} else if (error == -EPROTONOSUPPORT) {
		refuse(greeting, XY_E_BAD_VERSION, "this listener speaks TLS, and that was none");
	} else if (error) {
		handshake_failed(greeting, why);
	} else {
		greeting_grow(greeting, xy_tls_memory(handshake->tls) - XY_TLS_MEMORY);
		xy_loop_rewatch(greeting->greetings->loop, &greeting->watch, EPOLLIN);
		hello_receive(greeting);
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

static void greeting_discard(struct greeting *greeting)
{
	char nowhere[4096];
	ssize_t got = recv(greeting->watch.fd, nowhere, sizeof(nowhere), 0);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		greeting_close(greeting);
}

static void greeting_ready(struct xy_watch *watch, uint32_t events)
{
	struct greeting *greeting = xy_container_of(watch, struct greeting, watch);

	(void)events;
	if (greeting->refused)
		greeting_discard(greeting);
	else if (!greeting->tls || greeting->handshake.done)
		hello_receive(greeting);
	else
		xy_handshake_ready(&greeting->handshake, &greeting->greetings->shaking);
}

void xy_greeting_new(struct xy_greetings *greetings, int fd, enum xy_reach reach, bool tls,
		     const struct xy_address *peer)
{
	struct greeting *greeting = NULL;

	if (greetings->count < greetings->core->max_connections)
		greeting = calloc(1, sizeof(*greeting));
	if (!greeting) {
		if (!tls)
			error_send(fd, NULL, XY_E_OVERLOADED, NULL,
				   "too many connections say nothing");
		xy_count(greetings->core, XY_COUNT_REFUSED, 1);
		xy_count(greetings->core, XY_COUNT_ERRORS, 1);
		close(fd);
		return;
	}
	greeting->greetings = greetings;
	greeting_grow(greeting, sizeof(*greeting));
	greeting->reach = reach;
	greeting->tls = tls;
	greeting->handshake = (struct xy_handshake){.core = greetings->core,
						    .fd = fd,
						    .waits = handshake_waits,
						    .over = handshake_over};
	greeting->watch = (struct xy_watch){.fd = fd, .name = "hello", .ready = greeting_ready};
	greeting->timer = (struct xy_timer){.name = "hello", .expired = greeting_expired};
	if (reach == XY_REACH_UNIX) {
		xy_net_peer_text(fd, greeting->address, sizeof(greeting->address));
	} else {
		xy_address_text(peer, greeting->address, sizeof(greeting->address));
		xy_net_set_nodelay(fd);
	}
	xy_net_set_buffers(fd, (int)greetings->core->budget.socket_buffer,
			   (int)greetings->core->budget.socket_buffer);
	xy_list_init(&greeting->list);
	xy_list_init(&greeting->handshake.queued);
	xy_list_add_tail(&greetings->list, &greeting->list);
	greetings->count++;
	xy_timer_start(greetings->loop, &greeting->timer, XY_HELLO_TIMEOUT_MS);
	if (xy_loop_watch(greetings->loop, &greeting->watch, EPOLLIN))
		greeting_close(greeting);
}

void xy_greetings_init(struct xy_greetings *greetings)
{
	xy_list_init(&greetings->list);
	xy_list_init(&greetings->shaking);
}

void xy_greetings_close(struct xy_greetings *greetings)
{
	struct greeting *greeting, *after;

	xy_list_each_safe (greeting, after, &greetings->list, list)
		greeting_close(greeting);
}
