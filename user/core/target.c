/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "core/connection.h"

/* Cached endpoints of one sender; beyond it the cache starts afresh. */
#define DIRECTS_MAX 1024

struct xy_target *xy_target_find(struct xy_connection *connection, uint64_t id,
				 enum xy_flow_kind kind)
{
	struct xy_target *target = connection->last_target;

	if (target && target->id == id && target->kind == kind)
		return target;
	target = xy_idmap_get(&connection->targets, id);
	if (!target || target->kind != kind)
		return NULL;
	connection->last_target = target;
	return target;
}

static struct xy_target *target_add(struct xy_connection *connection, uint64_t id,
				    enum xy_flow_kind kind)
{
	struct xy_target *target = calloc(1, sizeof(*target));

	if (!target)
		return NULL;
	target->id = id;
	target->kind = kind;
	xy_list_init(&target->fed);
	if (xy_idmap_put(&connection->targets, id, target)) {
		free(target);
		return NULL;
	}
	return target;
}

static void target_free(struct xy_target *target)
{
	xy_list_remove(&target->fed);
	if (target->peer)
		xy_peer_put(target->peer);
	free(target->chosen);
	free(target);
}

void xy_target_feed(struct xy_connection *connection, struct xy_target *target)
{
	if (target->is_fed && target->epoch == connection->epoch + 1)
		return;
	target->is_fed = true;
	target->epoch = connection->epoch + 1;
	xy_list_remove(&target->fed);
	xy_list_add_tail(&connection->fed, &target->fed);
}

void xy_targets_fed(struct xy_connection *connection)
{
	struct xy_target *target, *after;

	xy_list_each_safe (target, after, &connection->fed, fed) {
		if (target->epoch == connection->epoch + 1)
			return;
		target->is_fed = false;
		xy_list_remove(&target->fed);
		if (target->flow)
			xy_list_add_tail(&connection->flows, &target->fed);
	}
}

int xy_target_topic(struct xy_connection *connection, uint64_t id, struct xy_topic *topic)
{
	struct xy_target *target;

	if (xy_target_find(connection, id, XY_FLOW_TOPIC))
		return 0;
	target = target_add(connection, id, XY_FLOW_TOPIC);
	if (!target)
		return -ENOMEM;
	target->topic = topic;
	connection->topics++;
	return 0;
}

static void directs_forget(struct xy_connection *connection)
{
	uint64_t gone[64], id;
	void *value;
	size_t count;

	connection->last_target = NULL;
	do {
		size_t position = 0;

		count = 0;
		while (count < XY_ARRAY_SIZE(gone) &&
		       xy_idmap_next(&connection->targets, &position, &id, &value))
			if (((struct xy_target *)value)->kind == XY_FLOW_DIRECT)
				gone[count++] = id;
		for (size_t i = 0; i < count; i++)
			target_free(xy_idmap_remove(&connection->targets, gone[i]));
	} while (count);
	connection->directs = 0;
}

struct xy_target *xy_target_direct(struct xy_connection *connection, uint64_t endpoint)
{
	struct xy_target *target = xy_target_find(connection, endpoint, XY_FLOW_DIRECT);
	struct xy_peer *peer;

	errno = ENOENT;
	if (target && xy_peer_closed(target->peer)) {
		connection->last_target = NULL;
		target_free(xy_idmap_remove(&connection->targets, endpoint));
		connection->directs--;
		return NULL;
	}
	if (target)
		return target;
	peer = xy_router_endpoint(connection->worker->core->router, endpoint);
	if (!peer || xy_peer_closed(peer))
		return NULL;
	if (connection->directs >= DIRECTS_MAX)
		directs_forget(connection);
	target = target_add(connection, endpoint, XY_FLOW_DIRECT);
	if (!target) {
		errno = ENOMEM;
		return NULL;
	}
	xy_peer_get(peer);
	target->peer = peer;
	connection->directs++;
	connection->last_target = target;
	return target;
}

void xy_targets_free(struct xy_connection *connection)
{
	size_t position = 0;
	uint64_t id;
	void *value;

	while (xy_idmap_next(&connection->targets, &position, &id, &value))
		target_free(value);
	xy_idmap_clear(&connection->targets);
	connection->last_target = NULL;
}
