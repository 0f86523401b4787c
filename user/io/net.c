/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/net.h"

#define UNIX_PREFIX  "unix:"
#define PATH_OFFSET  offsetof(struct sockaddr_un, sun_path)
#define SOCKET_FLAGS (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

/* ---- addresses ----------------------------------------------------------------------------- */

#define WHY(...)                                              \
	do {                                                  \
		if (why)                                      \
			snprintf(why, why_size, __VA_ARGS__); \
	} while (0)

static int unix_parse(const char *path, struct xy_address *ret_address, char *why, size_t why_size)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret_address->storage;
	size_t length = strlen(path);

	if (length == 0) {
		WHY("unix: needs a path");
		return -EINVAL;
	}
	if (length >= sizeof(un->sun_path)) {
		WHY("path of %zu bytes; a UNIX socket has at most %zu", length,
		    sizeof(un->sun_path) - 1);
		return -ENAMETOOLONG;
	}
	*ret_address = (struct xy_address){.length = (socklen_t)(PATH_OFFSET + length + 1)};
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, length + 1);
	return 1;
}

/* Cuts HOST:PORT or [V6]:PORT. */
static int host_split(const char *text, char host[NI_MAXHOST], const char **ret_port,
		      bool *ret_bracketed)
{
	bool bracketed = text[0] == '[';
	const char *end = bracketed ? strchr(text, ']') : strrchr(text, ':');
	const char *start = text + bracketed;
	const char *colon;
	size_t length;

	if (!end)
		return -EINVAL;
	colon = end + bracketed;
	length = (size_t)(end - start);
	if (*colon != ':' || length == 0 || length >= NI_MAXHOST)
		return -EINVAL;
	/* An IPv6 address without brackets: which colon is the port's is a guess. */
	if (!bracketed && memchr(start, ':', length))
		return -EINVAL;
	memcpy(host, start, length);
	host[length] = '\0';
	*ret_port = colon + 1;
	*ret_bracketed = bracketed;
	return 0;
}

static bool port_valid(const char *port)
{
	size_t digits = strspn(port, "0123456789");

	return digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) <= UINT16_MAX;
}

static int resolver_errno(int code)
{
	switch (code) {
	case EAI_NONAME:
	case EAI_NODATA:
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return -errno;
	default:
		return -EIO;
	}
}

int xy_address_parse(const char *text, struct xy_address *ret_addresses, int maximum, char *why,
		     size_t why_size)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found, *item;
	char host[NI_MAXHOST];
	const char *port;
	bool bracketed;
	int count = 0;
	int r;

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return unix_parse(text + strlen(UNIX_PREFIX), ret_addresses, why, why_size);
	if (host_split(text, host, &port, &bracketed) < 0) {
		WHY("'%s' is not HOST:PORT, [V6]:PORT or unix:PATH", text);
		return -EINVAL;
	}
	if (!port_valid(port)) {
		WHY("'%s' is not a port (0 to 65535)", port);
		return -EINVAL;
	}
	if (bracketed) {
		hints.ai_family = AF_INET6;
		hints.ai_flags |= AI_NUMERICHOST;
	}
	r = getaddrinfo(host, port, &hints, &found);
	if (r != 0 && bracketed) {
		WHY("'%s' is not an IPv6 address", host);
		return -EINVAL;
	}
	if (r != 0) {
		int error = resolver_errno(r);

		WHY("host '%s': %s", host, r == EAI_SYSTEM ? strerror(-error) : gai_strerror(r));
		return error;
	}
	for (item = found; item && count < maximum; item = item->ai_next) {
		struct xy_address *address = &ret_addresses[count++];

		*address = (struct xy_address){.length = item->ai_addrlen};
		memcpy(&address->storage, item->ai_addr, item->ai_addrlen);
	}
	freeaddrinfo(found);
	return count;
}

const char *xy_address_text(const struct xy_address *address, char *buffer, size_t size)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
	const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
	char host[INET6_ADDRSTRLEN];

	switch (address->any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(buffer, size, "%s:%u", host, ntohs(in->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(buffer, size, "[%s]:%u", host, ntohs(in6->sin6_port));
		break;
	case AF_UNIX:
		/* The kernel need not end a full path with a zero. */
		snprintf(buffer, size, UNIX_PREFIX "%.*s",
			 (int)(address->length > PATH_OFFSET ? address->length - PATH_OFFSET : 0),
			 un->sun_path);
		break;
	default:
		snprintf(buffer, size, "family=%u", address->any.sa_family);
	}
	return buffer;
}

/* ---- sockets ------------------------------------------------------------------------------- */

/* Returns the descriptor. */
static int net_socket(const struct xy_address *address)
{
	int family = address->any.sa_family;
	int fd = socket(family, SOCKET_FLAGS, family == AF_UNIX ? 0 : IPPROTO_TCP);

	return fd < 0 ? -errno : fd;
}

static int net_set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Makes way for a bind to a path: removes a socket file that refuses connections. */
static int unix_clear(const struct xy_address *address)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
	struct stat st;
	int fd = -1, r;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	r = xy_net_connect(address, &fd);
	if (r >= 0)
		close(fd);
	if (r == -ENOENT)
		return 0;
	if (r != -ECONNREFUSED)
		return -EADDRINUSE;
	if (unlink(un->sun_path) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int xy_net_bind(const struct xy_address *address, int *ret_fd)
{
	int family = address->any.sa_family;
	int fd, r;

	fd = net_socket(address);
	if (fd < 0)
		return fd;
	if (family == AF_UNIX)
		r = unix_clear(address);
	else
		r = net_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r < 0)
		goto err_close;
	if (family == AF_INET6) {
		r = net_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		if (r < 0)
			goto err_close;
	}
	if (bind(fd, &address->any, address->length) < 0) {
		r = -errno;
		goto err_close;
	}
	*ret_fd = fd;
	return 0;

err_close:
	close(fd);
	return r;
}

int xy_net_listen(const struct xy_address *address, int backlog, int *ret_fd)
{
	int fd = -1, r = xy_net_bind(address, &fd);

	if (r < 0)
		return r;
	if (listen(fd, backlog) < 0) {
		r = -errno;
		xy_net_unlisten(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Returns the value. */
static int net_get(int fd, int option)
{
	int value;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -errno : value;
}

int xy_net_take(int fd, struct xy_address *ret_address)
{
	struct xy_address address;
	int type = net_get(fd, SO_TYPE), listening = net_get(fd, SO_ACCEPTCONN), flags, r;

	if (type < 0 || listening < 0)
		return type < 0 ? type : listening;
	if (type != SOCK_STREAM || !listening)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = xy_net_local(fd, &address);
	if (r < 0)
		return r;
	*ret_address = address;
	return 0;
}

void xy_net_unlisten(int fd)
{
	const struct sockaddr_un *un;
	struct xy_address address = {0};

	if (fd < 0)
		return;
	un = (const struct sockaddr_un *)&address.storage;
	if (xy_net_local(fd, &address) == 0 && un->sun_family == AF_UNIX && un->sun_path[0])
		unlink(un->sun_path);
	close(fd);
}

int xy_net_accept(int listener, struct xy_address *ret_peer, int *ret_fd)
{
	struct xy_address peer = {.length = sizeof(peer.storage)};
	int fd = accept4(listener, &peer.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ret_peer)
		*ret_peer = peer;
	*ret_fd = fd;
	return 0;
}

int xy_net_connect(const struct xy_address *address, int *ret_fd)
{
	int fd, r;

	fd = net_socket(address);
	if (fd < 0)
		return fd;
	if (connect(fd, &address->any, address->length) == 0) {
		r = 0;
	} else if (errno == EINPROGRESS) {
		r = 1;
	} else {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return r;
}

int xy_net_connect_result(int fd)
{
	int error;
	socklen_t length = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return -errno;
	return -error;
}

int xy_net_set_nodelay(int fd)
{
	return net_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int xy_net_set_buffers(int fd, int receive, int send)
{
	int r = 0;

	if (receive > 0)
		r = net_set(fd, SOL_SOCKET, SO_RCVBUF, receive);
	if (r == 0 && send > 0)
		r = net_set(fd, SOL_SOCKET, SO_SNDBUF, send);
	return r;
}

int xy_net_local(int fd, struct xy_address *ret_address)
{
	struct xy_address address = {.length = sizeof(address.storage)};

	if (getsockname(fd, &address.any, &address.length) < 0)
		return -errno;
	*ret_address = address;
	return 0;
}

bool xy_address_is_loopback(const struct xy_address *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;

	switch (address->any.sa_family) {
	case AF_INET:
		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	default:
		return false;
	}
}

int xy_net_peer_user(int fd, uint32_t *ret_uid, uint32_t *gids, size_t maximum, size_t *ret_count)
{
	socklen_t size = (socklen_t)((maximum - 1) * sizeof(*gids));
	struct ucred credentials;
	socklen_t length = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	gids[0] = credentials.gid;
	*ret_count = 1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &size) == 0)
		*ret_count += size / sizeof(*gids);
	*ret_uid = credentials.uid;
	return 0;
}

const char *xy_net_peer_text(int fd, char *buffer, size_t size)
{
	struct xy_address address = {.length = sizeof(address.storage)};
	struct ucred credentials;
	socklen_t length = sizeof(credentials);

	if (getpeername(fd, &address.any, &address.length) < 0) {
		snprintf(buffer, size, "unknown");
		return buffer;
	}
	if (address.any.sa_family == AF_UNIX && address.length <= PATH_OFFSET &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
		snprintf(buffer, size, UNIX_PREFIX "pid=%d", (int)credentials.pid);
		return buffer;
	}
	return xy_address_text(&address, buffer, size);
}
