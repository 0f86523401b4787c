/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define TEXT_MIN 2048

static int text_write(const char *bytes, size_t length, void *context)
{
	struct xy_text *text = context;

	if (text->failed)
		return -1;
	if (length > text->capacity - text->length) {
		size_t capacity =
			xy_max(2 * xy_max(text->capacity, (size_t)TEXT_MIN), text->length + length);
		char *larger = realloc(text->bytes, capacity);

		if (!larger) {
			text->failed = true;
			return -1;
		}
		text->bytes = larger;
		text->capacity = capacity;
	}
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	return 0;
}

void xy_text_add(struct xy_text *text, const char *string)
{
	text_write(string, strlen(string), text);
}

void xy_text_append(struct xy_text *text, const struct xy_text *more)
{
	text->failed |= more->failed;
	if (more->length)
		text_write(more->bytes, more->length, text);
}

void xy_text_json(struct xy_text *text, json_t *json)
{
	if (!json || json_dump_callback(json, text_write, text, JSON_COMPACT))
		text->failed = true;
	json_decref(json);
}

bool xy_page_look(struct xy_page *page)
{
	if (page->text.failed || page->text.length >= XY_PAGE_BYTES || page->looks == 0)
		return false;
	page->looks--;
	return true;
}

void xy_page_list(struct xy_page *page, json_t *entry)
{
	if (page->listed++)
		xy_text_add(&page->text, ",");
	xy_text_json(&page->text, entry);
}

json_t *xy_json_id(uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, id);
	return json_string(text);
}
