/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of text whose columns are as wide as they need to be.
 *
 * Out of memory ends the process: nothing of a half-printed table is worth keeping.
 */
#ifndef XY_CMD_TABLE_H
#define XY_CMD_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define XY_TABLE_COLUMNS 16

struct xy_table {
	unsigned columns;
	const char *heading[XY_TABLE_COLUMNS]; /* a leading '>' aligns to the right */
	char **cell;                           /* columns a row */
	size_t cells, size;
};

/* Headings as arguments, NULL last. */
void xy_table_init(struct xy_table *table, ...) __attribute__((sentinel));
/* The next cell, row by row. */
void xy_table_add(struct xy_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints to standard output, then empties it. */
void xy_table_print(struct xy_table *table);

#endif
