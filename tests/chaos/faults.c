/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/faults.h"

#include <stdlib.h>
#include <string.h>

#include "chaos/proxies.h"
#include "chaos/workers.h"

struct fault {
	const char *name;
	void (*cause)(void);
	uint32_t from_ms, to_ms; /* to the next one */
	uint64_t next_ms;
	uint32_t count;
};

static struct ledger *ledger;
static struct dice dice;

static uint32_t any_worker(void)
{
	for (int i = 0; i < 100; i++) {
		uint32_t w = (uint32_t)dice_below(&dice, ledger->workers);

		if (workers_running(w) && !ledger->worker[w].plan.spared)
			return w;
	}
	return NO_INDEX;
}

static void stop(void)
{
	uint32_t w = any_worker();
	/* Mostly short: a long one is a slow-consumer, and then there is nothing left to see. */
	uint64_t ms = 10 + dice_below(&dice, dice_chance(&dice, 1, 4) ? 3000 : 300);

	if (w != NO_INDEX)
		workers_stop(w, ms);
}

static void die(void)
{
	uint32_t w = any_worker();

	if (w != NO_INDEX)
		workers_kill(w);
}

static void order(enum order order)
{
	uint32_t w = any_worker();

	if (w != NO_INDEX && ledger->worker[w].plan.kind == WORKER_LIBRARY)
		workers_order(w, order);
}

static void reset(void)
{
	order(ORDER_RESET);
}

static void half_close(void)
{
	order(ORDER_HALF_CLOSE);
}

static void reset_and_die(void)
{
	order(ORDER_RESET_AND_DIE);
}

static void proxy_term(void)
{
	uint32_t p = (uint32_t)dice_below(&dice, PROXIES);

	if (proxies_up(p))
		proxies_term(p);
}

static void proxy_kill(void)
{
	uint32_t p = (uint32_t)dice_below(&dice, PROXIES);

	if (proxies_up(p))
		proxies_kill(p);
}

static struct fault fault[] = {
	{"stops", stop, 200, 1500, 0, 0},
	{"kills", die, 2000, 6000, 0, 0},
	{"resets", reset, 3000, 8000, 0, 0},
	{"half-closes", half_close, 4000, 12000, 0, 0},
	{"resets and kills", reset_and_die, 5000, 15000, 0, 0},
	{"proxy SIGTERM", proxy_term, 20000, 40000, 0, 0},
	{"proxy SIGKILL", proxy_kill, 30000, 60000, 0, 0},
};
#define FAULTS (sizeof(fault) / sizeof(fault[0]))

static void schedule(struct fault *self, uint64_t now)
{
	self->next_ms = now + self->from_ms + dice_below(&dice, self->to_ms - self->from_ms);
}

/* CHAOS_FAULTS: names with commas between them; any other word is the name of none. */
static bool chosen(const char *name)
{
	const char *at = getenv("CHAOS_FAULTS");
	size_t length = strlen(name);

	if (at == NULL)
		return true;
	for (;;) {
		size_t word = strcspn(at, ",");

		if (word == length && strncmp(at, name, length) == 0)
			return true;
		if (at[word] == '\0')
			return false;
		at += word + 1;
	}
}

void faults_open(struct ledger *the_ledger)
{
	ledger = the_ledger;
	dice = dice_of(ledger->seed, 8888888);
	for (size_t i = 0; i < FAULTS; i++)
		schedule(&fault[i], ledger_ms(ledger));
}

void faults_tick(void)
{
	uint64_t now = ledger_ms(ledger);

	for (size_t i = 0; i < FAULTS; i++) {
		if (now < fault[i].next_ms || !chosen(fault[i].name))
			continue;
		fault[i].cause();
		fault[i].count++;
		schedule(&fault[i], now);
	}
}

void faults_print(FILE *to)
{
	for (size_t i = 0; i < FAULTS; i++)
		fprintf(to, "%s%s %u", i > 0 ? ", " : "", fault[i].name, fault[i].count);
}
