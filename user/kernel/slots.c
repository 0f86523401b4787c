/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a slot: free → claimed → (bound by the verdict) → live → retired → grace period →
 * recycled, free. Generations tell its uses apart: one changes at both ends of a use, so a number
 * that somebody has kept from before is never that of the present.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <bpf/bpf.h>

#include "kernel/internal.h"

int xy_slots_open(struct xy_slots *slots, uint32_t size)
{
	int error;

	slots->size = size;
	slots->head = 0;
	slots->count = size;
	slots->free = calloc(size, sizeof(*slots->free));
	slots->use = calloc(size, sizeof(*slots->use));
	if (!slots->free || !slots->use) {
		error = -ENOMEM;
		goto err;
	}
	error = -pthread_mutex_init(&slots->lock, NULL);
	if (error)
		goto err;
	for (uint32_t i = 0; i < size; i++)
		slots->free[i] = i;
	return 0;
err:
	free(slots->use);
	free(slots->free);
	return error;
}

uint32_t xy_kernel_slots_free(struct xy_kernel *kernel)
{
	uint32_t count;

	pthread_mutex_lock(&kernel->slots.lock);
	count = kernel->slots.count;
	pthread_mutex_unlock(&kernel->slots.lock);
	return count;
}

void xy_slots_close(struct xy_slots *slots)
{
	pthread_mutex_destroy(&slots->lock);
	free(slots->use);
	free(slots->free);
}

static uint32_t generation_next(uint32_t generation)
{
	return generation == UINT32_MAX ? 1 : generation + 1;
}

static bool slot_take(struct xy_slots *slots, uint32_t *ret_slot)
{
	if (!slots->count)
		return false;
	*ret_slot = slots->free[slots->head];
	slots->head = (slots->head + 1) % slots->size;
	slots->count--;
	slots->use[*ret_slot] = XY_SLOT_USED;
	return true;
}

static void slot_give(struct xy_slots *slots, uint32_t slot)
{
	slots->free[(slots->head + slots->count) % slots->size] = slot;
	slots->count++;
	slots->use[slot] = XY_SLOT_FREE;
}

/* Everything but state and generation back to zero. Word by word, because `status` may read. */
static void session_reset(struct xy_session *session)
{
	uint64_t *word = (uint64_t *)session;

	_Static_assert(offsetof(struct xy_session, endpoint) == sizeof(*word), "session: head");
	for (size_t i = 1; i < sizeof(*session) / sizeof(*word); i++)
		__atomic_store_n(&word[i], 0, __ATOMIC_RELAXED);
}

/* Ends the present use. The generation goes first: nothing is redirected from or to it any more. */
static void session_end(struct xy_session *session)
{
	uint32_t next = generation_next(session->generation);

	__atomic_store_n(&session->generation, next, __ATOMIC_RELEASE);
	__atomic_store_n(&session->state, XY_SESSION_FREE, __ATOMIC_RELEASE);
}

int xy_kernel_claim(struct xy_kernel *kernel, uint64_t endpoint, struct xy_slot *ret_slot)
{
	struct xy_slots *slots = &kernel->slots;
	struct xy_session *session;
	struct xy_claim claim;
	int error;

	pthread_mutex_lock(&slots->lock);
	if (!slot_take(slots, &claim.slot)) {
		pthread_mutex_unlock(&slots->lock);
		return -ENOSPC;
	}
	session = &kernel->session[claim.slot];
	claim.generation = generation_next(session->generation);
	__atomic_store_n(&session->endpoint, endpoint, __ATOMIC_RELAXED);
	__atomic_store_n(&session->window, kernel->window, __ATOMIC_RELAXED);
	__atomic_store_n(&session->state, XY_SESSION_CLAIMED, __ATOMIC_RELAXED);
	__atomic_store_n(&session->generation, claim.generation, __ATOMIC_RELEASE);
	error = bpf_map_update_elem(kernel->claims_fd, &endpoint, &claim, BPF_NOEXIST);
	if (error) {
		session_end(session);
		session_reset(session);
		slot_give(slots, claim.slot);
	}
	pthread_mutex_unlock(&slots->lock);
	if (error)
		return error;
	*ret_slot = (struct xy_slot){.slot = claim.slot, .generation = claim.generation};
	return 0;
}

void xy_kernel_unclaim(struct xy_kernel *kernel, uint64_t endpoint)
{
	bpf_map_delete_elem(kernel->claims_fd, &endpoint);
}

bool xy_kernel_bound(const struct xy_kernel *kernel, struct xy_slot slot)
{
	const struct xy_session *session = &kernel->session[slot.slot];

	/* The verdict sets the cookie, and binds only sockets that are in both sockmaps. */
	return __atomic_load_n(&session->generation, __ATOMIC_ACQUIRE) == slot.generation &&
	       __atomic_load_n(&session->cookie, __ATOMIC_ACQUIRE) != 0;
}

int xy_kernel_adopt(struct xy_kernel *kernel, struct xy_slot slot, int fd)
{
	struct xy_session *session = &kernel->session[slot.slot];
	struct xy_lane lane = {.slot = slot.slot, .generation = slot.generation};
	socklen_t length = sizeof(uint64_t);
	uint64_t own, value = (uint64_t)fd;
	int error;

	if (!xy_kernel_bound(kernel, slot))
		return -ENOENT;
	lane.cookie = session->cookie;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &own, &length))
		return -errno;
	/* proxy_verdict drops what it cannot attribute, and a drop is final (K22): so storage
	 * before sockmap. */
	error = bpf_map_update_elem(kernel->lane_of_fd, &fd, &lane, BPF_ANY);
	if (error)
		return error;
	error = bpf_map_update_elem(kernel->proxy_sockets_fd, &own, &value, BPF_ANY);
	if (error) {
		bpf_map_delete_elem(kernel->lane_of_fd, &fd);
		return error;
	}
	/* `sent`, `acked` and `proven` count from here: all zero since the slot was recycled. */
	pthread_mutex_lock(&kernel->slots.lock);
	if (session->generation == slot.generation)
		__atomic_store_n(&session->state, XY_SESSION_LIVE, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&kernel->slots.lock);
	return 0;
}

struct xy_session *xy_kernel_session(const struct xy_kernel *kernel, uint32_t slot)
{
	return &kernel->session[slot];
}

void xy_kernel_discard(const struct xy_kernel *kernel, struct xy_slot slot)
{
	const struct xy_session *session = &kernel->session[slot.slot];
	uint64_t cookie = __atomic_load_n(&session->cookie, __ATOMIC_RELAXED);

	bpf_map_delete_elem(kernel->lanes_fd, &cookie);
	bpf_map_delete_elem(kernel->client_sockets_fd, &cookie);
}

void xy_kernel_retire(struct xy_kernel *kernel, struct xy_slot slot)
{
	struct xy_session *session = &kernel->session[slot.slot];

	pthread_mutex_lock(&kernel->slots.lock);
	if (kernel->slots.use[slot.slot] == XY_SLOT_USED &&
	    session->generation == slot.generation) {
		xy_kernel_unclaim(kernel, session->endpoint);
		session_end(session);
		kernel->slots.use[slot.slot] = XY_SLOT_RETIRED;
	}
	pthread_mutex_unlock(&kernel->slots.lock);
}

void xy_kernel_recycle(struct xy_kernel *kernel, struct xy_slot slot)
{
	struct xy_session *session = &kernel->session[slot.slot];

	pthread_mutex_lock(&kernel->slots.lock);
	if (kernel->slots.use[slot.slot] == XY_SLOT_RETIRED &&
	    session->generation == generation_next(slot.generation)) {
		session_reset(session);
		slot_give(&kernel->slots, slot.slot);
	}
	pthread_mutex_unlock(&kernel->slots.lock);
}
