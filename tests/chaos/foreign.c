/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ledger for workers in other languages, who cannot include its structures: libchaos.so. All
 * functions are about the one worker that foreign_open() names. One thread.
 */
#include "chaos/account.h"

static struct ledger *ledger;
static struct worker *worker;
static struct account *account;
static struct dice dice;
static uint32_t number;

int foreign_open(int fd, uint32_t the_number, uint32_t life);
int foreign_phase(void);
const char *foreign_server(void);
const char *foreign_name(void);
const char *foreign_subject(uint32_t channel);
uint32_t foreign_rate(uint32_t channel);
const char *foreign_pattern(uint32_t subscription);
void foreign_endpoint(uint64_t endpoint);
void foreign_subscribed(uint32_t subscription);
void foreign_connected(void);
void foreign_ended(const char *words);
void foreign_turn(void);
void foreign_quiet(void);
size_t foreign_length(uint32_t channel);
const void *foreign_make(uint32_t channel, size_t length);
void foreign_sync_begin(void);
void foreign_sync_done(void);
bool foreign_take(const char *subject, uint64_t source, uint64_t sequence, const void *data,
		  size_t length);
void foreign_fail(const char *words);

static uint64_t queued[CHANNELS_MAX];

int foreign_open(int fd, uint32_t the_number, uint32_t life)
{
	ledger = ledger_attach(fd);
	if (ledger == NULL)
		return -1;
	number = the_number;
	worker = &ledger->worker[number];
	dice = dice_of(ledger->seed, number * 1000003ull + life);
	account = account_open(ledger, number);
	sender_begin(ledger, number, life);
	return account != NULL ? 0 : -1;
}

int foreign_phase(void)
{
	return atomic_load(&ledger->phase);
}

const char *foreign_server(void)
{
	return worker->plan.way == WAY_UNIX ? ledger->local[worker->plan.proxy]
					    : ledger->server[worker->plan.proxy];
}

const char *foreign_name(void)
{
	return worker->plan.name;
}

const char *foreign_subject(uint32_t channel)
{
	return channel < CHANNELS_MAX && worker->plan.channel[channel].kind == CHANNEL_TOPIC
		       ? worker->plan.channel[channel].subject
		       : "";
}

uint32_t foreign_rate(uint32_t channel)
{
	return worker->plan.channel[channel].rate;
}

const char *foreign_pattern(uint32_t subscription)
{
	return subscription < SUBSCRIPTIONS_MAX ? worker->plan.subscription[subscription].pattern
						: "";
}

void foreign_endpoint(uint64_t endpoint)
{
	sender_endpoint(ledger, number, endpoint);
}

void foreign_subscribed(uint32_t subscription)
{
	account_subscribed(account, subscription);
}

void foreign_connected(void)
{
	account_connected(account);
	atomic_store(&worker->connected, true);
}

void foreign_ended(const char *words)
{
	connection_ended(ledger, number, words);
}

void foreign_turn(void)
{
	atomic_fetch_add(&worker->turns, 1);
}

void foreign_quiet(void)
{
	atomic_store(&worker->quiet, true);
}

size_t foreign_length(uint32_t channel)
{
	return message_length(&dice, worker->plan.channel[channel].size_max);
}

const void *foreign_make(uint32_t channel, size_t length)
{
	struct stamp stamp = sender_next(ledger, number, channel);

	return message_make(stamp, length);
}

void foreign_sync_begin(void)
{
	sender_queued(ledger, number, queued);
}

void foreign_sync_done(void)
{
	sender_synced(ledger, number, queued);
}

bool foreign_take(const char *subject, uint64_t source, uint64_t sequence, const void *data,
		  size_t length)
{
	struct stamp stamp;

	return account_take(account, subject, source, sequence, data, length, &stamp);
}

void foreign_fail(const char *words)
{
	ledger_fail(ledger, OTHER, "%s: %s", worker->plan.name, words);
}
