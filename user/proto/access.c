/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/subject.h"

struct token {
	uint8_t digest[XY_DIGEST_SIZE];
	char *name;
};

struct user {
	int64_t uid, gid; /* or XY_ANY_ID */
	char *name;
};

struct anchor {
	uint8_t digest[XY_DIGEST_SIZE];
};

struct patterns {
	char **item;
	unsigned count, capacity;
};

struct rules {
	char *identities; /* a pattern of names */
	struct patterns allow[XY_PERMISSIONS], deny[XY_PERMISSIONS];
};

struct xy_access {
	enum xy_anonymous anonymous;
	bool has_rules;
	struct token *token;
	struct user *user;
	struct anchor *anchor;
	struct rules *rules;
	unsigned tokens, users, anchors, identities, patterns;
	unsigned token_capacity, user_capacity, anchor_capacity, identity_capacity;
};

/* ---- building -------------------------------------------------------------------------------- */

struct xy_access *xy_access_new(enum xy_anonymous anonymous)
{
	struct xy_access *access = calloc(1, sizeof(*access));

	if (access)
		access->anonymous = anonymous;
	return access;
}

static void patterns_free(struct patterns *patterns)
{
	for (unsigned p = 0; p < patterns->count; p++)
		free(patterns->item[p]);
	free(patterns->item);
}

void xy_access_free(struct xy_access *access)
{
	if (!access)
		return;
	for (unsigned t = 0; t < access->tokens; t++)
		free(access->token[t].name);
	for (unsigned u = 0; u < access->users; u++)
		free(access->user[u].name);
	for (unsigned i = 0; i < access->identities; i++) {
		free(access->rules[i].identities);
		for (unsigned p = 0; p < XY_PERMISSIONS; p++) {
			patterns_free(&access->rules[i].allow[p]);
			patterns_free(&access->rules[i].deny[p]);
		}
	}
	free(access->token);
	free(access->user);
	free(access->anchor);
	free(access->rules);
	free(access);
}

/* Room for one more in an array that grows. */
static int reserve(void **array, unsigned count, unsigned *capacity, unsigned maximum, size_t size)
{
	unsigned more = *capacity ? *capacity * 2 : 4;
	void *grown;

	if (count == maximum)
		return -E2BIG;
	if (count < *capacity)
		return 0;
	grown = realloc(*array, more * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = more;
	return 0;
}

int xy_identity_check(const char *name, const char **ret_why)
{
	if (strlen(name) > XY_IDENTITY_MAX) {
		*ret_why = "a name has at most 128 bytes";
		return -EINVAL;
	}
	if (!strcmp(name, XY_IDENTITY_NOBODY)) {
		*ret_why = "that is the name of those who show nothing";
		return -EINVAL;
	}
	return xy_subject_check(name, strlen(name), ret_why);
}

int xy_access_token(struct xy_access *access, const char *name,
		    const uint8_t digest[XY_DIGEST_SIZE], const char **ret_why)
{
	struct token token = {0};
	int error = xy_identity_check(name, ret_why);

	if (error)
		return error;
	for (unsigned t = 0; t < access->tokens; t++)
		if (!memcmp(access->token[t].digest, digest, XY_DIGEST_SIZE))
			return -EEXIST;
	error = reserve((void **)&access->token, access->tokens, &access->token_capacity,
			XY_ACCESS_TOKENS_MAX, sizeof(token));
	if (error)
		return error;
	token.name = strdup(name);
	if (!token.name)
		return -ENOMEM;
	memcpy(token.digest, digest, XY_DIGEST_SIZE);
	access->token[access->tokens++] = token;
	return 0;
}

int xy_access_user(struct xy_access *access, const char *name, int64_t uid, int64_t gid,
		   const char **ret_why)
{
	struct user user = {.uid = uid, .gid = gid};
	int error = xy_identity_check(name, ret_why);

	if (!error && uid == XY_ANY_ID && gid == XY_ANY_ID) {
		*ret_why = "a uid, a gid or both must be asked for";
		error = -EINVAL;
	}
	if (!error)
		error = reserve((void **)&access->user, access->users, &access->user_capacity,
				XY_ACCESS_USERS_MAX, sizeof(user));
	if (error)
		return error;
	user.name = strdup(name);
	if (!user.name)
		return -ENOMEM;
	access->user[access->users++] = user;
	return 0;
}

static bool anchor_is_in(const struct xy_access *access, const uint8_t digest[XY_DIGEST_SIZE])
{
	for (unsigned a = 0; access && a < access->anchors; a++)
		if (!memcmp(access->anchor[a].digest, digest, XY_DIGEST_SIZE))
			return true;
	return false;
}

int xy_access_anchor(struct xy_access *access, const uint8_t digest[XY_DIGEST_SIZE])
{
	int error;

	if (anchor_is_in(access, digest))
		return 0;
	error = reserve((void **)&access->anchor, access->anchors, &access->anchor_capacity,
			XY_ACCESS_ANCHORS_MAX, sizeof(*access->anchor));
	if (!error)
		memcpy(access->anchor[access->anchors++].digest, digest, XY_DIGEST_SIZE);
	return error;
}

void xy_access_begin_rules(struct xy_access *access)
{
	access->has_rules = true;
}

int xy_access_identity(struct xy_access *access, const char *pattern, unsigned *ret_index,
		       const char **ret_why)
{
	struct rules rules = {0};
	int error = xy_pattern_check(pattern, strlen(pattern), ret_why);

	if (!error)
		error = reserve((void **)&access->rules, access->identities,
				&access->identity_capacity, XY_ACCESS_IDENTITIES_MAX,
				sizeof(rules));
	if (error)
		return error;
	rules.identities = strdup(pattern);
	if (!rules.identities)
		return -ENOMEM;
	*ret_index = access->identities;
	access->has_rules = true;
	access->rules[access->identities++] = rules;
	return 0;
}

int xy_access_rule(struct xy_access *access, unsigned identity, enum xy_permission permission,
		   bool deny, const char *pattern, const char **ret_why)
{
	struct rules *rules = &access->rules[identity];
	struct patterns *patterns = deny ? &rules->deny[permission] : &rules->allow[permission];
	int error = xy_pattern_check(pattern, strlen(pattern), ret_why);
	char *copy;

	if (!error && access->patterns == XY_ACCESS_PATTERNS_MAX)
		error = -E2BIG;
	if (!error)
		error = reserve((void **)&patterns->item, patterns->count, &patterns->capacity,
				XY_ACCESS_PATTERNS_MAX, sizeof(*patterns->item));
	if (error)
		return error;
	copy = strdup(pattern);
	if (!copy)
		return -ENOMEM;
	patterns->item[patterns->count++] = copy;
	access->patterns++;
	return 0;
}

/* ---- what is allowed ------------------------------------------------------------------------- */

static bool any_covers(const struct patterns *patterns, const char *what)
{
	for (unsigned p = 0; p < patterns->count; p++)
		if (xy_pattern_covers(patterns->item[p], what))
			return true;
	return false;
}

static bool any_overlaps(const struct patterns *patterns, const char *what)
{
	for (unsigned p = 0; p < patterns->count; p++)
		if (xy_pattern_overlaps(patterns->item[p], what))
			return true;
	return false;
}

bool xy_access_may(const struct xy_access *access, const struct xy_identity *identity,
		   enum xy_permission permission, const char *what)
{
	bool allowed = false;

	if (!xy_access_has_rules(access))
		return true;
	for (unsigned i = 0; i < access->identities; i++) {
		const struct rules *rules = &access->rules[i];

		if (!xy_pattern_match(rules->identities, identity->name))
			continue;
		if (any_overlaps(&rules->deny[permission], what))
			return false;
		allowed = allowed || any_covers(&rules->allow[permission], what);
	}
	return allowed;
}

/* ---- who it is ------------------------------------------------------------------------------- */

/* There are many of him, and they are all alike. */
static const struct xy_identity nobody = {.credential = {.kind = XY_BY_NOTHING},
					  .name = XY_IDENTITY_NOBODY};

void xy_identity_free(const struct xy_identity *identity)
{
	if (identity != &nobody)
		free((void *)identity);
}

static int identity_new(const char *name, const struct xy_credential *credential,
			const struct xy_identity **ret_identity)
{
	size_t size = strlen(name) + 1;
	struct xy_identity *identity = malloc(sizeof(*identity) + size);

	if (!identity)
		return -ENOMEM;
	identity->credential = *credential;
	memcpy(identity->name, name, size);
	*ret_identity = identity;
	return 0;
}

static bool digest_equal(const uint8_t *a, const uint8_t *b)
{
	volatile uint8_t difference = 0;

	for (unsigned i = 0; i < XY_DIGEST_SIZE; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

/* All are looked at to the end. */
static const struct token *token_find(const struct xy_access *access, const uint8_t *digest)
{
	size_t found = 0;

	for (unsigned t = 0; access && t < access->tokens; t++)
		found |= (t + 1) & -(size_t)digest_equal(access->token[t].digest, digest);
	return found ? &access->token[found - 1] : NULL;
}

int xy_access_by_token(const struct xy_access *access, const uint8_t digest[XY_DIGEST_SIZE],
		       const struct xy_identity **ret_identity)
{
	struct xy_credential credential = {.kind = XY_BY_TOKEN};
	const struct token *token = token_find(access, digest);

	if (!token)
		return -ENOENT;
	memcpy(credential.digest, digest, XY_DIGEST_SIZE);
	return identity_new(token->name, &credential, ret_identity);
}

static bool is_in(int64_t gid, const uint32_t *gids, size_t count)
{
	for (size_t g = 0; g < count; g++)
		if (gids[g] == gid)
			return true;
	return gid == XY_ANY_ID;
}

int xy_access_by_user(const struct xy_access *access, uint32_t uid, const uint32_t *gids,
		      size_t count, const struct xy_identity **ret_identity)
{
	for (unsigned u = 0; access && u < access->users; u++) {
		const struct user *user = &access->user[u];
		struct xy_credential credential = {
			.kind = XY_BY_USER, .uid = user->uid, .gid = user->gid};

		if ((user->uid == XY_ANY_ID || user->uid == uid) && is_in(user->gid, gids, count))
			return identity_new(user->name, &credential, ret_identity);
	}
	return -ENOENT;
}

int xy_access_by_certificate(const struct xy_access *access, const char *name,
			     const uint8_t anchor[XY_DIGEST_SIZE],
			     const struct xy_identity **ret_identity, const char **ret_why)
{
	struct xy_credential credential = {.kind = XY_BY_CERTIFICATE};
	int error;

	if (!anchor_is_in(access, anchor))
		return -ENOENT;
	error = xy_identity_check(name, ret_why);
	if (error)
		return error;
	memcpy(credential.digest, anchor, XY_DIGEST_SIZE);
	return identity_new(name, &credential, ret_identity);
}

static bool anonymous_may(const struct xy_access *access, enum xy_reach reach)
{
	enum xy_anonymous anonymous = access ? access->anonymous : XY_ANONYMOUS_LOCAL;

	return anonymous == XY_ANONYMOUS_ANY ||
	       (anonymous == XY_ANONYMOUS_LOCAL && reach != XY_REACH_NETWORK);
}

int xy_access_by_nothing(const struct xy_access *access, enum xy_reach reach,
			 const struct xy_identity **ret_identity)
{
	if (!anonymous_may(access, reach))
		return -ENOENT;
	*ret_identity = &nobody;
	return 0;
}

static bool user_holds(const struct xy_access *access, const struct xy_identity *identity)
{
	const struct xy_credential *credential = &identity->credential;

	for (unsigned u = 0; access && u < access->users; u++)
		if (access->user[u].uid == credential->uid &&
		    access->user[u].gid == credential->gid)
			return !strcmp(access->user[u].name, identity->name);
	return false;
}

bool xy_access_holds(const struct xy_access *access, const struct xy_identity *identity,
		     enum xy_reach reach)
{
	const struct token *token;

	switch (identity->credential.kind) {
	case XY_BY_NOTHING:
		return anonymous_may(access, reach);
	case XY_BY_TOKEN:
		token = token_find(access, identity->credential.digest);
		return token && !strcmp(token->name, identity->name);
	case XY_BY_USER:
		return user_holds(access, identity);
	case XY_BY_CERTIFICATE:
		return anchor_is_in(access, identity->credential.digest);
	}
	return false;
}

/* ---- facts ----------------------------------------------------------------------------------- */

bool xy_access_has_rules(const struct xy_access *access)
{
	return access && access->has_rules;
}

unsigned xy_access_tokens(const struct xy_access *access)
{
	return access ? access->tokens : 0;
}

unsigned xy_access_users(const struct xy_access *access)
{
	return access ? access->users : 0;
}

unsigned xy_access_anchors(const struct xy_access *access)
{
	return access ? access->anchors : 0;
}

unsigned xy_access_identities(const struct xy_access *access)
{
	return access ? access->identities : 0;
}

const char *xy_access_problem(const struct xy_access *access, enum xy_reach reach, bool tls)
{
	if (xy_access_tokens(access) || anonymous_may(access, reach) ||
	    (tls && xy_access_anchors(access)))
		return NULL;
	if (reach == XY_REACH_NETWORK && tls)
		return "clients from other machines must authenticate, and TLS alone tells nobody "
		       "who they are: give --tls-ca or --token-file, or say --anonymous any, which "
		       "lets everybody in";
	if (reach == XY_REACH_NETWORK)
		return "clients from other machines must authenticate: give --token-file, or say "
		       "--anonymous any, which lets everybody in";
	if (reach == XY_REACH_LOOPBACK && tls)
		return "no client could get in: give --tls-ca or --token-file, or say --anonymous "
		       "local";
	if (reach == XY_REACH_LOOPBACK)
		return "no client could get in: give --token-file, or say --anonymous local";
	if (!xy_access_users(access))
		return "no client could get in: give --token-file or users, or say --anonymous "
		       "local";
	return NULL;
}
