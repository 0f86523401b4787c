/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cmd/bench.h"
#include "cmd/stop.h"
#include "cmd/text.h"

/* The conductor sleeps so long between two looks, to disturb little; in a hurry, so long. */
#define LOOK_MS     50ull
#define HURRY_MS    2
#define PROGRESS_NS (200 * XY_NS_PER_MS)
/* What is under way must move at least so often, once nothing new is begun: longer than the proxy's
 * patience with a subscriber. */
#define PATIENCE_NS (6 * XY_NS_PER_S)
/* What was due in time may be sent so much later; after that it counts as unsent. */
#define GRACE_NS    (100 * XY_NS_PER_MS)
/* Of workers that were told to leave, before they are killed. */
#define LEAVING_NS  (10 * XY_NS_PER_S)

struct conduct {
	struct xy_bench_run *run;
	const struct xy_command *command;
	struct xy_bench_result *result;
	unsigned workers;
	int gate[2];
	int status;       /* the first worker's that failed */
	bool interrupted; /* by the user */
	bool terminal;
	uint64_t shown_ns;
	/* At the ends of the time that is measured. */
	struct mark {
		uint64_t at_ns, done;
		struct xy_bench_usage usage;
	} begin, end;
};

/* ---- workers --------------------------------------------------------------------------------- */

static int worker_start(struct conduct *conduct, struct xy_bench_worker *worker)
{
	pid_t parent = getpid(), pid;

	/* Nothing that is buffered may be written twice. */
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "xylem bench: cannot start a worker: %s\n", strerror(errno));
		return XY_CMD_FAILURE;
	}
	if (pid > 0) {
		worker->pid = pid;
		return XY_CMD_OK;
	}
	/* Who kills the conductor kills its workers. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(XY_CMD_FAILURE);
	close(conduct->gate[1]);
	exit(xy_bench_work(conduct->run, worker, conduct->command, conduct->gate[0]));
}

static struct xy_bench_worker *worker_of(const struct conduct *conduct, pid_t pid)
{
	for (unsigned i = 0; i < conduct->workers; i++)
		if (conduct->run->worker[i].pid == pid)
			return &conduct->run->worker[i];
	return NULL;
}

/* Takes leave of workers that have ended: producers that are final, and everybody who was told to
 * leave, with 0. Any other status is the run's. */
static void workers_reap(struct conduct *conduct)
{
	struct xy_bench_worker *worker;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		worker = worker_of(conduct, pid);
		if (worker)
			worker->pid = 0;
		if (WIFSIGNALED(status))
			fprintf(stderr, "xylem bench: a worker was killed by signal %d\n",
				WTERMSIG(status));
		if (!conduct->status)
			conduct->status =
				WIFSIGNALED(status) ? XY_CMD_FAILURE : WEXITSTATUS(status);
	}
}

static bool workers_are(const struct conduct *conduct, unsigned first, unsigned end,
			enum xy_bench_state state)
{
	for (unsigned i = first; i < end; i++)
		if (atomic_load(&conduct->run->worker[i].state) < (int)state)
			return false;
	return true;
}

/* Tells the workers from first on to leave, and sees them go. */
static void workers_dismiss(struct conduct *conduct)
{
	uint64_t deadline = xy_clock_ns() + LEAVING_NS;
	bool left = true;

	atomic_store(&conduct->run->phase, XY_BENCH_BYE);
	if (conduct->gate[1] >= 0)
		close(conduct->gate[1]);
	while (left) {
		int signal = xy_clock_ns() < deadline ? SIGTERM : SIGKILL;

		left = false;
		for (unsigned i = 0; i < conduct->workers; i++)
			if (conduct->run->worker[i].pid) {
				/* Again and again: one may just be about to wait. */
				kill(conduct->run->worker[i].pid, signal);
				left = true;
			}
		poll(NULL, 0, HURRY_MS);
		workers_reap(conduct);
	}
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* What has been measured so far: each message counts as often as it arrives. */
static uint64_t done(const struct xy_bench_run *run)
{
	unsigned first = run->request ? 0 : run->producers;
	unsigned end = run->request ? run->producers : run->producers + run->consumers;
	uint64_t sum = 0;

	for (unsigned i = first; i < end; i++)
		sum += atomic_load_explicit(&run->worker[i].done, memory_order_acquire);
	return sum;
}

static uint64_t begun(const struct xy_bench_run *run)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < run->producers; i++)
		sum += atomic_load_explicit(&run->worker[i].begun, memory_order_relaxed);
	return sum * xy_bench_fan_out(run);
}

static void show(struct conduct *conduct, uint64_t now)
{
	const struct xy_bench_run *run = conduct->run;
	uint64_t count = done(run) - conduct->begin.done;
	uint64_t elapsed_ns = now - conduct->begin.at_ns;

	if (!conduct->terminal || now < conduct->shown_ns + PROGRESS_NS || !elapsed_ns)
		return;
	conduct->shown_ns = now;
	fprintf(stderr, "\r%s, %s: %s messages, %s/s\033[K", run->request ? "request" : "publish",
		XY_SIZE(run->size), XY_COUNT(count),
		XY_COUNT((uint64_t)((double)count * XY_NS_PER_S / (double)elapsed_ns)));
}

/* Looks once, sleeps at most so long. False: the run is over before its time. */
static bool look(struct conduct *conduct, uint64_t most_ms)
{
	struct pollfd polled = {.fd = xy_stop_fd(), .events = POLLIN};

	workers_reap(conduct);
	show(conduct, xy_clock_ns());
	if (!conduct->status && !xy_stop_wanted())
		poll(&polled, 1, (int)most_ms);
	if (xy_stop_wanted())
		conduct->interrupted = true;
	return !conduct->status && !conduct->interrupted;
}

static bool look_until(struct conduct *conduct, uint64_t deadline_ns)
{
	uint64_t now;

	while ((now = xy_clock_ns()) < deadline_ns)
		if (!look(conduct, xy_min((deadline_ns - now) / XY_NS_PER_MS + 1, LOOK_MS)))
			return false;
	return true;
}

static void mark(struct conduct *conduct, struct mark *mark)
{
	*mark = (struct mark){.at_ns = xy_clock_ns(), .done = done(conduct->run)};
	if (conduct->result->proxy &&
	    xy_bench_proxy_usage(conduct->result->proxy, &mark->usage) != 0)
		conduct->result->proxy = 0;
}

/* ---- the run, in its order ------------------------------------------------------------------- */

/* Until all that have been started are. */
static void ready(struct conduct *conduct)
{
	while (!conduct->status && !workers_are(conduct, 0, conduct->workers, XY_BENCH_READY))
		if (!look(conduct, HURRY_MS))
			return;
}

static void setup(struct conduct *conduct)
{
	const struct xy_bench_run *run = conduct->run;

	for (unsigned i = 0;
	     i < run->producers + run->consumers && !conduct->status && !conduct->interrupted;
	     i++) {
		conduct->workers++;
		conduct->status = worker_start(conduct, &conduct->run->worker[i]);
		/* If the first one cannot connect, the others need not say so, too. */
		if (i == 0)
			ready(conduct);
	}
	ready(conduct);
}

static void begin(struct conduct *conduct)
{
	struct xy_bench_run *run = conduct->run;
	const struct xy_bench *bench = run->bench;

	mark(conduct, &conduct->begin);
	run->start_ns = xy_clock_ns();
	run->from_ns = run->start_ns;
	run->until_ns = UINT64_MAX;
	if (!bench->count) {
		run->from_ns += bench->warmup_ms * XY_NS_PER_MS;
		run->until_ns = run->from_ns + bench->duration_ms * XY_NS_PER_MS;
	}
	conduct->begin.at_ns = run->start_ns;
	atomic_store(&run->phase, XY_BENCH_RUN);
	close(conduct->gate[1]);
	conduct->gate[1] = -1;
}

/* Until the time is over, or all that is counted is sent. */
static void measure(struct conduct *conduct)
{
	struct xy_bench_run *run = conduct->run;

	if (run->bench->count) {
		while (!workers_are(conduct, 0, run->producers, XY_BENCH_FINAL))
			if (!look(conduct, LOOK_MS))
				return;
	} else if (look_until(conduct, run->from_ns)) {
		mark(conduct, &conduct->begin);
		look_until(conduct, run->until_ns);
		mark(conduct, &conduct->end);
		while (run->bench->rate > 0 && xy_clock_ns() < run->until_ns + GRACE_NS &&
		       !workers_are(conduct, 0, run->producers, XY_BENCH_FINAL))
			if (!look(conduct, HURRY_MS))
				return;
	}
}

/* Nothing new is begun: waits until all that is under way has come, or nothing moves any more. */
static void settle(struct conduct *conduct)
{
	struct xy_bench_run *run = conduct->run;
	uint64_t moved_ns = xy_clock_ns(), before = 0;

	atomic_store(&run->phase, XY_BENCH_END);
	while (!conduct->status) {
		uint64_t now = xy_clock_ns(), moved = begun(run) + done(run);

		if (workers_are(conduct, 0, run->producers, XY_BENCH_FINAL) &&
		    done(run) >= begun(run))
			return;
		if (moved != before)
			moved_ns = now;
		else if (now - moved_ns > PATIENCE_NS)
			return;
		before = moved;
		workers_reap(conduct);
		poll(NULL, 0, HURRY_MS);
	}
}

static void collect(struct conduct *conduct)
{
	const struct xy_bench_run *run = conduct->run;
	struct xy_bench_result *result = conduct->result;
	uint64_t finished_ns = 0;

	result->workers = conduct->workers;
	result->begun = begun(run);
	result->done = done(run);
	result->missing = result->begun > result->done ? result->begun - result->done : 0;
	result->interrupted = conduct->interrupted;
	for (unsigned i = 0; i < conduct->workers; i++) {
		const struct xy_bench_worker *worker = &run->worker[i];

		result->lanes += worker->lane;
		result->corrupt += worker->corrupt;
		result->repeated += worker->repeated;
		result->foreign += worker->foreign;
		result->unsent += worker->unsent;
		finished_ns = xy_max(finished_ns, worker->finished_ns);
		xy_histogram_merge(&result->latency, &worker->latency);
		xy_histogram_merge(&result->late, &worker->late);
	}
	/* What is counted is over when the last one has come, not when it is seen. */
	if (run->bench->count && !conduct->interrupted && finished_ns)
		conduct->end.at_ns = finished_ns;
	result->measured = conduct->end.done - conduct->begin.done;
	result->elapsed_ns = conduct->end.at_ns - conduct->begin.at_ns;
	result->used.cpu_ns = conduct->end.usage.cpu_ns - conduct->begin.usage.cpu_ns;
	result->used.switches = conduct->end.usage.switches - conduct->begin.usage.switches;
}

static void conduct_run(struct conduct *conduct, bool *ret_begun)
{
	const struct xy_bench_run *run = conduct->run;

	setup(conduct);
	if (!conduct->status && !conduct->interrupted)
		conduct->status = xy_bench_proxy_find(run->bench, conduct->command, run,
						      &conduct->result->proxy);
	if (!conduct->status && !conduct->interrupted) {
		*ret_begun = true;
		begin(conduct);
		measure(conduct);
		settle(conduct);
		if (!conduct->end.at_ns)
			mark(conduct, &conduct->end);
		if (conduct->shown_ns)
			fputs("\r\033[K", stderr);
	}
	workers_dismiss(conduct);
	collect(conduct);
}

/* The mapping that the workers share; NULL, and why is told. */
static struct xy_bench_run *run_new(const struct xy_bench *bench, bool request, size_t *ret_length)
{
	unsigned workers = (unsigned)(bench->producers + bench->consumers);
	struct xy_bench_run *run;
	uint64_t id;

	*ret_length = sizeof(*run) + workers * sizeof(run->worker[0]);
	/* Zeros, and only what is touched is taken. */
	run = mmap(NULL, *ret_length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run == MAP_FAILED) {
		fprintf(stderr, "xylem bench: no memory for %u workers\n", workers);
		return NULL;
	}
	/* Not from base/random.h: what that keeps in stock would be the workers', too. */
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		id = xy_clock_realtime_ns();
	*run = (struct xy_bench_run){
		.bench = bench,
		.request = request,
		.producers = (unsigned)bench->producers,
		.consumers = (unsigned)bench->consumers,
	};
	snprintf(run->subject, sizeof(run->subject), "_bench.%016" PRIx64, id);
	for (unsigned i = 0; i < workers; i++) {
		run->worker[i].producer = i < run->producers;
		run->worker[i].index = i < run->producers ? i : i - run->producers;
	}
	return run;
}

int xy_bench_conduct(const struct xy_bench *bench, const struct xy_command *command, bool request,
		     uint32_t size, unsigned repetition, struct xy_bench_result *ret_result,
		     bool *ret_begun)
{
	struct conduct conduct = {
		.command = command,
		.result = ret_result,
		.terminal = isatty(STDERR_FILENO),
	};
	size_t length;

	*ret_begun = false;
	*ret_result = (struct xy_bench_result){
		.request = request, .size = size, .repetition = repetition};
	if (pipe2(conduct.gate, O_CLOEXEC)) {
		fprintf(stderr, "xylem bench: %s\n", strerror(errno));
		return XY_CMD_FAILURE;
	}
	conduct.run = run_new(bench, request, &length);
	if (!conduct.run) {
		close(conduct.gate[0]);
		close(conduct.gate[1]);
		return XY_CMD_FAILURE;
	}
	conduct.run->size = size;
	conduct_run(&conduct, ret_begun);
	munmap(conduct.run, length);
	close(conduct.gate[0]);
	if (!conduct.status && !xy_bench_good(ret_result))
		conduct.status = XY_CMD_FAILURE;
	if (!conduct.status && conduct.interrupted)
		conduct.status = XY_CMD_SIGNALLED;
	return conduct.status;
}
