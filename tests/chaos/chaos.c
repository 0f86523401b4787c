/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chaos run: a few dozen processes of all kinds exchange messages through two proxies, one with
 * and one without the kernel path, while everything around them breaks; each message is checked
 * and each missing one accounted for (docs/CHAOS.md).
 *
 *   chaos DIRECTORY SECONDS SEED RATE     logs go to DIRECTORY; SEED 0: a random one
 *
 * Files. plan.c: who there is. ledger.c: what all share. message.c: payloads. sender.c, account.c:
 * what senders and receivers write down and check. library_worker.c, requests.c, garbage.c,
 * python_worker.py: the workers. The driver: workers.c, proxies.c, faults.c, judge.c, report.c.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/random.h"
#include "chaos/faults.h"
#include "chaos/judge.h"
#include "chaos/members.h"
#include "chaos/plan.h"
#include "chaos/proxies.h"
#include "chaos/report.h"
#include "chaos/workers.h"
#include "common/sandbox.h"

#define TICK_MS     10
#define JUDGE_MS    200
#define LOOK_MS     1000
#define PROGRESS_MS 5000
#define QUIET_MS    120000 /* for all that is owed to come */
#define END_MS      30000
#define IDLE_MS     20000

static struct ledger *ledger;
static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void look(void)
{
	for (uint32_t p = 0; p < PROXIES; p++) {
		json_t *status;

		judge_policy_before(p);
		members_look_before(ledger, p);
		status = proxies_status(p);
		if (status == NULL)
			continue;
		judge_policy(p, status);
		members_look(ledger, p, status);
		report_status(p, status);
		json_decref(status);
	}
}

static void tick(void)
{
	static uint64_t next_judge, next_look, next_progress = PROGRESS_MS;
	uint64_t now = ledger_ms(ledger);

	workers_tick();
	proxies_tick();
	if (now >= next_judge) {
		judge_tick();
		report_notes();
		next_judge = now + JUDGE_MS;
	}
	if (now >= next_look) {
		look();
		next_look = ledger_ms(ledger) + LOOK_MS;
	}
	if (now >= next_progress) {
		report_progress();
		next_progress += PROGRESS_MS;
	}
	poll(NULL, 0, TICK_MS);
}

static bool all_quiet(void)
{
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (!atomic_load(&ledger->worker[w].quiet))
			return false;
	return true;
}

static void say_who_is_not_quiet(void)
{
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (!atomic_load(&ledger->worker[w].quiet))
			ledger_fail(ledger, UNACCOUNTED, "%s gets no SYNCED: in %s",
				    ledger->worker[w].plan.name, ledger->worker[w].doing);
}

/* For the log: a long silence can be read there. */
static void note_what_is_owed(void)
{
	static uint64_t last;

	if (last == 0)
		last = ledger_ms(ledger);
	if (ledger_ms(ledger) < last + PROGRESS_MS)
		return;
	last = ledger_ms(ledger);
	for (uint32_t w = 0; w < ledger->workers; w++)
		if (!atomic_load(&ledger->worker[w].quiet))
			ledger_note(ledger, "- quiet: waits for SYNCED of %s, in %s",
				    ledger->worker[w].plan.name, ledger->worker[w].doing);
	if (*judge_waits_for() != '\0')
		ledger_note(ledger, "- quiet: waits for %s", judge_waits_for());
}

/* Everybody stops sending; what is owed must come. */
static void quiet(void)
{
	uint64_t deadline = ledger_ms(ledger) + ledger_bound(ledger, QUIET_MS);

	workers_wake();
	atomic_store(&ledger->phase, PHASE_QUIET);
	while (!(all_quiet() && judge_complete(false)) && ledger_ms(ledger) < deadline) {
		note_what_is_owed();
		tick();
	}
	if (!all_quiet())
		say_who_is_not_quiet();
	else
		judge_complete(true);
}

static size_t size_of(const json_t *status, const char *name)
{
	return json_array_size(json_object_get(status, name));
}

/* A proxy that nobody uses any more has nothing left of what it had. */
static void idle(uint32_t p)
{
	uint64_t deadline = ledger_ms(ledger) + ledger_bound(ledger, IDLE_MS);
	size_t connections = 1, flows = 1, subjects = 1, subscriptions = 1;

	while (connections + flows + subjects + subscriptions > 0 && ledger_ms(ledger) < deadline) {
		json_t *status = proxies_status(p);

		connections = size_of(status, "connections");
		flows = size_of(status, "flows");
		subjects = size_of(status, "subjects");
		subscriptions = size_of(status, "subscriptions");
		json_decref(status);
		poll(NULL, 0, 50);
	}
	if (connections + flows + subjects + subscriptions > 0)
		ledger_fail(ledger, OTHER,
			    "proxy %u keeps %zu connections, %zu flows, %zu subjects, %zu "
			    "subscriptions of nobody",
			    p, connections, flows, subjects, subscriptions);
}

static void end(void)
{
	uint64_t deadline = ledger_ms(ledger) + ledger_bound(ledger, END_MS);

	atomic_store(&ledger->phase, PHASE_END);
	while (!workers_ended() && ledger_ms(ledger) < deadline) {
		workers_tick();
		poll(NULL, 0, TICK_MS);
	}
	if (!workers_ended())
		ledger_fail(ledger, OTHER, "workers do not end");
	workers_close();
	proxies_tick();
	for (uint32_t p = 0; p < PROXIES; p++)
		idle(p);
	for (uint32_t p = 0; p < PROXIES; p++)
		proxies_end(p);
}

/* CHAOS_STOP=1: a run that has failed need not go on. */
static bool over(uint64_t seconds)
{
	return interrupted || ledger_ms(ledger) >= seconds * 1000 ||
	       (getenv("CHAOS_STOP") != NULL && atomic_load(&ledger->failures) > 0);
}

static bool check_arguments(int argc)
{
	if (argc == 5 && sandbox_enter() == NULL)
		return true;
	fprintf(stderr, argc == 5 ? "chaos: needs root: a network namespace and a cgroup\n"
				  : "chaos: DIRECTORY SECONDS SEED RATE\n");
	return false;
}

int main(int argc, char **argv)
{
	const char *binary = getenv("XYLEM"), *build = getenv("XY_BUILD");
	uint64_t seconds, ran_ms, seed;
	int fd;

	if (!check_arguments(argc))
		return 2;
	ledger = ledger_make(&fd);
	if (ledger == NULL || binary == NULL || build == NULL) {
		fprintf(stderr, "chaos: no memory, or XYLEM and XY_BUILD are not set\n");
		return 2;
	}
	seconds = strtoull(argv[2], NULL, 0);
	seed = strtoull(argv[3], NULL, 0);
	if (seed == 0 && xy_random_id(&seed) == 0)
		seed &= 0xffffffff;
	ledger->seed = seed;
	if (getenv("CHAOS_SLOWER") != NULL)
		ledger->slower = (uint32_t)strtoul(getenv("CHAOS_SLOWER"), NULL, 0);
	plan_make(ledger, (uint32_t)strtoul(argv[4], NULL, 0));
	members_open(ledger);
	printf("chaos: %" PRIu64 " s, seed %" PRIu64 ", %u workers, logs in %s\n", seconds,
	       ledger->seed, ledger->workers, argv[1]);
	fflush(stdout);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	judge_open(ledger);
	if (!report_open(ledger, argv[1])) {
		perror(argv[1]);
		return 2;
	}
	if (proxies_open(ledger, argv[1], binary) != 0) {
		report_notes();
		return 1;
	}
	workers_open(ledger, fd, build);
	faults_open(ledger);
	while (!over(seconds)) {
		faults_tick();
		tick();
	}
	ran_ms = ledger_ms(ledger);
	if (getenv("CHAOS_STOP") == NULL || atomic_load(&ledger->failures) == 0)
		quiet();
	workers_wake();
	end();
	report_notes();
	report_end(ran_ms);
	return atomic_load(&ledger->failures) == 0 ? 0 : 1;
}
