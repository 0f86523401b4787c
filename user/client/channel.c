/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* The bytes of a connection, plain or by TLS. What TLS has decrypted and not given out no poll
 * tells of; what it has encrypted and the socket did not take is sent for those who gave it, but
 * not yet with the kernel. Both are asked for wherever the socket is. */

int xy_channel_secure(struct xy_client *client)
{
	struct xy_tls_context *context;
	char why[XY_SECURE_WHY_SIZE];
	int error = xy_secure_context(&client->secure, &context, why);

	if (error)
		return xy_client_fail(client, error, "%s", why);
	client->tls = xy_tls_new(context, client->fd, client->secure.name);
	xy_tls_context_put(context);
	if (client->tls == NULL)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	return 0;
}

int xy_channel_handshake(struct xy_client *client)
{
	int error = xy_tls_handshake(client->tls);

	if (error && error != -EAGAIN)
		xy_channel_fail(client, error, "handshake");
	return error;
}

void xy_channel_close(struct xy_client *client)
{
	if (client->tls == NULL)
		return;
	/* Its best: who hangs up does not wait. */
	(void)xy_tls_close(client->tls);
	xy_tls_free(client->tls);
	client->tls = NULL;
}

int xy_channel_fail(struct xy_client *client, int error, const char *what)
{
	char why[XY_SECURE_WHY_SIZE];

	if (client->tls == NULL)
		return xy_client_fail(client, error, "%s: %s", what, strerror(-error));
	xy_secure_explain(&client->secure, client->tls, why);
	return xy_client_fail(client, error, "%s", why);
}

/* An end or an error behind bytes is told again by the next call; behind a full record there is
 * mostly another one. */
static ssize_t tls_recv(struct xy_client *client, uint8_t *buffer, size_t size)
{
	size_t got = 0;
	ssize_t came;

	do {
		came = xy_tls_recv(client->tls, buffer + got, size - got);
		got += came > 0 ? (size_t)came : 0;
	} while (got < size && (came == XY_TLS_PLAIN || (came > 0 && xy_tls_pending(client->tls))));
	client->in.drained =
		came == -EAGAIN || (came > 0 && got < size && !xy_tls_pending(client->tls));
	return got > 0 ? (ssize_t)got : came;
}

ssize_t xy_channel_recv(struct xy_client *client, void *buffer, size_t size, int flags)
{
	ssize_t got;

	if (client->tls != NULL)
		return tls_recv(client, buffer, size);
	got = recv(client->fd, buffer, size, flags);
	if (got < 0)
		got = -errno;
	/* Memory that a lane wants for it may come free. */
	client->in.drained = got == -EAGAIN || got == -ENOMEM || got == -ENOBUFS ||
			     (got > 0 && (size_t)got < size);
	return client->in.drained && got < 0 ? -EAGAIN : got;
}

static ssize_t tls_send(struct xy_client *client, const uint8_t *data, size_t length)
{
	size_t sent = 0;
	ssize_t taken;

	do {
		struct iovec part = {.iov_base = (void *)(uintptr_t)(data + sent),
				     .iov_len = length - sent};

		taken = xy_tls_send(client->tls, &part, 1);
		sent += taken > 0 ? (size_t)taken : 0;
	} while (taken > 0 && sent < length);
	return sent > 0 ? (ssize_t)sent : taken;
}

ssize_t xy_channel_send(struct xy_client *client, const void *data, size_t length)
{
	ssize_t sent;

	if (client->tls != NULL)
		return tls_send(client, data, length);
	do
		sent = send(client->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}
