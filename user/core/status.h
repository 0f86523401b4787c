/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot of the proxy as JSON, made without stopping anything: one task travels from loop to
 * loop, each adds what it owns, and the last stop is where it came from. A loop that is stuck is
 * passed by: it shows in "loops", and what it owns is missing.
 */
#ifndef XY_CORE_STATUS_H
#define XY_CORE_STATUS_H

#include <jansson.h>

#include "core/core.h"
#include "io/loop.h"

struct xy_status {
	struct xy_task task;
	struct xy_core *core;
	unsigned stop; /* next worker; then the router; then home */
	json_t *json;  /* owned by whoever done() is called for; NULL = out of memory */
	struct xy_loop *home;
	void (*done)(struct xy_status *status, void *context);
	void *context;
};

/* The caller's thread runs `home`; done is called there. -ENOMEM. */
int xy_status_take(struct xy_core *core, struct xy_loop *home,
		   void (*done)(struct xy_status *status, void *context), void *context,
		   struct xy_status **ret_status);
void xy_status_free(struct xy_status *status);

#endif
