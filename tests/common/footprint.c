/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/footprint.h"

#include <dirent.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "common/sandbox.h"

uint64_t footprint_memory(const struct proxy *proxy)
{
	unsigned long long kib = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", proxy_pid(proxy));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL && sscanf(line, "RssAnon: %llu", &kib) != 1)
		;
	fclose(file);
	assert_true(kib > 0);
	return kib << 10;
}

unsigned footprint_files(const char *pattern, const char *instance)
{
	char path[128];
	glob_t found;
	unsigned count;

	snprintf(path, sizeof(path), pattern, instance);
	count = glob(path, 0, NULL, &found) == 0 ? (unsigned)found.gl_pathc : 0;
	globfree(&found);
	return count;
}

unsigned footprint_cgroups(const char *part)
{
	DIR *directory = opendir(sandbox_cgroup());
	const struct dirent *entry;
	unsigned count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += strstr(entry->d_name, part) != NULL;
	closedir(directory);
	return count;
}
