/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asking the rules in force.
 *
 * The router asks when a topic is declared, a subscription made, a flow installed. A worker asks
 * once for each target and generation of the rules, and remembers the answer in the target.
 */
#ifndef XY_CORE_PERMIT_H
#define XY_CORE_PERMIT_H

#include "core/connection.h"
#include "core/core.h"
#include "core/peer.h"

/* The router's thread, or a read section. */
bool xy_permit(const struct xy_core *core, const struct xy_peer *peer,
	       enum xy_permission permission, const char *what);

/* Decides once more. Read section. */
void xy_permit_decide(struct xy_connection *connection, struct xy_target *target,
		      uint64_t generation);

/* Whether DATA may go to this target. Worker's thread, read section. */
static inline bool xy_permit_target(struct xy_connection *connection, struct xy_target *target)
{
	uint64_t generation = atomic_load_explicit(&connection->worker->core->access_generation,
						   memory_order_acquire);

	if (target->generation != generation)
		xy_permit_decide(connection, target, generation);
	return !target->forbidden;
}

#endif
