/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the proxy gives up when everything is open and nobody has been let in yet: its user, if
 * another is wanted, its capabilities, and the system calls that it needs no more. What it gave up
 * stands in core->confinement, and in the log.
 */
#ifndef XY_EDGE_CONFINE_H
#define XY_EDGE_CONFINE_H

#include "core/server.h"
#include "edge/sweeper.h"

struct xy_admin;
struct xy_finding;

/* Before any thread starts. Not XY_EXIT_OK: it could not, which is logged, and the proxy must not
 * go on. The sweeper removes what the two have left in the file system. */
enum xy_exit xy_confine(struct xy_server *server, struct xy_admin *admin,
			const struct xy_server_options *options, struct xy_sweeper *ret_sweeper);

/* For the doctor: whether it can be given up here, tried by a child that has nothing else to do. */
void xy_confine_try(struct xy_finding *finding);

#endif
