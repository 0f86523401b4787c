/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>

#include <xylem/client.h>

#include "scale.h"

/* A client of libxylem with many subscriptions gets one message on each of as many subjects: which
 * subscription is it? */
void curve_library(struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1], done = 0;
	struct xy_client_options options = {.size = sizeof(options)};
	uint64_t *topics = calloc(most, sizeof(*topics)), sent = 0;
	struct xy_client *client;
	struct wire publisher;
	char server[32];

	snprintf(server, sizeof(server), "127.0.0.1:%u", scale->port);
	options.server = server;
	if (xy_client_connect(&options, &client) != 0)
		die("connect", server);
	wire_open(&publisher, scale->port);
	publisher.targets = topics;
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned subjects = scale->point[p], begun = done;
		struct spent begin = spent_begin(scale);
		struct xy_message message;
		char subject[32];

		line_begin(scale, subjects);
		for (; done < subjects; done++) {
			snprintf(subject, sizeof(subject), "library.%u", done);
			if (xy_client_subscribe(client, subject, NULL, NULL) != 0)
				die("subscribe", xy_client_error(client));
		}
		spent_print(scale, begin, "subscribe", done - begun);
		for (unsigned i = begun; i < done; i++) {
			snprintf(subject, sizeof(subject), "library.%u", i);
			wire_ask(&publisher, XY_DECLARE, 0, subject);
		}
		wire_answered(&publisher);
		begin = spent_begin(scale);
		for (unsigned i = 0; i < done; i++) {
			wire_publish(&publisher, topics[i], ++sent, 1, 64);
			if (xy_client_next(client, 10000, &message) != 0)
				die("next", xy_client_error(client));
			if (*(const uint64_t *)message.data != sent || !message.subscription)
				die("DATA", "another message than was sent");
		}
		spent_print(scale, begin, "message", done);
		line_end();
	}
	xy_client_close(client);
}
