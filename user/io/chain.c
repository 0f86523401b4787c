/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "io/pipe_internal.h"

void xy_chain_move(struct xy_chain *to, struct xy_chain *from)
{
	*to = *from;
	*from = (struct xy_chain){0};
}

void xy_chain_clear(struct xy_chain *chain, struct xy_pool *pool)
{
	const struct xy_slice *slice = xy_chain_slices(chain);

	for (uint32_t i = 0; i < chain->count; i++)
		xy_segment_release(slice[i].segment, pool);
	free(chain->heap);
	*chain = (struct xy_chain){0};
}

int xy_chain_prepare(struct xy_chain *chain, uint32_t more)
{
	uint32_t used = chain->first + chain->count, need = used + more;
	uint32_t capacity = chain->heap ? chain->capacity : XY_CHAIN_INLINE;
	struct xy_slice *heap;

	if (need <= capacity)
		return 0;
	capacity = xy_max(need, 2 * capacity);
	heap = realloc(chain->heap, capacity * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	if (!chain->heap)
		memcpy(heap, chain->inlined, used * sizeof(*heap));
	chain->heap = heap;
	chain->capacity = capacity;
	return 0;
}

void xy_chain_add(struct xy_chain *chain, struct xy_segment *segment, uint32_t offset,
		  uint32_t length)
{
	struct xy_slice *slice = xy_chain_slices(chain) + chain->count;

	chain->length += length;
	if (chain->count > 0 && slice[-1].segment == segment &&
	    slice[-1].offset + slice[-1].length == offset) {
		slice[-1].length += length;
		return;
	}
	xy_segment_hold(segment);
	*slice = (struct xy_slice){.segment = segment, .offset = offset, .length = length};
	chain->count++;
}

int xy_chain_share(const struct xy_chain *from, struct xy_chain *to)
{
	const struct xy_slice *slice = xy_chain_slices_const(from);
	int r = xy_chain_prepare(to, from->count);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < from->count; i++)
		xy_chain_add(to, slice[i].segment, slice[i].offset, slice[i].length);
	return 0;
}

int xy_chain_peek(const struct xy_chain *chain, void *to, size_t length)
{
	const struct xy_slice *slice = xy_chain_slices_const(chain);
	uint8_t *out = to;

	if (length > chain->length)
		return -ENODATA;
	for (; length > 0; slice++) {
		size_t part = xy_min(length, (size_t)slice->length);

		memcpy(out, slice->segment->data + slice->offset, part);
		out += part;
		length -= part;
	}
	return 0;
}

void xy_chain_advance(struct xy_chain *chain, size_t length, struct xy_pool *pool)
{
	struct xy_slice *slice = xy_chain_slices(chain);

	if (length >= chain->length) {
		xy_chain_clear(chain, pool);
		return;
	}
	chain->length -= length;
	for (; length >= slice->length; slice++) {
		length -= slice->length;
		xy_segment_release(slice->segment, pool);
		chain->first++;
		chain->count--;
	}
	slice->offset += (uint32_t)length;
	slice->length -= (uint32_t)length;
}
