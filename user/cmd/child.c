/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_OUTPUT_FIRST ((size_t)64 << 10)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* In the child: only async-signal-safe calls. */
static void child_exec(const char *line, int input, int output)
{
	/* The ignored SIGPIPE would be inherited. */
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	if (dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0)
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
	_exit(127);
}

int xy_child_start(struct xy_child *child, const char *line, const void *input, size_t length,
		   size_t output_maximum)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, r;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		r = -errno;
		goto err_pipes;
	}
	*child = (struct xy_child){
		.to = in[1],
		.from = out[0],
		.input = input,
		.input_length = length,
		.output_maximum = output_maximum,
	};
	/* Our ends only: the command's own are blocking, as every program expects. */
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	child->pid = fork();
	if (child->pid < 0) {
		r = -errno;
		goto err_pipes;
	}
	if (!child->pid)
		child_exec(line, in[0], out[1]);
	/* Both do it: whoever comes first, the group exists before it is killed. */
	setpgid(child->pid, child->pid);
	close(in[0]);
	close(out[1]);
	if (!length)
		close_fd(&child->to);
	return 0;

err_pipes:
	close_fd(&in[0]);
	close_fd(&in[1]);
	close_fd(&out[0]);
	close_fd(&out[1]);
	return r;
}

void xy_child_polls(const struct xy_child *child, struct pollfd polled[2])
{
	polled[0] = (struct pollfd){.fd = child->to, .events = POLLOUT};
	polled[1] = (struct pollfd){.fd = child->from, .events = POLLIN};
}

static int child_write(struct xy_child *child)
{
	while (child->to >= 0) {
		ssize_t sent = write(child->to, child->input + child->input_sent,
				     child->input_length - child->input_sent);

		if (sent < 0) {
			if (errno == EAGAIN || errno == EINTR)
				return 0;
			/* A command need not read its input. */
			if (errno != EPIPE)
				return -errno;
			child->input_sent = child->input_length;
		} else {
			child->input_sent += (size_t)sent;
		}
		if (child->input_sent == child->input_length)
			close_fd(&child->to);
	}
	return 0;
}

static int child_room(struct xy_child *child)
{
	size_t size = child->output_size ? 2 * child->output_size : CHILD_OUTPUT_FIRST;
	char *output;

	if (child->output_length < child->output_size)
		return 0;
	output = realloc(child->output, size);
	if (!output)
		return -ENOMEM;
	child->output = output;
	child->output_size = size;
	return 0;
}

int xy_child_step(struct xy_child *child)
{
	int r = child_write(child);

	while (!r) {
		ssize_t length;

		r = child_room(child);
		if (r)
			break;
		length = read(child->from, child->output + child->output_length,
			      child->output_size - child->output_length);
		if (length == 0)
			return 1;
		if (length < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		child->output_length += (size_t)length;
		if (child->output_length > child->output_maximum)
			r = -EFBIG;
	}
	return r;
}

int xy_child_stop(struct xy_child *child, bool force)
{
	int status = 0;

	close_fd(&child->to);
	close_fd(&child->from);
	if (force)
		kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	free(child->output);
	*child = (struct xy_child){.to = -1, .from = -1};
	return status;
}
