/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The newline server of docs/examples without pipes, for one client at a time. Prints where it
 * listens.
 *
 *   lines_plain          a buffer for input that doubles when a line does not fit and is moved down
 *                        after each read, and one for output: careful, and by hand
 *   lines_plain stdio    getline() and fprintf(): what one writes first
 *   lines_plain copy     sends back what it reads, without a look at it: what system calls alone
 *                        cost, which no server can do without
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

struct buffer {
	char *data;
	size_t filled, size;
};

static void need(struct buffer *buffer, size_t more)
{
	while (buffer->size - buffer->filled < more) {
		buffer->size = buffer->size ? 2 * buffer->size : 4096;
		buffer->data = realloc(buffer->data, buffer->size);
		if (!buffer->data)
			abort();
	}
}

static int write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

static void serve_buffers(int fd)
{
	static struct buffer in, out;

	in.filled = 0;
	for (;;) {
		size_t at = 0;
		char *newline;
		ssize_t got;

		need(&in, 1);
		got = recv(fd, in.data + in.filled, in.size - in.filled, 0);
		if (got <= 0)
			break;
		in.filled += (size_t)got;
		out.filled = 0;
		while ((newline = memchr(in.data + at, '\n', in.filled - at))) {
			size_t length = (size_t)(newline - in.data) - at;

			need(&out, length + 32);
			out.filled += (size_t)sprintf(out.data + out.filled, "%zu ", length);
			memcpy(out.data + out.filled, in.data + at, length + 1);
			out.filled += length + 1;
			at += length + 1;
		}
		in.filled -= at;
		memmove(in.data, in.data + at, in.filled);
		if (write_all(fd, out.data, out.filled))
			break;
	}
	close(fd);
}

static void serve_stdio(int fd)
{
	FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	if (!in || !out)
		abort();
	while ((length = getline(&line, &size, in)) > 0) {
		fprintf(out, "%zd ", length - 1);
		fwrite(line, 1, (size_t)length, out);
		if (fflush(out)) /* whoever asked waits for it */
			break;
	}
	free(line);
	fclose(out);
	fclose(in);
}

static void serve_copy(int fd)
{
	static char data[128 << 10];
	ssize_t got;

	while ((got = recv(fd, data, sizeof(data), 0)) > 0)
		if (write_all(fd, data, (size_t)got))
			break;
	close(fd);
}

int main(int argc, char **argv)
{
	void (*serve)(int fd) = argc < 2                    ? serve_buffers
				: !strcmp(argv[1], "stdio") ? serve_stdio
							    : serve_copy;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 16) || getsockname(listener, (struct sockaddr *)&address, &length)) {
		perror("lines_plain");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	printf("listening at 127.0.0.1 port %u\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			serve(fd);
	}
}
