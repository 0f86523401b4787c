/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A map from random 64-bit ids to pointers.
 *
 * The ids must come from xy_random_id(): their own bits are the hash, and nobody outside can choose
 * keys that collide. Open addressing; removal leaves no tombstones, so look-ups stay short however
 * often entries come and go. One thread, or the caller's lock. Errors: 0 or -errno.
 */
#ifndef XY_BASE_IDMAP_H
#define XY_BASE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xy_idmap_entry {
	uint64_t id; /* 0 = free */
	void *value;
};

/* Zero-initialise; an empty map holds no memory. */
struct xy_idmap {
	struct xy_idmap_entry *entries; /* private */
	size_t capacity;                /* private; 0 or a power of two */
	size_t count;                   /* private */
};

/* -EINVAL: id 0 or value NULL. -EEXIST: the id is there; its value stays. -ENOMEM. */
int xy_idmap_put(struct xy_idmap *map, uint64_t id, void *value);
void *xy_idmap_get(const struct xy_idmap *map, uint64_t id); /* NULL when absent */
void *xy_idmap_remove(struct xy_idmap *map, uint64_t id);    /* what it was; NULL when absent */
void xy_idmap_clear(struct xy_idmap *map);                   /* frees memory, not the values */

static inline size_t xy_idmap_count(const struct xy_idmap *map)
{
	return map->count;
}

/* Walks all entries in no order: start with *position 0, until false. The map must not change
 * meanwhile. */
bool xy_idmap_next(const struct xy_idmap *map, size_t *position, uint64_t *ret_id,
		   void **ret_value);
/* Walks all entries in no order, in pieces between which the map may change: what is there all the
 * while is met once. Start with *position 1. False: the end, and *position is 0; or *looks, at
 * entries, are used up. */
bool xy_idmap_scan(const struct xy_idmap *map, uint64_t *position, size_t *looks, uint64_t *ret_id,
		   void **ret_value);

#endif
