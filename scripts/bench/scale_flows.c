/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scale.h"

#define RECEIVERS    16
#define SENDERS      100
#define SYNCS        32
#define FRAMES_MAX   64
#define FRAME_BURSTS 81

static void receivers_open(const struct scale *scale, struct wire *receivers)
{
	for (unsigned r = 0; r < RECEIVERS; r++)
		wire_open(&receivers[r], scale->port);
}

static void flows_print(const struct scale *scale, struct pair *pairs, unsigned from,
			unsigned flows, uint64_t memory, struct spent begin)
{
	struct spent synced;

	line_begin(scale, flows);
	spent_print(scale, begin, "declare", flows - from);
	begin = spent_begin(scale);
	/* As the library does it: SYNC after the first message to a target. */
	for (unsigned f = from; f < flows; f++) {
		wire_publish(pairs[f].from, pairs[f].target, ++pairs[f].sent, 1, 64);
		wire_receive(pairs[f].to, pairs[f].to->data + 1);
		wire_sync(pairs[f].from);
	}
	spent_print(scale, begin, "install", flows - from);
	line_number("bytes", (double)(memory_of(scale->pid) - memory) / flows);
	pairs_print(scale, pairs, flows);
	synced = spent_begin(scale);
	for (unsigned s = 0; s < SYNCS; s++)
		wire_sync(pairs[0].from);
	spent_print(scale, synced, "sync", SYNCS);
	line_end();
}

/* Flows of one sender, which has as many topics. */
void curve_flows(struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1], done = 0;
	struct pair *pairs = calloc(most, sizeof(*pairs));
	uint64_t *targets = calloc(most, sizeof(*targets)), memory = memory_of(scale->pid);
	struct wire receivers[RECEIVERS], sender;

	receivers_open(scale, receivers);
	wire_open(&sender, scale->port);
	sender.targets = targets;
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned flows = scale->point[p];
		struct spent begin = spent_begin(scale);

		for (unsigned f = done; f < flows; f++) {
			char subject[32];

			snprintf(subject, sizeof(subject), "flow.%u", f);
			wire_ask_subscribe(&receivers[f % RECEIVERS], subject);
			wire_ask(&sender, XY_DECLARE, 0, subject);
		}
		for (unsigned r = 0; r < RECEIVERS; r++)
			wire_answered(&receivers[r]);
		wire_answered(&sender);
		for (unsigned f = done; f < flows; f++)
			pairs[f] = (struct pair){.from = &sender,
						 .to = &receivers[f % RECEIVERS],
						 .target = targets[f]};
		flows_print(scale, pairs, done, flows, memory, begin);
		done = flows;
	}
}

/* The same number of flows, of a hundred senders. */
void curve_senders(struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1], done = 0;
	struct pair *pairs = calloc(most, sizeof(*pairs));
	struct wire receivers[RECEIVERS], senders[SENDERS];
	uint64_t memory = memory_of(scale->pid);

	receivers_open(scale, receivers);
	for (unsigned s = 0; s < SENDERS; s++)
		wire_open(&senders[s], scale->port);
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned flows = scale->point[p];
		struct spent begin = spent_begin(scale);

		for (unsigned f = done; f < flows; f++) {
			unsigned topic = f / SENDERS;
			struct wire *sender = &senders[f % SENDERS];
			struct wire *receiver = &receivers[topic % RECEIVERS];
			char subject[32];

			snprintf(subject, sizeof(subject), "flow.%u", topic);
			if (f % SENDERS == 0)
				wire_subscribe(receiver, subject);
			pairs[f] = (struct pair){.from = sender,
						 .to = receiver,
						 .target = wire_declare(sender, subject)};
		}
		flows_print(scale, pairs, done, flows, memory, begin);
		done = flows;
	}
}

/* Frames of one send: what each further one costs the verdict. */
void curve_frames(struct scale *scale)
{
	struct wire sender, receiver;
	uint64_t topic, number = 0;

	wire_open(&sender, scale->port);
	wire_open(&receiver, scale->port);
	wire_subscribe(&receiver, "frames");
	topic = wire_declare(&sender, "frames");
	wire_publish(&sender, topic, ++number, 1, 64);
	wire_receive(&receiver, 1);
	wire_sync(&sender);
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned frames = scale->point[p], sends = 256 / FRAMES_MAX * 8;
		double took[FRAME_BURSTS], verdict[FRAME_BURSTS];

		for (unsigned b = 0; b < FRAME_BURSTS; b++) {
			struct verdict_mark mark = verdict_mark(&scale->verdict);
			uint64_t begun = now_ns();

			for (unsigned s = 0; s < sends; s++, number += frames) {
				wire_publish(&sender, topic, number + 1, frames, 64);
				wire_receive(&receiver, number + frames);
			}
			took[b] = (double)(now_ns() - begun) / sends;
			verdict[b] = verdict_ns(&scale->verdict, mark);
		}
		line_begin(scale, frames);
		line_number("send_ns", median(took, FRAME_BURSTS));
		line_number("verdict_ns", median(verdict, FRAME_BURSTS));
		line_number("verdict_best_ns", verdict[0]);
		line_end();
	}
	if (receiver.ordered != number)
		die("DATA", "out of order");
}
