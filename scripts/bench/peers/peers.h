/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transports of a bench that are not xylem (cmd/bench_transport.h): what others offer, by their own
 * clients, and what there is without anybody in between.
 *
 * `--server` is HOST:PORT or unix:PATH. The clients are used as their users would who want speed:
 * buffers as large as they take, one thread where the library allows it, no copy that it does not
 * ask for.
 */
#ifndef XY_PEERS_H
#define XY_PEERS_H

#include <stdint.h>

#include "cmd/bench.h"

#define PEER_BATCH     (32u << 10) /* bytes that are worth a send */
#define PEER_HOST_SIZE 256

/* Without a broker, or through a proxy of connections: the producer listens, every consumer
 * connects. `--server` HOST:PORT or unix:PATH, or of a proxy HOST:PORT,HOST:PORT: where consumers
 * connect, and where the producer listens. A message is its length, then its bytes. */
extern const struct xy_bench_transport peer_stream;
/* The same by two named pipes; `--server` unix:PATH. One producer, one consumer. */
extern const struct xy_bench_transport peer_pipe;
extern const struct xy_bench_transport peer_nats;      /* PEER_NATS: cnats */
extern const struct xy_bench_transport peer_redis;     /* PEER_REDIS: hiredis */
extern const struct xy_bench_transport peer_zeromq;    /* PEER_ZEROMQ: libzmq; PUB to PORT, SUB from
							  PORT + 1 */
extern const struct xy_bench_transport peer_mosquitto; /* PEER_MOSQUITTO: libmosquitto, QoS 0 */

/* HOST:PORT or unix:PATH in its parts. A status; says what is wrong. */
struct peer_address {
	char host[PEER_HOST_SIZE];
	uint16_t port; /* 0: host is a path */
};
int peer_address(const struct xy_bench_job *job, const char *text,
		 struct peer_address *ret_address);
const char *peer_server(const struct xy_bench_job *job);

/* Zeros; a worker without memory ends. */
void *peer_allocate(size_t size);

#endif
