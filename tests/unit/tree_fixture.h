/* SPDX-License-Identifier: BSD-2-Clause */
/* A tree of files that looks like a machine: below `root`, for one test. */
#ifndef XY_TESTS_TREE_FIXTURE_H
#define XY_TESTS_TREE_FIXTURE_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/xylem-tree-XXXXXX";

/* Where a path of the tree really is; two at a time. */
static inline char *whole(const char *name)
{
	static char buffer[2][PATH_MAX + sizeof(root)];
	static unsigned turn;
	char *result = buffer[turn++ % 2];

	snprintf(result, sizeof(buffer[0]), "%s%s", root, name);
	return result;
}

/* The directories above a path. */
static inline void make_way(const char *name)
{
	char *path = whole(name);

	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
}

static inline void make_directory(const char *name)
{
	make_way(name);
	mkdir(whole(name), 0755);
}

static inline void put(const char *name, const char *text)
{
	FILE *file;

	make_way(name);
	file = fopen(whole(name), "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static inline int tree_make(void **state)
{
	(void)state;
	memcpy(root + strlen(root) - 6, "XXXXXX", 6);
	return mkdtemp(root) != NULL ? 0 : -1;
}

static inline int tree_remove(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

#endif
