/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the rules again, while the proxy works.
 *
 * On main's loop: asks whoever made the rules to make them anew, checks them against the listeners,
 * and has the router put them in force. One at a time; what is asked meanwhile is done afterwards,
 * once. If anything is wrong with the new rules the old ones stay, and that is said.
 */
#ifndef XY_CORE_RELOAD_H
#define XY_CORE_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/acceptor.h"
#include "core/core.h"

struct xy_reload;

#define XY_RELOAD_WHY_SIZE 1024
struct xy_reload_result {
	uint64_t ticket; /* all asked for up to here are done */
	bool failed;
	char why[XY_RELOAD_WHY_SIZE];
	uint64_t generation;                        /* in force now */
	uint64_t flows, subscriptions, connections; /* that the rules have ended */
};

void xy_rules_free(struct xy_rules *rules);

/* 0: new rules, the caller's; -errno with a sentence. */
typedef int (*xy_reload_fn)(void *context, struct xy_rules *ret_rules, char *why, size_t why_size);

/* NULL: out of memory. `home` is main's loop. */
struct xy_reload *xy_reload_new(struct xy_core *core, const struct xy_acceptor *acceptor,
				struct xy_loop *home, xy_reload_fn read, void *context);
void xy_reload_free(struct xy_reload *reload); /* when nothing runs any more; NULL is fine */

/* Any thread. Returns a ticket; ask for the result when `done` was called. */
uint64_t xy_reload_ask(struct xy_reload *reload);
/* Before it is asked for anything: called on main's thread after each. */
void xy_reload_notify(struct xy_reload *reload, void (*done)(void *context), void *context);
void xy_reload_result(struct xy_reload *reload, struct xy_reload_result *ret_result);

#endif
