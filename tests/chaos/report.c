/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chaos/faults.h"
#include "chaos/proxies.h"
#include "chaos/workers.h"

#define MEANT_MS  30000 /* a run that is meant to reach everybody */
#define SEEN_MAX  8     /* connections of one worker that a proxy may know at a time, and more */
#define ALONE_MIN 80.0  /* percent */

/* That lanes sent. */
struct frames {
	uint64_t kernel, passed;
};

/* What a connection's counters were at the last look. */
struct seen {
	uint64_t endpoint;
	struct frames frames;
};

static struct ledger *ledger;
static FILE *log_file;
static uint32_t notes;
static struct seen seen[WORKERS_MAX][SEEN_MAX];
static struct frames lane[WORKERS_MAX]; /* of a worker's lanes */
static uint64_t looks, last_checked, last_ms;
static uint64_t budget[PROXIES], high[PROXIES];

bool report_open(struct ledger *the_ledger, const char *directory)
{
	char path[512];

	ledger = the_ledger;
	snprintf(path, sizeof(path), "%s/run.log", directory);
	log_file = fopen(path, "we");
	return log_file != NULL;
}

void report_notes(void)
{
	uint32_t end = atomic_load(&ledger->notes);

	if (end - notes > NOTES_MAX)
		notes = end - NOTES_MAX;
	for (; notes != end; notes++) {
		struct note *note = &ledger->note[notes % NOTES_MAX];

		/* Its author may be stopped or dead in the middle of it: then it is skipped next
		 * time round. */
		if (!atomic_exchange(&note->written, false))
			continue;
		fprintf(log_file, "%9.3f %s\n", (double)note->ms / 1000, note->text);
		fflush(log_file);
		if (note->text[0] != '-') /* what is done to whom, for the log alone */
			fprintf(stderr, "%9.3f %s\n", (double)note->ms / 1000, note->text);
	}
}

/* ---- sums ------------------------------------------------------------------------------------ */

static uint64_t tally_sum(enum tally tally, int proxy)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < ledger->workers; w++)
		if (proxy < 0 || ledger->worker[w].plan.proxy == (uint32_t)proxy)
			sum += atomic_load(&ledger->worker[w].tally[tally]);
	return sum;
}

static uint64_t checked_by(const struct worker *worker)
{
	return atomic_load(&worker->tally[TALLY_TOPIC]) + atomic_load(&worker->tally[TALLY_GROUP]) +
	       atomic_load(&worker->tally[TALLY_DIRECT]) + atomic_load(&worker->tally[TALLY_REPLY]);
}

/* What receivers of one kind checked; of the library, those that asked for their connection so. */
static uint64_t checked_kind(enum worker_kind kind, enum way way)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < ledger->workers; w++) {
		const struct worker *worker = &ledger->worker[w];

		if (worker->plan.kind == kind &&
		    (kind != WORKER_LIBRARY || worker->plan.way == way))
			sum += checked_by(worker);
	}
	return sum;
}

static uint64_t checked_of(int proxy)
{
	return tally_sum(TALLY_TOPIC, proxy) + tally_sum(TALLY_GROUP, proxy) +
	       tally_sum(TALLY_DIRECT, proxy) + tally_sum(TALLY_REPLY, proxy);
}

uint64_t report_checked(void)
{
	return checked_of(-1);
}

static uint64_t integer_of(const json_t *json, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(json, name));
}

static struct seen *seen_find(uint32_t w, uint64_t endpoint)
{
	static uint32_t next[WORKERS_MAX];
	struct seen *place;

	for (uint32_t i = 0; i < SEEN_MAX; i++)
		if (seen[w][i].endpoint == endpoint)
			return &seen[w][i];
	place = &seen[w][next[w]++ % SEEN_MAX];
	*place = (struct seen){.endpoint = endpoint};
	return place;
}

static void connection_add(const json_t *connection)
{
	const char *name = json_string_value(json_object_get(connection, "name"));
	const char *hex = json_string_value(json_object_get(connection, "endpoint"));
	const json_t *kernel = json_object_get(connection, "kernel");
	struct frames now = {integer_of(kernel, "frames"), integer_of(kernel, "passed")};

	if (!json_is_object(kernel) || name == NULL || hex == NULL)
		return;
	for (uint32_t w = 0; w < ledger->workers; w++) {
		struct seen *place;

		if (strcmp(ledger->worker[w].plan.name, name) != 0)
			continue;
		place = seen_find(w, strtoull(hex, NULL, 16));
		lane[w].kernel += now.kernel - place->frames.kernel;
		lane[w].passed += now.passed - place->frames.passed;
		place->frames = now;
	}
}

/* Of all, or only of those who send to one lane alone. */
static struct frames lanes_sum(bool alone)
{
	struct frames sum = {0};

	for (uint32_t w = 0; w < ledger->workers; w++) {
		if (alone && !ledger->worker[w].plan.alone)
			continue;
		sum.kernel += lane[w].kernel;
		sum.passed += lane[w].passed;
	}
	return sum;
}

/* What it says it used at most; the budget itself is tested elsewhere. */
static void memory_look(uint32_t proxy, const json_t *memory)
{
	budget[proxy] = integer_of(memory, "budget");
	if (integer_of(memory, "high") > high[proxy])
		high[proxy] = integer_of(memory, "high");
}

void report_status(uint32_t proxy, const json_t *status)
{
	json_t *connection;
	size_t i;

	looks++;
	json_array_foreach(json_object_get(status, "connections"), i, connection)
		connection_add(connection);
	memory_look(proxy, json_object_get(status, "memory"));
}

/* ---- lines ----------------------------------------------------------------------------------- */

static double by_kernel(struct frames frames)
{
	uint64_t all = frames.kernel + frames.passed;

	return all > 0 ? 100.0 * (double)frames.kernel / (double)all : 0;
}

void report_progress(void)
{
	uint64_t now = ledger_ms(ledger), checked = report_checked();
	double seconds = (double)(now - last_ms) / 1000;

	printf("%5.0f s  %11" PRIu64 " checked  %7.0f/s  (%" PRIu64 " with, %" PRIu64
	       " without kernel path; kernel moved %.1f %% of lane frames)  ",
	       (double)now / 1000, checked, (double)(checked - last_checked) / seconds,
	       checked_of(0), checked_of(1), by_kernel(lanes_sum(false)));
	faults_print(stdout);
	printf("  failures %u\n", atomic_load(&ledger->failures));
	fflush(stdout);
	last_checked = checked;
	last_ms = now;
}

static uint64_t ending_sum(enum ending ending)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < ledger->workers; w++)
		sum += atomic_load(&ledger->worker[w].ending[ending]);
	return sum;
}

static void log_tail(uint32_t p)
{
	char command[600];

	fprintf(stderr, "---- end of %s ----\n", proxies_log(p));
	snprintf(command, sizeof(command), "tail -n 40 '%s' 1>&2", proxies_log(p));
	if (system(command) != 0)
		fprintf(stderr, "(cannot be read)\n");
}

/* A plain receiver that got nothing has proven nothing. */
static void receivers_look(uint64_t ran_ms)
{
	for (uint32_t w = 0; w < ledger->workers; w++) {
		const struct worker *worker = &ledger->worker[w];
		uint64_t checked = checked_by(worker);

		fprintf(log_file,
			"%-18s life %3u, %" PRIu64 " checked, %" PRIu64
			" reconnections; lanes: %" PRIu64 " frames by the kernel, %" PRIu64
			" passed\n",
			worker->plan.name, atomic_load(&worker->life_number), checked,
			atomic_load(&worker->reconnects), lane[w].kernel, lane[w].passed);
		if (ran_ms >= MEANT_MS && checked == 0 &&
		    worker->plan.subscription[0].pattern[0] != '\0' &&
		    worker->plan.subscription[0].group[0] == '\0')
			ledger_fail(ledger, OTHER, "%s got nothing", worker->plan.name);
	}
	report_notes();
}

/* A frame for one lane alone passes only where that lane, or its own, has just begun, waits for
 * room or has ended; a lane that never comes back to the kernel's path shows here and nowhere else.
 */
static void lanes_look(uint64_t ran_ms, struct frames alone)
{
	if (ran_ms >= MEANT_MS && by_kernel(alone) < ALONE_MIN)
		ledger_fail(ledger, OTHER,
			    "the kernel moved only %.1f %% of the frames for one lane alone",
			    by_kernel(alone));
	report_notes();
}

void report_end(uint64_t ran_ms)
{
	uint64_t reconnects = 0, checked = report_checked();
	struct frames all = lanes_sum(false), alone = lanes_sum(true);

	receivers_look(ran_ms);
	lanes_look(ran_ms, alone);
	for (uint32_t w = 0; w < ledger->workers; w++)
		reconnects += atomic_load(&ledger->worker[w].reconnects);
	printf("\nchaos: seed %" PRIu64 ", %u workers on %d proxies, %.1f s\n", ledger->seed,
	       ledger->workers, PROXIES, (double)ran_ms / 1000);
	printf("  checked    %" PRIu64 " messages (%.0f/s, %.1f GB): %" PRIu64 " plain, %" PRIu64
	       " of queue groups, %" PRIu64 " direct, %" PRIu64 " replies\n",
	       checked, (double)checked * 1000 / (double)ran_ms,
	       (double)tally_sum(TALLY_BYTES, -1) / 1e9, tally_sum(TALLY_TOPIC, -1),
	       tally_sum(TALLY_GROUP, -1), tally_sum(TALLY_DIRECT, -1), tally_sum(TALLY_REPLY, -1));
	printf("  of these   %" PRIu64 " of 0 bytes, %" PRIu64 " above 64 KiB, %" PRIu64
	       " above 1 MiB; %" PRIu64 " with and %" PRIu64 " without kernel path\n",
	       tally_sum(TALLY_EMPTY, -1), tally_sum(TALLY_LARGE, -1), tally_sum(TALLY_HUGE, -1),
	       checked_of(0), checked_of(1));
	printf("  receivers  %" PRIu64 " by TCP with acks (lanes, where there are any), %" PRIu64
	       " by TCP without, %" PRIu64 " by TLS, %" PRIu64 " by UNIX sockets, %" PRIu64
	       " by Python\n",
	       checked_kind(WORKER_LIBRARY, WAY_LANE), checked_kind(WORKER_LIBRARY, WAY_NO_LANE),
	       checked_kind(WORKER_LIBRARY, WAY_TLS), checked_kind(WORKER_LIBRARY, WAY_UNIX),
	       checked_kind(WORKER_PYTHON, 0));
	printf("  missing    accounted for: %" PRIu64
	       " before a subscription or reconnection, %" PRIu64
	       " with a sender's connection, %" PRIu64 " by overflow policies, %" PRIu64
	       " told to the sender, %" PRIu64 " with members of groups, %" PRIu64
	       " to a group without any\n",
	       tally_sum(TALLY_BEFORE, -1), tally_sum(TALLY_ENDED, -1), tally_sum(TALLY_POLICY, -1),
	       tally_sum(TALLY_OPEN, -1), tally_sum(TALLY_MEMBER, -1), tally_sum(TALLY_AWAY, -1));
	printf("  requests   %" PRIu64 " replies, %" PRIu64 " no-responders, %" PRIu64
	       " without a reply, explained\n",
	       tally_sum(TALLY_REPLY, -1), tally_sum(TALLY_NOBODY, -1),
	       tally_sum(TALLY_TIMEOUT, -1));
	printf("  faults     ");
	faults_print(stdout);
	printf("; %" PRIu64 " visits with garbage\n", tally_sum(TALLY_VISITS, -1));
	printf("  endings    %" PRIu64 " slow-consumer, %" PRIu64 " proxy restart, %" PRIu64
	       " injected; %" PRIu64 " reconnections, %u starts repeated, %" PRIu64
	       " late messages\n",
	       ending_sum(ENDING_SLOW), ending_sum(ENDING_RESTART), ending_sum(ENDING_INJECTED),
	       reconnects, workers_retries(), tally_sum(TALLY_LATE, -1));
	printf("  kernel     moved %.2f %% of the frames that lanes sent (%" PRIu64 " of %" PRIu64
	       ", as seen by %" PRIu64 " looks); of those for one lane alone %.2f %%\n",
	       by_kernel(all), all.kernel, all.kernel + all.passed, looks, by_kernel(alone));
	printf("  memory     proxies at most %" PRIu64 " and %" PRIu64
	       " KiB resident; of a budget of %" PRIu64 " MiB at most %.1f and %.1f used\n",
	       proxies_rss(0), proxies_rss(1), budget[0] >> 20, (double)high[0] / (1 << 20),
	       (double)high[1] / (1 << 20));
	printf("%u corrupt, %u reordered, %u duplicated, %u unaccounted, %u other failures\n",
	       atomic_load(&ledger->corrupt), atomic_load(&ledger->reordered),
	       atomic_load(&ledger->duplicated), atomic_load(&ledger->unaccounted),
	       atomic_load(&ledger->other));
	fflush(stdout);
	if (atomic_load(&ledger->failures) == 0)
		return;
	for (uint32_t p = 0; p < PROXIES; p++)
		log_tail(p);
	fprintf(stderr, "again: make chaos SECONDS=%" PRIu64 " SEED=%" PRIu64 "\n", ran_ms / 1000,
		ledger->seed);
}
