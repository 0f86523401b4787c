/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A send buffer filled by this part beyond the last POLLOUT still has room for an ACK (K25). */
#define UNPOLLED_PART 16

/* Every call but xy_inbound_await() says MSG_DONTWAIT. */
static bool make_patient(int fd)
{
	struct timeval patience = {.tv_usec = XY_PATIENCE_NS / 1000};
	int flags = fcntl(fd, F_GETFL);

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	       flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0;
}

static void greet(struct xy_client *client)
{
	if (xy_client_greet(client) != 0)
		xy_client_disconnect(client);
	else
		xy_client_push(client, false);
}

static void secure(struct xy_client *client)
{
	int error = xy_channel_handshake(client);

	if (error == 0)
		greet(client);
	else if (error != -EAGAIN)
		xy_client_disconnect(client);
}

static void connected(struct xy_client *client)
{
	socklen_t size = sizeof(int);
	int buffer = 0;

	client->address_next = client->addresses;
	/* Refused by a UNIX socket, which has no such delay. */
	(void)xy_net_set_nodelay(client->fd);
	client->patient = client->secure.name == NULL && make_patient(client->fd);
	getsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &buffer, &size);
	client->unpolled_max = (size_t)buffer / UNPOLLED_PART;
	client->unpolled = 0;
	client->blocked = client->looked = false;
	client->heard_ns = client->spoke_ns = client->asked_ns = xy_clock_ns();
	client->unheard = 0;
	client->in.drained = false;
	if (client->secure.name == NULL) {
		greet(client);
	} else if (xy_channel_secure(client) != 0) {
		xy_client_disconnect(client);
	} else {
		client->state = XY_CLIENT_SECURING;
		secure(client);
	}
}

/* Tries the addresses left; `error` is what it is when none is. */
static void try_addresses(struct xy_client *client, int error)
{
	while (client->address_next < client->addresses) {
		const struct xy_address *to = &client->address[client->address_next++];

		error = xy_net_connect(to, &client->fd);
		if (error < 0)
			continue;
		client->state = XY_CLIENT_CONNECTING;
		xy_client_watch(client);
		if (error == 0)
			connected(client);
		return;
	}
	xy_client_fail(client, error, "%s: %s", client->server, strerror(-error));
	xy_client_disconnect(client);
}

void xy_client_dial(struct xy_client *client)
{
	char why[XY_WHY_SIZE];
	int count = xy_address_parse(xy_secure_address(client->server), client->address,
				     XY_ADDRESSES_MAX, why, sizeof(why));

	client->due_ns = xy_clock_ns() + client->connect_timeout_ms * XY_NS_PER_MS;
	if (count < 0) {
		xy_client_fail(client, count, "%s: %s", client->server, why);
		xy_client_disconnect(client);
		return;
	}
	client->addresses = count;
	client->address_next = 0;
	try_addresses(client, -EHOSTUNREACH);
}

void xy_client_dial_step(struct xy_client *client)
{
	int error;

	if (client->state == XY_CLIENT_SECURING) {
		secure(client);
		return;
	}
	error = xy_net_connect_result(client->fd);
	if (error == 0) {
		connected(client);
		return;
	}
	xy_client_hang_up(client);
	try_addresses(client, error);
}

void xy_client_hang_up(struct xy_client *client)
{
	xy_channel_close(client);
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
}
