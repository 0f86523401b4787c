/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/loop.h"
#include "io/timer.h"

#define EVENTS_MAX      128
#define TASKS_A_ROUND   256
#define UNBOUND_A_ROUND 16

struct xy_loop {
	char *name;
	bool (*turn_end)(struct xy_loop *loop, void *context);
	void *context;

	int epoll_fd;
	struct xy_watch wake; /* eventfd */
	uint64_t now_ms;
	struct xy_wheel wheel;

	struct epoll_event event[EVENTS_MAX]; /* of this round; data.ptr NULL = unwatched since */
	int event_next, event_count;
	/* Taken off `posted`, first posted first; more than one round may run. */
	struct xy_task *backlog, **backlog_end;

	/* Shared with other threads, apart from what the loop writes all the time. */
	_Alignas(64) _Atomic(struct xy_task *) posted; /* last posted first; or &asleep */
	_Atomic(struct xy_task *) unbound;             /* last posted first */
	/* Taken off `unbound` by the loop, first posted first. Whoever wants one takes all, and
	 * only the loop puts the rest back: so nobody follows a `next` that another may change. */
	_Atomic(struct xy_task *) unbound_next;
	atomic_bool stopping;
	_Alignas(64) atomic_uint_fast64_t rounds;
	atomic_uint_fast64_t wakes_ms; /* when it comes round by itself, while it waits */
	_Atomic(const char *) running;
	_Atomic(bool) ended;
};

/* Stands in `posted` for "empty, and the loop waits": only who replaces it has to write the
 * eventfd. */
static struct xy_task asleep;

static _Thread_local struct xy_loop *here;

static void running_set(struct xy_loop *loop, const char *name)
{
	atomic_store_explicit(&loop->running, name, memory_order_relaxed);
}

/* The round that it begins is all. Its watch is edge-triggered: each write is an event of its own,
 * and nothing need be read to be told of the next one. */
static void wake_ready(struct xy_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
}

static void wake(struct xy_loop *loop)
{
	const uint64_t one = 1;
	ssize_t n = write(loop->wake.fd, &one, sizeof(one));

	/* The counter is never full: that would take 2^64 of them. */
	(void)n;
}

int xy_loop_new(const struct xy_loop_options *options, struct xy_loop **ret_loop)
{
	struct xy_loop *loop;
	int r;

	loop = aligned_alloc(_Alignof(struct xy_loop), sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	memset(loop, 0, sizeof(*loop));
	loop->turn_end = options->turn_end;
	loop->context = options->context;
	loop->name = strdup(options->name ? options->name : "loop");
	if (!loop->name) {
		r = -ENOMEM;
		goto err_free;
	}
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		r = -errno;
		goto err_name;
	}
	loop->wake.name = "wake";
	loop->wake.ready = wake_ready;
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake.fd < 0) {
		r = -errno;
		goto err_epoll;
	}
	r = xy_loop_watch(loop, &loop->wake, EPOLLIN | EPOLLET);
	if (r < 0)
		goto err_wake;
	loop->now_ms = xy_clock_ms();
	loop->wheel.time = loop->now_ms;
	loop->backlog_end = &loop->backlog;
	*ret_loop = loop;
	return 0;

err_wake:
	close(loop->wake.fd);
err_epoll:
	close(loop->epoll_fd);
err_name:
	free(loop->name);
err_free:
	free(loop);
	return r;
}

void xy_loop_free(struct xy_loop *loop)
{
	if (!loop)
		return;
	xy_wheel_clear(&loop->wheel);
	close(loop->wake.fd);
	close(loop->epoll_fd);
	free(loop->name);
	free(loop);
}

void xy_loop_stop(struct xy_loop *loop)
{
	int saved = errno;

	atomic_store_explicit(&loop->stopping, true, memory_order_release);
	wake(loop);
	errno = saved;
}

/* ---- watches ------------------------------------------------------------------------------- */

static int watch_control(struct xy_loop *loop, struct xy_watch *watch, int operation,
			 uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) < 0)
		return -errno;
	watch->events = events;
	return 0;
}

int xy_loop_watch(struct xy_loop *loop, struct xy_watch *watch, uint32_t events)
{
	return watch_control(loop, watch, EPOLL_CTL_ADD, events);
}

int xy_loop_rewatch(struct xy_loop *loop, struct xy_watch *watch, uint32_t events)
{
	if (watch->events == events)
		return 0;
	return watch_control(loop, watch, EPOLL_CTL_MOD, events);
}

void xy_loop_unwatch(struct xy_loop *loop, struct xy_watch *watch)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->events = 0;
	for (int i = loop->event_next; i < loop->event_count; i++) {
		if (loop->event[i].data.ptr == watch)
			loop->event[i].data.ptr = NULL;
	}
}

/* ---- tasks --------------------------------------------------------------------------------- */

void xy_loop_post(struct xy_loop *loop, struct xy_task *task)
{
	struct xy_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);

	do {
		task->next = head == &asleep ? NULL : head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->posted, &head, task, memory_order_release, memory_order_relaxed));
	if (head == &asleep)
		wake(loop);
}

void xy_loop_post_unbound(struct xy_loop *loop, struct xy_task *task)
{
	struct xy_task *head = atomic_load_explicit(&loop->unbound, memory_order_relaxed);
	struct xy_task *waits = &asleep;

	do {
		task->next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->unbound, &head, task, memory_order_seq_cst, memory_order_relaxed));
	/* First the task, then the look; the loop does both the other way round. */
	if (atomic_compare_exchange_strong_explicit(&loop->posted, &waits, NULL,
						    memory_order_seq_cst, memory_order_seq_cst))
		wake(loop);
}

/* Turns a stack round. */
static struct xy_task *posted_order(struct xy_task *last)
{
	struct xy_task *first = NULL;

	while (last) {
		struct xy_task *before = last->next;

		last->next = first;
		first = last;
		last = before;
	}
	return first;
}

/* All of those that the loop has taken off the stack, or of those that it has not. */
static struct xy_task *unbound_next_take(struct xy_loop *loop)
{
	return atomic_exchange_explicit(&loop->unbound_next, NULL, memory_order_acquire);
}

static struct xy_task *unbound_stack_take(struct xy_loop *loop)
{
	return posted_order(atomic_exchange_explicit(&loop->unbound, NULL, memory_order_acquire));
}

struct xy_task *xy_loop_take_unbound(struct xy_loop *loop)
{
	struct xy_task *first = unbound_next_take(loop), **end = &first;

	while (*end)
		end = &(*end)->next;
	*end = unbound_stack_take(loop);
	return first;
}

static bool unbound_there(struct xy_loop *loop)
{
	return atomic_load_explicit(&loop->unbound, memory_order_seq_cst) ||
	       atomic_load_explicit(&loop->unbound_next, memory_order_relaxed);
}

static void task_run(struct xy_loop *loop, struct xy_task *task)
{
	running_set(loop, task->name);
	task->run(task);
}

static void unbound_run(struct xy_loop *loop, unsigned most)
{
	while (most--) {
		struct xy_task *task = unbound_next_take(loop);

		if (!task)
			task = unbound_stack_take(loop);
		if (!task)
			return;
		atomic_store_explicit(&loop->unbound_next, task->next, memory_order_release);
		task_run(loop, task);
	}
}

static void tasks_run(struct xy_loop *loop, unsigned most)
{
	struct xy_task *last;

	/* Tasks posted from here on wait for the next round, or one that posts itself would never
	 * let events through; and so does what is too much for one round. */
	last = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
	if (last && last != &asleep) {
		*loop->backlog_end = posted_order(last);
		loop->backlog_end = &last->next;
	}
	while (loop->backlog && most--) {
		struct xy_task *task = loop->backlog;

		loop->backlog = task->next;
		if (!loop->backlog)
			loop->backlog_end = &loop->backlog;
		task_run(loop, task);
	}
}

/* ---- timers -------------------------------------------------------------------------------- */

void xy_timer_start(struct xy_loop *loop, struct xy_timer *timer, uint64_t delay_ms)
{
	uint64_t due_ms;

	xy_timer_stop(timer);
	if (__builtin_add_overflow(loop->now_ms, delay_ms, &due_ms))
		due_ms = UINT64_MAX;
	xy_wheel_start(&loop->wheel, timer, due_ms);
}

static void timers_run(struct xy_loop *loop)
{
	struct xy_timer *timer;

	xy_wheel_expire(&loop->wheel, loop->now_ms);
	while ((timer = loop->wheel.batch)) {
		xy_timer_stop(timer);
		running_set(loop, timer->name);
		timer->expired(timer);
	}
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void events_run(struct xy_loop *loop)
{
	while (loop->event_next < loop->event_count) {
		const struct epoll_event *event = &loop->event[loop->event_next++];
		struct xy_watch *watch = event->data.ptr;
		uint32_t events;

		if (!watch)
			continue;
		/* What was rewatched away in this round is not of interest any more either. */
		events = event->events & (watch->events | EPOLLERR | EPOLLHUP);
		if (!events)
			continue;
		running_set(loop, watch->name);
		watch->ready(watch, events);
	}
	loop->event_next = loop->event_count = 0;
}

/* Milliseconds that epoll may wait; 0 also when a task is there already. */
static int wait_ms(struct xy_loop *loop, bool work_left)
{
	struct xy_task *empty = NULL;
	uint64_t next_ms, now_ms;

	if (work_left || loop->backlog)
		return 0;
	next_ms = xy_wheel_next(&loop->wheel);
	now_ms = next_ms == UINT64_MAX ? 0 : xy_clock_ms();
	if (next_ms <= now_ms)
		return 0;
	if (!atomic_compare_exchange_strong_explicit(&loop->posted, &empty, &asleep,
						     memory_order_seq_cst, memory_order_relaxed) ||
	    unbound_there(loop))
		return 0;
	atomic_store_explicit(&loop->wakes_ms, next_ms, memory_order_relaxed);
	if (next_ms == UINT64_MAX)
		return -1;
	return (int)xy_min(next_ms - now_ms, (uint64_t)INT_MAX);
}

int xy_loop_run(struct xy_loop *loop)
{
	bool work_left = false, stopping = false;

	here = loop;
	atomic_store_explicit(&loop->ended, false, memory_order_relaxed);
	while (!stopping) {
		int timeout = wait_ms(loop, work_left);
		int n;

		running_set(loop, NULL);
		n = epoll_wait(loop->epoll_fd, loop->event, EVENTS_MAX, timeout);
		if (n < 0 && errno != EINTR) {
			here = NULL;
			return -errno;
		}
		loop->event_count = xy_max(n, 0);
		loop->now_ms = xy_clock_ms();
		atomic_fetch_add_explicit(&loop->rounds, 1, memory_order_relaxed);

		/* Looked at before the tasks: what a thread posted before it called stop runs. */
		stopping = atomic_load_explicit(&loop->stopping, memory_order_acquire);
		/* Timers come last: data that came in time keeps a time-out from striking. */
		events_run(loop);
		unbound_run(loop, stopping ? UINT_MAX : UNBOUND_A_ROUND);
		tasks_run(loop, stopping ? UINT_MAX : TASKS_A_ROUND);
		timers_run(loop);
		running_set(loop, "turn-end");
		work_left = loop->turn_end && loop->turn_end(loop, loop->context);
	}
	running_set(loop, NULL);
	atomic_store_explicit(&loop->ended, true, memory_order_relaxed);
	here = NULL;
	atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
	return 0;
}

uint64_t xy_loop_now_ms(const struct xy_loop *loop)
{
	return loop->now_ms;
}

void *xy_loop_context(const struct xy_loop *loop)
{
	return loop->context;
}

const char *xy_loop_name(const struct xy_loop *loop)
{
	return loop->name;
}

uint64_t xy_loop_rounds(const struct xy_loop *loop)
{
	return atomic_load_explicit(&loop->rounds, memory_order_relaxed);
}

const char *xy_loop_running(const struct xy_loop *loop)
{
	return atomic_load_explicit(&loop->running, memory_order_relaxed);
}

bool xy_loop_idle(const struct xy_loop *loop)
{
	struct pollfd events = {.fd = loop->epoll_fd, .events = POLLIN};

	/* An epoll descriptor is readable when one of its own is; a posted task makes the eventfd
	 * so. */
	if (atomic_load_explicit(&loop->ended, memory_order_relaxed))
		return true;
	return !xy_loop_running(loop) &&
	       xy_clock_ms() <= atomic_load_explicit(&loop->wakes_ms, memory_order_relaxed) &&
	       poll(&events, 1, 0) == 0;
}

struct xy_loop *xy_loop_here(void)
{
	return here;
}
