/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Blocks form a list in the order of the stream. A frame never lies in two of them: before a read
 * the last block has room for the whole of the frame that begins at its `scan`. */

static uint8_t *frame_type(uint8_t *frame)
{
	return &((struct xy_header *)frame)->type;
}

static struct xy_block *block_new(struct xy_client *client)
{
	struct xy_inbound *in = &client->in;
	struct xy_block *block = in->spare;

	in->spare = NULL;
	if (block == NULL)
		block = malloc(sizeof(*block) + client->block_size);
	if (block == NULL)
		return NULL;
	block->next = NULL;
	block->scan = block->end = 0;
	in->blocks++;
	return block;
}

static void block_free(struct xy_inbound *in, struct xy_block *block)
{
	in->blocks--;
	in->full = false;
	if (in->spare == NULL)
		in->spare = block;
	else
		free(block);
}

/* Room for the frame that comes next. */
static bool inbound_room(struct xy_client *client)
{
	struct xy_inbound *in = &client->in;
	struct xy_block *block, *tail = in->tail;
	uint32_t part;

	if (tail != NULL && tail->scan + XY_FRAME_MAX <= client->block_size)
		return true;
	if (tail != NULL && in->read.block == tail && in->read.at == tail->scan) {
		part = tail->end - tail->scan;
		memmove(tail->data, tail->data + tail->scan, part);
		tail->scan = 0;
		tail->end = part;
		in->read.at = 0;
		in->walk = in->read;
		return true;
	}
	if (tail != NULL && ((size_t)in->blocks + 1) * client->block_size + in->assembly_bytes >
				    client->inbound_max)
		return false;
	block = block_new(client);
	if (block == NULL)
		return false;
	if (tail == NULL) {
		in->head = block;
		in->read = in->walk = (struct xy_position){.block = block};
	} else {
		part = tail->end - tail->scan;
		memcpy(block->data, tail->data + tail->scan, part);
		block->end = part;
		tail->end = tail->scan;
		tail->next = block;
	}
	in->tail = block;
	return true;
}

static void on_error(struct xy_client *client, const uint8_t *frame, uint32_t length)
{
	const struct xy_header *header = (const struct xy_header *)frame;
	struct xy_error_info info;
	char why[XY_WHY_SIZE];
	enum xy_error code;
	int error = xy_error_decode(frame + XY_HEADER_SIZE, length - XY_HEADER_SIZE, &info, why);

	if (error) {
		xy_client_fail(client, error, "unreadable ERROR of the proxy: %s", why);
		xy_client_disconnect(client);
		return;
	}
	code = xy_error_from_text(info.code);
	error = code == XY_ERROR_NONE ? -EPROTO : xy_error_errno(code);
	xy_client_fail(client, error, "%s: %s", info.code, info.message);
	if (client->state == XY_CLIENT_GREETING || xy_error_closes(code)) {
		xy_client_disconnect(client);
		return;
	}
	if (header->correlation == 0 || !xy_call_error(client, xy_be64(header->correlation), error))
		xy_client_tell(client, XY_EVENT_ERROR);
}

static void on_data(struct xy_client *client, uint8_t *frame)
{
	const struct xy_header *header = (const struct xy_header *)frame;

	if (header->fragments == 0 || header->fragments == xy_be16(1)) {
		if (xy_idmap_count(&client->in.assemblies) > 0)
			xy_assembly_discard(client, xy_be64(header->source));
		if (!xy_request_awaits(client, frame))
			return;
		*frame_type(frame) = XY_MARK_HELD;
	} else {
		if (!xy_request_awaits(client, frame))
			return;
		*frame_type(frame) = XY_MARK_HELD_ASSEMBLED;
	}
	client->in.reply = frame;
	client->awaited.answered = true;
	client->awaited.frame = frame;
}

static void bad_frame(struct xy_client *client, const char *what)
{
	xy_client_fail(client, -EPROTO, "the proxy does not speak this protocol: %s", what);
	xy_client_disconnect(client);
}

/* A whole frame. False: no memory to take it now. */
static bool take(struct xy_client *client, uint8_t *frame, uint32_t length)
{
	const struct xy_header *header = (const struct xy_header *)frame;
	const uint8_t *payload = frame + XY_HEADER_SIZE;
	uint8_t type = header->type;

	if (client->state == XY_CLIENT_GREETING && type != XY_WELCOME && type != XY_ERROR) {
		bad_frame(client, "no WELCOME");
		return true;
	}
	if (type == XY_DATA) {
		if (xy_be16(header->fragments) > 1) {
			enum xy_assembled assembled = xy_assembly_add(client, frame);

			if (assembled != XY_ASSEMBLED_DONE)
				return assembled == XY_ASSEMBLED_PART;
		}
		on_data(client, frame);
		return true;
	}
	*frame_type(frame) = XY_MARK_DEAD;
	switch (type) {
	case XY_WELCOME:
		xy_client_on_welcome(client, frame, length);
		break;
	case XY_SYNCED:
		xy_client_on_synced(client, frame);
		break;
	case XY_SYNC_WANTED:
		xy_client_on_sync_wanted(client);
		break;
	case XY_BINDING:
		if (xy_binding_learn(client, xy_be64(header->target), (const char *)payload,
				     length - XY_HEADER_SIZE) != 0)
			bad_frame(client, "BINDING");
		break;
	case XY_OK:
		xy_call_ok(client, xy_be64(header->correlation), xy_be64(header->target));
		break;
	case XY_ERROR:
		on_error(client, frame, length);
		break;
	case XY_PING:
		/* Stamped when sent: what was consumed by then includes the PING. */
		if (xy_client_control(client, XY_PONG, 0, xy_be64(header->correlation), payload,
				      length - XY_HEADER_SIZE) != 0)
			xy_client_disconnect(client);
		break;
	case XY_PONG:
		break;
	case XY_GOODBYE:
		xy_client_on_goodbye(client);
		break;
	default:
		bad_frame(client, "type");
		break;
	}
	return true;
}

/* Takes in all whole frames that were read. False: no memory for the next one. */
static bool scan(struct xy_client *client)
{
	struct xy_block *block = client->in.tail;
	int fd = client->fd;

	while (block->end - block->scan >= XY_HEADER_SIZE) {
		uint8_t *frame = block->data + block->scan;
		uint32_t length = xy_header_length(frame);
		uint8_t type = *frame_type(frame);

		if (length < XY_HEADER_SIZE || length > XY_FRAME_MAX) {
			bad_frame(client, "length");
			return true;
		}
		if (((const struct xy_header *)frame)->version != XY_WIRE_VERSION) {
			bad_frame(client, "version");
			return true;
		}
		if (block->end - block->scan < length)
			return true;
		if (!take(client, frame, length))
			return false;
		if (client->fd != fd)
			return true;
		block->scan += length;
		client->stats.frames_in++;
		if (type != XY_WELCOME)
			client->consumed += length;
	}
	return true;
}

/* Bytes that are read at once, and between acks. Of a member of a group little: what it has taken
 * in no other member can do for it, and what it has not acked speaks against it. */
static size_t stride(const struct xy_client *client)
{
	return client->grouped ? client->window / 32 : client->window / 4;
}

/* The proxy's credit comes back by acks. Every frame carries one; an ACK of its own is needed only
 * when nothing else is about to go. */
static void ack(struct xy_client *client)
{
	if (client->state >= XY_CLIENT_SYNCING && client->window > 0 &&
	    client->consumed - client->acked >= stride(client) && client->control.tail == 0)
		xy_client_control(client, XY_ACK, 0, 0, NULL, 0);
}

/* As intake, of what was read. */
static int take_in(struct xy_client *client)
{
	client->in.stalled = !scan(client);
	if (client->fd < 0)
		return -ENOTCONN;
	client->in.full = client->in.stalled;
	ack(client);
	xy_inbound_release(client);
	return client->in.stalled ? -EAGAIN : 1;
}

static int receive(struct xy_client *client, int flags)
{
	struct xy_inbound *in = &client->in;
	struct xy_block *tail;
	size_t room;
	ssize_t got;

	if (client->fd < 0)
		return -ENOTCONN;
	if (in->stalled)
		return take_in(client);
	in->full = !inbound_room(client);
	if (in->full)
		return -EAGAIN;
	tail = in->tail;
	room = client->block_size - tail->end;
	if (client->grouped)
		room = xy_min(room, stride(client));
	got = xy_channel_recv(client, tail->data + tail->end, room, flags);
	client->looked = true;
	client->stats.reads++;
	if (got == -EINTR)
		return -EINTR;
	if (got == -EAGAIN)
		return 0;
	if (got <= 0) {
		if (got < 0)
			xy_channel_fail(client, (int)got, "receive");
		else
			xy_client_fail(client, -ECONNRESET, "the proxy closed the connection");
		xy_client_disconnect(client);
		return -ENOTCONN;
	}
	tail->end += (uint32_t)got;
	client->heard_ns = client->looked_ns = xy_clock_ns();
	client->unheard = 0;
	return take_in(client);
}

int xy_inbound_intake(struct xy_client *client)
{
	int came;

	do
		came = receive(client, MSG_DONTWAIT);
	while (came == -EINTR);
	return came;
}

int xy_inbound_await(struct xy_client *client)
{
	return receive(client, 0);
}

uint8_t *xy_inbound_frame(struct xy_position *position)
{
	while (position->block != NULL) {
		struct xy_block *block = position->block;

		if (position->at < block->scan)
			return block->data + position->at;
		if (block->next == NULL)
			return NULL;
		*position = (struct xy_position){.block = block->next};
	}
	return NULL;
}

void xy_inbound_release(struct xy_client *client)
{
	struct xy_inbound *in = &client->in;

	while (in->head != NULL) {
		struct xy_block *block = in->head;
		uint8_t *frame = block->data + in->read.at;

		if (in->read.at < block->scan) {
			if (*frame_type(frame) != XY_MARK_DEAD)
				return;
			in->read.at += xy_header_length(frame);
			if (in->walk.block == block && in->walk.at < in->read.at)
				in->walk.at = in->read.at;
			continue;
		}
		if (block->next == NULL) {
			if (block->scan == block->end) {
				block->scan = block->end = 0;
				in->read.at = 0;
				in->walk = in->read;
			}
			in->full = false;
			return;
		}
		in->head = block->next;
		in->read = (struct xy_position){.block = in->head};
		if (in->walk.block == block)
			in->walk = in->read;
		block_free(in, block);
	}
}

void xy_inbound_kill(struct xy_client *client, uint8_t *frame)
{
	struct xy_assembly *assembly = xy_assembly_of(frame);

	if (assembly != NULL)
		xy_assembly_drop(client, assembly);
	*frame_type(frame) = XY_MARK_DEAD;
}

void xy_inbound_let_go(struct xy_client *client)
{
	struct xy_inbound *in = &client->in;

	if (in->current != NULL && in->bundle == NULL) {
		xy_inbound_kill(client, in->current);
		in->current = NULL;
	}
	if (in->reply != NULL) {
		xy_inbound_kill(client, in->reply);
		in->reply = NULL;
	}
	xy_inbound_release(client);
}

void xy_inbound_end(struct xy_client *client)
{
	struct xy_block *tail = client->in.tail;

	if (tail != NULL)
		tail->end = tail->scan;
	client->in.stalled = false;
	xy_assembly_discard_all(client);
	xy_inbound_release(client);
}

void xy_inbound_free(struct xy_client *client)
{
	struct xy_inbound *in = &client->in;
	uint8_t *frame;

	while ((frame = xy_inbound_frame(&in->read)) != NULL) {
		uint32_t length = xy_header_length(frame);

		xy_inbound_kill(client, frame);
		in->read.at += length;
	}
	while (in->head != NULL) {
		struct xy_block *next = in->head->next;

		free(in->head);
		in->head = next;
	}
	free(in->spare);
	xy_assembly_discard_all(client);
	xy_idmap_clear(&in->assemblies);
}

bool xy_inbound_payload(struct xy_client *client, const uint8_t *frame, const uint8_t **ret_data,
			size_t *ret_length)
{
	const uint8_t *data = frame + XY_HEADER_SIZE;
	size_t length = xy_header_length(frame) - XY_HEADER_SIZE;

	if (xy_header_flags(frame) & XY_CRC) {
		uint32_t crc;

		if (length < XY_CRC_SIZE)
			goto corrupt;
		length -= XY_CRC_SIZE;
		memcpy(&crc, data + length, sizeof(crc));
		if (xy_be32(crc) != xy_crc32c(0, data, length))
			goto corrupt;
	}
	*ret_data = data;
	*ret_length = length;
	return true;

corrupt:
	client->stats.corrupt++;
	return false;
}
