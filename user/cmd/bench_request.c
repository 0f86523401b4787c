/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cmd/bench.h"

#define LOOK_MS           20
/* Requests under way, of one requester with a rate; their replies fit into what the library keeps.
 */
#define OUTSTANDING_MAX   256u
#define OUTSTANDING_BYTES (8u << 20)

static void reply_take(struct xy_bench_job *job, uint64_t index, uint64_t begin_ns,
		       const struct xy_bench_message *reply)
{
	const struct xy_bench_run *run = job->run;
	uint64_t now = xy_clock_ns(), done;

	if (!xy_bench_intact(reply->data, reply->length, run->size, job->self->index, index,
			     run->bench->whole ? job->message : NULL))
		job->self->corrupt++;
	xy_bench_record(job, begin_ns, now);
	done = atomic_load_explicit(&job->self->done, memory_order_relaxed) + 1;
	if (done == run->bench->count)
		job->self->finished_ns = now;
	atomic_store_explicit(&job->self->done, done, memory_order_release);
}

static void begin(struct xy_bench_job *job, uint64_t index)
{
	xy_bench_stamp(job->message, job->run->size, job->self->index, index);
	atomic_store_explicit(&job->self->begun, index + 1, memory_order_relaxed);
}

/* ---- one after the other --------------------------------------------------------------------- */

static int request_each(struct xy_bench_job *job)
{
	struct xy_bench_message reply;

	for (uint64_t index = 0; xy_bench_goes_on(job, index); index++) {
		uint64_t begin_ns = xy_clock_ns();
		int r;

		begin(job, index);
		r = xy_bench_request(job, &reply);
		/* Without a reply: the conductor sees that it was begun and not done. */
		if (!r)
			reply_take(job, index, begin_ns, &reply);
		else if (r != -ETIMEDOUT && r != -ENOENT && r != -EINTR)
			return xy_bench_complain(job, "no reply", r);
	}
	return XY_CMD_OK;
}

/* ---- when each is due, whatever became of those before --------------------------------------- */

struct outstanding {
	struct flight *flight;
	uint64_t index, due_ns;
};

struct flight {
	struct xy_bench_job *job;
	unsigned count, most;
	struct outstanding all[OUTSTANDING_MAX];
	uint16_t spare[OUTSTANDING_MAX]; /* of all, from count on; those before are under way */
};

void xy_bench_replied(void *context, const struct xy_bench_message *reply)
{
	struct outstanding *request = context;
	struct flight *flight = request->flight;

	/* Without: the conductor sees that it was begun and not done. */
	if (reply)
		reply_take(flight->job, request->index, request->due_ns, reply);
	flight->spare[--flight->count] = (uint16_t)(request - flight->all);
}

/* Takes replies until no more than so many are outstanding, or the phase is `end`. A status. */
static int flight_wait(struct flight *flight, unsigned most, enum xy_bench_phase end)
{
	struct xy_bench_job *job = flight->job;
	struct pollfd polled = {.fd = job->transport->fd(job), .events = POLLIN};

	for (;;) {
		int r = job->transport->process(job);

		if (r)
			return xy_bench_complain(job, "connection", r);
		if (flight->count <= most || xy_bench_phase(job->run) >= end)
			return XY_CMD_OK;
		poll(&polled, 1, LOOK_MS);
	}
}

static int flight_send(struct flight *flight, uint64_t index, uint64_t due_ns)
{
	struct xy_bench_job *job = flight->job;
	struct outstanding *request = &flight->all[flight->spare[flight->count]];
	int r;

	begin(job, index);
	request->index = index;
	request->due_ns = due_ns;
	flight->count++;
	r = job->transport->request_async(job, job->message, request);
	if (r)
		flight->count--; /* its handler will not be called */
	else
		r = job->transport->process(job);
	if (r && r != -EINTR)
		return xy_bench_complain(job, "no reply", r);
	return XY_CMD_OK;
}

static int request_planned(struct xy_bench_job *job)
{
	struct flight flight = {.job = job};
	uint64_t index = 0;
	int status = XY_CMD_OK;

	flight.most = xy_min(OUTSTANDING_MAX, 1 + OUTSTANDING_BYTES / (job->run->size + 1));
	for (unsigned i = 0; i < flight.most; i++) {
		flight.all[i].flight = &flight;
		flight.spare[i] = (uint16_t)i;
	}
	while (!status && xy_bench_goes_on(job, index)) {
		uint64_t due_ns = xy_bench_due_ns(job->run, job->self->index, index);

		status = xy_bench_wait(job, due_ns);
		if (!status)
			status = flight_wait(&flight, flight.most - 1, XY_BENCH_END);
		if (status || xy_bench_phase(job->run) != XY_BENCH_RUN)
			break;
		if (due_ns >= job->run->from_ns)
			xy_histogram_add(&job->self->late, xy_clock_ns() - due_ns, 1);
		status = flight_send(&flight, index++, due_ns);
	}
	xy_bench_count_unsent(job, index);
	if (!status)
		status = flight_wait(&flight, 0, XY_BENCH_BYE);
	return status;
}

int xy_bench_requester(struct xy_bench_job *job)
{
	return job->run->bench->rate > 0 ? request_planned(job) : request_each(job);
}

/* ---- replier --------------------------------------------------------------------------------- */

int xy_bench_replier(struct xy_bench_job *job)
{
	struct xy_bench_message request;

	while (xy_bench_phase(job->run) != XY_BENCH_BYE) {
		int r = job->transport->next(job, &request);

		if (!r)
			r = xy_bench_reply(job, &request);
		if (r == -EINVAL)
			job->self->foreign++;
		else if (r && r != -EINTR)
			return xy_bench_complain(job, "connection", r);
	}
	return XY_CMD_OK;
}
