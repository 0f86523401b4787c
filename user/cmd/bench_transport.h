/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What carries the messages of a bench. For `xylem bench` that is libxylem (bench_client.c); the
 * comparison with others (scripts/bench/peers) brings their clients. Everything else, what is sent
 * when, stamped, checked, counted and timed how, is the same code for all of them.
 *
 * Functions return 0 or -errno unless said otherwise; -EINTR means that a signal ended a wait and
 * nothing was done. They are called by one worker, whose process has no other connection.
 */
#ifndef XY_CMD_BENCH_TRANSPORT_H
#define XY_CMD_BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xy_bench_job;

/* Valid until the next call for this worker. */
struct xy_bench_message {
	const void *data;
	size_t length;
	uint64_t source;    /* as xy_bench_worker's endpoint */
	uint64_t sequence;  /* the sender's count, from 1 */
	const void *origin; /* what the transport needs for a reply */
};

struct xy_bench_transport {
	const char *name;
	/* Messages do not say who sent them and as which: their stamps do, and source and sequence
	 * are nothing. */
	bool anonymous;
	/* Nothing holds a publisher back that is faster than a subscriber: the bench has to. */
	bool unbounded;

	/* Connects, ready to publish to `out` and receiving what is published to `in` (NULL =
	 * nothing). Leaves what it needs in job->link. A status; says what is wrong. */
	int (*open)(struct xy_bench_job *job, const char *out, const char *in);
	/* Also of what was not opened. A status. */
	int (*close)(struct xy_bench_job *job);

	/* Queues a message of the run's size, and sends it at the latest at flush. */
	int (*publish)(struct xy_bench_job *job, const void *data);
	int (*flush)(struct xy_bench_job *job);
	/* Waits until all that was published is on its way whatever becomes of this worker; NULL =
	 * it has to stay. */
	int (*sync)(struct xy_bench_job *job);
	/* Waits for the next message. */
	int (*next)(struct xy_bench_job *job, struct xy_bench_message *ret_message);

	/* A request and its reply. NULL = by a subject for each direction: what publish, flush and
	 * next do. */
	int (*request)(struct xy_bench_job *job, const void *data,
		       struct xy_bench_message *ret_reply);
	/* -EINVAL: that was no request. */
	int (*reply)(struct xy_bench_job *job, const struct xy_bench_message *request);
	/* Without waiting: xy_bench_replied() is called once, by process. NULL = cannot. */
	int (*request_async)(struct xy_bench_job *job, const void *data, void *context);

	/* Does what is to be done without waiting, whenever fd is readable and now and then; NULL =
	 * there is nothing. */
	int (*process)(struct xy_bench_job *job);
	int (*fd)(const struct xy_bench_job *job); /* NULL as well, then */

	/* Says what is wrong; a status. NULL = the error's own words. */
	int (*complain)(const struct xy_bench_job *job, const char *what, int error);
};

extern const struct xy_bench_transport xy_bench_client;

/* By what the transport has. */
int xy_bench_request(struct xy_bench_job *job, struct xy_bench_message *ret_reply);
int xy_bench_reply(struct xy_bench_job *job, const struct xy_bench_message *request);
int xy_bench_complain(const struct xy_bench_job *job, const char *what, int error);

/* In bench_request.c: the reply to what was asked with this context; NULL = there is none. */
void xy_bench_replied(void *context, const struct xy_bench_message *reply);

#endif
