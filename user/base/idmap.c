/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "base/idmap.h"

#define CAPACITY_MIN 16

static size_t idmap_home(const struct xy_idmap *map, uint64_t id)
{
	return (size_t)id & (map->capacity - 1);
}

static size_t idmap_after(const struct xy_idmap *map, size_t index)
{
	return (index + 1) & (map->capacity - 1);
}

/* The id's entry, or the free one where it would go. There is always a free one. */
static struct xy_idmap_entry *idmap_find(const struct xy_idmap *map, uint64_t id)
{
	size_t index = idmap_home(map, id);

	while (map->entries[index].id != 0 && map->entries[index].id != id)
		index = idmap_after(map, index);
	return &map->entries[index];
}

static int idmap_grow(struct xy_idmap *map)
{
	struct xy_idmap grown = {.capacity = map->capacity ? 2 * map->capacity : CAPACITY_MIN,
				 .count = map->count};

	grown.entries = calloc(grown.capacity, sizeof(*grown.entries));
	if (!grown.entries)
		return -ENOMEM;
	for (size_t i = 0; i < map->capacity; i++) {
		if (map->entries[i].id != 0)
			*idmap_find(&grown, map->entries[i].id) = map->entries[i];
	}
	free(map->entries);
	*map = grown;
	return 0;
}

int xy_idmap_put(struct xy_idmap *map, uint64_t id, void *value)
{
	struct xy_idmap_entry *entry;
	int r;

	if (id == 0 || !value)
		return -EINVAL;
	if (xy_idmap_get(map, id))
		return -EEXIST;
	/* At most three quarters full: runs of linear probing stay short. */
	if (map->count >= map->capacity / 4 * 3) {
		r = idmap_grow(map);
		if (r < 0)
			return r;
	}
	entry = idmap_find(map, id);
	*entry = (struct xy_idmap_entry){.id = id, .value = value};
	map->count++;
	return 0;
}

void *xy_idmap_get(const struct xy_idmap *map, uint64_t id)
{
	if (map->capacity == 0 || id == 0)
		return NULL;
	return idmap_find(map, id)->value;
}

void *xy_idmap_remove(struct xy_idmap *map, uint64_t id)
{
	struct xy_idmap_entry *entry;
	size_t hole, index;
	void *value;

	if (map->capacity == 0 || id == 0)
		return NULL;
	entry = idmap_find(map, id);
	if (entry->id == 0)
		return NULL;
	value = entry->value;
	/* Whatever behind the hole would be found no more moves into it, up to the next free
	 * entry: an entry may stay only if its home lies cyclically in (hole, index]. */
	hole = (size_t)(entry - map->entries);
	for (index = idmap_after(map, hole); map->entries[index].id != 0;
	     index = idmap_after(map, index)) {
		size_t home = idmap_home(map, map->entries[index].id);
		size_t from_home = (index - home) & (map->capacity - 1);
		size_t from_hole = (index - hole) & (map->capacity - 1);

		if (from_home >= from_hole) {
			map->entries[hole] = map->entries[index];
			hole = index;
		}
	}
	map->entries[hole] = (struct xy_idmap_entry){0};
	map->count--;
	return value;
}

void xy_idmap_clear(struct xy_idmap *map)
{
	free(map->entries);
	*map = (struct xy_idmap){0};
}

bool xy_idmap_next(const struct xy_idmap *map, size_t *position, uint64_t *ret_id, void **ret_value)
{
	while (*position < map->capacity) {
		const struct xy_idmap_entry *entry = &map->entries[(*position)++];

		if (entry->id != 0) {
			*ret_id = entry->id;
			*ret_value = entry->value;
			return true;
		}
	}
	return false;
}

/* ---- walks over what changes ----------------------------------------------------------------- */

/* The last bit first. By ids so turned all is in one order whatever the capacity: a home is their
 * upper bits, and with twice the capacity becomes two that follow each other. */
static uint64_t turned(uint64_t id)
{
	id = (id & 0x5555555555555555) << 1 | (id >> 1 & 0x5555555555555555);
	id = (id & 0x3333333333333333) << 2 | (id >> 2 & 0x3333333333333333);
	id = (id & 0x0f0f0f0f0f0f0f0f) << 4 | (id >> 4 & 0x0f0f0f0f0f0f0f0f);
	return __builtin_bswap64(id);
}

/* Of those with this home the first that is not before the position. They lie between it and the
 * next free entry. */
static const struct xy_idmap_entry *idmap_first(const struct xy_idmap *map, size_t home,
						uint64_t position, size_t *looks)
{
	const struct xy_idmap_entry *first = NULL;

	for (size_t index = home; map->entries[index].id != 0; index = idmap_after(map, index)) {
		const struct xy_idmap_entry *entry = &map->entries[index];

		*looks -= *looks > 0;
		if (idmap_home(map, entry->id) == home && turned(entry->id) >= position &&
		    (!first || turned(entry->id) < turned(first->id)))
			first = entry;
	}
	*looks -= *looks > 0;
	return first;
}

bool xy_idmap_scan(const struct xy_idmap *map, uint64_t *position, size_t *looks, uint64_t *ret_id,
		   void **ret_value)
{
	int shift = map->capacity ? __builtin_clzll(map->capacity) + 1 : 0;

	if (map->capacity == 0)
		*position = 0;
	while (*position != 0 && *looks > 0) {
		const struct xy_idmap_entry *entry =
			idmap_first(map, idmap_home(map, turned(*position)), *position, looks);

		/* Both are 0 behind the last. */
		*position = entry ? turned(entry->id) + 1 : ((*position >> shift) + 1) << shift;
		if (entry) {
			*ret_id = entry->id;
			*ret_value = entry->value;
			return true;
		}
	}
	return false;
}
