/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS handshakes of a server. Their steps cost up to milliseconds each, so that they wait in a
 * queue, of which a turn of the loop takes some. The acceptor's thread.
 */
#ifndef XY_CORE_HANDSHAKE_H
#define XY_CORE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/core.h"
#include "io/tls.h"

#define XY_HANDSHAKE_MEMORY (XY_TLS_MEMORY + 2 * XY_TLS_RECORD) /* bytes, while it lasts */

/* Embed it; set what is not private. */
struct xy_handshake {
	struct xy_list queued; /* private; initialise it */
	struct xy_core *core;
	int fd;
	struct xy_tls *tls; /* from its first byte on; the owner's */
	bool done;          /* it has succeeded; private until over() is called */
	/* What it waits for has changed: EPOLLIN, EPOLLOUT or both. */
	void (*waits)(struct xy_handshake *handshake, uint32_t events);
	/* Once; may free it. 0: done. -EPROTONOSUPPORT: what came is no TLS, and nothing has been
	 * read of it. -ENODATA: nothing came before the end, or a reset. Else why is a sentence. */
	void (*over)(struct xy_handshake *handshake, int error, const char *why);
};

/* Something can be read, or written: a step is due. */
void xy_handshake_ready(struct xy_handshake *handshake, struct xy_list *queue);
/* Takes steps for some ms, one at least if there is any. Whether there are more. */
bool xy_handshakes_turn(struct xy_list *queue);

#endif
