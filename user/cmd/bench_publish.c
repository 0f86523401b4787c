/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cmd/bench.h"

/* Where nobody else holds a publisher back, the bench does, at so much ahead of the slowest
 * subscriber; it looks once per part of that. */
#define AHEAD_BYTES (8u << 20)
#define AHEAD_MIN   64u
#define AHEAD_PARTS 16
#define AHEAD_NS    (50 * 1000)

/* ---- publisher ------------------------------------------------------------------------------- */

/* How many messages are on their way to the subscriber that has most to come. */
static uint64_t ahead(const struct xy_bench_job *job)
{
	struct xy_bench_run *run = job->run;
	unsigned first = 0, last = run->consumers - 1;
	uint64_t begun = 0, least = UINT64_MAX;

	if (run->bench->pairs)
		first = last = job->self->index;
	for (unsigned i = 0; i < run->producers; i++)
		if (!run->bench->pairs || i == job->self->index)
			begun += atomic_load_explicit(&run->worker[i].begun, memory_order_relaxed);
	for (unsigned i = first; i <= last; i++)
		least = xy_min(least, atomic_load_explicit(&xy_bench_consumer(run, i)->done,
							   memory_order_relaxed));
	return begun - xy_min(begun, least);
}

static void stay_near(const struct xy_bench_job *job, uint64_t index)
{
	uint64_t most = xy_max(AHEAD_BYTES / (job->run->size + 1), AHEAD_MIN);

	if (index % (most / AHEAD_PARTS))
		return;
	while (ahead(job) > most && xy_bench_phase(job->run) == XY_BENCH_RUN)
		ppoll(NULL, 0, &(struct timespec){.tv_nsec = AHEAD_NS}, NULL);
}

/* Whether a call that a signal ended is to be made again. */
static bool again(const struct xy_bench_job *job, int error)
{
	return error == -EINTR && xy_bench_phase(job->run) != XY_BENCH_BYE;
}

static int publish_one(struct xy_bench_job *job, uint64_t index)
{
	const struct xy_bench_run *run = job->run;
	int r;

	xy_bench_stamp(job->message, run->size, job->self->index, index);
	do
		r = job->transport->publish(job, job->message);
	while (again(job, r));
	if (r)
		return r;
	/* It is with the library, whatever comes of the flush. */
	atomic_store_explicit(&job->self->begun, index + 1, memory_order_relaxed);
	if (!run->bench->each)
		return 0;
	do
		r = job->transport->flush(job);
	while (again(job, r));
	return r;
}

int xy_bench_publisher(struct xy_bench_job *job)
{
	const struct xy_bench_run *run = job->run;
	bool paced = run->bench->rate > 0;
	uint64_t index = 0;
	int r = 0, status = XY_CMD_OK;

	while (!r && !status && xy_bench_goes_on(job, index)) {
		if (paced) {
			uint64_t due_ns = xy_bench_due_ns(run, job->self->index, index);

			status = xy_bench_wait(job, due_ns);
			if (status || xy_bench_phase(run) != XY_BENCH_RUN)
				break;
			if (due_ns >= run->from_ns)
				xy_histogram_add(&job->self->late, xy_clock_ns() - due_ns, 1);
		}
		if (job->transport->unbounded)
			stay_near(job, index);
		r = publish_one(job, index);
		if (!r)
			index++;
	}
	xy_bench_count_unsent(job, index);
	if (status)
		return status;
	while (!r || again(job, r)) {
		r = job->transport->sync ? job->transport->sync(job) : job->transport->flush(job);
		if (!r)
			return XY_CMD_OK;
	}
	/* Told to leave, which has its reason elsewhere. */
	return r == -EINTR ? XY_CMD_OK : xy_bench_complain(job, "cannot publish", r);
}

/* ---- subscriber ------------------------------------------------------------------------------ */

struct inbox {
	struct xy_bench_job *job;
	unsigned producer;                     /* of the last message: mostly also of the next */
	uint64_t next[XY_BENCH_PRODUCERS_MAX]; /* index awaited of each */
	uint64_t expected;                     /* in all; of a run that is counted */
};

/* Who sent it; false: nobody that we know. */
static bool producer_find(struct inbox *inbox, uint64_t source)
{
	const struct xy_bench_run *run = inbox->job->run;

	if (inbox->job->transport->anonymous)
		return !run->bench->pairs || inbox->producer == inbox->job->self->index;
	for (unsigned tried = 0; tried < run->producers; tried++) {
		if (run->worker[inbox->producer].endpoint == source)
			return !run->bench->pairs || inbox->producer == inbox->job->self->index;
		inbox->producer = (inbox->producer + 1) % run->producers;
	}
	return false;
}

static void message_take(struct inbox *inbox, const struct xy_bench_message *message)
{
	struct xy_bench_job *job = inbox->job;
	const struct xy_bench_run *run = job->run;
	uint64_t index = message->sequence - 1, done, *next;

	if (job->transport->anonymous &&
	    !xy_bench_stamped(message->data, message->length, run->size, run->producers,
			      &inbox->producer, &index)) {
		job->self->corrupt++;
		return;
	}
	if (!producer_find(inbox, message->source)) {
		job->self->foreign++;
		return;
	}
	next = &inbox->next[inbox->producer];
	if (index < *next) {
		job->self->repeated++;
		return;
	}
	/* What was left out is found by the conductor, who knows how many there are. */
	*next = index + 1;
	if (!xy_bench_intact(message->data, message->length, run->size, inbox->producer, index,
			     run->bench->whole ? job->message : NULL))
		job->self->corrupt++;
	if (run->bench->rate > 0)
		xy_bench_record(job, xy_bench_due_ns(run, inbox->producer, index), xy_clock_ns());
	done = atomic_load_explicit(&job->self->done, memory_order_relaxed) + 1;
	if (done == inbox->expected)
		job->self->finished_ns = xy_clock_ns();
	atomic_store_explicit(&job->self->done, done, memory_order_release);
}

int xy_bench_subscriber(struct xy_bench_job *job)
{
	const struct xy_bench *bench = job->run->bench;
	struct inbox inbox = {
		.job = job,
		.expected = bench->count * (bench->pairs ? 1 : job->run->producers),
	};
	struct xy_bench_message message;

	while (xy_bench_phase(job->run) != XY_BENCH_BYE) {
		int r = job->transport->next(job, &message);

		if (!r)
			message_take(&inbox, &message);
		else if (r != -EINTR)
			return xy_bench_complain(job, "connection", r);
	}
	return XY_CMD_OK;
}
