/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proxy of ZeroMQ, as its guide has it: publishers at PORT, subscribers at PORT + 1.
 *
 *	zeromq_proxy PORT
 */
#include <stdio.h>
#include <stdlib.h>

#include <zmq.h>

static void bind_at(void *socket, unsigned port)
{
	char url[64];

	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
	if (zmq_bind(socket, url)) {
		fprintf(stderr, "zeromq_proxy: %s: %s\n", url, zmq_strerror(zmq_errno()));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	unsigned port = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
	void *context = zmq_ctx_new(), *from, *to;

	if (!port || port > 65534) {
		fprintf(stderr, "usage: zeromq_proxy PORT\n");
		return 2;
	}
	from = zmq_socket(context, ZMQ_XSUB);
	to = zmq_socket(context, ZMQ_XPUB);
	/* A subscriber that is slow holds publishers back, and misses nothing. */
	zmq_setsockopt(to, ZMQ_XPUB_NODROP, &(int){1}, sizeof(int));
	bind_at(from, port);
	bind_at(to, port + 1);
	puts("ready");
	fflush(stdout);
	zmq_proxy(from, to, NULL);
	return 1;
}
