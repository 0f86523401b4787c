/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "io/depot.h"
#include "io/pipe_internal.h"

#define SEGMENT_SIZE_DEFAULT (64 * 1024)
#define CACHED_MAX_DEFAULT   64
/* A link is 1/2000 of a segment; so many are kept that a pool's whole cache of segments can be in
 * use in small slices. */
#define LINKS_CACHED_MAX     4096
/* A partial segment with less room than this share of its size is not worth keeping. */
#define PARTIAL_SHARE        16
/* What a pool that shares a depot keeps to itself. */
#define SHARED_MAX           8u
/* Segments from this size on are mapped, each by itself, so that one that is freed is back with the
 * system. malloc keeps free blocks that lie below others, and from the first large block that is
 * freed it takes all blocks up to that size from the heap. */
#define MAPPED_MIN           (32 * 1024)

static atomic_size_t total_bytes;

size_t xy_pool_total_bytes(void)
{
	return atomic_load_explicit(&total_bytes, memory_order_relaxed);
}

static size_t segment_bytes(uint32_t size)
{
	size_t align = _Alignof(struct xy_segment);

	return (sizeof(struct xy_segment) + size + align - 1) & ~(align - 1);
}

static struct xy_segment *segment_new(uint32_t size)
{
	struct xy_segment *segment;

	if (size >= MAPPED_MIN) {
		segment = mmap(NULL, segment_bytes(size), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (segment == MAP_FAILED)
			return NULL;
	} else {
		segment = aligned_alloc(_Alignof(struct xy_segment), segment_bytes(size));
		if (!segment)
			return NULL;
	}
	atomic_init(&segment->references, 1);
	segment->size = size;
	segment->next = NULL;
	atomic_fetch_add_explicit(&total_bytes, size, memory_order_relaxed);
	return segment;
}

void xy_segment_free(struct xy_segment *segment)
{
	atomic_fetch_sub_explicit(&total_bytes, segment->size, memory_order_relaxed);
	if (segment->size >= MAPPED_MIN)
		munmap(segment, segment_bytes(segment->size));
	else
		free(segment);
}

void xy_segment_release(struct xy_segment *segment, struct xy_pool *pool)
{
	/* The sole holder needs no atomic subtraction: nobody is left who could add. */
	if (!xy_segment_sole(segment) &&
	    atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel) != 1)
		return;
	if (!pool || segment->size != pool->segment_size) {
		xy_segment_free(segment);
		return;
	}
	atomic_store_explicit(&segment->references, 1, memory_order_relaxed);
	if (pool->cached >= pool->cached_max) {
		if (!pool->depot || !xy_depot_give(pool->depot, segment))
			xy_segment_free(segment);
		return;
	}
	segment->next = pool->cache;
	pool->cache = segment;
	pool->cached++;
}

/* ---- pool ---------------------------------------------------------------------------------- */

struct xy_pool *xy_pool_new(const struct xy_pool_options *options)
{
	struct xy_pool_options given = {0};
	struct xy_pool *pool;

	if (options) {
		if (options->size < sizeof(options->size)) {
			errno = EINVAL;
			return NULL;
		}
		memcpy(&given, options, xy_min(options->size, sizeof(given)));
	}
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->segment_size = given.segment_size ? given.segment_size : SEGMENT_SIZE_DEFAULT;
	pool->cached_max = given.cached_max ? given.cached_max : CACHED_MAX_DEFAULT;
	return pool;
}

static void partial_drop(struct xy_pool *pool)
{
	struct xy_segment *partial = pool->partial;

	if (!partial)
		return;
	pool->partial = NULL;
	xy_segment_release(partial, pool);
}

/* Keeps the `keep` segments that were used last. */
static void cache_cut(struct xy_pool *pool, uint32_t keep)
{
	struct xy_segment **at = &pool->cache;

	for (uint32_t i = 0; i < keep && *at; i++)
		at = &(*at)->next;
	while (*at) {
		struct xy_segment *segment = *at;

		*at = segment->next;
		pool->cached--;
		xy_segment_free(segment);
	}
	pool->idle = xy_min(pool->idle, pool->cached);
}

static void links_cut(struct xy_pool *pool, uint32_t keep)
{
	while (pool->links_cached > keep)
		free(xy_link_get(pool));
}

void xy_pool_trim(struct xy_pool *pool, uint32_t keep)
{
	partial_drop(pool);
	cache_cut(pool, keep);
	links_cut(pool, 0);
	if (pool->depot)
		xy_depot_trim(pool->depot);
}

void xy_pool_shrink(struct xy_pool *pool, uint32_t keep)
{
	/* A partial segment that nobody reads any more is a free one. */
	if (pool->partial && xy_segment_sole(pool->partial))
		partial_drop(pool);
	cache_cut(pool, xy_max(pool->cached - pool->idle, keep));
	links_cut(pool, xy_max(pool->links_cached - pool->links_idle, keep));
	pool->idle = pool->cached;
	pool->links_idle = pool->links_cached;
	if (pool->depot)
		xy_depot_shrink(pool->depot);
}

void xy_pool_share(struct xy_pool *pool, struct xy_depot *depot)
{
	if (!depot)
		return;
	pool->depot = depot;
	pool->cached_max = xy_min(pool->cached_max, SHARED_MAX);
}

void xy_pool_free(struct xy_pool *pool)
{
	if (!pool)
		return;
	xy_pool_trim(pool, 0);
	free(pool);
}

void xy_pool_stats(const struct xy_pool *pool, struct xy_pool_stats *ret)
{
	*ret = (struct xy_pool_stats){
		.rented = pool->rented,
		.created = pool->created,
		.cached = pool->cached + (pool->partial && xy_segment_sole(pool->partial)),
		.links = pool->links_cached,
	};
}

/* ---- links --------------------------------------------------------------------------------- */

int xy_links_prepare(struct xy_pool *pool, uint32_t count)
{
	while (pool->links_cached < count) {
		struct xy_link *link = malloc(sizeof(*link));

		if (!link)
			return -ENOMEM;
		link->next = pool->links;
		pool->links = link;
		pool->links_cached++;
	}
	return 0;
}

struct xy_link *xy_link_get(struct xy_pool *pool)
{
	struct xy_link *link = pool->links;

	pool->links = link->next;
	pool->links_cached--;
	pool->links_idle = xy_min(pool->links_idle, pool->links_cached);
	return link;
}

void xy_link_put(struct xy_pool *pool, struct xy_link *link)
{
	if (pool->links_cached >= LINKS_CACHED_MAX) {
		free(link);
		return;
	}
	link->next = pool->links;
	pool->links = link;
	pool->links_cached++;
}

static struct xy_segment *segment_cached(struct xy_pool *pool)
{
	struct xy_segment *segment = pool->cache;

	if (!segment)
		return pool->depot ? xy_depot_take(pool->depot) : NULL;
	pool->cache = segment->next;
	pool->cached--;
	pool->idle = xy_min(pool->idle, pool->cached);
	return segment;
}

struct xy_link *xy_link_rent(struct xy_pool *pool, size_t need)
{
	struct xy_segment *segment = pool->partial;
	uint32_t used = 0;
	struct xy_link *link;

	if (need > UINT32_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (xy_links_prepare(pool, 1) < 0) {
		errno = ENOMEM;
		return NULL;
	}
	if (segment && !xy_segment_sole(segment))
		used = pool->partial_used;
	if (segment && need <= segment->size - used) {
		pool->partial = NULL;
	} else {
		used = 0;
		segment = need <= pool->segment_size ? segment_cached(pool) : NULL;
		if (!segment) {
			segment = segment_new(xy_max((uint32_t)need, pool->segment_size));
			pool->created += segment != NULL;
		}
		if (!segment) {
			errno = ENOMEM;
			return NULL;
		}
	}
	pool->rented++;
	link = xy_link_get(pool);
	*link = (struct xy_link){.segment = segment, .start = used, .end = used, .owned = true};
	return link;
}

void xy_link_disown(struct xy_pool *pool, struct xy_link *link)
{
	struct xy_segment *segment = link->segment;
	uint32_t room = segment->size - link->end;

	if (!link->owned || segment->size != pool->segment_size ||
	    room < segment->size / PARTIAL_SHARE ||
	    (pool->partial && pool->partial->size - pool->partial_used >= room))
		return;
	partial_drop(pool);
	xy_segment_hold(segment);
	pool->partial = segment;
	pool->partial_used = link->end;
	link->owned = false;
}

void xy_link_reown(struct xy_pool *pool, struct xy_link *link)
{
	struct xy_segment *segment = link->segment;

	if (pool->partial == segment && pool->partial_used == link->end) {
		pool->partial = NULL;
		xy_segment_release(segment, pool);
		link->owned = true;
	} else if (xy_segment_sole(segment)) {
		link->owned = true;
	}
}

void xy_link_release(struct xy_pool *pool, struct xy_link *link)
{
	/* A segment that nobody else reads is of more use whole. */
	if (!xy_segment_sole(link->segment))
		xy_link_disown(pool, link);
	xy_segment_release(link->segment, pool);
}
