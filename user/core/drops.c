/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/drops.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/rcu.h"
#include "core/core.h"
#include "core/router.h"
#include "core/worker.h"
#include "io/loop.h"

/* Messages in a table. Beyond that the rest of some message is delivered, and its receiver discards
 * it. */
#define DROPS_MAX  1024
/* Whoever comes and goes leaves one or two: not worth a look. */
#define DROPS_FEW  8
/* So long after the last drop the next one begins something new. */
#define EPISODE_MS 1000

/* ---- messages that are being dropped --------------------------------------------------------- */

struct xy_drop *xy_drops_find(const struct xy_drops *drops, uint64_t key)
{
	for (uint32_t d = 0; d < drops->count; d++)
		if (drops->list[d].key == key)
			return &drops->list[d];
	return NULL;
}

void xy_drops_put(struct xy_drops *drops, const struct xy_drop *drop)
{
	struct xy_drop *place = xy_drops_find(drops, drop->key);

	if (!place && drops->count == drops->capacity && drops->capacity < DROPS_MAX) {
		uint32_t capacity = drops->capacity ? drops->capacity * 2 : 4;
		void *list = realloc(drops->list, capacity * sizeof(*drops->list));

		if (!list)
			return; /* as if the table were full */
		drops->list = list;
		drops->capacity = capacity;
	}
	if (!place && drops->count < drops->capacity)
		place = &drops->list[drops->count++];
	else if (!place)
		place = &drops->list[drops->evict++ % DROPS_MAX];
	*place = *drop;
}

static bool is_last(const struct xy_frame *frame)
{
	return frame->fragment + 1 >= frame->fragments;
}

bool xy_drop_has(const struct xy_drop *drop, const struct xy_frame *frame)
{
	return frame->fragments > 1 && frame->target == drop->target &&
	       frame->sequence == drop->sequence;
}

bool xy_drops_follow(struct xy_drops *drops, uint64_t key, const struct xy_frame *frame,
		     enum xy_delivery_policy *ret_policy)
{
	struct xy_drop *drop = xy_drops_find(drops, key);
	bool rest;

	if (!drop)
		return false;
	rest = frame->fragment > 0 && xy_drop_has(drop, frame);
	if (rest)
		*ret_policy = drop->policy;
	if (!rest || is_last(frame))
		/* There is one: NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		*drop = drops->list[--drops->count];
	return rest;
}

static struct xy_drop drop_of(uint64_t key, const struct xy_frame *frame,
			      enum xy_delivery_policy policy)
{
	return (struct xy_drop){
		.key = key, .target = frame->target, .sequence = frame->sequence, .policy = policy};
}

void xy_drops_begin(struct xy_drops *drops, uint64_t key, const struct xy_frame *frame,
		    enum xy_delivery_policy policy)
{
	struct xy_drop drop = drop_of(key, frame, policy);

	if (!is_last(frame))
		xy_drops_put(drops, &drop);
}

/* Each time they have doubled: so a look costs next to nothing, and no more are dead than alive. */
void xy_drops_tidy(struct xy_drops *drops, const struct xy_router *router)
{
	uint32_t kept = 0;

	if (drops->count < xy_max(drops->untidy, (uint32_t)DROPS_FEW))
		return;
	xy_rcu_read_lock();
	for (uint32_t d = 0; d < drops->count; d++)
		if (xy_router_endpoint(router, drops->list[d].key))
			drops->list[kept++] = drops->list[d];
	xy_rcu_read_unlock();
	drops->count = kept;
	drops->untidy = 2 * kept;
}

/* ---- counting -------------------------------------------------------------------------------- */

void xy_tally_frame(struct xy_tally *tally, const struct xy_frame *frame,
		    enum xy_delivery_policy policy)
{
	tally->bytes += frame->length;
	tally->frames++;
	tally->frames_by[policy]++;
}

void xy_tally_count(struct xy_worker *worker, struct xy_peer *peer, const struct xy_tally *tally)
{
	static const enum xy_counter counter[XY_POLICIES] = {
		[XY_DELIVER_BLOCK] = XY_COUNT_OVERFLOW, /* never: it drops nothing */
		[XY_DELIVER_DROP_OLDEST] = XY_COUNT_OVERFLOW_OLDEST,
		[XY_DELIVER_DROP_NEWEST] = XY_COUNT_OVERFLOW_NEWEST,
		[XY_DELIVER_DISCONNECT] = XY_COUNT_OVERFLOW_DISCONNECT,
	};
	struct xy_dropped *dropped = &peer->dropped;
	uint64_t now = xy_loop_now_ms(worker->loop), before;
	unsigned named = XY_POLICIES;

	for (unsigned p = 0; p < XY_POLICIES; p++) {
		if (!tally->frames_by[p] && !tally->messages[p])
			continue;
		named = p;
		atomic_fetch_add_explicit(&dropped->frames[p], tally->frames_by[p],
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&dropped->messages[p], tally->messages[p],
					  memory_order_relaxed);
		xy_count(worker->core, counter[p], tally->messages[p]);
	}
	if (named == XY_POLICIES)
		return;
	xy_count(worker->core, XY_COUNT_OVERFLOW, tally->frames);
	before = atomic_exchange_explicit(&dropped->last_ms, now, memory_order_relaxed);
	if (!before || now > before + EPISODE_MS)
		xy_log(XY_LOG_WARN, "slow-receiver",
		       "endpoint=%016lx name=%s overflow=%s held=%lu outstanding=%lu",
		       peer->endpoint, xy_log_quoted(peer->name),
		       xy_overflow_text((enum xy_overflow)named), xy_peer_pending(peer),
		       xy_peer_outstanding(peer));
}

/* ---- dropping -------------------------------------------------------------------------------- */

struct xy_front xy_drops_front(struct xy_drops *drops, uint64_t key, struct xy_chain *chain,
			       struct xy_pool *pool, enum xy_delivery_policy policy, bool all)
{
	struct xy_front front = {0};
	uint8_t header[XY_HEADER_SIZE];

	while (xy_chain_peek(chain, header, sizeof(header)) == 0) {
		enum xy_delivery_policy by = policy;
		struct xy_frame frame;

		xy_frame_decode(header, &frame);
		if (!xy_drops_follow(drops, key, &frame, &by)) {
			if (!all)
				break;
			if (frame.fragment && !front.tally.frames) {
				front.begun = true;
				front.message = drop_of(frame.source, &frame, policy);
			} else {
				front.tally.messages[policy]++;
			}
			xy_drops_begin(drops, key, &frame, policy);
		}
		xy_tally_frame(&front.tally, &frame, by);
		xy_chain_advance(chain, frame.length, pool);
	}
	return front;
}
