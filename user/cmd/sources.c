/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/sources.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define VARIABLE_MAX 64
#define SPACE        " \t\r\n"

struct source {
	const struct xy_command *command;
	const struct xy_config *config; /* of a file */
	void *values, *scratch;
	struct xy_given *given;
	struct xy_complaints *complaints;
};

static bool *flag_of(const struct xy_option *option, void *values)
{
	return (bool *)((char *)values + option->offset);
}

/* A record for values that only have to be right. */
static void *scratch_new(const struct xy_command *command, struct xy_complaints *complaints)
{
	size_t size = sizeof(struct xy_texts);
	void *scratch;

	for (const struct xy_option *option = command->options; option->name; option++)
		size = xy_max(size, option->offset + sizeof(struct xy_texts));
	scratch = calloc(1, size);
	if (!scratch)
		xy_complain(complaints, "out of memory");
	return scratch;
}

/* Where the option's value goes: it counts if nobody gave it before. */
static void *values_for(const struct source *source, const struct xy_option *option)
{
	bool *given = &source->given->option[option - source->command->options];

	if (*given)
		return source->scratch;
	*given = true;
	if (option->given)
		*(bool *)((char *)source->values + option->given) = true;
	return source->values;
}

/* ---- the environment ------------------------------------------------------------------------- */

static void variable_of(const struct xy_command *command, const struct xy_option *option,
			char variable[VARIABLE_MAX])
{
	size_t at = (size_t)snprintf(variable, VARIABLE_MAX, "%s", command->environment);

	for (const char *c = option->name; *c && at < VARIABLE_MAX - 1; c++)
		variable[at++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
	variable[at] = '\0';
}

static bool store_flag(const char *text, bool *value, char why[XY_OPTION_WHY_SIZE])
{
	*value = !strcmp(text, "true");
	if (*value || !strcmp(text, "false"))
		return true;
	snprintf(why, XY_OPTION_WHY_SIZE, "'%s' is not true or false", text);
	return false;
}

static bool store_words(const struct xy_option *option, char *words, void *values, char *why)
{
	char *rest, *word = strtok_r(words, SPACE, &rest);
	bool stored = true;

	if (!word) {
		snprintf(why, XY_OPTION_WHY_SIZE, "%s must not be empty", option->argument);
		return false;
	}
	for (; word && stored; word = strtok_r(NULL, SPACE, &rest))
		stored = xy_option_store(option, word, values, why);
	return stored;
}

static const struct xy_option *option_of_variable(const struct xy_command *command,
						  const char *entry)
{
	char variable[VARIABLE_MAX];

	for (const struct xy_option *option = command->options; option->name; option++) {
		variable_of(command, option, variable);
		if (option->origin != XY_FROM_COMMAND_LINE &&
		    strlen(variable) == strcspn(entry, "=") &&
		    !strncmp(entry, variable, strlen(variable)))
			return option;
	}
	return NULL;
}

static void variable_take(const struct source *source, const char *entry, char *words)
{
	const struct xy_option *option = option_of_variable(source->command, entry);
	int length = (int)strcspn(entry, "=");
	const char *text = entry + length + 1;
	char why[XY_OPTION_WHY_SIZE];
	void *values;
	bool stored;

	if (!option) {
		xy_complain(source->complaints, "%.*s in the environment: there is no such option",
			    length, entry);
		return;
	}
	values = values_for(source, option);
	if (option->kind == XY_OPTION_FLAG)
		stored = store_flag(text, flag_of(option, values), why);
	else if (option->kind == XY_OPTION_TEXTS)
		stored = store_words(option, strcpy(words, text), values, why);
	else
		stored = xy_option_store(option, text, values, why);
	if (!stored)
		xy_complain(source->complaints, "%.*s in the environment: %s", length, entry, why);
}

static bool is_ours(const char *entry, const char *prefix)
{
	return !strncmp(entry, prefix, strlen(prefix)) && strchr(entry, '=');
}

void xy_options_environment(const struct xy_command *command, void *values, struct xy_given *given,
			    char **ret_words, struct xy_complaints *complaints)
{
	struct source source = {.command = command,
				.values = values,
				.scratch = scratch_new(command, complaints),
				.given = given,
				.complaints = complaints};
	size_t size = 1;
	char *words;

	for (char **entry = environ; *entry; entry++)
		if (is_ours(*entry, command->environment))
			size += strlen(*entry) + 1;
	*ret_words = words = malloc(size);
	if (!words)
		xy_complain(complaints, "out of memory");
	for (char **entry = environ; words && source.scratch && *entry; entry++)
		if (is_ours(*entry, command->environment)) {
			variable_take(&source, *entry, words);
			words += strlen(*entry) + 1;
		}
	free(source.scratch);
}

/* ---- a file ---------------------------------------------------------------------------------- */

static bool is_counted(enum xy_option_kind kind)
{
	return kind == XY_OPTION_NUMBER || kind == XY_OPTION_DURATION || kind == XY_OPTION_SIZE;
}

static const char *wanted_type(enum xy_option_kind kind)
{
	return kind == XY_OPTION_FLAG     ? "true or false"
	       : kind == XY_OPTION_TEXTS  ? "a text or an array of texts"
	       : kind == XY_OPTION_NUMBER ? "a number"
	       : is_counted(kind)         ? "a number or a text"
					  : "a text";
}

static void value_take(const struct source *file, const struct xy_option *option, void *values,
		       const struct xy_place *place, const json_t *value)
{
	char why[XY_OPTION_WHY_SIZE], digits[32];
	const char *text = json_string_value(value);

	if (option->kind == XY_OPTION_FLAG && json_is_boolean(value)) {
		*flag_of(option, values) = json_is_true(value);
		return;
	}
	if (is_counted(option->kind) && json_is_number(value)) {
		if (json_is_integer(value))
			snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
				 json_integer_value(value));
		else
			snprintf(digits, sizeof(digits), "%.17g", json_real_value(value));
		text = digits;
	}
	if (option->kind == XY_OPTION_FLAG || !text ||
	    (option->kind == XY_OPTION_NUMBER && text != digits))
		xy_config_complain(file->config, place, file->complaints, "must be %s",
				   wanted_type(option->kind));
	else if (!xy_option_store(option, text, values, why))
		xy_config_complain(file->config, place, file->complaints, "%s", why);
}

static void values_take(const struct source *file, const struct xy_option *option, void *values,
			const struct xy_place *place, const json_t *array)
{
	struct xy_place element = {.in = place};
	const json_t *value;

	if (json_array_size(array) == 0)
		xy_config_complain(file->config, place, file->complaints, "must not be empty");
	json_array_foreach(array, element.index, value)
	{
		value_take(file, option, values, &element, value);
	}
}

static bool listed(const char *const *list, const char *name)
{
	while (*list && strcmp(*list, name))
		list++;
	return *list != NULL;
}

static const struct xy_option *option_of_member(const struct xy_command *command, const char *name)
{
	for (const struct xy_option *option = command->options; option->name; option++)
		if (!strcmp(option->name, name))
			return option;
	return NULL;
}

static void member_take(const struct source *file, const struct xy_place *place,
			const json_t *value)
{
	const struct xy_option *option = option_of_member(file->command, place->key);
	void *values;

	if (!option || option->origin != XY_FROM_ANYWHERE) {
		xy_config_complain(file->config, place, file->complaints, "%s",
				   option ? "cannot be said in a file" : "there is no such option");
		return;
	}
	values = values_for(file, option);
	if (option->kind == XY_OPTION_TEXTS && json_is_array(value))
		values_take(file, option, values, place, value);
	else
		value_take(file, option, values, place, value);
}

void xy_options_file(const struct xy_command *command, const struct xy_config *config,
		     const char *const *others, void *values, struct xy_given *given,
		     struct xy_complaints *complaints)
{
	struct source file = {.command = command,
			      .config = config,
			      .values = values,
			      .scratch = scratch_new(command, complaints),
			      .given = given,
			      .complaints = complaints};
	struct xy_place place = {0};
	json_t *value;

	json_object_foreach((json_t *)xy_config_root(config), place.key, value)
	{
		if (file.scratch && !xy_config_is_comment(place.key) && !listed(others, place.key))
			member_take(&file, &place, value);
	}
	free(file.scratch);
}
