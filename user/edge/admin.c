/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/admin.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "core/core.h"
#include "core/reload.h"
#include "core/status.h"
#include "io/loop.h"
#include "io/net.h"

#define REQUEST_MAX  4096
#define SESSIONS_MAX 32
#define REST_MS      100
#define IDLE_MS      10000 /* of a client that asks nothing … */
#define UNREAD_MS    60000 /* … and of one that reads nothing, or so little that nothing is sent */

struct xy_admin {
	struct xy_core *core;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct xy_loop *loop;
	pthread_t thread;
	struct xy_watch listener;
	struct xy_timer rest; /* without descriptors: before the next attempt */
	struct xy_task stop;
	struct xy_list sessions;
	unsigned count;
	struct xy_reload *reload; /* may be NULL */
	struct xy_task reloaded;
	_Atomic(bool) reloaded_posted;
	struct xy_statuses statuses;
	bool stopping;
};

struct session {
	struct xy_watch watch;
	struct xy_timer timer;
	struct xy_list list;
	struct xy_admin *admin;
	bool waiting, gone; /* for a piece of its status; the client left meanwhile */
	uint64_t ticket;    /* a reload is under way; 0 = none */
	char request[REQUEST_MAX];
	size_t got;
	struct xy_status *status; /* the answer is a status, piece by piece; … */
	char *answer;             /* … or this */
	const char *text;         /* what is being sent of it; NULL: nothing is */
	size_t length, sent;
};

static void status_go_on(struct session *session);

static void session_free(struct session *session)
{
	xy_timer_stop(&session->timer);
	xy_loop_unwatch(session->admin->loop, &session->watch);
	close(session->watch.fd);
	xy_list_remove(&session->list);
	session->admin->count--;
	xy_status_free(session->status);
	free(session->answer);
	free(session);
}

/* A status that waits comes back to the session, which must be there. */
static void session_close(struct session *session)
{
	if (!session->waiting) {
		session_free(session);
		return;
	}
	session->gone = true;
	xy_loop_unwatch(session->admin->loop, &session->watch);
}

/* Its answer is sent: the next request. */
static void session_next(struct session *session)
{
	xy_status_free(session->status);
	session->status = NULL;
	free(session->answer);
	session->answer = NULL;
	xy_timer_start(session->admin->loop, &session->timer, IDLE_MS);
	/* No readiness would announce a request that has been read already. */
	xy_loop_rewatch(session->admin->loop, &session->watch,
			memchr(session->request, '\n', session->got) ? EPOLLIN | EPOLLOUT
								     : EPOLLIN);
}

static void session_write(struct session *session)
{
	ssize_t sent = send(session->watch.fd, session->text + session->sent,
			    session->length - session->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		session_close(session);
		return;
	}
	if (sent > 0) {
		session->sent += (size_t)sent;
		xy_timer_start(session->admin->loop, &session->timer, UNREAD_MS);
	}
	if (session->sent < session->length) {
		xy_loop_rewatch(session->admin->loop, &session->watch, EPOLLOUT);
		return;
	}
	session->text = NULL;
	if (session->status)
		status_go_on(session);
	else
		session_next(session);
}

/* Takes the reference. */
static void session_answer(struct session *session, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text || asprintf(&session->answer, "%s\n", text) < 0) {
		session->answer = NULL;
		free(text);
		session_close(session);
		return;
	}
	free(text);
	session->text = session->answer;
	session->length = strlen(session->answer);
	session->sent = 0;
	session_write(session);
}

/* ---- statuses -------------------------------------------------------------------------------- */

/* The next piece is made when the one before it is sent: by who reads, not by what there is to
 * tell. */
static void status_go_on(struct session *session)
{
	switch (xy_status_next(session->status, &session->text, &session->length)) {
	case XY_STATUS_LATER:
		session->waiting = true;
		xy_loop_rewatch(session->admin->loop, &session->watch, 0);
		return;
	case XY_STATUS_PIECE:
		session->sent = 0;
		session_write(session);
		return;
	case XY_STATUS_END:
		session->text = NULL;
		session_next(session);
		return;
	case XY_STATUS_FAILED:
		session_close(session); /* what was sent cannot be taken back */
		return;
	}
}

static void status_ready(struct xy_status *status, void *context)
{
	struct session *session = context;

	(void)status;
	session->waiting = false;
	if (session->gone || session->admin->stopping)
		session_free(session);
	else
		status_go_on(session);
}

static void session_status(struct session *session)
{
	if (xy_status_new(&session->admin->statuses, status_ready, session, &session->status))
		session_answer(session, json_pack("{s:s}", "error", "out of memory"));
	else
		status_go_on(session);
}

/* ---- reloads --------------------------------------------------------------------------------- */

static json_t *reload_answer(const struct xy_reload_result *result)
{
	if (result->failed)
		return json_pack("{s:s, s:I}", "error", result->why, "generation",
				 (json_int_t)result->generation);
	return json_pack("{s:b, s:I, s:{s:I, s:I, s:I}}", "reloaded", 1, "generation",
			 (json_int_t)result->generation, "revoked", "flows",
			 (json_int_t)result->flows, "subscriptions",
			 (json_int_t)result->subscriptions, "connections",
			 (json_int_t)result->connections);
}

static void reloaded_run(struct xy_task *task)
{
	struct xy_admin *admin = xy_container_of(task, struct xy_admin, reloaded);
	struct session *session, *after;
	struct xy_reload_result result;

	atomic_store(&admin->reloaded_posted, false);
	xy_reload_result(admin->reload, &result);
	xy_list_each_safe (session, after, &admin->sessions, list) {
		if (!session->ticket || session->ticket > result.ticket)
			continue;
		session->ticket = 0;
		session_answer(session, reload_answer(&result));
	}
}

/* On main's thread. */
static void reload_done(void *context)
{
	struct xy_admin *admin = context;

	if (!atomic_exchange(&admin->reloaded_posted, true))
		xy_loop_post(admin->loop, &admin->reloaded);
}

static void session_reload(struct session *session)
{
	struct xy_admin *admin = session->admin;

	if (!admin->reload) {
		session_answer(session,
			       json_pack("{s:s}", "error",
					 "the proxy was started without --config and without "
					 "--token-file: there is nothing to read again"));
		return;
	}
	/* It ends when a worker that is stuck comes round: the client decides how long to wait. */
	xy_timer_stop(&session->timer);
	session->ticket = xy_reload_ask(admin->reload);
	xy_loop_rewatch(admin->loop, &session->watch, 0);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void session_request(struct session *session, const char *line, size_t length)
{
	json_t *json = json_loadb(line, length, 0, NULL);
	const char *request = json_string_value(json_object_get(json, "request"));
	struct xy_admin *admin = session->admin;

	if (request && strcmp(request, "status") == 0) {
		session_status(session);
	} else if (request && strcmp(request, "ready") == 0) {
		session_answer(session,
			       json_pack("{s:b}", "ready", !atomic_load(&admin->core->draining)));
	} else if (request && strcmp(request, "reload") == 0) {
		session_reload(session);
	} else {
		session_answer(session, json_pack("{s:s}", "error",
						  "a line is {\"request\":\"status\"}, "
						  "{\"request\":\"ready\"} or "
						  "{\"request\":\"reload\"}"));
	}
	json_decref(json);
}

static void session_read(struct session *session)
{
	char line[REQUEST_MAX], *end;
	size_t length;
	ssize_t got;

	/* One line after the other: nothing is read while an answer is due. */
	end = memchr(session->request, '\n', session->got);
	if (!end) {
		got = recv(session->watch.fd, session->request + session->got,
			   sizeof(session->request) - session->got, MSG_DONTWAIT);
		if (got <= 0) { /* also when a line is longer than there is room */
			if (got == 0 || (errno != EAGAIN && errno != EINTR))
				session_close(session);
			return;
		}
		session->got += (size_t)got;
		end = memchr(session->request, '\n', session->got);
	}
	if (!end)
		return;
	length = (size_t)(end - session->request);
	memcpy(line, session->request, length);
	session->got -= length + 1;
	memmove(session->request, end + 1, session->got);
	session_request(session, line, length);
}

static void session_ready(struct xy_watch *watch, uint32_t events)
{
	struct session *session = xy_container_of(watch, struct session, watch);

	(void)events;
	/* EPOLLHUP and EPOLLERR come while a loop or a reload is waited for, too. */
	if (session->waiting || session->ticket)
		session_close(session);
	else if (session->text)
		session_write(session);
	else
		session_read(session);
}

static void session_expired(struct xy_timer *timer)
{
	session_close(xy_container_of(timer, struct session, timer));
}

static void rest_over(struct xy_timer *timer)
{
	struct xy_admin *admin = xy_container_of(timer, struct xy_admin, rest);

	xy_loop_rewatch(admin->loop, &admin->listener, EPOLLIN);
}

static void listener_ready(struct xy_watch *watch, uint32_t events)
{
	struct xy_admin *admin = xy_container_of(watch, struct xy_admin, listener);
	struct session *session;
	int fd, error = xy_net_accept(watch->fd, NULL, &fd);

	(void)events;
	if (error && error != -EAGAIN) {
		xy_loop_rewatch(admin->loop, &admin->listener, 0);
		xy_timer_start(admin->loop, &admin->rest, REST_MS);
	}
	if (error)
		return;
	session = admin->count < SESSIONS_MAX ? calloc(1, sizeof(*session)) : NULL;
	if (!session) {
		close(fd);
		return;
	}
	session->admin = admin;
	session->watch = (struct xy_watch){.fd = fd, .name = "admin", .ready = session_ready};
	session->timer = (struct xy_timer){.name = "admin", .expired = session_expired};
	xy_list_init(&session->list);
	xy_list_add_tail(&admin->sessions, &session->list);
	admin->count++;
	xy_timer_start(admin->loop, &session->timer, IDLE_MS);
	if (xy_loop_watch(admin->loop, &session->watch, EPOLLIN))
		session_free(session);
}

int xy_admin_new(const char *path, struct xy_admin **ret_admin, char *why, size_t why_size)
{
	struct xy_admin *admin = calloc(1, sizeof(*admin));
	struct xy_loop_options options = {.name = "admin"};
	struct xy_address address = {0};
	char text[sizeof("unix:") + 4096];
	int error = -ENOMEM;

	if (!admin)
		goto err_why;
	xy_list_init(&admin->sessions);
	admin->listener = (struct xy_watch){.fd = -1, .name = "admin", .ready = listener_ready};
	admin->rest = (struct xy_timer){.name = "rest", .expired = rest_over};
	error = xy_loop_new(&options, &admin->loop);
	if (error)
		goto err_free;
	snprintf(text, sizeof(text), "unix:%s", path);
	error = xy_address_parse(text, &address, 1, why, why_size);
	if (error < 0) {
		xy_admin_free(admin);
		return error;
	}
	error = xy_net_listen(&address, 16, &admin->listener.fd);
	if (error)
		goto err_free;
	snprintf(admin->path, sizeof(admin->path), "%s", path);
	if (chmod(path, 0600)) {
		error = -errno;
		goto err_free;
	}
	*ret_admin = admin;
	return 0;

err_free:
	xy_admin_free(admin);
err_why:
	snprintf(why, why_size, "cannot open the admin socket %s: %s", path, strerror(-error));
	return error;
}

void xy_admin_withdraw(struct xy_admin *admin)
{
	xy_net_unlisten(admin->listener.fd);
}

void xy_admin_unlink(const struct xy_admin *admin)
{
	unlink(admin->path);
}

int xy_admin_give(const struct xy_admin *admin, uid_t user, gid_t group)
{
	return lchown(admin->path, user, group) ? -errno : 0;
}

void xy_admin_free(struct xy_admin *admin)
{
	struct session *session, *after;

	if (!admin)
		return;
	xy_list_each_safe (session, after, &admin->sessions, list)
		session_free(session);
	xy_net_unlisten(admin->listener.fd);
	xy_loop_free(admin->loop);
	free(admin);
}

static void *admin_thread(void *context)
{
	struct xy_admin *admin = context;

	pthread_setname_np(pthread_self(), "admin");
	xy_loop_run(admin->loop);
	return NULL;
}

static void quiet(void *context)
{
	struct xy_admin *admin = context;

	if (admin->stopping)
		xy_loop_stop(admin->loop);
}

int xy_admin_start(struct xy_admin *admin, struct xy_core *core, struct xy_reload *reload)
{
	int error;

	admin->core = core;
	admin->reload = reload;
	admin->statuses = (struct xy_statuses){
		.core = core, .home = admin->loop, .quiet = quiet, .context = admin};
	admin->reloaded = (struct xy_task){.name = "reloaded", .run = reloaded_run};
	if (reload)
		xy_reload_notify(reload, reload_done, admin);
	error = xy_loop_watch(admin->loop, &admin->listener, EPOLLIN);
	return error ? error : -pthread_create(&admin->thread, NULL, admin_thread, admin);
}

static void stop_run(struct xy_task *task)
{
	struct xy_admin *admin = xy_container_of(task, struct xy_admin, stop);

	admin->stopping = true;
	if (!admin->statuses.asked)
		xy_loop_stop(admin->loop);
}

void xy_admin_stop(struct xy_admin *admin)
{
	admin->stop = (struct xy_task){.name = "stop", .run = stop_run};
	xy_loop_post(admin->loop, &admin->stop);
	pthread_join(admin->thread, NULL);
}

struct xy_loop *xy_admin_loop(struct xy_admin *admin)
{
	return admin->loop;
}
