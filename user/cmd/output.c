/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/output.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_BUFFER (256 << 10)

int xy_output_open(struct xy_output *output, const struct xy_command *command)
{
	output->command = command;
	output->file = stdout;
	if (output->path) {
		output->file = fopen(output->path, "we");
		if (!output->file)
			return xy_options_complain(command, "option --output: %s: %s", output->path,
						   strerror(errno));
	}
	output->terminal = isatty(fileno(output->file));
	setvbuf(output->file, NULL, output->terminal ? _IOLBF : _IOFBF, OUTPUT_BUFFER);
	return XY_CMD_OK;
}

static void output_hex(char *to, const unsigned char *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		*to++ = digits[data[i] >> 4];
		*to++ = digits[data[i] & 15];
	}
	*to = 0;
}

static char *output_hex_new(const struct xy_message *message)
{
	char *hex = malloc(2 * message->length + 1);

	if (hex)
		output_hex(hex, message->data, message->length);
	return hex;
}

static int output_json(FILE *file, const struct xy_message *message)
{
	char source[17];
	json_t *object, *data = NULL;
	int r = -ENOMEM;

	snprintf(source, sizeof(source), "%016" PRIx64, message->source);
	object = json_pack("{s:s,s:s,s:I,s:I,s:I,s:b,s:I}", "subject", message->subject, "source",
			   source, "sequence", (json_int_t)message->sequence, "timestamp_ns",
			   (json_int_t)message->timestamp, "correlation",
			   (json_int_t)message->correlation, "reply_wanted", message->reply_wanted,
			   "length", (json_int_t)message->length);
	if (!object)
		return -ENOMEM;
	if (message->length)
		data = json_stringn(message->data, message->length);
	else
		data = json_string("");
	if (data) {
		r = json_object_set_new(object, "data", data);
	} else {
		char *hex = output_hex_new(message);

		if (hex)
			r = json_object_set_new(object, "hex", json_string(hex));
		free(hex);
	}
	if (!r) {
		errno = EIO;
		r = json_dumpf(object, file, JSON_COMPACT) || putc('\n', file) == EOF ? -errno : 0;
	} else {
		r = -ENOMEM;
	}
	json_decref(object);
	return r;
}

static int output_put(FILE *file, const void *data, size_t length)
{
	if (!length || fwrite(data, 1, length, file) == length)
		return 0;
	return -errno;
}

int xy_output_message(struct xy_output *output, const struct xy_message *message)
{
	FILE *file = output->file;
	int r = 0;

	switch (*output->format) {
	case 'j':
		return output_json(file, message);
	case 'h': {
		char *hex = output_hex_new(message);

		if (!hex)
			return -ENOMEM;
		r = output_put(file, hex, 2 * message->length);
		free(hex);
		break;
	}
	case 's':
		if (fprintf(file, "%s\t", message->subject) < 0)
			return -errno;
		r = output_put(file, message->data, message->length);
		break;
	default:
		r = output_put(file, message->data, message->length);
		break;
	}
	if (!r && !output->raw && putc('\n', file) == EOF)
		r = -errno;
	return r;
}

int xy_output_flush(struct xy_output *output)
{
	return fflush(output->file) ? -errno : 0;
}

int xy_output_close(struct xy_output *output, int error)
{
	int r = xy_output_flush(output);

	if (output->path && fclose(output->file) && !r)
		r = -errno;
	output->file = NULL;
	if (!error)
		error = r;
	if (!error || error == -EPIPE)
		return XY_CMD_OK;
	fprintf(stderr, "xylem %s: %s: %s\n", output->command->name,
		output->path ? output->path : "standard output", strerror(-error));
	return XY_CMD_FAILURE;
}
