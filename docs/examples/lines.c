/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A newline server on pipes: it answers each line with its length, a space and the line.
 *
 * An example for programs that use xylem's pipes and nothing else of it; docs/PIPES.md walks
 * through it. Each connection has two pipes. What hand-written buffers get wrong, and this does
 * not have to think of:
 *
 *   - A read goes straight into the pipe, however much comes. Split lines and many lines in one
 *     read are one case: lines are taken from a view, and what is not a whole line yet stays there.
 *   - An answer refers to the bytes of its line where they are; only its length is written.
 *   - The answers to a client that does not read fill its pipe, which pauses; then no more lines
 *     are taken, the input's pipe pauses too, and the socket is not read. Memory is bounded.
 *   - A line that is too long is answered with an error and skipped while it comes in.
 *   - The end of a client's input is not the end of its output.
 *
 * One thread, ppoll(), as many connections as there may be descriptors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <xylem/pipe.h>

#define LINE_MAX_DEFAULT 65536
#define LINE_MAX_LIMIT   (1u << 30)
#define READ_BYTES       (256u << 10) /* of one read; a pipe that holds as much pauses */
#define POOL_KEEP        2            /* free segments that the pool keeps for later */
#define TICK_MS          1000 /* the pool follows the traffic; the listener gets another chance */

struct connection {
	int fd;
	struct xy_pipe *in, *out;
	bool input_ended;
	bool skipping; /* the rest of a line that was too long */
	bool broken;   /* nothing can be sent any more */
};

static size_t line_max = LINE_MAX_DEFAULT;
static struct xy_pool *pool;
static struct connection **connections;
static struct pollfd *polled; /* [0] is the listener, [i + 1] belongs to connections[i] */
static size_t count, capacity;
static bool listener_rests; /* out of descriptors or memory; until the next tick */
static volatile sig_atomic_t stop;

/* ---- lines --------------------------------------------------------------------------------- */

/* `line` is at the first byte of a line of `length` bytes, with its newline behind it if `whole`.
 */
static int answer(struct connection *connection, const struct xy_cursor *line, size_t length,
		  bool whole)
{
	struct xy_chain chain = {0};
	char text[64];
	int size, r;

	if (length > line_max) {
		size = snprintf(text, sizeof(text), "error: a line has at most %zu bytes\n",
				line_max);
		return xy_pipe_write(connection->out, text, (size_t)size);
	}
	size = snprintf(text, sizeof(text), "%zu ", length);
	r = xy_pipe_write(connection->out, text, (size_t)size);
	if (r == 0)
		r = xy_cursor_share(line, length + whole, &chain);
	if (r == 0)
		r = xy_pipe_append(connection->out, &chain);
	if (r == 0 && !whole)
		r = xy_pipe_write(connection->out, "\n", 1);
	xy_chain_clear(&chain, pool);
	return r;
}

/* Answers the lines that are there, unless the client must read first. */
static void take_lines(struct xy_pipe *pipe, void *context)
{
	struct connection *connection = context;
	struct xy_cursor cursor;
	struct xy_view view;

	(void)pipe;
	if (xy_pipe_paused(connection->out) || xy_pipe_read(connection->in, &view))
		return;
	cursor = xy_view_cursor(&view);
	while (cursor.remaining > 0 && !connection->broken) {
		size_t length;
		bool whole = xy_cursor_find(&cursor, '\n', &length) == 0;

		if (!whole)
			length = cursor.remaining;
		/* The last line of all may do without its newline. */
		if (!whole && !view.completed && !connection->skipping && length <= line_max)
			break;
		if (!connection->skipping)
			connection->broken = answer(connection, &cursor, length, whole) != 0;
		connection->skipping = !whole;
		xy_cursor_skip(&cursor, length + whole);
	}
	/* All has been looked at: no call before there is more. */
	xy_pipe_advance(connection->in, cursor.position, view.length);
	xy_pipe_flush(connection->out);
}

/* ---- connections --------------------------------------------------------------------------- */

static void connection_free(struct connection *connection)
{
	xy_pipe_free(connection->in);
	xy_pipe_free(connection->out);
	close(connection->fd);
	free(connection);
}

/* Owns the descriptor, also when it fails. */
static struct connection *connection_new(int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct xy_pipe_options options = {.size = sizeof(options),
					  .pool = pool,
					  .context = connection,
					  .pause = READ_BYTES,
					  .resume = READ_BYTES / 2};

	if (!connection) {
		close(fd);
		return NULL;
	}
	connection->fd = fd;
	options.on_readable = take_lines;
	if (xy_pipe_new(&options, &connection->in))
		goto err_free;
	options.on_readable = NULL;
	options.on_resume = take_lines;
	if (xy_pipe_new(&options, &connection->out))
		goto err_free;
	return connection;

err_free:
	connection_free(connection);
	return NULL;
}

static bool wants_input(const struct connection *connection)
{
	return !connection->input_ended && !xy_pipe_paused(connection->in);
}

static short events_of(const struct connection *connection)
{
	return (short)((wants_input(connection) ? POLLIN : 0) |
		       (xy_pipe_length(connection->out) > 0 ? POLLOUT : 0));
}

static void receive(struct connection *connection)
{
	size_t room;
	void *memory = xy_pipe_reserve(connection->in, 0, &room);
	ssize_t got = memory ? read(connection->fd, memory, room) : -1;

	if (got > 0) {
		xy_pipe_commit(connection->in, (size_t)got);
		xy_pipe_flush(connection->in); /* calls take_lines() */
		return;
	}
	if (memory)
		xy_pipe_commit(connection->in, 0);
	if (got == 0) {
		connection->input_ended = true;
		xy_pipe_complete_writer(connection->in, 0); /* calls take_lines() */
	} else if (errno != EAGAIN && errno != EINTR) {
		connection->broken = true;
	}
}

/* Lines that waited for room are answered within: a pipe that is drained resumes its writer. */
static void send_answers(struct connection *connection)
{
	size_t written;
	int r = xy_pipe_copy_to_fd(connection->out, connection->fd, SIZE_MAX, &written);

	if (r < 0 && r != -EAGAIN)
		connection->broken = true;
}

/* False when it is over. */
static bool serve_connection(struct connection *connection, short events)
{
	if (wants_input(connection) && (events & ~POLLOUT))
		receive(connection);
	if (!connection->broken)
		send_answers(connection);
	return !connection->broken &&
	       !(connection->input_ended && xy_pipe_length(connection->out) == 0);
}

/* ---- server -------------------------------------------------------------------------------- */

static bool make_room(void)
{
	size_t more = capacity ? 2 * capacity : 64;
	struct connection **new_connections;
	struct pollfd *new_polled;

	if (count < capacity)
		return true;
	new_connections = realloc(connections, more * sizeof(*connections));
	if (new_connections)
		connections = new_connections;
	new_polled = realloc(polled, (more + 1) * sizeof(*polled));
	if (new_polled)
		polled = new_polled;
	if (!new_connections || !new_polled)
		return false;
	capacity = more;
	return true;
}

static void accept_all(int listener)
{
	for (;;) {
		int fd = make_room() ? accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
				     : -1;

		if (fd >= 0) {
			connections[count] = connection_new(fd);
			count += connections[count] != NULL;
			continue;
		}
		listener_rests =
			errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
		return;
	}
}

static bool tick_wanted(void)
{
	struct xy_pool_stats stats;

	xy_pool_stats(pool, &stats);
	return listener_rests || stats.cached > POOL_KEEP;
}

static void tick(void)
{
	static struct timespec last;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < TICK_MS)
		return;
	last = now;
	listener_rests = false;
	xy_pool_shrink(pool, POOL_KEEP);
}

/* Signals are taken while it waits, and only then; `waiting` is the mask of that time. */
static int serve(int listener, const sigset_t *waiting)
{
	const struct timespec tick_time = {.tv_sec = TICK_MS / 1000,
					   .tv_nsec = TICK_MS % 1000 * 1000000};

	if (!make_room())
		return -ENOMEM;
	while (!stop) {
		polled[0] = (struct pollfd){.fd = listener,
					    .events = (short)(listener_rests ? 0 : POLLIN)};
		for (size_t i = 0; i < count; i++)
			polled[i + 1] = (struct pollfd){.fd = connections[i]->fd,
							.events = events_of(connections[i])};
		if (ppoll(polled, count + 1, tick_wanted() ? &tick_time : NULL, waiting) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		/* Backwards, so that the last one can take the place of one that goes. */
		for (size_t i = count; i-- > 0;) {
			if (!polled[i + 1].revents ||
			    serve_connection(connections[i], polled[i + 1].revents))
				continue;
			connection_free(connections[i]);
			connections[i] = connections[--count];
		}
		if (polled[0].revents)
			accept_all(listener);
		tick();
	}
	return 0;
}

/* ---- start --------------------------------------------------------------------------------- */

static void handle_signal(int signal)
{
	(void)signal;
	stop = 1;
}

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
	va_list arguments;

	fputs("lines: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return -1;
}

/* A number from `least` to `most`, or false. */
static bool parse_number(const char *text, unsigned long least, unsigned long most,
			 unsigned long *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || number < least || number > most)
		return false;
	*ret_number = number;
	return true;
}

/* Prints where it listens. A descriptor, or -1 after a complaint. */
static int listen_at(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char name[64], number[16];
	int fd, on = 1, r;

	r = getaddrinfo(host, port, &hints, &found);
	if (r)
		return complain("option --host: '%s': %s", host, gai_strerror(r));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, SOMAXCONN) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		complain("cannot listen at %s port %s: %s", host, port, strerror(errno));
		freeaddrinfo(found);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	freeaddrinfo(found);
	getnameinfo((struct sockaddr *)&address, length, name, sizeof(name), number, sizeof(number),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	printf("listening at %s port %s\n", name, number);
	fflush(stdout);
	return fd;
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: lines [--host HOST] [--port PORT] [--line-max BYTES]\n"
		"\n"
		"Answers each line with its length, a space and the line. An example for xylem's\n"
		"pipes.\n"
		"\n"
		"  --host HOST        where to listen (127.0.0.1)\n"
		"  --port PORT        0 takes a free one; it is printed (7300)\n"
		"  --line-max BYTES   a longer line is answered with an error and skipped (%d)\n"
		"  --help             this\n"
		"\n"
		"Ends on SIGINT and SIGTERM. Exit status: 0, 1 when it cannot run, 2 when it was\n"
		"called wrongly.\n",
		LINE_MAX_DEFAULT);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"host", required_argument, NULL, 'h'},
						{"port", required_argument, NULL, 'p'},
						{"line-max", required_argument, NULL, 'l'},
						{"help", no_argument, NULL, '?' + 256},
						{0}};
	struct sigaction ending = {.sa_handler = handle_signal};
	const struct xy_pool_options pool_options = {.size = sizeof(pool_options),
						     .segment_size = READ_BYTES};
	sigset_t blocked, waiting;
	const char *host = "127.0.0.1", *port = "7300";
	unsigned long number;
	int option, listener, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			host = optarg;
			break;
		case 'p':
			if (!parse_number(optarg, 0, 65535, &number)) {
				complain("option --port: '%s' is no number from 0 to 65535",
					 optarg);
				return 2;
			}
			port = optarg;
			break;
		case 'l':
			if (!parse_number(optarg, 1, LINE_MAX_LIMIT, &number)) {
				complain("option --line-max: '%s' is no number from 1 to %u",
					 optarg, LINE_MAX_LIMIT);
				return 2;
			}
			line_max = number;
			break;
		case '?' + 256:
			usage(stdout);
			return 0;
		default:
			/* getopt_long() has complained. */
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		complain("unexpected argument '%s'", argv[optind]);
		return 2;
	}
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &waiting);
	sigaction(SIGINT, &ending, NULL);
	sigaction(SIGTERM, &ending, NULL);
	signal(SIGPIPE, SIG_IGN);
	listener = listen_at(host, port);
	if (listener < 0)
		return 1;
	pool = xy_pool_new(&pool_options);
	r = pool ? serve(listener, &waiting) : -errno;
	if (r)
		complain("%s", strerror(-r));
	while (count > 0)
		connection_free(connections[--count]);
	free(connections);
	free(polled);
	xy_pool_free(pool);
	close(listener);
	return r ? 1 : 0;
}
