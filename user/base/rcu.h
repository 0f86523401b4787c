/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy-update, by liburcu's memb flavour.
 *
 * Every thread that reads registers first; read sections nest and must not block. A thread that
 * registered must not end without unregistering. Writers exclude each other by their own means.
 * ThreadSanitizer does not see liburcu's barriers, so that what a grace period orders is told to it
 * here; code that uses only this header is checked, and free of false reports.
 */
#ifndef XY_BASE_RCU_H
#define XY_BASE_RCU_H

#include <errno.h>
#include <semaphore.h>

#include <urcu/urcu-memb.h>

#include "base/bytes.h"

#if defined(__SANITIZE_THREAD__)
#define XY_RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define XY_RCU_TSAN 1
#endif
#endif

#ifdef XY_RCU_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
/*
 * One address stands for the ends of read sections: each happens before the return from any later
 * wait (also one that began while the wait was under way, which is more than a grace period
 * promises). Only sections release it, so that writers are not ordered by each other's waits; what
 * is deferred is ordered with its function by its own address. Common to all files that include
 * this.
 */
__attribute__((weak)) char xy_rcu_section_ends;
#define XY_RCU_ACQUIRE(address) __tsan_acquire(address)
#define XY_RCU_RELEASE(address) __tsan_release(address)
#else
#define XY_RCU_ACQUIRE(address) ((void)0)
#define XY_RCU_RELEASE(address) ((void)0)
#endif

/* Before the first use: starts liburcu's thread, which would end the process if it could not be had
 * later. */
static inline int xy_rcu_start(void)
{
	return urcu_memb_get_default_call_rcu_data() ? 0 : -ENOMEM;
}

static inline void xy_rcu_register_thread(void)
{
	urcu_memb_register_thread();
}

static inline void xy_rcu_unregister_thread(void)
{
	urcu_memb_unregister_thread();
}

static inline void xy_rcu_read_lock(void)
{
	urcu_memb_read_lock();
}

static inline void xy_rcu_read_unlock(void)
{
	XY_RCU_RELEASE(&xy_rcu_section_ends);
	urcu_memb_read_unlock();
}

/* Loads a pointer that xy_rcu_assign() published; what it points to was written before. */
#define xy_rcu_dereference(pointer)   __atomic_load_n(&(pointer), __ATOMIC_CONSUME)
#define xy_rcu_assign(pointer, value) __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)

/* Returns when every read section that was open at the call is over. Not from a read section. */
static inline void xy_rcu_synchronize(void)
{
	urcu_memb_synchronize_rcu();
	XY_RCU_ACQUIRE(&xy_rcu_section_ends);
}

/* Embedded in what is to be freed later. */
struct xy_rcu_head {
	struct rcu_head head;
	void (*fn)(struct xy_rcu_head *head);
};

static inline void xy_rcu_call_(struct rcu_head *head)
{
	struct xy_rcu_head *deferred = xy_container_of(head, struct xy_rcu_head, head);

	XY_RCU_ACQUIRE(deferred);
	XY_RCU_ACQUIRE(&xy_rcu_section_ends);
	deferred->fn(deferred);
}

/* Runs fn(head) after a grace period, on liburcu's own thread. Any registered thread; does not
 * wait. */
static inline void xy_rcu_defer(struct xy_rcu_head *head, void (*fn)(struct xy_rcu_head *head))
{
	head->fn = fn;
	XY_RCU_RELEASE(head);
	urcu_memb_call_rcu(&head->head, xy_rcu_call_);
}

struct xy_rcu_barrier_ {
	struct xy_rcu_head head;
	sem_t passed;
};

static inline void xy_rcu_barrier_passed_(struct xy_rcu_head *head)
{
	sem_post(&xy_container_of(head, struct xy_rcu_barrier_, head)->passed);
}

/* Returns when all functions deferred before have run: liburcu's one thread runs them in order.
 * (Its own barrier frees memory in a way that ThreadSanitizer cannot follow.) */
static inline void xy_rcu_barrier(void)
{
	struct xy_rcu_barrier_ barrier;

	sem_init(&barrier.passed, 0, 0);
	xy_rcu_defer(&barrier.head, xy_rcu_barrier_passed_);
	while (sem_wait(&barrier.passed) < 0)
		continue;
	sem_destroy(&barrier.passed);
}

#endif
