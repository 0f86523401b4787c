/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Single threads of another process, stopped and let go: as if they hung while the rest of the
 * process goes on. A test that ends lets go of all. One thread.
 */
#ifndef TEST_THREAD_H
#define TEST_THREAD_H

#include <sys/types.h>

/* Stops the thread of this name; returns its id when it stands still. */
pid_t thread_stop(pid_t process, const char *name);
void thread_go(pid_t thread);
void thread_await_end(pid_t thread); /* of one that is stopped: with its process */

#endif
