/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cmd/bench.h"

/* A sleep ends late by about so much on an idle machine: what is left is waited for awake. */
#define AWAKE_NS     (100 * 1000ull)
/* Longest sleep between two looks at the phase. */
#define LOOK_NS      (20 * XY_NS_PER_MS)
#define UNSENT_STEPS 1000000

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t xy_bench_due_ns(const struct xy_bench_run *run, unsigned producer, uint64_t index)
{
	double place = (double)index * run->producers + producer;

	if (run->bench->rate <= 0)
		return run->start_ns;
	/* Producers take turns. */
	return run->start_ns + (uint64_t)(place / run->bench->rate * XY_NS_PER_S);
}

int xy_bench_wait(struct xy_bench_job *job, uint64_t due_ns)
{
	const struct xy_bench_transport *transport = job->transport;
	struct pollfd polled = {.fd = transport->process ? transport->fd(job) : -1,
				.events = POLLIN};
	uint64_t now;

	while ((now = xy_clock_ns()) < due_ns && xy_bench_phase(job->run) == XY_BENCH_RUN) {
		int r = transport->process ? transport->process(job) : 0;

		if (r)
			return xy_bench_complain(job, "connection", r);
		if (due_ns - now > AWAKE_NS) {
			uint64_t rest_ns = xy_min(due_ns - now - AWAKE_NS, LOOK_NS);

			ppoll(&polled, 1, &(struct timespec){.tv_nsec = (long)rest_ns}, NULL);
		} else {
			/* Whoever shares this CPU may be the one that is to receive. */
			sched_yield();
		}
	}
	return XY_CMD_OK;
}

bool xy_bench_goes_on(const struct xy_bench_job *job, uint64_t index)
{
	const struct xy_bench_run *run = job->run;

	if (xy_bench_phase(run) != XY_BENCH_RUN)
		return false;
	if (run->bench->count)
		return index < run->bench->count;
	return xy_bench_due_ns(run, job->self->index, index) < run->until_ns;
}

void xy_bench_record(struct xy_bench_job *job, uint64_t begin_ns, uint64_t end_ns)
{
	if (begin_ns >= job->run->from_ns && begin_ns < job->run->until_ns)
		xy_histogram_add(&job->self->latency, end_ns - begin_ns, 1);
}

void xy_bench_count_unsent(struct xy_bench_job *job, uint64_t next)
{
	const struct xy_bench_run *run = job->run;
	unsigned self = job->self->index;
	uint64_t now = xy_clock_ns(), until_ns = xy_min(run->until_ns, now);
	uint64_t due_ns = xy_bench_due_ns(run, self, next), rest, step;

	if (run->bench->rate <= 0 || run->bench->count || due_ns >= until_ns)
		return;
	rest = 1 + (uint64_t)((double)(until_ns - due_ns) / XY_NS_PER_S * run->bench->rate /
			      run->producers);
	/* One by one; of more than that, groups are as late as their first. */
	step = 1 + rest / UNSENT_STEPS;
	for (; rest > 0; next += step) {
		uint64_t times = xy_min(rest, step);

		due_ns = xy_bench_due_ns(run, self, next);
		rest -= times;
		job->self->unsent += times;
		if (due_ns >= run->from_ns && due_ns < now)
			xy_histogram_add(&job->self->latency, now - due_ns,
					 times * xy_bench_fan_out(run));
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Ends waits inside the library: somebody looks at the phase then. */
static void kicked(int number)
{
	(void)number;
}

/* The conductor decides when to stop. */
static void worker_signals(void)
{
	struct sigaction action = {.sa_handler = kicked}; /* no SA_RESTART */

	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGINT, SIG_IGN);
}

static void worker_pin(const struct xy_bench_run *run, const struct xy_bench_worker *self)
{
	const struct xy_bench *bench = run->bench;
	unsigned turn = (self->producer ? 0 : run->producers) + self->index;
	cpu_set_t set;

	if (!bench->cpus)
		return;
	CPU_ZERO(&set);
	CPU_SET(bench->cpu[turn % bench->cpus], &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Subjects are one's own with --pairs, else everybody's; replies have another. */
static int worker_open(struct xy_bench_job *job)
{
	const struct xy_bench_run *run = job->run;
	char there[XY_BENCH_SUBJECT_SIZE + 16], back[sizeof(there) + 2];
	bool producer = job->self->producer;

	if (run->bench->pairs)
		snprintf(there, sizeof(there), "%s.%u", run->subject, job->self->index);
	else
		snprintf(there, sizeof(there), "%s", run->subject);
	snprintf(back, sizeof(back), "%s.r", there);
	if (!run->request)
		return job->transport->open(job, producer ? there : NULL, producer ? NULL : there);
	return job->transport->open(job, producer ? there : back, producer ? back : there);
}

/* False: everybody is to leave. A run of few messages may have ended already: then there is
 * something to receive. */
static bool worker_await_start(struct xy_bench_job *job, int gate)
{
	struct pollfd polled = {.fd = gate, .events = POLLIN};

	atomic_store(&job->self->state, XY_BENCH_READY);
	while (xy_bench_phase(job->run) == XY_BENCH_SETUP)
		poll(&polled, 1, -1);
	return xy_bench_phase(job->run) != XY_BENCH_BYE;
}

/* Until all that is on its way has come. */
static void worker_stay(const struct xy_bench_job *job)
{
	while (xy_bench_phase(job->run) != XY_BENCH_BYE)
		poll(NULL, 0, LOOK_NS / XY_NS_PER_MS);
}

static int worker_act(struct xy_bench_job *job)
{
	int status;

	if (!job->self->producer)
		return job->run->request ? xy_bench_replier(job) : xy_bench_subscriber(job);
	status = job->run->request ? xy_bench_requester(job) : xy_bench_publisher(job);
	if (status)
		return status;
	atomic_store(&job->self->state, XY_BENCH_FINAL);
	if (!job->transport->sync)
		worker_stay(job);
	return XY_CMD_OK;
}

int xy_bench_work(struct xy_bench_run *run, struct xy_bench_worker *self,
		  const struct xy_command *command, int gate)
{
	struct xy_bench_job job = {
		.run = run,
		.self = self,
		.command = command,
		.transport = run->bench->transport,
	};
	int status, ended;

	worker_pin(run, self);
	prctl(PR_SET_TIMERSLACK, 1);
	job.message = malloc(run->size + 1);
	if (!job.message) {
		fprintf(stderr, "xylem bench: no memory for a message\n");
		return XY_CMD_FAILURE;
	}
	xy_bench_fill(job.message, run->size);
	status = worker_open(&job);
	if (!status) {
		worker_signals();
		if (worker_await_start(&job, gate))
			status = worker_act(&job);
	}
	ended = job.transport->close(&job);
	free(job.message);
	return status ? status : ended;
}
