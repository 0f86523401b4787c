/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `xylem status` makes of an answer: any JSON is shown, each entry of a section on a line of
 * its own, no entry is lost where several share a line, and what clients are called says nothing to
 * the terminal.
 *
 * Input: the answer before, on one line; the answer.
 */
#include "fuzz/fuzz.h"

#include "cmd/show.h"

#define SECONDS 0.5

static const struct {
	const char *name;
	bool shared; /* by entries that are alike */
} sections[] = {
	{"slow", false},         {"connections", false}, {"flows", false},
	{"subscriptions", true}, {"subjects", false},    {"counters", false},
};

static char *shown(const json_t *status, const char *section, const json_t *before)
{
	FILE *out = stdout;
	char *text = NULL;
	size_t size;

	stdout = open_memstream(&text, &size);
	fuzz_check(stdout != NULL);
	xy_show(status, section, before, SECONDS);
	fclose(stdout);
	stdout = out;
	return text;
}

static size_t entries_of(const json_t *status, const char *section)
{
	const json_t *entries = json_object_get(status, section);

	return strcmp(section, "counters") == 0 ? json_object_size(entries)
						: json_array_size(entries);
}

static size_t lines_of(const char *text)
{
	size_t lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

/* The last column of every line but the heading, added up. */
static size_t sum_of(char *text)
{
	char *rest, *line = strtok_r(text, "\n", &rest);
	size_t sum = 0;

	while ((line = strtok_r(NULL, "\n", &rest)) != NULL)
		sum += strtoul(strrchr(line, ' ') + 1, NULL, 10);
	return sum;
}

static bool is_silent(const char *text)
{
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
		if ((*at < 0x20 && *at != '\n') || *at == 0x7f ||
		    (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
			return false;
	return true;
}

static void check_section(const json_t *status, const char *section, bool shared)
{
	size_t entries = entries_of(status, section);
	char *text = shown(status, section, NULL);
	size_t lines = lines_of(text);

	fuzz_check(lines >= 1 && is_silent(text));
	if (shared) {
		fuzz_check(lines <= entries + 1);
		/* A thousand is written with a comma. */
		fuzz_check(entries >= 1000 || sum_of(text) == entries);
	} else {
		fuzz_check(lines == entries + 1);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size}, line = fuzz_take_line(&input);
	json_t *before = json_loadb((const char *)line.data, line.size, 0, NULL);
	json_t *status = json_loadb((const char *)input.data, input.size, 0, NULL);
	char *text;

	if (status != NULL) {
		for (size_t s = 0; s < sizeof(sections) / sizeof(*sections); s++)
			check_section(status, sections[s].name, sections[s].shared);
		text = shown(status, "proxy", before);
		fuzz_check(strncmp(text, "Instance ", 9) == 0);
		fuzz_check(before == NULL || strstr(text, "\nNow ") != NULL);
		free(text);
		free(shown(status, NULL, before));
	}
	json_decref(before);
	json_decref(status);
	return 0;
}
