/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xylem/wire.h>

#include "cmd/stop.h"

#define INPUT_FIRST ((size_t)256 << 10)
/* A proxy may be configured for larger messages than the default; more than this is a mistake. */
#define INPUT_MAX   ((size_t)16 * XY_MESSAGE_MAX_DEFAULT)

static int input_complain(const struct xy_input *input, const char *why)
{
	fprintf(stderr, "xylem %s: %s: %s\n", input->command->name,
		strcmp(input->path, "-") ? input->path : "standard input", why);
	return XY_CMD_FAILURE;
}

int xy_input_open(struct xy_input *input, const struct xy_command *command, const char *path)
{
	*input = (struct xy_input){.command = command, .path = path, .fd = STDIN_FILENO};
	if (!strcmp(path, "-"))
		return XY_CMD_OK;
	input->fd = open(path, O_RDONLY | O_CLOEXEC);
	return input->fd < 0 ? input_complain(input, strerror(errno)) : XY_CMD_OK;
}

void xy_input_close(struct xy_input *input)
{
	if (input->fd > STDIN_FILENO)
		close(input->fd);
	free(input->data);
	*input = (struct xy_input){.fd = -1};
}

/* Room for at least one byte more: by moving what is left to the front, or by doubling. */
static int input_room(struct xy_input *input)
{
	size_t size = input->size ? 2 * input->size : INPUT_FIRST;
	char *data;

	if (input->filled < input->size)
		return 0;
	if (input->start) {
		memmove(input->data, input->data + input->start, input->filled - input->start);
		input->filled -= input->start;
		input->scanned -= input->start;
		input->start = 0;
		/* Moving is cheap only if it gains much. */
		if (input->filled <= input->size / 2)
			return 0;
	}
	if (size > INPUT_MAX)
		return -EFBIG;
	data = realloc(input->data, size);
	if (!data)
		return -ENOMEM;
	input->data = data;
	input->size = size;
	return 0;
}

int xy_input_fill(struct xy_input *input)
{
	ssize_t length;
	int r = input_room(input);

	if (r)
		return input_complain(input,
				      r == -EFBIG ? "too large for one message" : strerror(-r));
	length = read(input->fd, input->data + input->filled, input->size - input->filled);
	if (length < 0)
		return errno == EINTR || errno == EAGAIN ? XY_CMD_OK
							 : input_complain(input, strerror(errno));
	input->end = length == 0;
	input->filled += (size_t)length;
	return XY_CMD_OK;
}

int xy_input_all(struct xy_input *input)
{
	int status = XY_CMD_OK;

	while (!input->end && !status)
		status = xy_stop_wanted() ? XY_CMD_SIGNALLED : xy_input_fill(input);
	return status;
}

bool xy_input_line(struct xy_input *input, const char **ret_line, size_t *ret_length)
{
	const char *line = input->data + input->start;
	const char *newline = NULL;

	if (input->scanned < input->filled)
		newline =
			memchr(input->data + input->scanned, '\n', input->filled - input->scanned);
	if (newline) {
		*ret_length = (size_t)(newline - line);
		input->start += *ret_length + 1;
		input->scanned = input->start;
	} else {
		input->scanned = input->filled;
		if (!input->end || input->start == input->filled)
			return false;
		*ret_length = input->filled - input->start;
		input->start = input->filled;
	}
	*ret_line = line;
	return true;
}

int xy_input_message(struct xy_input *input, const struct xy_command *command, const char *text,
		     const char *path, const void **ret_data, size_t *ret_length)
{
	int status;

	if (text && path)
		return xy_options_complain(
			command, "option --file: the message is already given as an argument");
	if (text) {
		*input = (struct xy_input){.fd = -1};
		*ret_data = text;
		*ret_length = strlen(text);
		return XY_CMD_OK;
	}
	status = xy_input_open(input, command, path ? path : "-");
	if (status)
		return status;
	status = xy_input_all(input);
	if (status) {
		xy_input_close(input);
		return status;
	}
	*ret_data = input->data;
	*ret_length = input->filled;
	return XY_CMD_OK;
}
