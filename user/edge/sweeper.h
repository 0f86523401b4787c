/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A child process that removes what the proxy has left in the file system, because the proxy may
 * not any more: it keeps the user that made those paths, waits, and holds nothing else.
 *
 * It takes no orders but one byte, so who has taken over the proxy can have its own paths removed
 * and nothing more. When the proxy dies without that byte it ends, and leaves them to the next
 * start, as ever.
 */
#ifndef XY_EDGE_SWEEPER_H
#define XY_EDGE_SWEEPER_H

#include <sys/types.h>

struct xy_sweeper {
	pid_t pid; /* 0 = none */
	int pipe;
};

/* Forks; there must be no other threads. `sweep` runs in the child, with the memory of now and no
 * descriptors. */
int xy_sweeper_start(void (*sweep)(void *context), void *context, struct xy_sweeper *ret_sweeper);
/* Has it sweep, and waits until that is done; any thread. Nothing without one, or the second time.
 */
void xy_sweeper_sweep(struct xy_sweeper *sweeper);

#endif
