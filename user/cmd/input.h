/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is to be sent: a file or standard input, whole or line by line.
 */
#ifndef XY_CMD_INPUT_H
#define XY_CMD_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "cmd/options.h"

struct xy_input {
	const struct xy_command *command;
	const char *path; /* for messages */
	int fd;
	bool end;   /* nothing more to read */
	char *data; /* unconsumed: data[start … filled] */
	size_t start, scanned, filled, size;
};

/* "-" is standard input. A status; on failure it says why, and close is not due. */
int xy_input_open(struct xy_input *input, const struct xy_command *command, const char *path);
void xy_input_close(struct xy_input *input);

/* Reads once; blocks unless the descriptor is readable. A status; sets end. */
int xy_input_fill(struct xy_input *input);
/* Reads to the end: data and filled are the content. A status. */
int xy_input_all(struct xy_input *input);
/* The next whole line in what was read, without its newline; at the end also a last one without.
 * The line is valid until the next fill. */
bool xy_input_line(struct xy_input *input, const char **ret_line, size_t *ret_length);

/* What request and pub send: `text` if it is not NULL, else the file, "-" when path is NULL.
 * A status; close is due if it is XY_CMD_OK. */
int xy_input_message(struct xy_input *input, const struct xy_command *command, const char *text,
		     const char *path, const void **ret_data, size_t *ret_length);

#endif
