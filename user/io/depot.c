/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "io/depot.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/pipe_internal.h"

struct xy_depot {
	pthread_mutex_t lock;
	struct xy_segment *free; /* last given first */
	uint32_t most;
	uint32_t period_ms;
	uint64_t next_ms;       /* before that nothing is looked at: see xy_depot_shrink() */
	uint32_t idle;          /* the least that there were in this period */
	_Atomic uint32_t count; /* changed under the lock */
};

struct xy_depot *xy_depot_new(uint32_t most, uint32_t period_ms)
{
	struct xy_depot *depot = calloc(1, sizeof(*depot));

	if (!depot)
		return NULL;
	pthread_mutex_init(&depot->lock, NULL);
	depot->most = most;
	depot->period_ms = period_ms;
	return depot;
}

void xy_depot_free(struct xy_depot *depot)
{
	if (!depot)
		return;
	xy_depot_trim(depot);
	pthread_mutex_destroy(&depot->lock);
	free(depot);
}

uint32_t xy_depot_count(const struct xy_depot *depot)
{
	return depot ? atomic_load_explicit(&depot->count, memory_order_relaxed) : 0;
}

static void count_set(struct xy_depot *depot, uint32_t count)
{
	atomic_store_explicit(&depot->count, count, memory_order_relaxed);
	depot->idle = xy_min(depot->idle, count);
}

bool xy_depot_give(struct xy_depot *depot, struct xy_segment *segment)
{
	bool taken;

	pthread_mutex_lock(&depot->lock);
	taken = xy_depot_count(depot) < depot->most;
	if (taken) {
		segment->next = depot->free;
		depot->free = segment;
		count_set(depot, xy_depot_count(depot) + 1);
	}
	pthread_mutex_unlock(&depot->lock);
	return taken;
}

struct xy_segment *xy_depot_take(struct xy_depot *depot)
{
	struct xy_segment *segment;

	/* Mostly there is none, and then nobody need be kept out. */
	if (!xy_depot_count(depot))
		return NULL;
	pthread_mutex_lock(&depot->lock);
	segment = depot->free;
	if (segment) {
		depot->free = segment->next;
		count_set(depot, xy_depot_count(depot) - 1);
	}
	pthread_mutex_unlock(&depot->lock);
	return segment;
}

/* Unmapping takes long. */
static void free_all(struct xy_segment *segment)
{
	while (segment) {
		struct xy_segment *next = segment->next;

		xy_segment_free(segment);
		segment = next;
	}
}

/* What is beyond the `keep` last given. Under the lock. */
static struct xy_segment *cut(struct xy_depot *depot, uint32_t keep)
{
	struct xy_segment **at = &depot->free, *gone;

	for (uint32_t i = 0; i < keep; i++)
		at = &(*at)->next;
	gone = *at;
	*at = NULL;
	count_set(depot, keep);
	depot->idle = keep;
	return gone;
}

void xy_depot_trim(struct xy_depot *depot)
{
	struct xy_segment *gone;

	pthread_mutex_lock(&depot->lock);
	gone = cut(depot, 0);
	pthread_mutex_unlock(&depot->lock);
	free_all(gone);
}

void xy_depot_shrink(struct xy_depot *depot)
{
	uint64_t now = xy_clock_ms();
	struct xy_segment *gone = NULL;

	pthread_mutex_lock(&depot->lock);
	/* Each pool asks; right behind another one nobody has had the time to need anything. */
	if (now >= depot->next_ms) {
		depot->next_ms = now + depot->period_ms;
		gone = cut(depot, xy_depot_count(depot) - depot->idle);
	}
	pthread_mutex_unlock(&depot->lock);
	free_all(gone);
}
