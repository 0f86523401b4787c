/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The admin socket: a UNIX socket, mode 0600, that answers JSON lines with JSON lines.
 *
 *   {"request":"status"}   the whole state (core/status.h)
 *   {"request":"ready"}    {"ready":true} when the proxy takes connections
 *   {"request":"reload"}   reads the rules again (core/reload.h); when they are in force
 *                          {"reloaded":true,"generation":…,"revoked":{…}}, else {"error":…}
 *
 * Anything else is answered with {"error":…}. One thread of its own.
 */
#ifndef XY_EDGE_ADMIN_H
#define XY_EDGE_ADMIN_H

#include <stddef.h>
#include <sys/types.h>

struct xy_admin;
struct xy_core;
struct xy_loop;
struct xy_reload;

/* -errno with a sentence in why. The path is replaced when nobody listens on it. */
int xy_admin_new(const char *path, struct xy_admin **ret_admin, char *why, size_t why_size);
void xy_admin_free(struct xy_admin *admin);         /* removes the path */
void xy_admin_withdraw(struct xy_admin *admin);     /* only that; before the process ends */
void xy_admin_unlink(const struct xy_admin *admin); /* the path; also in a child */
/* To another user than the one that made it. */
int xy_admin_give(const struct xy_admin *admin, uid_t user, gid_t group);
/* `reload` may be NULL. */
int xy_admin_start(struct xy_admin *admin, struct xy_core *core, struct xy_reload *reload);
void xy_admin_stop(struct xy_admin *admin); /* and join */
struct xy_loop *xy_admin_loop(struct xy_admin *admin);

#endif
