/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file of --config: any text is taken or complained about, each complaint names the place and
 * the line that a second walk over the text finds there, what is taken lies within what the options
 * promise and is the same after writing and reading it, and the rules allow what a second reading
 * of the same JSON says.
 *
 * Input: the file.
 */
#include "fuzz/file.h"
#include "fuzz/places.h"
#include "fuzz/record.h"

#include "cmd/access.h"
#include "cmd/sources.h"
#include "proto/subject.h"

#define INPUT_MAX 4096 /* each complaint walks the text */
#define WORDS_MAX 12   /* names and patterns that are asked about */

struct hearing {
	struct xy_complaints complaints;
	const char *path;
	const struct places *places; /* NULL: the text is no JSON */
	unsigned lines;
};

static const char *const others[] = {"access", NULL};

/* ---- complaints ------------------------------------------------------------------------------ */

static void hear(struct xy_complaints *complaints, const char *text)
{
	const struct hearing *hearing = (const struct hearing *)complaints;
	size_t length = strlen(hearing->path);
	unsigned long line;
	char *sentence;

	fuzz_check(strncmp(text, hearing->path, length) == 0 && text[length] == ':');
	line = strtoul(text + length + 1, &sentence, 10);
	fuzz_check(line >= 1 && line <= hearing->lines);
	fuzz_check(strncmp(sentence, ": ", 2) == 0 && sentence[2] != '\0');
	/* One that is cut off may not hold all of its place. */
	if (hearing->places != NULL && strlen(text) < XY_COMPLAINT_SIZE - 1)
		fuzz_check(places_hold(hearing->places, (unsigned)line, sentence + 2));
}

/* Of a text that must be right. */
static void hear_nothing(struct xy_complaints *complaints, const char *text)
{
	(void)complaints;
	fprintf(stderr, "%s\n", text);
	fuzz_check(!"a complaint");
}

static unsigned lines_of(const char *text, size_t length)
{
	unsigned lines = 1;

	for (size_t at = 0; at < length; at++)
		lines += text[at] == '\n';
	return lines;
}

/* ---- options --------------------------------------------------------------------------------- */

/* What has been taken, written and taken once more. */
static void check_again(const struct record *record, const struct xy_given *given)
{
	const struct xy_option *options = xy_command_serve.options;
	struct hearing hearing = {.complaints = {.say = hear_nothing}};
	struct xy_given again_given = {0};
	struct record again = {0};
	json_t *json = json_object();
	struct xy_config *config;
	char *text;

	for (unsigned o = 0; options[o].name != NULL; o++)
		if (given->option[o])
			json_object_set_new(json, options[o].name, written(record, &options[o]));
	text = json_dumps(json, JSON_INDENT(1));
	fuzz_check(text != NULL);
	config = xy_config_load(fuzz_file(text, strlen(text)), &hearing.complaints);
	fuzz_check(config != NULL);
	xy_options_file(&xy_command_serve, config, others, &again, &again_given,
			&hearing.complaints);
	fuzz_check(memcmp(given, &again_given, sizeof(*given)) == 0);
	for (unsigned o = 0; options[o].name != NULL; o++)
		fuzz_check(!given->option[o] || is_same(record, &again, &options[o]));
	xy_config_free(config);
	json_decref(json);
	free(text);
}

static void check_options(const struct xy_config *config, struct hearing *hearing)
{
	const struct xy_option *options = xy_command_serve.options;
	struct record record = {0}, other = {0}, untouched = {0};
	struct xy_given given = {0}, all;
	unsigned count;
	int status;

	xy_options_file(&xy_command_serve, config, others, &record, &given, &hearing->complaints);
	count = hearing->complaints.count;
	/* What a better source has said wins, and silences no complaint. */
	memset(&all, true, sizeof(all));
	xy_options_file(&xy_command_serve, config, others, &other, &all, &hearing->complaints);
	fuzz_check(memcmp(&other, &untouched, sizeof(other)) == 0);
	fuzz_check(hearing->complaints.count == 2 * count);
	hearing->complaints.count = count;
	if (count > 0)
		return;
	for (unsigned o = 0; options[o].name != NULL; o++) {
		fuzz_check(!given.option[o] || options[o].origin == XY_FROM_ANYWHERE);
		fuzz_check(given.option[o] ==
			   (json_object_get(xy_config_root(config), options[o].name) != NULL));
		if (given.option[o])
			check_value(&record, &options[o]);
	}
	check_again(&record, &given);
	fuzz_check(xy_options_defaults(&xy_command_serve, &record, &given, &status));
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const char *const permission_name[XY_PERMISSIONS] = {
	[XY_MAY_PUBLISH] = "publish",
	[XY_MAY_SUBSCRIBE] = "subscribe",
	[XY_MAY_DIRECT] = "direct",
};

/* The patterns that are allowed, or denied. */
static json_t *list_of(json_t *rules, enum xy_permission permission, bool deny)
{
	json_t *value = json_object_get(rules, permission_name[permission]);

	if (json_is_array(value))
		return deny ? NULL : value;
	return json_object_get(value, deny ? "deny" : "allow");
}

static bool expected_may(json_t *identities, const char *name, enum xy_permission permission,
			 const char *what)
{
	bool allowed = false, denied = false;
	json_t *rules, *pattern;
	const char *pattern_of_names;
	size_t i;

	json_object_foreach(identities, pattern_of_names, rules)
	{
		if (*pattern_of_names == '#' || !xy_pattern_match(pattern_of_names, name))
			continue;
		json_array_foreach(list_of(rules, permission, false), i, pattern)
		{
			allowed |= xy_pattern_covers(json_string_value(pattern), what);
		}
		json_array_foreach(list_of(rules, permission, true), i, pattern)
		{
			denied |= xy_pattern_overlaps(json_string_value(pattern), what);
		}
	}
	return identities == NULL || (allowed && !denied);
}

static unsigned words_add(const char **words, unsigned count, const char *word)
{
	if (count < WORDS_MAX)
		words[count++] = word;
	return count;
}

static unsigned words_of_rules(json_t *rules, const char **words, unsigned count)
{
	json_t *pattern;
	size_t i;

	for (unsigned p = 0; p < XY_PERMISSIONS; p++)
		for (unsigned deny = 0; deny < 2; deny++) {
			json_array_foreach(list_of(rules, (enum xy_permission)p, deny != 0), i,
					   pattern)
			{
				count = words_add(words, count, json_string_value(pattern));
			}
		}
	return count;
}

static void check_may(const struct xy_access *access, json_t *identities)
{
	const char *names[WORDS_MAX] = {XY_IDENTITY_NOBODY, XY_IDENTITY_DEFAULT}, *key;
	const char *words[WORDS_MAX] = {"a.b"};
	unsigned name_count = 2, word_count = 1;
	struct xy_identity *identity;
	json_t *rules;

	json_object_foreach(identities, key, rules)
	{
		const char *why;

		if (*key == '#')
			continue;
		if (xy_identity_check(key, &why) == 0)
			name_count = words_add(names, name_count, key);
		word_count = words_of_rules(rules, words, word_count);
	}
	for (unsigned n = 0; n < name_count; n++) {
		identity = calloc(1, sizeof(*identity) + strlen(names[n]) + 1);
		fuzz_check(identity != NULL);
		strcpy(identity->name, names[n]);
		for (unsigned p = 0; p < XY_PERMISSIONS; p++)
			for (unsigned w = 0; w < word_count; w++)
				fuzz_check(xy_access_may(access, identity, (enum xy_permission)p,
							 words[w]) ==
					   expected_may(identities, names[n], (enum xy_permission)p,
							words[w]));
		free(identity);
	}
}

static bool fits(json_t *user, const char *member, uint32_t id)
{
	json_t *asked = json_object_get(user, member);

	return asked == NULL || json_integer_value(asked) == id;
}

static const char *expected_name(json_t *users, uint32_t uid, uint32_t gid)
{
	json_t *user;
	size_t i;

	json_array_foreach(users, i, user)
	{
		if (fits(user, "uid", uid) && fits(user, "gid", gid))
			return json_string_value(json_object_get(user, "identity"));
	}
	return NULL;
}

static void check_user(const struct xy_access *access, json_t *users, uint32_t uid, uint32_t gid)
{
	const struct xy_identity *identity;
	const char *name = expected_name(users, uid, gid);

	if (name == NULL) {
		fuzz_check(xy_access_by_user(access, uid, &gid, 1, &identity) < 0);
		return;
	}
	fuzz_check(xy_access_by_user(access, uid, &gid, 1, &identity) == 0);
	fuzz_check(strcmp(identity->name, name) == 0);
	fuzz_check(xy_access_holds(access, identity, XY_REACH_UNIX));
	xy_identity_free(identity);
}

static size_t members_of(json_t *object)
{
	const char *key;
	json_t *value;
	size_t count = 0;

	json_object_foreach(object, key, value)
	{
		count += *key != '#';
	}
	return count;
}

static void check_access(const struct xy_config *config, struct hearing *hearing)
{
	unsigned before = hearing->complaints.count;
	struct xy_access *access = xy_access_make(config, NULL, NULL, NULL, &hearing->complaints);
	json_t *section = json_object_get(xy_config_root(config), "access");
	json_t *identities = json_object_get(section, "identities");
	json_t *users = json_object_get(section, "users"), *user;
	size_t i;

	fuzz_check((access == NULL) == (hearing->complaints.count > before));
	if (access == NULL)
		return;
	fuzz_check(xy_access_has_rules(access) == (identities != NULL));
	fuzz_check(xy_access_identities(access) == members_of(identities));
	fuzz_check(xy_access_users(access) == json_array_size(users));
	check_may(access, identities);
	check_user(access, users, 7, 7);
	json_array_foreach(users, i, user)
	{
		uint32_t uid = (uint32_t)json_integer_value(json_object_get(user, "uid"));
		uint32_t gid = (uint32_t)json_integer_value(json_object_get(user, "gid"));

		check_user(access, users, uid, gid);
	}
	xy_access_free(access);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct places places;
	struct fuzz_input input = {data, size < INPUT_MAX ? size : INPUT_MAX};
	char *text = fuzz_text(input);
	const char *path = fuzz_file(text, input.size);
	struct hearing hearing = {
		.complaints = {.say = hear}, .path = path, .lines = lines_of(text, input.size)};
	json_t *json = json_loadb(text, input.size, JSON_REJECT_DUPLICATES, NULL);
	struct xy_config *config = xy_config_load(path, &hearing.complaints);

	fuzz_check((config != NULL) == json_is_object(json));
	fuzz_check(hearing.complaints.count == (config == NULL));
	json_decref(json);
	if (config != NULL) {
		places_find(&places, text);
		hearing.places = &places;
		check_options(config, &hearing);
		check_access(config, &hearing);
		places_free(&places);
	}
	xy_config_free(config);
	free(text);
	return 0;
}
