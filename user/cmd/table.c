/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/silence.h"

void xy_table_init(struct xy_table *table, ...)
{
	const char *heading;
	va_list headings;

	*table = (struct xy_table){0};
	va_start(headings, table);
	while ((heading = va_arg(headings, const char *)) && table->columns < XY_TABLE_COLUMNS)
		table->heading[table->columns++] = heading;
	va_end(headings);
}

static void table_out_of_memory(void)
{
	fputs("xylem: out of memory\n", stderr);
	exit(1);
}

void xy_table_add(struct xy_table *table, const char *format, ...)
{
	va_list arguments;
	int r;

	if (table->cells == table->size) {
		size_t size = table->size ? 2 * table->size : 64;
		char **cell = realloc(table->cell, size * sizeof(*cell));

		if (!cell)
			table_out_of_memory();
		table->cell = cell;
		table->size = size;
	}
	va_start(arguments, format);
	r = vasprintf(&table->cell[table->cells], format, arguments);
	va_end(arguments);
	if (r < 0)
		table_out_of_memory();
	/* Names and groups are what clients say. */
	xy_silence(table->cell[table->cells], (size_t)r);
	table->cells++;
}

/* Characters, not bytes: subjects and units are UTF-8. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(const char *text, int width, bool right, bool last)
{
	int pad = width - width_of(text);

	if (right)
		printf("%*s%s", pad, "", text);
	else if (last)
		fputs(text, stdout);
	else
		printf("%s%*s", text, pad, "");
	fputs(last ? "\n" : "  ", stdout);
}

void xy_table_print(struct xy_table *table)
{
	int width[XY_TABLE_COLUMNS] = {0};

	for (unsigned column = 0; column < table->columns; column++) {
		width[column] = width_of(table->heading[column] + (*table->heading[column] == '>'));
		for (size_t i = column; i < table->cells; i += table->columns) {
			int cell = width_of(table->cell[i]);

			if (cell > width[column])
				width[column] = cell;
		}
	}
	for (unsigned column = 0; column < table->columns; column++) {
		bool right = *table->heading[column] == '>';

		print_cell(table->heading[column] + right, width[column], right,
			   column + 1 == table->columns);
	}
	for (size_t i = 0, column = 0; i < table->cells; i++, column++) {
		if (column == table->columns)
			column = 0;
		print_cell(table->cell[i], width[column], *table->heading[column] == '>',
			   column + 1 == table->columns);
		free(table->cell[i]);
	}
	free(table->cell);
	*table = (struct xy_table){0};
}
