/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a proxy does, as JSON text, made piece by piece while everything goes on. Workers and router
 * are asked for a page of what they own (core/page.h), one page at a time, and only when the text
 * before it is gone: so a status takes the same memory whatever it tells of, and who reads slowly
 * holds up nobody. What is there all the while is in it once, each entry as of the moment it was
 * written.
 *
 * Whose loop is stuck is passed by: it shows in "loops", and what it owns, or the rest of that, is
 * missing. The watchdog says so; one that does not answer for a second is passed by without it.
 */
#ifndef XY_CORE_STATUS_H
#define XY_CORE_STATUS_H

#include <stddef.h>

#include "core/core.h"
#include "io/loop.h"

/* What the statuses of one home have in common. Zero-initialise, then set the first four. */
struct xy_statuses {
	struct xy_core *core;
	struct xy_loop *home;         /* its thread calls all of this */
	void (*quiet)(void *context); /* no question is under way any more */
	void *context;
	unsigned asked; /* questions under way: home must not end before they come back */
	unsigned late[XY_WORKERS_MAX + 1]; /* of them, by loop: nobody waits for the answer */
};

struct xy_status;

enum xy_status_step {
	XY_STATUS_PIECE, /* text, valid until the next step */
	XY_STATUS_LATER, /* ready() will be called; until then the status must be left alone */
	XY_STATUS_END,   /* there is no more: with its last piece it was one line */
	XY_STATUS_FAILED /* no memory: the text cannot be completed */
};

/* -ENOMEM. */
int xy_status_new(struct xy_statuses *statuses,
		  void (*ready)(struct xy_status *status, void *context), void *context,
		  struct xy_status **ret_status);
enum xy_status_step xy_status_next(struct xy_status *status, const char **ret_text,
				   size_t *ret_length);
void xy_status_free(struct xy_status *status); /* not between LATER and ready(); NULL is fine */

#endif
