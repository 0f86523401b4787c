/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int xy_binding_learn(struct xy_client *client, uint64_t id, const char *subject, size_t length)
{
	struct xy_binding *binding = xy_idmap_get(&client->bindings, id);
	int error;

	if (xy_subject_check(subject, length, NULL) != 0)
		return xy_client_fail(client, -EINVAL, "a topic with a bad subject");
	if (binding != NULL)
		return 0;
	binding = calloc(1, sizeof(*binding));
	if (binding == NULL)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	binding->id = id;
	binding->generation = client->generation - 1;
	memcpy(binding->subject, subject, length);
	error = xy_idmap_put(&client->bindings, id, binding);
	if (error) {
		free(binding);
		return xy_client_fail(client, error, "topic id cannot be kept");
	}
	return 0;
}

static void first_keep(struct xy_tree_item *item, void *context)
{
	struct xy_subscription *found = xy_container_of(item, struct xy_subscription, item);
	struct xy_subscription **first = context;

	if (*first == NULL || found->number < (*first)->number)
		*first = found;
}

struct xy_binding *xy_binding_of(struct xy_client *client, uint64_t id)
{
	struct xy_binding *binding = client->last_binding;

	if (binding == NULL || binding->id != id) {
		binding = xy_idmap_get(&client->bindings, id);
		if (binding == NULL)
			return NULL;
		client->last_binding = binding;
	}
	if (binding->generation != client->generation) {
		binding->generation = client->generation;
		binding->subscription = NULL;
		xy_tree_patterns_of(client->patterns, binding->subject, first_keep,
				    &binding->subscription);
	}
	return binding;
}

void xy_binding_forget_all(struct xy_client *client)
{
	size_t position = 0;
	uint64_t id;
	void *binding;

	while (xy_idmap_next(&client->bindings, &position, &id, &binding))
		free(binding);
	xy_idmap_clear(&client->bindings);
	client->last_binding = NULL;
}

/* Ids are random, so their mixture is as good a key as they are. */
static uint64_t stream_key(uint64_t source, uint64_t target)
{
	uint64_t key = source ^ (target << 29 | target >> 35);

	return key != 0 ? key : 1;
}

static struct xy_stream *stream_new(struct xy_client *client, uint64_t key)
{
	struct xy_stream *stream;

	if (xy_idmap_count(&client->streams) < XY_STREAMS_MAX) {
		stream = calloc(1, sizeof(*stream));
		if (stream == NULL)
			return NULL;
	} else {
		stream = xy_list_first(&client->stream_order, struct xy_stream, link);
		xy_idmap_remove(&client->streams, stream->key);
		xy_list_remove(&stream->link);
	}
	if (xy_idmap_put(&client->streams, key, stream) != 0) {
		client->last_stream = NULL;
		free(stream);
		return NULL;
	}
	stream->key = key;
	xy_list_add_tail(&client->stream_order, &stream->link);
	return stream;
}

void xy_stream_count(struct xy_client *client, const struct xy_message *first, uint64_t target,
		     uint64_t messages)
{
	struct xy_stream *stream = client->last_stream;
	uint64_t key = stream_key(first->source, target);

	/* A member of a group always sees gaps: the others get the rest. */
	if (first->sequence == 0 || first->subscription->wish.group[0] != '\0')
		return;
	if (stream == NULL || stream->key != key) {
		stream = xy_idmap_get(&client->streams, key);
		if (stream == NULL) {
			stream = stream_new(client, key);
			if (stream == NULL)
				return;
			stream->sequence = first->sequence - 1;
		}
		client->last_stream = stream;
	}
	if (first->sequence > stream->sequence + 1)
		client->stats.gaps += first->sequence - stream->sequence - 1;
	stream->sequence = first->sequence + messages - 1;
}

void xy_streams_free(struct xy_client *client)
{
	struct xy_stream *stream, *after;

	xy_list_each_safe (stream, after, &client->stream_order, link)
		free(stream);
	xy_idmap_clear(&client->streams);
}
