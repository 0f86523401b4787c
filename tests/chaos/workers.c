/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/workers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos/account.h"
#include "chaos/judge.h"
#include "chaos/members.h"
#include "chaos/worker.h"
#include "common/sandbox.h"

#define HANG_MS    90000 /* without a turn; what a worker waits for has bounds of 5 s and less */
#define SEEN_MS    5000  /* from the cause of an end until it is seen */
#define RESPAWN_MS 500

struct process {
	pid_t pid; /* 0 = none */
	bool stopped, killed, finished;
	uint64_t wake_ms, start_ms, turns, turned_ms;
};

static struct ledger *ledger;
static int fd;
static const char *build;
static struct process process[WORKERS_MAX];
static struct dice dice;
static uint32_t kills, retries;
static char tight[64]; /* cgroup directory; "" = none */

/* ---- a cgroup with little memory for sockets ------------------------------------------------- */

static void tight_open(void)
{
	snprintf(tight, sizeof(tight), "/sys/fs/cgroup/memory/xylem-chaos-%d", getpid());
	if (mkdir(tight, 0755) == 0 &&
	    sandbox_cgroup_put(tight, "memory.kmem.tcp.limit_in_bytes", "1048576"))
		return;
	rmdir(tight);
	tight[0] = '\0';
	ledger_note(ledger, "no tight memory cgroup here: needs the v1 memory controller");
}

static void tight_close(void)
{
	if (tight[0] != '\0')
		rmdir(tight);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void run_python(uint32_t number, uint32_t life)
{
	char arguments[3][16];

	snprintf(arguments[0], sizeof(arguments[0]), "%d", fd);
	snprintf(arguments[1], sizeof(arguments[1]), "%u", number);
	snprintf(arguments[2], sizeof(arguments[2]), "%u", life);
	execlp("python3", "python3", "tests/chaos/python_worker.py", build, arguments[0],
	       arguments[1], arguments[2], (char *)NULL);
	_exit(127);
}

static void start(uint32_t number)
{
	struct worker *worker = &ledger->worker[number];
	struct process *self = &process[number];
	uint32_t life = atomic_load(&worker->life_number) + 1;

	ledger_note(ledger, "- %s: life %u begins", worker->plan.name, life);
	judge_begins(number, life);
	self->killed = self->stopped = false;
	self->turned_ms = self->start_ms = ledger_ms(ledger);
	self->pid = fork();
	if (self->pid != 0) {
		atomic_store(&worker->pid, self->pid);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (worker->plan.tight && tight[0] != '\0')
		sandbox_cgroup_put(tight, "cgroup.procs", "0");
	if (worker->plan.kind == WORKER_PYTHON)
		run_python(number, life);
	if (worker->plan.kind == WORKER_GARBAGE)
		_exit(garbage_worker(ledger, number, life));
	if (worker->plan.kind == WORKER_RAW)
		_exit(raw_worker(ledger, number, life));
	_exit(library_worker(ledger, number, life));
}

/* It said that it had no connection; then there must be a reason. */
static void try_again(const struct worker *worker, uint64_t now)
{
	retries++;
	if (!proxy_was_down(ledger, worker->plan.proxy, now) && !worker->plan.tight &&
	    now > atomic_load(&worker->excused_ms))
		ledger_fail(ledger, OTHER, "%s cannot start, or go on, for no known cause",
			    worker->plan.name);
}

static void reap(uint32_t number)
{
	struct worker *worker = &ledger->worker[number];
	struct process *self = &process[number];
	uint64_t now = ledger_ms(ledger);
	int status;

	if (waitpid(self->pid, &status, WNOHANG) != self->pid)
		return;
	self->pid = 0;
	self->stopped = false;
	self->start_ms = now + dice_below(&dice, RESPAWN_MS);
	atomic_store(&worker->connected, false);
	atomic_store(&worker->endpoint, 0);
	trouble_add(worker, now);
	member_away(ledger, number);
	judge_died(number, atomic_load(&worker->life_number));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
	    atomic_load(&ledger->phase) == PHASE_END)
		self->finished = true;
	else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_TRY_AGAIN)
		try_again(worker, now);
	else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		ledger_fail(ledger, OTHER, "%s ended by itself: status %#x", worker->plan.name,
			    status);
}

static void watch(uint32_t number)
{
	struct worker *worker = &ledger->worker[number];
	struct process *self = &process[number];
	uint64_t now = ledger_ms(ledger), turns = atomic_load(&worker->turns);

	if (turns != self->turns || self->stopped) {
		self->turns = turns;
		self->turned_ms = now;
	} else if (now > self->turned_ms + ledger_bound(ledger, HANG_MS)) {
		ledger_fail(ledger, OTHER, "%s hangs in %s", worker->plan.name, worker->doing);
		workers_kill(number);
		self->turned_ms = now;
	}
}

/* ---- for the driver -------------------------------------------------------------------------- */

void workers_open(struct ledger *the_ledger, int ledger_fd, const char *the_build)
{
	ledger = the_ledger;
	fd = ledger_fd;
	build = the_build;
	dice = dice_of(ledger->seed, 7777777);
	tight_open();
	atexit(tight_close);
	for (uint32_t w = 0; w < ledger->workers; w++)
		start(w);
}

void workers_tick(void)
{
	uint64_t now = ledger_ms(ledger);

	for (uint32_t w = 0; w < ledger->workers; w++) {
		struct process *self = &process[w];

		if (self->pid != 0)
			reap(w);
		if (self->pid == 0) {
			if (!self->finished && now >= self->start_ms &&
			    atomic_load(&ledger->phase) != PHASE_END)
				start(w);
			continue;
		}
		if (self->stopped && now >= self->wake_ms) {
			self->stopped = false;
			kill(self->pid, SIGCONT);
		}
		watch(w);
	}
}

static void excuse(struct worker *worker, uint64_t until)
{
	if (atomic_load(&worker->excused_ms) < until)
		atomic_store(&worker->excused_ms, until);
}

void workers_stop(uint32_t number, uint64_t ms)
{
	struct worker *worker = &ledger->worker[number];
	uint64_t until = ledger_ms(ledger) + ms;

	ledger_note(ledger, "- %s: stopped for %lu ms", worker->plan.name, ms);
	process[number].stopped = true;
	process[number].wake_ms = until;
	atomic_store(&worker->stopped_ms, until);
	excuse(worker, until + ledger_bound(ledger, SEEN_MS));
	kill(process[number].pid, SIGSTOP);
}

void workers_kill(uint32_t number)
{
	struct worker *worker = &ledger->worker[number];

	ledger_note(ledger, "- %s: killed", worker->plan.name);
	kills++;
	process[number].killed = true;
	atomic_store(&worker->connected, false);
	atomic_store(&worker->endpoint, 0);
	kill(process[number].pid, SIGKILL);
	trouble_add(worker, ledger_ms(ledger));
}

void workers_order(uint32_t number, enum order order)
{
	struct worker *worker = &ledger->worker[number];

	ledger_note(ledger, "- %s: told to %s", worker->plan.name,
		    order == ORDER_RESET        ? "reset"
		    : order == ORDER_HALF_CLOSE ? "half-close"
						: "reset and die");
	kills += order == ORDER_RESET_AND_DIE;
	excuse(worker, ledger_ms(ledger) + ledger_bound(ledger, ORDER_OBEYED + ORDER_SEEN(order)));
	atomic_store(&worker->order, order);
}

bool workers_running(uint32_t number)
{
	return process[number].pid != 0 && !process[number].stopped && !process[number].killed;
}

void workers_wake(void)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		if (process[w].pid == 0 || !process[w].stopped)
			continue;
		process[w].stopped = false;
		kill(process[w].pid, SIGCONT);
	}
}

bool workers_ended(void)
{
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (process[w].pid != 0)
			return false;
	return true;
}

void workers_close(void)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		if (process[w].pid == 0)
			continue;
		kill(process[w].pid, SIGKILL);
		waitpid(process[w].pid, NULL, 0);
		process[w].pid = 0;
	}
}

uint32_t workers_kills(void)
{
	return kills;
}

uint32_t workers_retries(void)
{
	return retries;
}
