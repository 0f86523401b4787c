/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASSEMBLY_FIRST (256u << 10)

/* The frame that ends a message carries it: its ack field, which means nothing to a client, holds
 * the assembly until delivery. */
static void frame_keep(uint8_t *frame, struct xy_assembly *assembly)
{
	struct xy_header *header = (struct xy_header *)frame;

	memcpy(&header->ack, &assembly, sizeof(assembly));
	header->type = XY_MARK_ASSEMBLED;
}

struct xy_assembly *xy_assembly_of(const uint8_t *frame)
{
	const struct xy_header *header = (const struct xy_header *)frame;
	struct xy_assembly *assembly;

	if (header->type != XY_MARK_ASSEMBLED && header->type != XY_MARK_HELD_ASSEMBLED)
		return NULL;
	memcpy(&assembly, &header->ack, sizeof(assembly));
	return assembly;
}

static void assembly_free(struct xy_client *client, struct xy_assembly *assembly)
{
	client->in.assembly_bytes -= assembly->capacity;
	client->in.full = false;
	free(assembly->data);
	free(assembly);
}

void xy_assembly_drop(struct xy_client *client, struct xy_assembly *assembly)
{
	client->in.waiting--;
	assembly_free(client, assembly);
}

static void discard(struct xy_client *client, struct xy_assembly *assembly)
{
	xy_idmap_remove(&client->in.assemblies, assembly->source);
	xy_list_remove(&assembly->link);
	client->stats.corrupt++;
	assembly_free(client, assembly);
}

void xy_assembly_discard(struct xy_client *client, uint64_t source)
{
	struct xy_assembly *assembly = xy_idmap_get(&client->in.assemblies, source);

	if (assembly != NULL)
		discard(client, assembly);
}

void xy_assembly_discard_all(struct xy_client *client)
{
	struct xy_assembly *assembly, *after;

	xy_list_each_safe (assembly, after, &client->in.progress, link)
		discard(client, assembly);
}

/* Whether so many bytes more may be held; makes room at the cost of other messages in progress, the
 * one that waits longest for its next fragment first. */
static enum xy_assembled afford(struct xy_client *client, const struct xy_assembly *assembly,
				size_t more)
{
	struct xy_inbound *in = &client->in;
	size_t blocks = (size_t)in->blocks * client->block_size;

	while (in->assembly_bytes + blocks + more > client->inbound_max) {
		struct xy_assembly *victim = xy_list_first(&in->progress, struct xy_assembly, link);

		/* The application can give memory back. */
		if (in->waiting > 0 || in->blocks > 1)
			return XY_ASSEMBLED_LATER;
		if (victim == assembly)
			victim = xy_list_last(&in->progress, struct xy_assembly, link);
		if (victim == NULL || victim == assembly)
			return XY_ASSEMBLED_PART;
		discard(client, victim);
	}
	return XY_ASSEMBLED_DONE;
}

static enum xy_assembled grow(struct xy_client *client, struct xy_assembly *assembly, size_t length)
{
	size_t capacity = assembly->capacity ? assembly->capacity : ASSEMBLY_FIRST;
	enum xy_assembled afforded;
	uint8_t *data;

	if (assembly->length + length <= assembly->capacity)
		return XY_ASSEMBLED_DONE;
	while (capacity < assembly->length + length)
		capacity *= 2;
	if (capacity > assembly->maximum)
		capacity = assembly->maximum;
	afforded = afford(client, assembly, capacity - assembly->capacity);
	if (afforded != XY_ASSEMBLED_DONE)
		return afforded;
	data = realloc(assembly->data, capacity);
	if (data == NULL)
		return XY_ASSEMBLED_PART;
	client->in.assembly_bytes += capacity - assembly->capacity;
	assembly->data = data;
	assembly->capacity = capacity;
	return XY_ASSEMBLED_DONE;
}

static struct xy_assembly *begin(struct xy_client *client, const struct xy_header *header)
{
	struct xy_assembly *assembly = calloc(1, sizeof(*assembly));

	if (assembly == NULL)
		return NULL;
	assembly->source = xy_be64(header->source);
	assembly->target = xy_be64(header->target);
	assembly->sequence = xy_be64(header->sequence);
	assembly->fragments = xy_be16(header->fragments);
	/* Fragments of one size are the rule, not the law. */
	assembly->maximum = (size_t)XY_PAYLOAD_MAX * assembly->fragments;
	if (xy_idmap_put(&client->in.assemblies, assembly->source, assembly) != 0) {
		free(assembly);
		return NULL;
	}
	xy_list_add_tail(&client->in.progress, &assembly->link);
	return assembly;
}

static bool continues(const struct xy_assembly *assembly, const struct xy_header *header)
{
	return assembly->target == xy_be64(header->target) &&
	       assembly->sequence == xy_be64(header->sequence) &&
	       assembly->fragments == xy_be16(header->fragments) &&
	       assembly->next == xy_be16(header->fragment);
}

enum xy_assembled xy_assembly_add(struct xy_client *client, uint8_t *frame)
{
	struct xy_header *header = (struct xy_header *)frame;
	uint64_t source = xy_be64(header->source);
	struct xy_assembly *assembly = xy_idmap_get(&client->in.assemblies, source);
	const uint8_t *data;
	size_t length;

	if (assembly != NULL && !continues(assembly, header)) {
		discard(client, assembly);
		assembly = NULL;
	}
	if (!xy_inbound_payload(client, frame, &data, &length))
		goto give_up;
	if (xy_header_flags(frame) & XY_BUNDLE) {
		/* No proxy passes a bundle in fragments. */
		client->stats.corrupt++;
		goto give_up;
	}
	if (assembly == NULL && header->fragment == 0)
		assembly = begin(client, header);
	/* The rest of a message of which the beginning is lost. */
	if (assembly == NULL)
		goto drop;
	if (assembly->length + length > assembly->maximum)
		goto give_up;
	switch (grow(client, assembly, length)) {
	case XY_ASSEMBLED_LATER:
		return XY_ASSEMBLED_LATER;
	case XY_ASSEMBLED_PART:
		goto give_up;
	case XY_ASSEMBLED_DONE:
		break;
	}
	if (length > 0)
		memcpy(assembly->data + assembly->length, data, length);
	assembly->length += length;
	assembly->next++;
	xy_list_remove(&assembly->link);
	if (assembly->next < assembly->fragments) {
		xy_list_add_tail(&client->in.progress, &assembly->link);
		goto drop;
	}
	xy_idmap_remove(&client->in.assemblies, source);
	client->in.waiting++;
	frame_keep(frame, assembly);
	return XY_ASSEMBLED_DONE;

give_up:
	if (assembly != NULL)
		discard(client, assembly);
drop:
	header->type = XY_MARK_DEAD;
	return XY_ASSEMBLED_PART;
}
