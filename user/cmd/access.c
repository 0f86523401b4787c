/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ID_MAX   4294967294ll
/* What the kernel says of users and groups that have no number here. */
#define OVERFLOW 65534

struct making {
	struct xy_access *access;
	const struct xy_config *config;
	struct xy_complaints *complaints;
};

#define COMPLAIN(making, place, ...) \
	xy_config_complain((making)->config, place, (making)->complaints, __VA_ARGS__)

/* A limit or an answer of the module below, at its place. */
static void complain_error(const struct making *making, const struct xy_place *place, int error,
			   const char *why)
{
	COMPLAIN(making, place, "%s",
		 error == -EINVAL  ? why
		 : error == -E2BIG ? "more of them than there may be"
				   : strerror(-error));
}

static void complain_unknown(const struct making *making, const struct xy_place *place,
			     const char *known)
{
	COMPLAIN(making, place, "there is no such member; there are %s", known);
}

/* ---- rules ----------------------------------------------------------------------------------- */

struct list {
	unsigned identity;
	enum xy_permission permission;
	bool deny;
};

static void pattern_take(const struct making *making, const struct list *list,
			 const struct xy_place *place, const json_t *value)
{
	const char *why = NULL;
	int error;

	if (!json_is_string(value)) {
		COMPLAIN(making, place, "must be a text");
		return;
	}
	error = xy_access_rule(making->access, list->identity, list->permission, list->deny,
			       json_string_value(value), &why);
	if (error)
		complain_error(making, place, error, why);
}

static void list_take(const struct making *making, const struct list *list,
		      const struct xy_place *place, const json_t *array)
{
	struct xy_place element = {.in = place};
	json_t *value;

	if (!json_is_array(array)) {
		COMPLAIN(making, place, "must be an array of patterns");
		return;
	}
	json_array_foreach(array, element.index, value)
	{
		pattern_take(making, list, &element, value);
	}
}

/* Patterns that are allowed, or those that are and those that are not. */
static void permission_take(const struct making *making, struct list list,
			    const struct xy_place *place, const json_t *value)
{
	struct xy_place member = {.in = place};
	json_t *inner;

	if (json_is_array(value)) {
		list_take(making, &list, place, value);
		return;
	}
	if (!json_is_object(value)) {
		COMPLAIN(making, place,
			 "must be an array of patterns, or an object with \"allow\" and \"deny\"");
		return;
	}
	json_object_foreach((json_t *)value, member.key, inner)
	{
		list.deny = !strcmp(member.key, "deny");
		if (list.deny || !strcmp(member.key, "allow"))
			list_take(making, &list, &member, inner);
		else if (!xy_config_is_comment(member.key))
			complain_unknown(making, &member, "allow and deny");
	}
}

static bool permission_of(const char *key, enum xy_permission *ret_permission)
{
	static const char *const names[XY_PERMISSIONS] = {
		[XY_MAY_PUBLISH] = "publish",
		[XY_MAY_SUBSCRIBE] = "subscribe",
		[XY_MAY_DIRECT] = "direct",
	};

	for (unsigned p = 0; p < XY_PERMISSIONS; p++)
		if (!strcmp(key, names[p])) {
			*ret_permission = (enum xy_permission)p;
			return true;
		}
	return false;
}

static void identity_take(const struct making *making, const struct xy_place *place,
			  const json_t *object)
{
	struct xy_place member = {.in = place};
	struct list list = {0};
	const char *why = NULL;
	json_t *value;
	int error = xy_access_identity(making->access, place->key, &list.identity, &why);

	if (error) {
		complain_error(making, place, error, why);
		return;
	}
	if (!json_is_object(object)) {
		COMPLAIN(making, place, "must be an object");
		return;
	}
	json_object_foreach((json_t *)object, member.key, value)
	{
		if (permission_of(member.key, &list.permission))
			permission_take(making, list, &member, value);
		else if (!xy_config_is_comment(member.key))
			complain_unknown(making, &member, "publish, subscribe and direct");
	}
}

static void identities_take(const struct making *making, const struct xy_place *place,
			    const json_t *object)
{
	struct xy_place member = {.in = place};
	json_t *value;

	xy_access_begin_rules(making->access);
	if (!json_is_object(object)) {
		COMPLAIN(making, place, "must be an object");
		return;
	}
	json_object_foreach((json_t *)object, member.key, value)
	{
		if (!xy_config_is_comment(member.key))
			identity_take(making, &member, value);
	}
}

/* ---- users ----------------------------------------------------------------------------------- */

static int64_t id_take(const struct making *making, const struct xy_place *place,
		       const json_t *value)
{
	json_int_t id = json_integer_value(value);

	if (!json_is_integer(value) || id < 0 || id > ID_MAX)
		COMPLAIN(making, place, "must be a number from 0 to %lld", ID_MAX);
	else if (id == OVERFLOW)
		COMPLAIN(making, place, "%d stands for everybody whose number is not known here",
			 OVERFLOW);
	return id;
}

static void user_take(const struct making *making, const struct xy_place *place,
		      const json_t *object)
{
	struct xy_place member = {.in = place};
	int64_t uid = XY_ANY_ID, gid = XY_ANY_ID;
	unsigned before = making->complaints->count;
	const char *identity = NULL, *why = NULL;
	json_t *value;
	int error;

	if (!json_is_object(object)) {
		COMPLAIN(making, place, "must be an object");
		return;
	}
	json_object_foreach((json_t *)object, member.key, value)
	{
		if (!strcmp(member.key, "uid"))
			uid = id_take(making, &member, value);
		else if (!strcmp(member.key, "gid"))
			gid = id_take(making, &member, value);
		else if (!strcmp(member.key, "identity") && json_is_string(value))
			identity = json_string_value(value);
		else if (!strcmp(member.key, "identity"))
			COMPLAIN(making, &member, "must be a text");
		else if (!xy_config_is_comment(member.key))
			complain_unknown(making, &member, "uid, gid and identity");
	}
	if (making->complaints->count > before)
		return;
	if (!identity) {
		COMPLAIN(making, place, "\"identity\" is missing");
		return;
	}
	error = xy_access_user(making->access, identity, uid, gid, &why);
	if (error)
		complain_error(making, place, error, why);
}

static void users_take(const struct making *making, const struct xy_place *place,
		       const json_t *array)
{
	struct xy_place element = {.in = place};
	json_t *value;

	if (!json_is_array(array)) {
		COMPLAIN(making, place, "must be an array");
		return;
	}
	json_array_foreach(array, element.index, value)
	{
		user_take(making, &element, value);
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void section_take(const struct making *making, const struct xy_place *place,
			 const json_t *object)
{
	struct xy_place member = {.in = place};
	json_t *value;

	if (!json_is_object(object)) {
		COMPLAIN(making, place, "must be an object");
		return;
	}
	json_object_foreach((json_t *)object, member.key, value)
	{
		if (!strcmp(member.key, "identities"))
			identities_take(making, &member, value);
		else if (!strcmp(member.key, "users"))
			users_take(making, &member, value);
		else if (!xy_config_is_comment(member.key))
			complain_unknown(making, &member, "identities and users");
	}
}

/* Without rules everybody who is let in may do everything, which is for one user: whom a token
 * without a name, or the way to the listener, tells from others. Names are for several. */
static void check_names(const struct making *making, const char *token_file, bool named)
{
	static const char why[] = "so that rules must say what they may do: add \"identities\" to "
				  "\"access\" in the file of --config";

	if (xy_access_has_rules(making->access))
		return;
	if (named)
		xy_complain(making->complaints, "%s: has names, %s", token_file, why);
	if (xy_access_anchors(making->access))
		xy_complain(making->complaints, "tls-ca: certificates have names, %s", why);
	if (xy_access_users(making->access)) {
		const struct xy_place access = {.key = "access"};
		const struct xy_place users = {.in = &access, .key = "users"};

		COMPLAIN(making, &users, "has names, %s", why);
	}
}

static enum xy_anonymous anonymous_of(const char *text, bool authenticates)
{
	if (!text)
		return authenticates ? XY_ANONYMOUS_NONE : XY_ANONYMOUS_LOCAL;
	return !strcmp(text, "any")     ? XY_ANONYMOUS_ANY
	       : !strcmp(text, "local") ? XY_ANONYMOUS_LOCAL
					: XY_ANONYMOUS_NONE;
}

static void anchors_take(const struct making *making, const struct xy_tls_context *tls)
{
	const uint8_t(*digest)[XY_TLS_DIGEST];
	unsigned count = tls ? xy_tls_context_anchors(tls, &digest) : 0;
	int error = 0;

	for (unsigned a = 0; a < count && !error; a++)
		error = xy_access_anchor(making->access, digest[a]);
	if (error)
		xy_complain(making->complaints, "tls-ca: %s",
			    error == -E2BIG ? "more than 1024 certificates" : strerror(-error));
}

struct xy_access *xy_access_make(const struct xy_config *config, const struct xy_tls_context *tls,
				 const char *token_file, const char *anonymous,
				 struct xy_complaints *complaints)
{
	const struct xy_place place = {.key = "access"};
	const json_t *section = config ? json_object_get(xy_config_root(config), "access") : NULL;
	bool users = json_array_size(json_object_get(section, "users")) > 0, named = false;
	const uint8_t(*anchors)[XY_TLS_DIGEST];
	bool certificates = tls && xy_tls_context_anchors(tls, &anchors);
	bool authenticates = token_file || users || certificates;
	struct making making = {.access = xy_access_new(anonymous_of(anonymous, authenticates)),
				.config = config,
				.complaints = complaints};
	unsigned before = complaints->count;

	if (!making.access) {
		xy_complain(complaints, "out of memory");
		return NULL;
	}
	if (section)
		section_take(&making, &place, section);
	anchors_take(&making, tls);
	if (token_file)
		xy_access_read_tokens(making.access, token_file, &named, complaints);
	if (complaints->count == before)
		check_names(&making, token_file, named);
	if (complaints->count == before)
		return making.access;
	xy_access_free(making.access);
	return NULL;
}
