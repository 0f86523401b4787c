/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves messages from one socket to another, or to four, by xylem's pipes and by the kernel's.
 *
 *   splice [MIB [ROUNDS]]     MiB moved in each run (64), rounds (7); the medians are printed
 *
 * Three kinds of processes, the same for each way: a source that writes messages (a 60-byte header
 * that begins with the length, and a payload), the one in the middle that is measured, and sinks
 * that read. The middle one looks at each header, as a proxy must; "blind" does not, and shows what
 * the look costs. The ways take turns within a round. CPU: of the middle process, and of all.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <xylem/pipe.h>

#define HEADER      60u
#define SINKS_MAX   4
#define ROUNDS_MAX  99
#define KERNEL_PIPE (1 << 20)
#define MIB         ((size_t)1 << 20)

/* Sockets of the middle process, and where it is in its input. */
struct middle {
	int in, out[SINKS_MAX], sinks;
	size_t left;     /* bytes of the message under way */
	size_t messages; /* whose headers were looked at */
};

static void die(const char *what)
{
	fprintf(stderr, "splice: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_of(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- ways ---------------------------------------------------------------------------------- */

static struct xy_pipe *pipe_new(struct xy_pool *pool)
{
	struct xy_pipe_options options = {
		.size = sizeof(options), .pool = pool, .never_pause = true};
	struct xy_pipe *pipe;

	if (xy_pipe_new(&options, &pipe))
		die("pipe");
	return pipe;
}

/* How much of the view can go on: all of it but a header that is not whole. */
static size_t look(struct middle *middle, struct xy_cursor cursor)
{
	while (cursor.remaining > 0) {
		size_t part;

		if (middle->left == 0) {
			struct xy_cursor header = cursor;
			uint32_t length;

			if (cursor.remaining < HEADER || xy_cursor_be32(&header, &length))
				break;
			middle->left = length;
			middle->messages++;
		}
		part = middle->left < cursor.remaining ? middle->left : cursor.remaining;
		xy_cursor_skip(&cursor, part);
		middle->left -= part;
	}
	return cursor.position;
}

static void by_pipes(struct middle *middle)
{
	struct xy_pool *pool = xy_pool_new(NULL);
	struct xy_pipe *in = pipe_new(pool), *out[SINKS_MAX];

	for (int i = 0; i < middle->sinks; i++)
		out[i] = pipe_new(pool);
	for (;;) {
		size_t room, whole, written;
		void *memory = xy_pipe_reserve(in, 0, &room);
		ssize_t got = read(middle->in, memory, room);
		struct xy_chain chain = {0};
		struct xy_cursor cursor;
		struct xy_view view;

		if (got <= 0)
			break;
		xy_pipe_commit(in, (size_t)got);
		xy_pipe_flush(in);
		if (xy_pipe_read(in, &view))
			continue;
		cursor = xy_view_cursor(&view);
		whole = look(middle, cursor);
		xy_cursor_share(&cursor, whole, &chain);
		xy_pipe_advance(in, whole, view.length);
		for (int i = 0; i < middle->sinks; i++) {
			xy_pipe_append_shared(out[i], &chain);
			xy_pipe_flush(out[i]);
			if (xy_pipe_copy_to_fd(out[i], middle->out[i], SIZE_MAX, &written))
				die("writev");
		}
		xy_chain_clear(&chain, pool);
	}
	for (int i = 0; i < middle->sinks; i++)
		xy_pipe_free(out[i]);
	xy_pipe_free(in);
	xy_pool_free(pool);
}

/* Moves exactly `length` bytes out of a kernel pipe. */
static void drain(int from, int to, size_t length)
{
	while (length > 0) {
		ssize_t moved = splice(from, NULL, to, NULL, length, SPLICE_F_MOVE);

		if (moved <= 0)
			die("splice to a socket");
		length -= (size_t)moved;
	}
}

static void by_splice(struct middle *middle, bool blind)
{
	int pipes[SINKS_MAX][2];

	for (int i = 0; i < middle->sinks; i++)
		if (pipe(pipes[i]) || fcntl(pipes[i][1], F_SETPIPE_SZ, KERNEL_PIPE) < 0)
			die("pipe");
	for (;;) {
		size_t most = KERNEL_PIPE;
		ssize_t got;

		if (!blind) {
			if (middle->left == 0) {
				uint32_t header[HEADER / 4];

				/* Not MSG_PEEK: a header's first bytes that stay in the queue can
				 * hold the whole receive buffer, and the rest then never comes. */
				if (recv(middle->in, header, HEADER, MSG_WAITALL) != HEADER)
					break;
				for (int i = 0; i < middle->sinks; i++)
					if (send(middle->out[i], header, HEADER,
						 MSG_MORE | MSG_NOSIGNAL) != HEADER)
						die("send");
				middle->left = ntohl(header[0]) - HEADER;
				middle->messages++;
			}
			most = middle->left;
		}
		got = splice(middle->in, NULL, pipes[0][1], NULL, most, SPLICE_F_MOVE);
		if (got <= 0)
			break;
		middle->left -= blind ? 0 : (size_t)got;
		while (got > 0) {
			size_t part = (size_t)got;

			/* What fits all of them: tee() starts at the front each time. */
			for (int i = 1; i < middle->sinks; i++) {
				ssize_t copied = tee(pipes[0][0], pipes[i][1], part, 0);

				if (copied <= 0)
					die("tee");
				if ((size_t)copied < part && i > 1)
					die("tee: of different lengths");
				part = (size_t)copied;
			}
			for (int i = 0; i < middle->sinks; i++)
				drain(pipes[i][0], middle->out[i], part);
			got -= (ssize_t)part;
		}
	}
	for (int i = 0; i < middle->sinks; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

/* ---- one run ------------------------------------------------------------------------------- */

static void connect_pair(bool tcp, int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);
	int listener, on = 1;

	if (!tcp) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			die("socketpair");
		return;
	}
	listener = socket(AF_INET, SOCK_STREAM, 0);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || fds[0] < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(fds[0], (struct sockaddr *)&address, sizeof(address)) ||
	    (fds[1] = accept(listener, NULL, NULL)) < 0)
		die("a TCP connection");
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(listener);
}

static void source(int fd, size_t size, size_t count)
{
	uint8_t *message = calloc(1, size);
	uint32_t length = htonl((uint32_t)size);

	if (!message)
		die("memory");
	memset(message, 'x', size);
	memcpy(message, &length, sizeof(length));
	for (; count > 0; count--)
		for (size_t at = 0; at < size;) {
			ssize_t sent = send(fd, message + at, size - at, MSG_NOSIGNAL);

			if (sent < 0)
				die("send");
			at += (size_t)sent;
		}
	_exit(0);
}

static void sink(int fd, size_t total)
{
	static uint8_t buffer[256 << 10];
	ssize_t got;

	while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		total -= (size_t)got;
	_exit(total == 0 ? 0 : 1);
}

struct way {
	const char *name;
	bool kernel, blind;
	int sinks;
};

static const struct way ways[] = {
	{"pipes", false, false, 1},
	{"splice", true, false, 1},
	{"blind splice", true, true, 1},
	{"pipes, 4 receivers", false, false, 4},
	{"splice and tee, 4 receivers", true, false, 4},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

struct figures {
	double wall, cpu, cpu_all;
};

/* The middle runs in a child, so that each run begins alike and its CPU time can be had. */
static struct figures run(const struct way *way, bool tcp, size_t size, size_t count)
{
	struct middle middle = {.sinks = way->sinks};
	int in[2], out[SINKS_MAX][2], report[2], status;
	double before = cpu_of(RUSAGE_CHILDREN), begun;
	struct figures figures;

	if (pipe(report))
		die("pipe");
	connect_pair(tcp, in);
	for (int i = 0; i < way->sinks; i++)
		connect_pair(tcp, out[i]);
	for (int i = 0; i < way->sinks; i++) {
		if (fork() == 0) {
			close(in[0]);
			close(in[1]);
			for (int k = 0; k < way->sinks; k++) {
				close(out[k][0]);
				if (k != i)
					close(out[k][1]);
			}
			sink(out[i][1], size * count);
		}
		close(out[i][1]);
	}
	begun = seconds(CLOCK_MONOTONIC);
	if (fork() == 0) {
		close(in[0]);
		middle.in = in[1];
		for (int i = 0; i < way->sinks; i++)
			middle.out[i] = out[i][0];
		if (way->kernel)
			by_splice(&middle, way->blind);
		else
			by_pipes(&middle);
		if (!way->blind && middle.messages != count)
			exit(1);
		figures.cpu = cpu_of(RUSAGE_SELF);
		_exit(write(report[1], &figures.cpu, sizeof(double)) != sizeof(double));
	}
	close(in[1]);
	for (int i = 0; i < way->sinks; i++)
		close(out[i][0]);
	if (fork() == 0)
		source(in[0], size, count);
	close(in[0]);
	for (int i = 0; i < way->sinks + 2; i++) {
		errno = 0;
		if (wait(&status) < 0 || status != 0)
			die("a process failed");
	}
	figures.wall = seconds(CLOCK_MONOTONIC) - begun;
	if (read(report[0], &figures.cpu, sizeof(double)) != sizeof(double))
		die("no figures");
	figures.cpu_all = cpu_of(RUSAGE_CHILDREN) - before;
	close(report[0]);
	close(report[1]);
	return figures;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct figures *of, int rounds, size_t offset)
{
	double sorted[ROUNDS_MAX];

	for (int r = 0; r < rounds; r++)
		sorted[r] = *(const double *)((const char *)&of[r] + offset);
	qsort(sorted, (size_t)rounds, sizeof(double), compare);
	return sorted[rounds / 2];
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20};
	static struct figures figures[WAYS][ROUNDS_MAX];
	size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	int rounds = argc > 2 ? atoi(argv[2]) : 7;

	if (mib == 0 || mib > 4096 || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: splice [MIB [ROUNDS]]\n");
		return 2;
	}
	for (int tcp = 1; tcp >= 0; tcp--)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			size_t count = mib * MIB / sizes[s];
			double gib = (double)(count * sizes[s]) / (1024.0 * MIB);

			for (int r = 0; r < rounds; r++)
				for (size_t w = 0; w < WAYS; w++)
					figures[w][r] = run(&ways[w], tcp, sizes[s], count);
			for (size_t w = 0; w < WAYS; w++)
				printf("%-4s %8zu  %-28s %7.0f MiB/s  %7.0f ms/GiB middle  %7.0f "
				       "ms/GiB all\n",
				       tcp ? "TCP" : "UNIX", sizes[s], ways[w].name,
				       gib * 1024 /
					       median(figures[w], rounds,
						      offsetof(struct figures, wall)),
				       median(figures[w], rounds, offsetof(struct figures, cpu)) /
					       gib * 1000,
				       median(figures[w], rounds,
					      offsetof(struct figures, cpu_all)) /
					       gib * 1000);
			fflush(stdout);
		}
	return 0;
}
