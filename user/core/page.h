/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page of a status: what one loop adds in one turn, as text. A list is written page by page, with
 * as little work and memory for each whatever its length; between two of them its owner works on,
 * and what is listed may change. So a position never refers to an entry that may go.
 */
#ifndef XY_CORE_PAGE_H
#define XY_CORE_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XY_PAGE_BYTES (16u << 10) /* of text, after which no entry is begun */
#define XY_PAGE_LOOKS 4096        /* at what is not listed, too */

/* Zero-initialise; bytes belong to its owner. `failed`: no memory, the text is useless. */
struct xy_text {
	char *bytes;
	size_t length, capacity;
	bool failed;
};

struct xy_page {
	struct xy_text text;
	uint64_t position[2]; /* the list's own way to say how far it is; 0 = at its beginning */
	size_t looks;         /* left in this turn */
	uint32_t listed;      /* entries, in this page and before */
	bool more;            /* set by whoever fills the page */
};

void xy_text_add(struct xy_text *text, const char *string);
void xy_text_append(struct xy_text *text, const struct xy_text *more);
void xy_text_json(struct xy_text *text, json_t *json); /* takes the reference; NULL: no memory */

/* Whether another entry may be looked at; counts that. */
bool xy_page_look(struct xy_page *page);
/* Takes the reference. Entries of one list are separated by commas. */
void xy_page_list(struct xy_page *page, json_t *entry);

json_t *xy_json_id(uint64_t id); /* as text */

#endif
