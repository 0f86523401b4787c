/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The watchdog: sees loops that do not come round, and stamps the heartbeat only while all do (K12:
 * the kernel would go on redirecting for a proxy that no longer serves). Main's thread.
 */
#ifndef XY_CORE_WATCHDOG_H
#define XY_CORE_WATCHDOG_H

struct xy_core;
struct xy_loop;
struct xy_watchdog;

int xy_watchdog_new(struct xy_core *core, struct xy_loop *loop, struct xy_watchdog **ret_watchdog);
void xy_watchdog_free(struct xy_watchdog *watchdog);
void xy_watchdog_start(struct xy_watchdog *watchdog, struct xy_loop *acceptor);

#endif
