/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages as text: what sub and request print.
 *
 *   payload   the bytes as they are, then a newline
 *   subject   the subject, a tab, the bytes, a newline
 *   hex       the bytes as hexadecimal digits, a newline
 *   json      one object a line: subject, source, sequence, timestamp_ns, correlation, length, and
 *             the bytes as "data" when they are UTF-8, else as "hex"
 *
 * Written in large pieces; line by line on a terminal. Call flush before waiting.
 */
#ifndef XY_CMD_OUTPUT_H
#define XY_CMD_OUTPUT_H

#include <stdio.h>
#include <xylem/client.h>

#include "cmd/options.h"

struct xy_output {
	/* By options. */
	const char *format;
	const char *path; /* NULL = standard output */
	bool raw;         /* no newline after a payload */

	/* By open. */
	const struct xy_command *command;
	FILE *file;
	bool terminal;
};

/* Rows of an option table, for a record `type` with a struct xy_output `member`. */
#define XY_OUTPUT_OPTIONS(type, member)                                                      \
	{.name = "format",                                                                   \
	 .letter = 'f',                                                                      \
	 .kind = XY_OPTION_CHOICE,                                                           \
	 .argument = "payload|subject|hex|json",                                             \
	 .help = "how a message is printed",                                                 \
	 .fallback = "payload",                                                              \
	 .offset = offsetof(type, member.format)},                                           \
		{.name = "raw",                                                              \
		 .letter = 'r',                                                              \
		 .kind = XY_OPTION_FLAG,                                                     \
		 .help = "no newline after a payload: the bytes alone",                      \
		 .offset = offsetof(type, member.raw)},                                      \
	{                                                                                    \
		.name = "output", .letter = 'o', .kind = XY_OPTION_TEXT, .argument = "FILE", \
		.help = "write to FILE instead of standard output",                          \
		.offset = offsetof(type, member.path)                                        \
	}

int xy_output_open(struct xy_output *output, const struct xy_command *command); /* a status */
/* 0 or -errno; -EPIPE: nobody reads any more. */
int xy_output_message(struct xy_output *output, const struct xy_message *message);
int xy_output_flush(struct xy_output *output); /* 0 or -errno */
/* Closes, and turns the first error of writing (0 = none so far) into a status. A reader that went
 * away is no failure: it had enough. */
int xy_output_close(struct xy_output *output, int error);

#endif
