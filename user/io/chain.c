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
	uint32_t need = chain->count + more;
	uint32_t capacity = chain->heap ? chain->capacity : XY_CHAIN_INLINE;
	struct xy_slice *heap;

	if (need <= capacity)
		return 0;
	capacity = xy_max(need, 2 * capacity);
	heap = realloc(chain->heap, capacity * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	if (!chain->heap)
		memcpy(heap, chain->inlined, chain->count * sizeof(*heap));
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
