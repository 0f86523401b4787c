/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each request has one outcome: its own reply, whole; `no-responders`, when its channel has none by
 * plan, or the responders are coming and going; or no reply in time, which needs a cause: since it
 * was sent the requester or a responder lost its connection, was stopped or killed, entered or left
 * the group, or was told of a lost message; or the proxy was stopped.
 */
#include <stdlib.h>
#include <string.h>

#include <xylem/client.h>

#include "chaos/message.h"
#include "chaos/worker.h"
#include "proto/subject.h"

#define RETURN_MS 5000 /* from the start of a proxy until all are back */

struct request {
	struct ledger *ledger;
	uint32_t number;
	struct stamp stamp;
	uint64_t sent_ms;
};

static uint32_t waiting;

uint32_t requests_waiting(void)
{
	return waiting;
}

static bool trouble_since(const struct worker *worker, uint64_t ms)
{
	return trouble_in(worker, ms, UINT64_MAX) || atomic_load(&worker->excused_ms) >= ms ||
	       atomic_load(&worker->stopped_ms) >= ms;
}

static bool excused(const struct request *request)
{
	const struct ledger *ledger = request->ledger;
	const struct worker *self = &ledger->worker[request->number];
	const char *subject = self->plan.channel[request->stamp.channel].subject;
	uint64_t down = atomic_load(&ledger->down_ms[self->plan.proxy]);
	uint64_t up = atomic_load(&ledger->up_ms[self->plan.proxy]);

	if (down != 0 && (up < down || up + ledger_bound(ledger, RETURN_MS) >= request->sent_ms))
		return true;
	if (trouble_since(self, request->sent_ms))
		return true;
	for (uint32_t w = 0; w < ledger->workers; w++) {
		const struct worker *other = &ledger->worker[w];

		for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
			if (other->plan.proxy == self->plan.proxy &&
			    other->plan.subscription[i].replies &&
			    xy_pattern_match(other->plan.subscription[i].pattern, subject) &&
			    trouble_since(other, request->sent_ms))
				return true;
	}
	return false;
}

static void reply_check(struct request *request, const struct xy_message *reply)
{
	struct worker *worker = &request->ledger->worker[request->number];
	struct stamp stamp;
	const char *wrong = message_check(reply->data, reply->length, 0, &stamp);

	if (wrong == NULL &&
	    (reply->length < STAMP_SIZE || !stamp.reply || stamp.worker != request->stamp.worker ||
	     stamp.life != request->stamp.life || stamp.channel != request->stamp.channel ||
	     stamp.counter != request->stamp.counter))
		wrong = "reply to another request";
	if (wrong != NULL)
		ledger_fail(request->ledger, CORRUPT, "%s: request %lu: %s", worker->plan.name,
			    request->stamp.counter, wrong);
	tally_add(worker, TALLY_REPLY, 1);
	tally_add(worker, TALLY_BYTES, reply->length);
}

static void on_reply(struct xy_client *client, const struct xy_message *reply, void *context)
{
	struct request *request = context;
	struct ledger *ledger = request->ledger;
	struct worker *worker = &ledger->worker[request->number];
	bool nobody = worker->plan.channel[request->stamp.channel].kind == CHANNEL_NOBODY;
	const char *words = xy_client_error(client);

	waiting--;
	if (reply != NULL && !nobody)
		reply_check(request, reply);
	else if (reply != NULL)
		ledger_fail(ledger, OTHER, "%s: a reply from nobody", worker->plan.name);
	else if (nobody && strstr(words, "no-responders") != NULL)
		tally_add(worker, TALLY_NOBODY, 1);
	else if (excused(request))
		tally_add(worker, TALLY_TIMEOUT, 1);
	else
		ledger_fail(ledger, UNACCOUNTED, "%s: request %lu on %s of %lu ms ago: %s",
			    worker->plan.name, request->stamp.counter,
			    worker->plan.channel[request->stamp.channel].subject,
			    ledger_ms(ledger) - request->sent_ms, words);
	free(request);
}

int request_send(struct ledger *ledger, uint32_t number, struct xy_client *client,
		 struct xy_topic *topic, struct stamp stamp, size_t length)
{
	struct request *request = malloc(sizeof(*request));
	int error;

	if (request == NULL)
		return -1;
	*request = (struct request){
		.ledger = ledger, .number = number, .stamp = stamp, .sent_ms = ledger_ms(ledger)};
	waiting++;
	error = xy_client_request_async(client, topic, message_make(stamp, length), length,
					(int)ledger_bound(ledger, REQUEST_MS), on_reply, request);
	if (error) {
		waiting--;
		free(request);
	}
	return error;
}

int request_answer(struct xy_client *client, const struct xy_message *request, struct stamp stamp,
		   struct dice *dice)
{
	size_t length = message_length(dice, 65536);

	if (length < STAMP_SIZE)
		length = STAMP_SIZE;
	stamp.reply = 1;
	return xy_client_reply(client, request, message_make(stamp, length), length);
}
