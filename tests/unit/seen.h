/* SPDX-License-Identifier: BSD-2-Clause */
/* What a client's handlers have seen: the texts in order, "(why)" for what failed. */
#ifndef XY_TESTS_SEEN_H
#define XY_TESTS_SEEN_H

#include "unit/fake_proxy.h"

struct seen {
	unsigned count;
	char text[256];
	bool close;
	struct xy_subscription *cancel;
	unsigned events[8];
};

static inline void see(struct xy_client *client, const struct xy_message *message, void *context)
{
	struct seen *seen = context;

	seen->count++;
	if (message == NULL) {
		strncat(seen->text, "(", sizeof(seen->text) - strlen(seen->text) - 1);
		strncat(seen->text, xy_client_error(client),
			sizeof(seen->text) - strlen(seen->text) - 1);
		strncat(seen->text, ")", sizeof(seen->text) - strlen(seen->text) - 1);
	} else {
		strncat(seen->text, message->data,
			message->length < sizeof(seen->text) - strlen(seen->text) ? message->length
										  : 0);
	}
	assert_int_equal(xy_client_process(client), -EBUSY);
	if (seen->cancel) {
		assert_int_equal(xy_client_unsubscribe(client, seen->cancel), 0);
		seen->cancel = NULL;
	}
	if (seen->close)
		xy_client_close(client);
}

#endif
