/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/connect.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/secure.h"
#include "client/token.h"
#include "cmd/stop.h"
#include "proto/json.h"

#define GOODBYE_TIMEOUT_MS 6000

static const char *server_of(const struct xy_connect *connect)
{
	const char *server = connect->server;

	if (!server)
		server = getenv("XYLEM_SERVER");
	return server && *server ? server : "127.0.0.1:7400";
}

/* What a failed connection means and what to do about it; NULL: the library knows better. */
static const char *connect_remedy(int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ENOENT:
		return "nothing listens there; start a proxy with 'xylem serve', or name another "
		       "with --server or XYLEM_SERVER";
	case -EINVAL:
		return "not an address; write HOST:PORT, [V6]:PORT or unix:PATH, with TLS "
		       "tls:HOST:PORT or tls:[V6]:PORT";
	case -EACCES:
	case -EPERM:
		return "refused; give a token that the proxy knows with --token-file, "
		       "XYLEM_TOKEN_FILE or XYLEM_TOKEN";
	case -ETIMEDOUT:
		return "no answer in time; is this a xylem proxy?";
	case -ECONNRESET:
	case -EPIPE:
	case -EPROTO:
	case -EBADMSG:
		return "what listens there is no xylem proxy, or it refused this client, or it "
		       "speaks TLS (write tls:HOST:PORT)";
	default:
		return NULL;
	}
}

/* The library would read it as well, and could not say as much. */
static int token_check(const struct xy_connect *connect)
{
	const char *path = connect->token_file, *from = "option --token-file";
	char token[XY_TOKEN_MAX + 1];
	int r;

	if (!path && !getenv("XYLEM_TOKEN")) {
		path = getenv("XYLEM_TOKEN_FILE");
		from = "XYLEM_TOKEN_FILE in the environment";
	}
	if (!path)
		return XY_CMD_OK;
	r = xy_token_read(path, token);
	explicit_bzero(token, sizeof(token));
	if (r == -EBADMSG)
		return xy_options_complain(connect->command,
					   "%s: %s must hold one token of 1 to %d bytes", from,
					   path, XY_TOKEN_MAX);
	if (r)
		return xy_options_complain(connect->command, "%s: %s: %s", from, path,
					   strerror(-r));
	return XY_CMD_OK;
}

static int tls_check(const struct xy_connect *connect, const struct xy_client_options *options)
{
	char why[XY_SECURE_WHY_SIZE];

	if (xy_secure_check(options->server, options, why) != 0)
		return xy_options_complain(connect->command, "%s", why);
	return XY_CMD_OK;
}

static const char *failure(const struct xy_client_options *options, int error)
{
	/* What the two cannot agree upon no number says. */
	bool handshake = error == -EPROTO && xy_secure_wanted(options->server);
	const char *remedy = handshake ? NULL : connect_remedy(error);

	if (error == -EACCES && xy_secure_wanted(options->server))
		remedy = "refused; show a certificate that the proxy knows with --tls-cert and "
			 "--tls-key, or give it a token with --token-file, XYLEM_TOKEN_FILE or "
			 "XYLEM_TOKEN";
	if (remedy)
		return remedy;
	return *options->why ? options->why : strerror(-error);
}

static void on_event(struct xy_client *client, enum xy_event event, void *context)
{
	struct xy_connect *connect = context;
	const char *name = connect->command->name;

	if (connect->ending)
		return;
	switch (event) {
	case XY_EVENT_DISCONNECTED:
		fprintf(stderr, "xylem %s: connection lost%s\n", name,
			connect->no_reconnect ? "" : "; trying again");
		break;
	case XY_EVENT_RECONNECTED:
		fprintf(stderr, "xylem %s: connected again; messages may have been missed\n", name);
		break;
	case XY_EVENT_DRAINING:
		fprintf(stderr, "xylem %s: the proxy is shutting down\n", name);
		break;
	case XY_EVENT_ERROR:
		fprintf(stderr, "xylem %s: the proxy says: %s\n", name, xy_client_error(client));
		connect->failed = true;
		break;
	case XY_EVENT_CONNECTED:
	case XY_EVENT_CLOSED:
		break;
	}
}

static void on_direct(struct xy_client *client, const struct xy_message *message, void *context)
{
	(void)client;
	(void)message;
	(void)context;
}

int xy_connect_open(struct xy_connect *connect, const struct xy_command *command)
{
	char name[64], why[XY_SECURE_WHY_SIZE] = "";
	struct xy_client_options options = {
		.size = sizeof(options),
		.server = server_of(connect),
		.name = connect->name,
		.token_file = connect->token_file,
		.no_lane = connect->no_lane,
		.no_reconnect = connect->no_reconnect,
		.on_event = on_event,
		.on_direct = on_direct,
		.context = connect,
		.tls_ca = connect->tls_ca,
		.tls_cert = connect->tls_cert,
		.tls_key = connect->tls_key,
		.tls_name = connect->tls_name,
		.why = why,
		.why_size = sizeof(why),
	};
	int r;

	connect->command = command;
	r = token_check(connect);
	if (!r)
		r = tls_check(connect, &options);
	if (r)
		return r;
	if (!connect->name) {
		snprintf(name, sizeof(name), "xylem-%s-%d", command->name, (int)getpid());
		options.name = name;
	} else if (strlen(connect->name) > XY_NAME_MAX) {
		return xy_options_complain(command, "option --name: at most %d bytes", XY_NAME_MAX);
	}
	r = xy_stop_install();
	if (!r)
		r = xy_client_connect(&options, &connect->client);
	if (!r)
		return XY_CMD_OK;
	if (xy_stop_wanted())
		return XY_CMD_SIGNALLED;
	fprintf(stderr, "xylem %s: cannot connect to %s: %s\n", command->name, options.server,
		failure(&options, r));
	return r == -EINVAL ? XY_CMD_USAGE : XY_CMD_UNREACHABLE;
}

void xy_connect_close(struct xy_connect *connect)
{
	xy_client_close(connect->client);
	connect->client = NULL;
}

int xy_connect_complain(const struct xy_connect *connect, const char *what, int error)
{
	const char *why = xy_client_error(connect->client);

	if (error == -EINTR && xy_stop_wanted())
		return XY_CMD_SIGNALLED;
	fprintf(stderr, "xylem %s: %s: %s\n", connect->command->name, what,
		*why ? why : strerror(-error));
	return error == -EINVAL ? XY_CMD_USAGE : XY_CMD_FAILURE;
}

short xy_connect_wait(const struct xy_connect *connect, int fd, short events, int timeout_ms)
{
	struct pollfd polled[] = {
		{.fd = xy_client_fd(connect->client), .events = POLLIN},
		{.fd = xy_stop_fd(), .events = POLLIN},
		{.fd = fd, .events = events},
	};

	if (poll(polled, 3, timeout_ms) < 0)
		return 0;
	return polled[2].revents;
}

int xy_connect_finish(struct xy_connect *connect)
{
	int r;

	do {
		r = xy_client_sync(connect->client, -1);
	} while (r == -EINTR && !xy_stop_wanted());
	if (r)
		return xy_connect_complain(connect, "not everything was handed on", r);
	while (connect->hold && !xy_stop_wanted()) {
		r = xy_client_process(connect->client);
		if (r)
			return xy_connect_complain(connect, "connection", r);
		xy_connect_wait(connect, -1, 0, -1);
	}
	/* Everything is handed on: a GOODBYE that is not answered loses nothing. */
	connect->ending = true;
	xy_client_drain(connect->client, GOODBYE_TIMEOUT_MS);
	return connect->failed ? XY_CMD_FAILURE : XY_CMD_OK;
}
