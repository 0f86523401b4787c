/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The watchdog: sees loops that do not come round within core->stuck_after_ms (workers, router,
 * acceptor), at the latest half of that later; logs each incident once, with what the loop was
 * running, and its end. What a stuck worker was given and has not begun, as far as it is unbound,
 * it gives to the others.
 *
 * It stamps the heartbeat, every 250 ms, only while all loops come round (K12: the kernel would go
 * on redirecting for a proxy that no longer serves), and likewise tells the service manager that
 * all is well. Main's thread.
 */
#ifndef XY_CORE_WATCHDOG_H
#define XY_CORE_WATCHDOG_H

struct xy_core;
struct xy_loop;
struct xy_watchdog;

int xy_watchdog_new(struct xy_core *core, struct xy_loop *loop, struct xy_watchdog **ret_watchdog);
void xy_watchdog_free(struct xy_watchdog *watchdog);
void xy_watchdog_start(struct xy_watchdog *watchdog); /* when all loops run */

#endif
