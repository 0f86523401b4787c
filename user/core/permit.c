/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/permit.h"

bool xy_permit(const struct xy_core *core, const struct xy_peer *peer,
	       enum xy_permission permission, const char *what)
{
	return xy_access_may(xy_rcu_dereference(core->access), peer->identity, permission, what);
}

static bool holds(const struct xy_access *access, const struct xy_peer *peer)
{
	return xy_access_holds(access, peer->identity, peer->reach);
}

/* A set that came after `generation` is newer than it says; then all is decided once more. */
void xy_permit_decide(struct xy_connection *connection, struct xy_target *target,
		      uint64_t generation)
{
	const struct xy_access *access = xy_rcu_dereference(connection->worker->core->access);
	const struct xy_peer *sender = connection->peer;
	bool direct = target->kind == XY_FLOW_DIRECT;

	if (connection->generation != generation)
		connection->revoked = !holds(access, sender);
	connection->generation = generation;
	target->generation = generation;
	/* What it may again it may also have a flow for. */
	target->asked = 0;
	target->forbidden =
		connection->revoked || (direct && !holds(access, target->peer)) ||
		!xy_access_may(access, sender->identity, direct ? XY_MAY_DIRECT : XY_MAY_PUBLISH,
			       direct ? target->peer->identity->name
				      : xy_topic_text(target->topic));
}
