/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/core.h"
#include "kernel/session.h"
#include <xylem/wire.h>

struct xy_numbers {
	pthread_mutex_t lock;
	uint32_t maximum, used; /* numbers below `used` have been handed out once */
	uint32_t frees;
	uint32_t free[];
};

struct xy_numbers *xy_numbers_new(uint32_t maximum)
{
	struct xy_numbers *numbers = calloc(1, sizeof(*numbers) + maximum * sizeof(uint32_t));

	if (!numbers)
		return NULL;
	pthread_mutex_init(&numbers->lock, NULL);
	numbers->maximum = maximum;
	return numbers;
}

void xy_numbers_free(struct xy_numbers *numbers)
{
	if (!numbers)
		return;
	pthread_mutex_destroy(&numbers->lock);
	free(numbers);
}

int xy_numbers_take(struct xy_numbers *numbers, uint32_t *ret_number)
{
	int error = 0;

	pthread_mutex_lock(&numbers->lock);
	if (numbers->frees)
		*ret_number = numbers->free[--numbers->frees];
	else if (numbers->used < numbers->maximum)
		*ret_number = numbers->used++;
	else
		error = -ENOSPC;
	pthread_mutex_unlock(&numbers->lock);
	return error;
}

void xy_numbers_give(struct xy_numbers *numbers, uint32_t number)
{
	pthread_mutex_lock(&numbers->lock);
	numbers->free[numbers->frees++] = number;
	pthread_mutex_unlock(&numbers->lock);
}

int xy_peer_new(struct xy_core *core, const char *name, struct xy_peer **ret_peer)
{
	size_t name_size = strlen(name) + 1;
	struct xy_peer *peer = calloc(1, sizeof(*peer) + name_size);
	int error;

	if (!peer)
		return -ENOMEM;
	error = xy_numbers_take(core->numbers, &peer->number);
	if (error) {
		free(peer);
		return error;
	}
	peer->core = core;
	memcpy(peer->name, name, name_size);
	atomic_init(&peer->references, 1);
	atomic_init(&peer->stall_ms, XY_STALL_MS_DEFAULT);
	xy_list_init(&peer->subscriptions);
	xy_list_init(&peer->flows_in);
	xy_list_init(&peer->asking);
	*ret_peer = peer;
	return 0;
}

void xy_peer_get(struct xy_peer *peer)
{
	atomic_fetch_add_explicit(&peer->references, 1, memory_order_relaxed);
}

static void peer_free(struct xy_rcu_head *head)
{
	struct xy_peer *peer = xy_container_of(head, struct xy_peer, rcu);

	if (peer->slot.generation)
		xy_kernel_recycle(peer->core->kernel, peer->slot);
	xy_numbers_give(peer->core->numbers, peer->number);
	xy_identity_free(peer->identity);
	free(peer);
}

static void peer_put_run(struct xy_rcu_head *head)
{
	xy_peer_put(xy_container_of(head, struct xy_peer, rcu));
}

void xy_peer_put_later(struct xy_peer *peer)
{
	/* The head is free until the last reference goes, and this is one. */
	xy_rcu_defer(&peer->rcu, peer_put_run);
}

void xy_peer_put(struct xy_peer *peer)
{
	if (atomic_fetch_sub_explicit(&peer->references, 1, memory_order_acq_rel) == 1)
		xy_rcu_defer(&peer->rcu, peer_free);
}

uint64_t xy_peer_outstanding(const struct xy_peer *peer)
{
	return peer->session ? xy_session_outstanding(peer->session) : 0;
}

uint64_t xy_peer_progress(const struct xy_peer *peer)
{
	if (peer->session)
		return xy_session_acked(peer->session);
	return atomic_load_explicit(&peer->given, memory_order_relaxed);
}

uint64_t xy_peer_pending(const struct xy_peer *peer)
{
	if (xy_peer_closed(peer))
		return 0;
	return atomic_load_explicit(&peer->pending, memory_order_seq_cst);
}

uint64_t xy_peer_room(const struct xy_peer *peer)
{
	uint64_t pending = atomic_load_explicit(&peer->pending, memory_order_relaxed);
	uint64_t unread = peer->session ? xy_session_outstanding(peer->session)
					: atomic_load_explicit(&peer->unread, memory_order_relaxed);

	return pending + unread < peer->window ? peer->window - pending - unread : 0;
}

bool xy_peer_crowded(const struct xy_peer *peer)
{
	return atomic_load_explicit(&peer->pending, memory_order_relaxed) >= XY_BUFFER_PAUSE;
}

bool xy_peer_direct_full(const struct xy_peer *peer)
{
	return atomic_load_explicit(&peer->pending, memory_order_relaxed) >= XY_BUFFER_PAUSE / 2;
}

bool xy_peer_proven(const struct xy_peer *peer)
{
	/* The PONG of one whose input is held lies behind its DATA: if two such waited for each
	 * other, neither would end. */
	return !peer->session || xy_peer_closed(peer) ||
	       atomic_load_explicit(&peer->held, memory_order_relaxed) ||
	       xy_session_unproven(peer->session) <= peer->window + peer->window / 2;
}

bool xy_peer_has_room(const struct xy_peer *peer, uint64_t progress)
{
	uint64_t pending;

	if (xy_peer_closed(peer))
		return true;
	pending = atomic_load_explicit(&peer->pending, memory_order_seq_cst);
	if (pending >= XY_BUFFER_RESUME)
		return false;
	if (!peer->session)
		return true;
	/* While the proxy holds something for it, nothing is redirected past that. */
	return (pending == 0 && xy_session_outstanding(peer->session) <= peer->window / 2) ||
	       xy_session_acked(peer->session) - progress >= peer->window / 2;
}
