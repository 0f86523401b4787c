/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines of a file, as `xylem pub` takes them: each comes whole and in order, whatever was read in
 * one piece with it, the last one with or without a newline; and all of a file as one message.
 *
 * Input: lines, each as its length (2 bytes, in units of 24) and what it consists of (1 byte); if
 * anything is left, the last one has a newline.
 */
#include "fuzz/file.h"

#include "cmd/commands.h"
#include "cmd/input.h"

#define LINES_MAX 64
#define UNIT      24
#define ENOUGH    ((size_t)1 << 20) /* several times what is read in one piece */

struct line {
	size_t length;
	uint8_t byte;
};

static uint8_t *text_of(const struct line *lines, unsigned count, bool ended, size_t *ret_size)
{
	size_t size = 0;
	uint8_t *text;

	for (unsigned l = 0; l < count; l++)
		size += lines[l].length + 1;
	text = malloc(size + 1);
	fuzz_check(text != NULL);
	size = 0;
	for (unsigned l = 0; l < count; l++) {
		memset(text + size, lines[l].byte, lines[l].length);
		size += lines[l].length;
		text[size++] = '\n';
	}
	*ret_size = size - (size > 0 && !ended);
	return text;
}

static void check_lines(const char *path, const uint8_t *text, const struct line *lines,
			unsigned count)
{
	struct xy_input input;
	const char *line;
	unsigned taken = 0;
	size_t length;

	fuzz_check(xy_input_open(&input, &xy_command_pub, path) == XY_CMD_OK);
	while (!input.end) {
		fuzz_check(xy_input_fill(&input) == XY_CMD_OK);
		while (xy_input_line(&input, &line, &length)) {
			fuzz_check(taken < count && length == lines[taken].length);
			fuzz_check(memcmp(line, text, length) == 0);
			text += length + 1;
			taken++;
		}
	}
	fuzz_check(taken == count);
	xy_input_close(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct line lines[LINES_MAX];
	struct xy_input whole;
	unsigned count = 0;
	size_t length, sum = 0;
	uint8_t *text;
	const char *path;
	bool ended;

	while (input.size > 2 && count < LINES_MAX && sum < ENOUGH) {
		lines[count].length = (size_t)fuzz_take(&input, 2) * UNIT;
		sum += lines[count].length;
		lines[count].byte = (uint8_t)fuzz_take(&input, 1);
		lines[count].byte += lines[count].byte == '\n';
		count++;
	}
	ended = input.size > 0;
	text = text_of(lines, count, ended, &length);
	/* Nothing behind the last newline is no line. */
	if (count > 0 && !ended && lines[count - 1].length == 0)
		count--;
	path = fuzz_file(text, length);
	check_lines(path, text, lines, count);

	fuzz_check(xy_input_open(&whole, &xy_command_pub, path) == XY_CMD_OK);
	fuzz_check(xy_input_all(&whole) == XY_CMD_OK);
	fuzz_check(whole.filled == length && memcmp(whole.data, text, length) == 0);
	xy_input_close(&whole);
	free(text);
	return 0;
}
