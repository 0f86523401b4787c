/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/acceptor.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rcu.h"
#include "base/service.h"
#include "core/greeting.h"
#include "core/handshake.h"
#include "core/server.h"
#include "io/net.h"

#define LISTENERS_MAX  64
#define ACCEPTS_A_TURN 64
#define REST_MS        100 /* without descriptors: before the next attempt */
#define BACKLOG        1024
#define TLS_PREFIX     "tls:"

struct listener {
	struct xy_watch watch;
	struct xy_acceptor *acceptor;
	enum xy_reach reach;
	bool tls;
	bool is_given; /* by the service manager, which goes on listening when we have closed it */
	char address[XY_ADDRESS_TEXT_SIZE];
};

struct xy_acceptor {
	struct xy_core *core;
	struct xy_loop *loop;
	pthread_t thread;
	struct listener listener[LISTENERS_MAX];
	unsigned listeners;
	bool has_given;
	struct xy_greetings greetings;
	struct xy_timer rest;
	bool resting; /* since the last connection that could be taken */
	struct xy_task stop;
};

/* ---- accepting ------------------------------------------------------------------------------- */

static void listeners_watch(struct xy_acceptor *acceptor, uint32_t events)
{
	for (unsigned l = 0; l < acceptor->listeners; l++)
		xy_loop_rewatch(acceptor->loop, &acceptor->listener[l].watch, events);
}

static void rest_over(struct xy_timer *timer)
{
	listeners_watch(xy_container_of(timer, struct xy_acceptor, rest), EPOLLIN);
}

/* Out of what every connection needs. Listeners are level-triggered: watched, they would keep the
 * loop busy with nothing. What has connected waits in their backlogs. */
static void rest_begin(struct xy_acceptor *acceptor, const struct listener *listener, int error)
{
	if (!acceptor->resting) {
		xy_count(acceptor->core, XY_COUNT_ACCEPT_FAILED, 1);
		xy_log(XY_LOG_WARN, "accept-failed",
		       "address=%s why=%s remedy=\"raise the descriptor limit (ulimit -n), or give "
		       "more memory\"",
		       listener->address, xy_log_quoted(strerror(-error)));
	}
	acceptor->resting = true;
	listeners_watch(acceptor, 0);
	xy_timer_start(acceptor->loop, &acceptor->rest, REST_MS);
}

static void rest_ended(struct xy_acceptor *acceptor)
{
	if (acceptor->resting)
		xy_log(XY_LOG_WARN, "accepting-again", "");
	acceptor->resting = false;
}

static void listener_ready(struct xy_watch *watch, uint32_t events)
{
	struct listener *listener = xy_container_of(watch, struct listener, watch);
	struct xy_acceptor *acceptor = listener->acceptor;
	struct xy_address peer;
	int error = 0, fd;

	(void)events;
	for (unsigned n = 0; n < ACCEPTS_A_TURN; n++) {
		error = xy_net_accept(watch->fd, &peer, &fd);
		if (error)
			break;
		rest_ended(acceptor);
		xy_count(acceptor->core, XY_COUNT_ACCEPTED, 1);
		xy_greeting_new(&acceptor->greetings, fd, listener->reach, listener->tls, &peer);
	}
	if (error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS)
		rest_begin(acceptor, listener, error);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static int listener_failed(const char *address, int error, char *why, size_t why_size)
{
	snprintf(why, why_size, "cannot listen on %s: %s%s", address, strerror(-error),
		 error == -EADDRINUSE ? " (is another proxy running there?)"
		 : error == -EEXIST   ? " and is no socket"
				      : "");
	return error;
}

static int listener_add(struct xy_acceptor *acceptor, int fd, const struct xy_address *address,
			bool tls, bool is_given, char *why, size_t why_size)
{
	struct listener *listener;
	size_t prefix = tls ? strlen(TLS_PREFIX) : 0;

	if (acceptor->listeners == LISTENERS_MAX) {
		snprintf(why, why_size, "more than %d addresses to listen on", LISTENERS_MAX);
		return -E2BIG;
	}
	listener = &acceptor->listener[acceptor->listeners++];
	listener->acceptor = acceptor;
	listener->reach = xy_acceptor_reach(address);
	listener->tls = tls;
	listener->is_given = is_given;
	listener->watch = (struct xy_watch){.fd = fd, .name = "listener", .ready = listener_ready};
	memcpy(listener->address, TLS_PREFIX, prefix);
	xy_address_text(address, listener->address + prefix, sizeof(listener->address) - prefix);
	return 0;
}

/* Those that the service manager has opened. */
static int listeners_take(struct xy_acceptor *acceptor, char *why, size_t why_size)
{
	unsigned count = xy_service_sockets();
	struct xy_address address;
	int error = 0;

	if (acceptor->has_given) /* named twice */
		return 0;
	acceptor->has_given = true;
	if (!count) {
		snprintf(why, why_size,
			 "systemd has passed no sockets; it does when a .socket unit starts this");
		return -ENOENT;
	}
	for (unsigned n = 0; n < count && !error; n++) {
		int fd = XY_SERVICE_SOCKETS + (int)n;

		error = xy_net_take(fd, &address);
		if (error)
			snprintf(why, why_size,
				 "descriptor %d, passed by systemd, is no listening stream socket",
				 fd);
		else
			error = listener_add(acceptor, fd, &address, false, true, why, why_size);
	}
	return error;
}

static const char *path_of(const struct xy_address *address)
{
	return ((const struct sockaddr_un *)&address->storage)->sun_path;
}

static int listener_open(struct xy_acceptor *acceptor, const char *text, unsigned unix_mode,
			 char *why, size_t why_size)
{
	const char *secured = xy_acceptor_tls(text);
	struct xy_address address, bound;
	int error, fd;

	if (!strcmp(text, XY_LISTEN_GIVEN))
		return listeners_take(acceptor, why, why_size);
	error = xy_address_parse(secured ? secured : text, &address, 1, why, why_size);
	if (error < 0)
		return error;
	error = address.any.sa_family == AF_UNIX ? xy_net_listen(&address, BACKLOG, &fd)
						 : xy_net_bind(&address, &fd);
	if (error)
		return listener_failed(text, error, why, why_size);
	if (address.any.sa_family == AF_UNIX && unix_mode && chmod(path_of(&address), unix_mode)) {
		error = listener_failed(text, -errno, why, why_size);
		xy_net_unlisten(fd);
		return error;
	}
	if (xy_net_local(fd, &bound))
		bound = address;
	error = listener_add(acceptor, fd, &bound, secured != NULL, false, why, why_size);
	if (error)
		xy_net_unlisten(fd);
	return error;
}

static bool turn_end(struct xy_loop *loop, void *context)
{
	struct xy_acceptor *acceptor = context;

	(void)loop;
	return xy_handshakes_turn(&acceptor->greetings.shaking);
}

int xy_acceptor_new(const char *const *listen, unsigned listens, unsigned unix_mode,
		    struct xy_acceptor **ret_acceptor, char *why, size_t why_size)
{
	struct xy_acceptor *acceptor = calloc(1, sizeof(*acceptor));
	struct xy_loop_options options = {
		.name = "acceptor", .turn_end = turn_end, .context = acceptor};
	int error = -ENOMEM;

	if (!acceptor)
		goto err_memory;
	xy_greetings_init(&acceptor->greetings);
	acceptor->rest = (struct xy_timer){.name = "rest", .expired = rest_over};
	error = xy_loop_new(&options, &acceptor->loop);
	if (error)
		goto err_memory;
	for (unsigned l = 0; l < listens; l++) {
		error = listener_open(acceptor, listen[l], unix_mode, why, why_size);
		if (error)
			goto err_free;
	}
	*ret_acceptor = acceptor;
	return 0;

err_memory:
	snprintf(why, why_size, "cannot start the acceptor: %s", strerror(-error));
err_free:
	xy_acceptor_free(acceptor);
	return error;
}

void xy_acceptor_withdraw(struct xy_acceptor *acceptor)
{
	for (unsigned l = 0; l < acceptor->listeners; l++) {
		const struct listener *listener = &acceptor->listener[l];

		if (listener->is_given)
			close(listener->watch.fd);
		else
			xy_net_unlisten(listener->watch.fd);
	}
}

void xy_acceptor_unlink(const struct xy_acceptor *acceptor)
{
	for (unsigned l = 0; l < acceptor->listeners; l++) {
		const struct listener *listener = &acceptor->listener[l];

		if (listener->reach == XY_REACH_UNIX && !listener->is_given)
			unlink(listener->address + strlen("unix:"));
	}
}

int xy_acceptor_listen(struct xy_acceptor *acceptor, char *why, size_t why_size)
{
	for (unsigned l = 0; l < acceptor->listeners; l++) {
		const struct listener *listener = &acceptor->listener[l];

		if (listener->reach != XY_REACH_UNIX && !listener->is_given &&
		    listen(listener->watch.fd, BACKLOG))
			return listener_failed(listener->address, -errno, why, why_size);
	}
	return 0;
}

void xy_acceptor_free(struct xy_acceptor *acceptor)
{
	if (!acceptor)
		return;
	xy_greetings_close(&acceptor->greetings);
	xy_acceptor_withdraw(acceptor);
	xy_loop_free(acceptor->loop);
	free(acceptor);
}

unsigned xy_acceptor_listeners(const struct xy_acceptor *acceptor, struct xy_listener *listener,
			       unsigned maximum)
{
	unsigned count = 0;

	for (unsigned l = 0; l < acceptor->listeners && count < maximum; l++) {
		struct xy_address address;

		if (acceptor->listener[l].reach == XY_REACH_UNIX || acceptor->listener[l].tls ||
		    xy_net_local(acceptor->listener[l].watch.fd, &address))
			continue;
		listener[count++] = xy_kernel_listener(&address.any);
	}
	return count;
}

uint16_t xy_acceptor_port(const struct xy_acceptor *acceptor)
{
	struct xy_address address;

	for (unsigned l = 0; l < acceptor->listeners; l++)
		if (acceptor->listener[l].reach != XY_REACH_UNIX &&
		    !xy_net_local(acceptor->listener[l].watch.fd, &address))
			return xy_kernel_listener(&address.any).port;
	return 0;
}

unsigned xy_acceptor_count(const struct xy_acceptor *acceptor)
{
	return acceptor->listeners;
}

const char *xy_acceptor_address(const struct xy_acceptor *acceptor, unsigned index)
{
	return acceptor->listener[index].address;
}

enum xy_reach xy_acceptor_reach(const struct xy_address *address)
{
	if (address->any.sa_family == AF_UNIX)
		return XY_REACH_UNIX;
	return xy_address_is_loopback(address) ? XY_REACH_LOOPBACK : XY_REACH_NETWORK;
}

const char *xy_acceptor_tls(const char *text)
{
	return strncmp(text, TLS_PREFIX, strlen(TLS_PREFIX)) ? NULL : text + strlen(TLS_PREFIX);
}

const char *xy_acceptor_problem(const struct xy_rules *rules, enum xy_reach reach, bool tls)
{
	if (tls && !rules->tls)
		return "TLS needs a certificate: give --tls-cert and --tls-key";
	return xy_access_problem(rules->access, reach, tls);
}

int xy_acceptor_check(const struct xy_acceptor *acceptor, const struct xy_rules *rules, char *why,
		      size_t why_size)
{
	for (unsigned l = 0; l < acceptor->listeners; l++) {
		const struct listener *listener = &acceptor->listener[l];
		const char *problem = xy_acceptor_problem(rules, listener->reach, listener->tls);

		if (!problem)
			continue;
		snprintf(why, why_size, "%s: %s", listener->address, problem);
		return -EPERM;
	}
	return 0;
}

static void *acceptor_thread(void *context)
{
	struct xy_acceptor *acceptor = context;

	pthread_setname_np(pthread_self(), "acceptor");
	xy_rcu_register_thread();
	xy_loop_run(acceptor->loop);
	xy_rcu_unregister_thread();
	return NULL;
}

int xy_acceptor_start(struct xy_acceptor *acceptor, struct xy_core *core)
{
	int error = 0;

	acceptor->core = core;
	acceptor->greetings.core = core;
	acceptor->greetings.loop = acceptor->loop;
	for (unsigned l = 0; l < acceptor->listeners && !error; l++)
		error = xy_loop_watch(acceptor->loop, &acceptor->listener[l].watch, EPOLLIN);
	return error ? error : -pthread_create(&acceptor->thread, NULL, acceptor_thread, acceptor);
}

static void stop_run(struct xy_task *task)
{
	xy_loop_stop(xy_container_of(task, struct xy_acceptor, stop)->loop);
}

void xy_acceptor_stop(struct xy_acceptor *acceptor)
{
	acceptor->stop = (struct xy_task){.name = "stop", .run = stop_run};
	xy_loop_post(acceptor->loop, &acceptor->stop);
	pthread_join(acceptor->thread, NULL);
}

struct xy_loop *xy_acceptor_loop(struct xy_acceptor *acceptor)
{
	return acceptor->loop;
}
