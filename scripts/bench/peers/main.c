/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bench of xylem with another transport:
 *
 *	peers TRANSPORT [argument of `xylem bench`]…
 *	peers                                         names the transports that this build has
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "peers.h"

static const struct xy_bench_transport *const transports[] = {
	&xy_bench_client, &peer_stream, &peer_pipe,
#ifdef PEER_NATS
	&peer_nats,
#endif
#ifdef PEER_REDIS
	&peer_redis,
#endif
#ifdef PEER_ZEROMQ
	&peer_zeromq,
#endif
#ifdef PEER_MOSQUITTO
	&peer_mosquitto,
#endif
};
#define TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

void *peer_allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory) {
		fprintf(stderr, "peers: no memory\n");
		exit(XY_CMD_FAILURE);
	}
	return memory;
}

const char *peer_server(const struct xy_bench_job *job)
{
	const char *server = job->run->bench->connect.server;

	return server ? server : "";
}

int peer_address(const struct xy_bench_job *job, const char *text, struct peer_address *ret_address)
{
	const char *colon = strrchr(text, ':');
	size_t length;

	if (!strncmp(text, "unix:", 5)) {
		snprintf(ret_address->host, sizeof(ret_address->host), "%s", text + 5);
		ret_address->port = 0;
		return XY_CMD_OK;
	}
	length = colon ? (size_t)(colon - text) : 0;
	if (!length || length >= sizeof(ret_address->host) || atoi(colon + 1) <= 0)
		return xy_options_complain(
			job->command, "option --server: '%s' is neither HOST:PORT nor unix:PATH",
			text);
	memcpy(ret_address->host, text, length);
	ret_address->host[length] = 0;
	ret_address->port = (uint16_t)atoi(colon + 1);
	return XY_CMD_OK;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < TRANSPORTS; i++) {
		if (argc < 2)
			puts(transports[i]->name);
		else if (!strcmp(argv[1], transports[i]->name))
			return xy_bench_main(&xy_command_bench, transports[i], argc - 1, argv + 1);
	}
	if (argc < 2)
		return XY_CMD_OK;
	fprintf(stderr, "peers: this build has no transport '%s'\n", argv[1]);
	return XY_CMD_USAGE;
}
