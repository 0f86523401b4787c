/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event loop: epoll, timers, and tasks that other threads post.
 *
 * One thread runs a loop and owns everything registered with it. Only what says "any thread" may be
 * called from elsewhere. Work per round is bounded: 128 events, 256 tasks, 16 unbound tasks, the
 * timers that are due; what each of them may do, its owner bounds.
 * Level-triggered: K16 has edge-triggered epoll fire per redirected message.
 * Errors: 0 or -errno.
 */
#ifndef XY_IO_LOOP_H
#define XY_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct xy_loop;

/* A descriptor of interest; embed it. The callback may remove or free its own watch, and any other
 * watch of the same loop: an event already fetched for a removed watch is not delivered. */
struct xy_watch {
	int fd;
	uint32_t events;  /* EPOLLIN | EPOLLOUT …; kept by the loop */
	const char *name; /* what it is, for the watchdog's log */
	void (*ready)(struct xy_watch *watch, uint32_t events);
};

/* Work for a loop; embed it. Tasks of one poster run in the order posted. Belongs to the loop from
 * post until run is called; run may free it or post it again. */
struct xy_task {
	struct xy_task *next;
	const char *name;
	void (*run)(struct xy_task *task);
};

/* A one-shot timer, ms resolution; embed it, zero-initialise it. */
struct xy_timer {
	uint64_t due_ms;               /* private */
	struct xy_timer *next, **link; /* private; link is NULL when idle */
	const char *name;
	void (*expired)(struct xy_timer *timer);
};

struct xy_loop_options {
	const char *name;
	/* Called once a round, after all events and tasks and before waiting; may be NULL. Returns
	 * true when it left work behind: the loop then polls without waiting. */
	bool (*turn_end)(struct xy_loop *loop, void *context);
	void *context;
};

int xy_loop_new(const struct xy_loop_options *options, struct xy_loop **ret_loop);
void xy_loop_free(struct xy_loop *loop); /* pending tasks are dropped unrun; NULL is fine */
/* Until xy_loop_stop(); what was posted before that still runs. */
int xy_loop_run(struct xy_loop *loop);
void xy_loop_stop(struct xy_loop *loop); /* any thread; async-signal-safe */

int xy_loop_watch(struct xy_loop *loop, struct xy_watch *watch, uint32_t events);
int xy_loop_rewatch(struct xy_loop *loop, struct xy_watch *watch,
		    uint32_t events); /* no-op if unchanged */
void xy_loop_unwatch(struct xy_loop *loop, struct xy_watch *watch);

/* Any thread; never fails, never blocks. A task posted so runs on this loop and on no other. */
void xy_loop_post(struct xy_loop *loop, struct xy_task *task);
/* The same for a task that any loop may run, in no order: until it starts it can be taken back, by
 * any thread. xy_loop_here() tells it where it runs. It must not post itself again to that loop. */
void xy_loop_post_unbound(struct xy_loop *loop, struct xy_task *task);
/* The unbound tasks that have not started, linked by `next`; NULL = none. They are the caller's. */
struct xy_task *xy_loop_take_unbound(struct xy_loop *loop);
struct xy_loop *xy_loop_here(void); /* the loop that this thread runs, or NULL */

void xy_timer_start(struct xy_loop *loop, struct xy_timer *timer, uint64_t delay_ms); /* restarts */
void xy_timer_stop(struct xy_timer *timer);
bool xy_timer_active(const struct xy_timer *timer);

uint64_t xy_loop_now_ms(const struct xy_loop *loop); /* CLOCK_MONOTONIC, as of this round */
void *xy_loop_context(const struct xy_loop *loop);
const char *xy_loop_name(const struct xy_loop *loop);

/* For the watchdog; any thread. The names of watches, tasks and timers must outlive them (string
 * literals). */
uint64_t xy_loop_rounds(const struct xy_loop *loop);
/* Name of what runs now; NULL while waiting. */
const char *xy_loop_running(const struct xy_loop *loop);
/* Whether it waits, and has nothing to wake up for, or has ended: such a loop is not stuck, however
 * long it has been in the same round. */
bool xy_loop_idle(const struct xy_loop *loop);

#endif
