/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/file.h"

#define PLACE_SIZE 512

struct xy_config {
	const char *path;
	char *text; /* ends with a zero */
	json_t *root;
};

/* ---- where it stands ------------------------------------------------------------------------- */

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

/* Behind the string that begins here. */
static const char *skip_string(const char *at)
{
	for (at++; *at != '"'; at++)
		at += *at == '\\';
	return at + 1;
}

/* Behind the value that begins here. */
static const char *skip_value(const char *at)
{
	unsigned depth = 0;

	do {
		at = skip_space(at);
		switch (*at) {
		case '"':
			at = skip_string(at);
			break;
		case '{':
		case '[':
			depth++;
			at++;
			break;
		case '}':
		case ']':
			depth--;
			at++;
			break;
		case ',':
		case ':':
			at++;
			break;
		default:
			at += strcspn(at, ",]}: \t\r\n");
		}
	} while (depth);
	return at;
}

/* Whether the string that begins here, escapes and all, is this key. */
static bool string_is(const char *at, const char *key)
{
	json_t *string = json_loadb(at, (size_t)(skip_string(at) - at), JSON_DECODE_ANY, NULL);
	bool is = string && !strcmp(json_string_value(string), key);

	json_decref(string);
	return is;
}

/* What stands at the place: its value; and where its name begins, if it has one. NULL: it is not
 * there. */
static const char *find(const char *text, const struct xy_place *place, const char **ret_name)
{
	const char *at = place->in ? find(text, place->in, ret_name) : text;
	char close = place->key ? '}' : ']';

	if (!at)
		return NULL;
	at = skip_space(skip_space(at) + 1);
	for (size_t index = 0; *at != close; index++) {
		const char *name = at;

		if (place->key)
			at = skip_space(skip_space(skip_string(at)) + 1);
		if (place->key ? string_is(name, place->key) : index == place->index) {
			*ret_name = name;
			return at;
		}
		at = skip_space(skip_value(at));
		if (*at == ',')
			at = skip_space(at + 1);
	}
	return NULL;
}

static unsigned line_of(const char *text, const struct xy_place *place)
{
	const char *name = text;
	unsigned line = 1;

	if (place)
		find(text, place, &name);
	for (const char *at = text; at < name; at++)
		line += *at == '\n';
	return line;
}

static void place_text(const struct xy_place *place, char text[PLACE_SIZE])
{
	size_t length;

	text[0] = '\0';
	if (!place)
		return;
	place_text(place->in, text);
	length = strlen(text);
	if (place->key)
		snprintf(text + length, PLACE_SIZE - length, "%s%s", length ? "." : "", place->key);
	else
		snprintf(text + length, PLACE_SIZE - length, "[%zu]", place->index);
}

void xy_config_complain(const struct xy_config *config, const struct xy_place *place,
			struct xy_complaints *complaints, const char *format, ...)
{
	char where[PLACE_SIZE], what[XY_COMPLAINT_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	place_text(place, where);
	xy_complain(complaints, "%s:%u: %s%s%s", config->path, line_of(config->text, place), where,
		    *where ? ": " : "", what);
}

/* ---- the file -------------------------------------------------------------------------------- */

static json_t *parse(const char *path, const char *text, size_t length,
		     struct xy_complaints *complaints)
{
	json_error_t error;
	json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);

	if (!root)
		xy_complain(complaints, "%s:%d: %s", path, error.line > 0 ? error.line : 1,
			    error.text);
	else if (!json_is_object(root))
		xy_complain(complaints, "%s:1: not a JSON object", path);
	else
		return root;
	json_decref(root);
	return NULL;
}

struct xy_config *xy_config_load(const char *path, struct xy_complaints *complaints)
{
	struct xy_config *config = calloc(1, sizeof(*config));
	size_t length;

	if (!config) {
		xy_complain(complaints, "%s: %s", path, strerror(ENOMEM));
		return NULL;
	}
	config->path = path;
	config->text = xy_file_read(path, XY_FILE_RULES, XY_CONFIG_MAX, &length, complaints);
	if (config->text)
		config->root = parse(path, config->text, length, complaints);
	if (config->root)
		return config;
	xy_config_free(config);
	return NULL;
}

void xy_config_free(struct xy_config *config)
{
	if (!config)
		return;
	json_decref(config->root);
	free(config->text);
	free(config);
}

const json_t *xy_config_root(const struct xy_config *config)
{
	return config->root;
}
