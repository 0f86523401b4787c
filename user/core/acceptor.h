/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The acceptor: takes connections, reads their HELLO, checks it, sends WELCOME and hands the socket
 * to the least loaded worker, forgetting it. One thread, an event loop; no step of it blocks.
 */
#ifndef XY_CORE_ACCEPTOR_H
#define XY_CORE_ACCEPTOR_H

#include <stddef.h>

#include "core/core.h"
#include "io/net.h"

struct xy_acceptor;

/* Binds all addresses at once, so that a bad one is known before anything starts. -errno with a
 * sentence in why. unix_mode: of the paths of UNIX listeners; 0 = what the umask leaves. */
int xy_acceptor_new(const char *const *listen, unsigned listens, unsigned unix_mode,
		    struct xy_acceptor **ret_acceptor, char *why, size_t why_size);
/* TCP clients may connect from now on: not before the kernel side is attached, or those who came
 * before, as clients do that wait for a proxy to come back, would never have a lane. As above. */
int xy_acceptor_listen(struct xy_acceptor *acceptor, char *why, size_t why_size);
void xy_acceptor_free(struct xy_acceptor *acceptor);     /* closes; UNIX paths are removed */
void xy_acceptor_withdraw(struct xy_acceptor *acceptor); /* only that; before the process ends */
/* The paths; also in a child that has closed all descriptors. */
void xy_acceptor_unlink(const struct xy_acceptor *acceptor);
/* The plain-TCP listeners (without TLS), for the kernel; returns how many. */
unsigned xy_acceptor_listeners(const struct xy_acceptor *acceptor, struct xy_listener *listener,
			       unsigned maximum);
/* The port of the first TCP listener, plain or not; 0: there is none. */
uint16_t xy_acceptor_port(const struct xy_acceptor *acceptor);
/* Addresses as they are bound (port 0 resolved). */
unsigned xy_acceptor_count(const struct xy_acceptor *acceptor);
const char *xy_acceptor_address(const struct xy_acceptor *acceptor, unsigned index);

/* How an address can be reached that is listened on. */
enum xy_reach xy_acceptor_reach(const struct xy_address *address);
/* The address in what a TLS listener is given by ("tls:HOST:PORT"); NULL: it is none. */
const char *xy_acceptor_tls(const char *text);
/* What is wrong with a listener under these rules: everybody who reaches it would be let in, or
 * nobody, or it has no certificate. A static sentence, or NULL. */
const char *xy_acceptor_problem(const struct xy_rules *rules, enum xy_reach reach, bool tls);
/* The same of all of them. -EPERM with a sentence in why; any thread. */
int xy_acceptor_check(const struct xy_acceptor *acceptor, const struct xy_rules *rules, char *why,
		      size_t why_size);

int xy_acceptor_start(struct xy_acceptor *acceptor, struct xy_core *core);
void xy_acceptor_stop(struct xy_acceptor *acceptor); /* takes nobody any more, and joins */
struct xy_loop *xy_acceptor_loop(struct xy_acceptor *acceptor);

#endif
