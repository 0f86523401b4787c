/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may do what, and who is who. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/access.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static struct xy_access *access_new(enum xy_anonymous anonymous)
{
	struct xy_access *access = xy_access_new(anonymous);

	assert_non_null(access);
	return access;
}

static unsigned identity_add(struct xy_access *access, const char *pattern)
{
	unsigned index = UINT32_MAX;
	const char *why = NULL;

	assert_int_equal(xy_access_identity(access, pattern, &index, &why), 0);
	return index;
}

static void rule_add(struct xy_access *access, unsigned identity, enum xy_permission permission,
		     bool deny, const char *pattern)
{
	const char *why = NULL;

	assert_int_equal(xy_access_rule(access, identity, permission, deny, pattern, &why), 0);
}

static void digest_of(unsigned number, uint8_t digest[XY_DIGEST_SIZE])
{
	memset(digest, 0x5a, XY_DIGEST_SIZE);
	memcpy(digest + XY_DIGEST_SIZE - sizeof(number), &number, sizeof(number));
}

static void token_add(struct xy_access *access, const char *name, unsigned number)
{
	uint8_t digest[XY_DIGEST_SIZE];
	const char *why = NULL;

	digest_of(number, digest);
	assert_int_equal(xy_access_token(access, name, digest, &why), 0);
}

static bool may(const struct xy_access *access, const char *name, enum xy_permission permission,
		const char *what)
{
	struct xy_identity *identity = calloc(1, sizeof(*identity) + strlen(name) + 1);
	bool answer;

	assert_non_null(identity);
	strcpy(identity->name, name);
	answer = xy_access_may(access, identity, permission, what);
	free(identity);
	return answer;
}

/* ---- what is allowed ------------------------------------------------------------------------- */

static void test_without_rules_all_is_allowed(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_LOCAL);

	(void)state;
	for (int p = 0; p < XY_PERMISSIONS; p++) {
		assert_true(may(NULL, "anonymous", p, "a"));
		assert_true(may(access, "anonymous", p, ">"));
	}
	xy_access_free(access);
	xy_access_free(NULL);
}

static void test_with_rules_what_none_allows_is_denied(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_LOCAL);
	unsigned shop;

	(void)state;
	xy_access_begin_rules(access);
	for (int p = 0; p < XY_PERMISSIONS; p++)
		assert_false(may(access, "shop", p, "a"));
	shop = identity_add(access, "shop");
	rule_add(access, shop, XY_MAY_PUBLISH, false, "orders.*");
	assert_true(may(access, "shop", XY_MAY_PUBLISH, "orders.new"));
	assert_false(may(access, "shop", XY_MAY_PUBLISH, "orders"));
	assert_false(may(access, "shop", XY_MAY_PUBLISH, "orders.a.b"));
	assert_false(may(access, "shop", XY_MAY_SUBSCRIBE, "orders.new"));
	assert_false(may(access, "shop", XY_MAY_DIRECT, "orders.new"));
	assert_false(may(access, "shops", XY_MAY_PUBLISH, "orders.new"));
	assert_false(may(access, "anonymous", XY_MAY_PUBLISH, "orders.new"));
	xy_access_free(access);
}

static void test_deny_wins_wherever_it_stands(void **state)
{
	(void)state;
	for (int deny_first = 0; deny_first <= 1; deny_first++) {
		struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
		unsigned all = identity_add(access, ">"), one = identity_add(access, "shop.*");

		rule_add(access, deny_first ? all : one, XY_MAY_SUBSCRIBE, true, "secret.>");
		rule_add(access, deny_first ? one : all, XY_MAY_SUBSCRIBE, false, ">");
		assert_true(may(access, "shop.a", XY_MAY_SUBSCRIBE, "open.a"));
		assert_false(may(access, "shop.a", XY_MAY_SUBSCRIBE, "secret.a"));
		assert_false(may(access, "shop.a", XY_MAY_SUBSCRIBE, "secret.*"));
		/* A part of it is enough. */
		assert_false(may(access, "shop.a", XY_MAY_SUBSCRIBE, ">"));
		assert_false(may(access, "shop.a", XY_MAY_SUBSCRIBE, "*.a"));
		assert_true(may(access, "shop.a", XY_MAY_SUBSCRIBE, "*"));
		xy_access_free(access);
	}
}

static void test_a_pattern_must_be_allowed_as_a_whole(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	unsigned shop = identity_add(access, "shop");

	(void)state;
	rule_add(access, shop, XY_MAY_SUBSCRIBE, false, "a.*");
	rule_add(access, shop, XY_MAY_SUBSCRIBE, false, "a.*.>");
	assert_true(may(access, "shop", XY_MAY_SUBSCRIBE, "a.b"));
	assert_true(may(access, "shop", XY_MAY_SUBSCRIBE, "a.*"));
	assert_true(may(access, "shop", XY_MAY_SUBSCRIBE, "a.b.>"));
	/* By one rule. */
	assert_false(may(access, "shop", XY_MAY_SUBSCRIBE, "a.>"));
	assert_false(may(access, "shop", XY_MAY_SUBSCRIBE, "*.b"));
	xy_access_free(access);
}

static void test_rules_of_all_patterns_that_match_a_name_count(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	unsigned shops = identity_add(access, "shop.*"), one = identity_add(access, "shop.a");

	(void)state;
	rule_add(access, shops, XY_MAY_DIRECT, false, "shop.>");
	rule_add(access, one, XY_MAY_DIRECT, false, "bank");
	assert_true(may(access, "shop.a", XY_MAY_DIRECT, "shop.b"));
	assert_true(may(access, "shop.a", XY_MAY_DIRECT, "bank"));
	assert_true(may(access, "shop.b", XY_MAY_DIRECT, "shop.a"));
	assert_false(may(access, "shop.b", XY_MAY_DIRECT, "bank"));
	xy_access_free(access);
}

/* ---- who it is ------------------------------------------------------------------------------- */

static void test_of_many_tokens_each_is_its_own_name(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	uint8_t digest[XY_DIGEST_SIZE];
	const struct xy_identity *identity;
	char name[16];

	(void)state;
	for (unsigned t = 0; t < 300; t++) {
		snprintf(name, sizeof(name), "name-%u", t);
		token_add(access, name, t);
	}
	assert_int_equal(xy_access_tokens(access), 300);
	for (unsigned t = 0; t < 300; t++) {
		snprintf(name, sizeof(name), "name-%u", t);
		digest_of(t, digest);
		assert_int_equal(xy_access_by_token(access, digest, &identity), 0);
		assert_string_equal(identity->name, name);
		assert_true(xy_access_holds(access, identity, XY_REACH_NETWORK));
		xy_identity_free(identity);
	}
	digest_of(300, digest);
	assert_int_equal(xy_access_by_token(access, digest, &identity), -ENOENT);
	/* Wrong in one bit, wherever. */
	for (unsigned bit = 0; bit < 8 * XY_DIGEST_SIZE; bit++) {
		digest_of(7, digest);
		digest[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (xy_access_by_token(access, digest, &identity) == 0) {
			assert_string_not_equal(identity->name, "name-7");
			xy_identity_free(identity);
		}
	}
	assert_int_equal(xy_access_by_token(NULL, digest, &identity), -ENOENT);
	xy_access_free(access);
}

static void test_a_token_that_is_gone_or_has_another_name_holds_no_more(void **state)
{
	struct xy_access *before = access_new(XY_ANONYMOUS_ANY);
	struct xy_access *renamed = access_new(XY_ANONYMOUS_ANY);
	struct xy_access *gone = access_new(XY_ANONYMOUS_ANY);
	uint8_t digest[XY_DIGEST_SIZE];
	const struct xy_identity *identity;

	(void)state;
	digest_of(1, digest);
	token_add(before, "a", 1);
	token_add(renamed, "b", 1);
	token_add(gone, "a", 2);
	assert_int_equal(xy_access_by_token(before, digest, &identity), 0);
	assert_true(xy_access_holds(before, identity, XY_REACH_UNIX));
	assert_false(xy_access_holds(renamed, identity, XY_REACH_UNIX));
	assert_false(xy_access_holds(gone, identity, XY_REACH_UNIX));
	xy_identity_free(identity);
	xy_access_free(before);
	xy_access_free(renamed);
	xy_access_free(gone);
}

static void test_users_are_matched_by_uid_and_any_of_their_groups(void **state)
{
	static const uint32_t groups[] = {100, 50};
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	struct xy_access *other = access_new(XY_ANONYMOUS_NONE);
	static const struct {
		uint32_t uid;
		size_t groups;
		const char *name; /* NULL: none */
	} table[] = {
		{7, 0, "seven"}, {8, 1, "eight"}, {8, 0, NULL}, {9, 2, "fifty"},
		{9, 1, NULL},    {7, 2, "seven"}, {0, 0, NULL},
	};
	const struct xy_identity *identity;
	const char *why = NULL;

	(void)state;
	assert_int_equal(xy_access_user(access, "seven", 7, XY_ANY_ID, &why), 0);
	assert_int_equal(xy_access_user(access, "eight", 8, 100, &why), 0);
	assert_int_equal(xy_access_user(access, "fifty", XY_ANY_ID, 50, &why), 0);
	assert_int_equal(xy_access_user(access, "late", 7, XY_ANY_ID, &why), 0);
	assert_int_equal(xy_access_user(access, "none", XY_ANY_ID, XY_ANY_ID, &why), -EINVAL);
	assert_non_null(why);
	assert_int_equal(xy_access_user(other, "seven", 7, 100, &why), 0);
	assert_int_equal(xy_access_user(other, "eight", 8, 100, &why), 0);
	for (size_t i = 0; i < LENGTH(table); i++) {
		int r = xy_access_by_user(access, table[i].uid, groups, table[i].groups, &identity);

		assert_int_equal(r, table[i].name != NULL ? 0 : -ENOENT);
		if (r != 0)
			continue;
		assert_string_equal(identity->name, table[i].name);
		assert_true(xy_access_holds(access, identity, XY_REACH_UNIX));
		assert_int_equal(xy_access_holds(other, identity, XY_REACH_UNIX),
				 strcmp(table[i].name, "eight") == 0);
		xy_identity_free(identity);
	}
	xy_access_free(access);
	xy_access_free(other);
}

static void test_who_shows_nothing_comes_from_where_he_may(void **state)
{
	(void)state;
	for (enum xy_anonymous a = XY_ANONYMOUS_NONE; a <= XY_ANONYMOUS_ANY; a++)
		for (enum xy_reach reach = XY_REACH_UNIX; reach <= XY_REACH_NETWORK; reach++) {
			bool expected = a == XY_ANONYMOUS_ANY ||
					(a == XY_ANONYMOUS_LOCAL && reach != XY_REACH_NETWORK);
			struct xy_access *access = access_new(a);
			const struct xy_identity *identity;
			int r = xy_access_by_nothing(access, reach, &identity);

			assert_int_equal(r, expected ? 0 : -ENOENT);
			/* Somebody gets in, or the listener is a mistake. */
			assert_int_equal(xy_access_problem(access, reach, false) == NULL, expected);
			if (r == 0) {
				assert_string_equal(identity->name, "anonymous");
				assert_true(xy_access_holds(access, identity, reach));
				xy_identity_free(identity);
			}
			token_add(access, "a", 1);
			assert_null(xy_access_problem(access, reach, false));
			xy_access_free(access);
		}
	assert_null(xy_access_problem(NULL, XY_REACH_UNIX, false));
	assert_null(xy_access_problem(NULL, XY_REACH_LOOPBACK, false));
	assert_non_null(xy_access_problem(NULL, XY_REACH_NETWORK, false));
}

static void test_users_alone_let_nobody_in_by_tcp(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	const char *why;

	(void)state;
	assert_int_equal(xy_access_user(access, "root", 0, XY_ANY_ID, &why), 0);
	assert_null(xy_access_problem(access, XY_REACH_UNIX, false));
	assert_non_null(xy_access_problem(access, XY_REACH_LOOPBACK, false));
	assert_non_null(xy_access_problem(access, XY_REACH_NETWORK, false));
	xy_access_free(access);
}

/* ---- what cannot be -------------------------------------------------------------------------- */

static void test_names_and_patterns_that_cannot_be_are_refused(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	static const char *const names[] = {"", "a b", "a..b", "*", "a.>", "anonymous"};
	uint8_t digest[XY_DIGEST_SIZE];
	char name[XY_IDENTITY_MAX + 2];
	const char *why = NULL;
	unsigned index;

	(void)state;
	digest_of(1, digest);
	for (size_t i = 0; i < LENGTH(names); i++) {
		why = NULL;
		assert_int_equal(xy_access_token(access, names[i], digest, &why), -EINVAL);
		assert_non_null(why);
		assert_int_equal(xy_access_user(access, names[i], 1, 1, &why), -EINVAL);
	}
	memset(name, 'n', sizeof(name));
	name[XY_IDENTITY_MAX + 1] = '\0';
	assert_int_equal(xy_access_token(access, name, digest, &why), -EINVAL);
	name[XY_IDENTITY_MAX] = '\0';
	assert_int_equal(xy_access_token(access, name, digest, &why), 0);
	assert_int_equal(xy_access_token(access, "again", digest, &why), -EEXIST);
	assert_int_equal(xy_access_identity(access, "a..b", &index, &why), -EINVAL);
	index = identity_add(access, "a.*");
	assert_int_equal(xy_access_rule(access, index, XY_MAY_PUBLISH, false, "a.>.b", &why),
			 -EINVAL);
	assert_int_equal(xy_access_identities(access), 1);
	xy_access_free(access);
}

static void test_limits_hold(void **state)
{
	struct xy_access *access = access_new(XY_ANONYMOUS_NONE);
	uint8_t digest[XY_DIGEST_SIZE];
	const char *why;
	unsigned index;

	(void)state;
	for (unsigned t = 0; t < XY_ACCESS_TOKENS_MAX; t++)
		token_add(access, "a", t);
	digest_of(XY_ACCESS_TOKENS_MAX, digest);
	assert_int_equal(xy_access_token(access, "a", digest, &why), -E2BIG);
	for (unsigned u = 0; u < XY_ACCESS_USERS_MAX; u++)
		assert_int_equal(xy_access_user(access, "a", u, XY_ANY_ID, &why), 0);
	assert_int_equal(xy_access_user(access, "a", 1, 1, &why), -E2BIG);
	for (unsigned i = 0; i < XY_ACCESS_IDENTITIES_MAX; i++)
		index = identity_add(access, "a");
	assert_int_equal(xy_access_identity(access, "a", &index, &why), -E2BIG);
	for (unsigned p = 0; p < XY_ACCESS_PATTERNS_MAX; p++)
		rule_add(access, 0, XY_MAY_PUBLISH, p & 1, "a");
	assert_int_equal(xy_access_rule(access, 1, XY_MAY_PUBLISH, false, "a", &why), -E2BIG);
	xy_access_free(access);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_rules_all_is_allowed),
		cmocka_unit_test(test_with_rules_what_none_allows_is_denied),
		cmocka_unit_test(test_deny_wins_wherever_it_stands),
		cmocka_unit_test(test_a_pattern_must_be_allowed_as_a_whole),
		cmocka_unit_test(test_rules_of_all_patterns_that_match_a_name_count),
		cmocka_unit_test(test_of_many_tokens_each_is_its_own_name),
		cmocka_unit_test(test_a_token_that_is_gone_or_has_another_name_holds_no_more),
		cmocka_unit_test(test_users_are_matched_by_uid_and_any_of_their_groups),
		cmocka_unit_test(test_who_shows_nothing_comes_from_where_he_may),
		cmocka_unit_test(test_users_alone_let_nobody_in_by_tcp),
		cmocka_unit_test(test_names_and_patterns_that_cannot_be_are_refused),
		cmocka_unit_test(test_limits_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
