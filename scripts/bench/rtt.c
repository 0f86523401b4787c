/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Round trips between two processes: a direct loopback TCP pair, and a request with its reply
 * through one or more proxies. All ways take turns within one run, so that whatever else the
 * machine does hits all of them; medians of the medians of the turns are shown, with their ratio to
 * TCP.
 *
 *	rtt CPU CPU NAME=SERVER …
 *
 * The first CPU runs the side that asks, the second the sides that answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <xylem/client.h>

#define TURNS      9
#define TRIPS      600 /* of a turn */
#define WARM_TRIPS 100 /* of these, not counted */
#define WAYS_MAX   8
#define SIZE_MAX_  16384

static const size_t sizes[] = {64, 1024, 16384};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct way {
	const char *name;
	const char *server; /* NULL = direct TCP */
	int fd;
	struct xy_client *client;
	struct xy_topic *topic;
	uint64_t medians[SIZES][TURNS];
};

static struct way ways[WAYS_MAX];
static unsigned way_count;
static uint8_t buffer[SIZE_MAX_];

static void die(const char *what, const char *why)
{
	fprintf(stderr, "rtt: %s: %s\n", what, why);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("pinning", strerror(errno));
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- direct TCP ------------------------------------------------------------------------------ */

static void transfer(int fd, size_t length, bool out)
{
	for (size_t at = 0; at < length;) {
		ssize_t n = out ? write(fd, buffer + at, length - at)
				: read(fd, buffer + at, length - at);

		if (n <= 0)
			exit(0);
		at += (size_t)n;
	}
}

/* The size of an answer is that of the question: a 4-byte length goes ahead of both. */
static void tcp_serve(int fd)
{
	uint32_t length;

	for (;;) {
		transfer(fd, sizeof(length), false);
		memcpy(&length, buffer, sizeof(length));
		transfer(fd, length - sizeof(length), false);
		memcpy(buffer, &length, sizeof(length));
		transfer(fd, length, true);
	}
}

static int tcp_pair(int *ret_other)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1, other;

	if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
	    connect(fd, (struct sockaddr *)&address, size) != 0)
		die("TCP", strerror(errno));
	other = accept(listener, NULL, NULL);
	close(listener);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	*ret_other = other;
	return fd;
}

/* ---- through a proxy ------------------------------------------------------------------------- */

static struct xy_client *connect_to(const struct way *way)
{
	struct xy_client_options options = {
		.size = sizeof(options), .server = way->server, .no_reconnect = true};
	struct xy_client *client;
	int error = xy_client_connect(&options, &client);

	if (error)
		die(way->server, strerror(-error));
	return client;
}

static void xylem_serve(const struct way *way, int told)
{
	struct xy_client *client = connect_to(way);
	struct xy_message message;

	if (xy_client_subscribe(client, "bench.rtt", NULL, NULL) != 0)
		die("subscribe", xy_client_error(client));
	if (write(told, "", 1) != 1)
		exit(1);
	while (xy_client_next(client, -1, &message) == 0)
		xy_client_reply(client, &message, message.data, message.length);
	exit(0);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void trip(struct way *way, size_t size)
{
	uint32_t length = (uint32_t)size;
	struct xy_message reply;

	memcpy(buffer, &length, sizeof(length));
	if (way->server == NULL) {
		transfer(way->fd, size, true);
		transfer(way->fd, size, false);
		return;
	}
	if (xy_client_request(way->client, way->topic, buffer, size, 5000, &reply) != 0)
		die(way->name, xy_client_error(way->client));
	if (reply.length != size)
		die(way->name, "a reply of another size");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static uint64_t turn(struct way *way, size_t size)
{
	static uint64_t took[TRIPS];

	for (unsigned i = 0; i < WARM_TRIPS + TRIPS; i++) {
		uint64_t begin = now_ns();

		trip(way, size);
		if (i >= WARM_TRIPS)
			took[i - WARM_TRIPS] = now_ns() - begin;
	}
	return median(took, TRIPS);
}

static void start(struct way *way, int ask_cpu, int answer_cpu)
{
	int told[2], other = -1;
	char byte;

	if (pipe(told) != 0)
		die("pipe", strerror(errno));
	if (way->server == NULL)
		way->fd = tcp_pair(&other);
	switch (fork()) {
	case -1:
		die("fork", strerror(errno));
		break;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(answer_cpu);
		if (way->server != NULL)
			xylem_serve(way, told[1]);
		close(way->fd);
		tcp_serve(other);
	}
	pin(ask_cpu);
	if (way->server == NULL) {
		close(other);
	} else {
		if (read(told[0], &byte, 1) != 1)
			die(way->name, "the side that answers did not start");
		way->client = connect_to(way);
		if (xy_client_declare(way->client, "bench.rtt", &way->topic) != 0)
			die("declare", xy_client_error(way->client));
	}
	close(told[0]);
	close(told[1]);
}

static void show(void)
{
	printf("%10s", "bytes");
	for (unsigned w = 0; w < way_count; w++)
		printf("%14s%8s", ways[w].name, w > 0 ? "ratio" : "");
	printf("\n");
	for (size_t s = 0; s < SIZES; s++) {
		double tcp = 0;

		printf("%10zu", sizes[s]);
		for (unsigned w = 0; w < way_count; w++) {
			double us = (double)median(ways[w].medians[s], TURNS) / 1000;

			if (w == 0) {
				tcp = us;
				printf("%11.1f us%8s", us, "");
			} else {
				printf("%11.1f us%8.2f", us, us / tcp);
			}
		}
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc - 2 > WAYS_MAX) {
		fprintf(stderr, "usage: rtt CPU CPU NAME=SERVER …\n");
		return 2;
	}
	ways[way_count++].name = "tcp";
	for (int i = 3; i < argc; i++) {
		char *equals = strchr(argv[i], '=');

		if (equals == NULL)
			die(argv[i], "no NAME=SERVER");
		*equals = '\0';
		ways[way_count].name = argv[i];
		ways[way_count++].server = equals + 1;
	}
	for (unsigned w = 0; w < way_count; w++) {
		start(&ways[w], atoi(argv[1]), atoi(argv[2]));
		if (ways[w].server != NULL)
			fprintf(stderr, "rtt: %s: %s\n", ways[w].name,
				xy_client_on_lane(ways[w].client) ? "lane" : "no lane");
	}
	for (unsigned t = 0; t < TURNS; t++)
		for (size_t s = 0; s < SIZES; s++)
			for (unsigned w = 0; w < way_count; w++)
				ways[w].medians[s][t] = turn(&ways[w], sizes[s]);
	show();
	for (unsigned w = 0; w < way_count; w++)
		xy_client_close(ways[w].client);
	return 0;
}
