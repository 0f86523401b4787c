/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scale.h"

#define CLIENTS 8
#define ASKED   200

/* A quarter each: exact, a wildcard at the end, one in the middle, and everything below. A subject
 * s.A.B is matched by three of them, however many there are. */
static void pattern_of(unsigned i, char *to, size_t size)
{
	static const char *const forms[] = {"s.%u.a", "s.%u.*", "s.*.b%u", "s.%u.>"};

	snprintf(to, size, forms[i % 4], i / 4);
}

void curve_subscriptions(struct scale *scale)
{
	uint64_t memory = memory_of(scale->pid);
	struct wire clients[CLIENTS], publisher;
	unsigned done = 0, declared = 0;

	for (unsigned c = 0; c < CLIENTS; c++)
		wire_open(&clients[c], scale->port);
	wire_open(&publisher, scale->port);
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned begun = done, subscriptions = scale->point[p];
		struct spent begin = spent_begin(scale);
		uint64_t topic = 0;
		char text[64];

		for (; done < subscriptions; done++) {
			pattern_of(done, text, sizeof(text));
			wire_ask_subscribe(&clients[done / 4 % CLIENTS], text);
		}
		for (unsigned c = 0; c < CLIENTS; c++)
			wire_answered(&clients[c]);
		line_begin(scale, subscriptions);
		spent_print(scale, begin, "subscribe", subscriptions - begun);
		line_number("bytes",
			    ((double)memory_of(scale->pid) - (double)memory) / subscriptions);

		/* Subjects that nobody has declared yet: a look-up, and a route with receivers. */
		begin = spent_begin(scale);
		for (unsigned d = 0; d < ASKED; d++) {
			snprintf(text, sizeof(text), "s.%u.b%u",
				 (unsigned)random() % (subscriptions / 4 + 1), declared++);
			wire_ask(&publisher, XY_DECLARE, 0, text);
		}
		wire_answered(&publisher);
		spent_print(scale, begin, "declare", ASKED);

		/* One message to the three of a subject, again and again. */
		snprintf(text, sizeof(text), "s.0.b0");
		topic = wire_declare(&publisher, text);
		begin = spent_begin(scale);
		for (unsigned m = 1; m <= ASKED; m++) {
			wire_publish(&publisher, topic, m, 1, 64);
			wire_sync(&publisher);
		}
		spent_print(scale, begin, "publish", ASKED);
		for (unsigned c = 0; c < CLIENTS; c++)
			wire_drain(&clients[c]);

		/* One more, on a subject that is published on, and away again. */
		begin = spent_begin(scale);
		for (unsigned s = 0; s < ASKED; s++) {
			uint64_t id;

			id = wire_subscribe(&clients[0], "s.0.b0");
			wire_ask(&clients[0], XY_UNSUBSCRIBE, id, "");
			wire_answered(&clients[0]);
		}
		spent_print(scale, begin, "change", 2 * ASKED);
		line_end();
	}
}
