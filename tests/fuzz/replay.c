/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main of a fuzzer that explores nothing: gives it every file of its corpus, as one test.
 *
 *   test_NAME [DIRECTORY|FILE]     default: tests/fuzz/corpus/NAME, from the tree's root
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static void give_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *data;

	fuzz_check(file != NULL && fstat(fileno(file), &status) == 0);
	data = malloc((size_t)status.st_size + 1);
	fuzz_check(data != NULL);
	fuzz_check(fread(data, 1, (size_t)status.st_size, file) == (size_t)status.st_size);
	fclose(file);
	/* The last line before the end of a program that dies. */
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, (size_t)status.st_size);
	free(data);
}

static unsigned give_directory(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	unsigned given = 0;

	if (count < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 0;
	}
	for (int i = 0; i < count; i++) {
		char file[PATH_MAX + sizeof(entries[i]->d_name) + 1];

		snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.') {
			give_file(file);
			given++;
		}
		free(entries[i]);
	}
	free(entries);
	return given;
}

int main(int argc, char **argv)
{
	const char *name = basename(argv[0]);
	char corpus[PATH_MAX];
	struct stat status;
	unsigned given = 1;

	snprintf(corpus, sizeof(corpus), "tests/fuzz/corpus/%s",
		 strncmp(name, "test_", 5) == 0 ? name + 5 : name);
	if (argc > 1)
		snprintf(corpus, sizeof(corpus), "%s", argv[1]);
	printf("1..1\n");
	if (stat(corpus, &status) == 0 && S_ISREG(status.st_mode))
		give_file(corpus);
	else
		given = give_directory(corpus);
	printf("%s 1 - %u inputs of %s\n", given > 0 ? "ok" : "not ok", given, corpus);
	return given > 0 ? 0 : 1;
}
