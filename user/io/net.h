/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stream sockets: addresses as people write them, listeners, connections.
 *
 * Every descriptor made here is close-on-exec and non-blocking. Sockets are plain TCP or UNIX:
 * what MPTCP or another protocol carries cannot be in a sockmap (K19). Any thread; no state.
 * Errors: 0 or -errno.
 */
#ifndef XY_IO_NET_H
#define XY_IO_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct xy_address {
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	};
};

/* "HOST:PORT" (HOST a name or IPv4), "[V6]:PORT" or "unix:PATH". PORT is a number. A name may stand
 * for several addresses: returns how many were filled, 1 … maximum, best first. Asks the resolver
 * when HOST is a name, and so may block. -EINVAL: not an address; -ENAMETOOLONG: PATH;
 * -ENOENT: unknown name; -EAGAIN: the resolver did not answer; -EIO. On error `why` (may be NULL)
 * has a sentence. */
int xy_address_parse(const char *text, struct xy_address *ret_addresses, int maximum, char *why,
		     size_t why_size);

/* The reverse: "127.0.0.1:7400", "[::1]:7400", "unix:/run/x.sock"; "unix:" for a socket without a
 * name. Returns buffer. */
#define XY_ADDRESS_TEXT_SIZE 128
const char *xy_address_text(const struct xy_address *address, char *buffer, size_t size);

/* Binds; who connects is refused until listen(2). TCP: SO_REUSEADDR; an IPv6 listener takes no
 * IPv4. UNIX: a socket file that nobody listens on is replaced (two starting at the same time must
 * be kept apart by the caller). -EADDRINUSE: somebody listens there. -EEXIST: PATH is not a socket.
 */
int xy_net_bind(const struct xy_address *address, int *ret_fd);
int xy_net_listen(const struct xy_address *address, int backlog, int *ret_fd); /* both */
/* A listener that somebody else has opened, for xy_net_accept(). -ENOTSOCK, -EINVAL: is none. */
int xy_net_take(int fd, struct xy_address *ret_address);
/* Closes a listener, and removes the file of a UNIX one. fd < 0 is fine. */
void xy_net_unlisten(int fd);
/* The next connection; -EAGAIN when none waits. ret_peer may be NULL. */
int xy_net_accept(int listener, struct xy_address *ret_peer, int *ret_fd);

/* Starts to connect: 0 connected, 1 on its way (writable when decided, then
 * xy_net_connect_result()). */
int xy_net_connect(const struct xy_address *address, int *ret_fd);
int xy_net_connect_result(int fd);

int xy_net_set_nodelay(int fd);
/* SO_RCVBUF and SO_SNDBUF; 0 leaves one alone. The kernel reserves twice of it, for overhead. */
int xy_net_set_buffers(int fd, int receive, int send);

int xy_net_local(int fd, struct xy_address *ret_address);
/* Whether only processes of this network namespace can reach it: 127.0.0.0/8, ::1. */
bool xy_address_is_loopback(const struct xy_address *address);
/* The user at the other end of a UNIX socket, as it was when it connected, and its groups; of more
 * than `maximum` only the primary one. -errno. */
int xy_net_peer_user(int fd, uint32_t *ret_uid, uint32_t *gids, size_t maximum, size_t *ret_count);
/* Who is at the other end, for people; of an unnamed UNIX peer "unix:pid=N". Returns buffer. */
const char *xy_net_peer_text(int fd, char *buffer, size_t size);

#endif
