/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "base/bytes.h"
#include "cmd/bench.h"

struct stamp {
	uint64_t index, check;
};
_Static_assert(sizeof(struct stamp) == XY_BENCH_STAMP_SIZE, "a stamp");

#define TWO_STAMPS (2 * sizeof(struct stamp))

static uint64_t mixed(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static struct stamp stamp_of(uint32_t size, unsigned producer, uint64_t index)
{
	return (struct stamp){
		.index = index,
		.check = mixed(mixed(index) ^ ((uint64_t)producer << 32 | size)),
	};
}

void xy_bench_fill(uint8_t *message, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		message[i] = (uint8_t)(i * 7 + (i >> 8));
}

void xy_bench_stamp(uint8_t *message, uint32_t size, unsigned producer, uint64_t index)
{
	struct stamp stamp = stamp_of(size, producer, index);

	memcpy(message, &stamp, xy_min(size, sizeof(stamp)));
	if (size >= TWO_STAMPS)
		memcpy(message + size - sizeof(stamp), &stamp, sizeof(stamp));
}

bool xy_bench_stamped(const void *data, size_t length, uint32_t size, unsigned producers,
		      unsigned *producer, uint64_t *ret_index)
{
	struct stamp stamp;

	if (length < sizeof(stamp))
		return false;
	memcpy(&stamp, data, sizeof(stamp));
	for (unsigned tried = 0; tried < producers; tried++) {
		if (stamp_of(size, *producer, stamp.index).check == stamp.check) {
			*ret_index = stamp.index;
			return true;
		}
		*producer = (*producer + 1) % producers;
	}
	return false;
}

bool xy_bench_intact(const void *data, size_t length, uint32_t size, unsigned producer,
		     uint64_t index, const uint8_t *pattern)
{
	struct stamp stamp = stamp_of(size, producer, index);
	const uint8_t *at = data;

	if (length != size)
		return false;
	if (size < TWO_STAMPS)
		return !memcmp(at, &stamp, xy_min(size, sizeof(stamp))) &&
		       (!pattern || size <= sizeof(stamp) ||
			!memcmp(at + sizeof(stamp), pattern + sizeof(stamp), size - sizeof(stamp)));
	return !memcmp(at, &stamp, sizeof(stamp)) &&
	       !memcmp(at + size - sizeof(stamp), &stamp, sizeof(stamp)) &&
	       (!pattern ||
		!memcmp(at + sizeof(stamp), pattern + sizeof(stamp), size - TWO_STAMPS));
}
