/* SPDX-License-Identifier: BSD-2-Clause */
/* The map of ids, against an array that is searched from end to end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/idmap.h"
#include "base/random.h"

#define KEYS 300u

static uint64_t ids[KEYS];
static bool there[KEYS];

static void *value_of(unsigned key)
{
	return &ids[key];
}

static void assert_same(const struct xy_idmap *map)
{
	unsigned walked = 0, count = 0;
	size_t position = 0;
	uint64_t id;
	void *value;

	for (unsigned key = 0; key < KEYS; key++) {
		assert_ptr_equal(xy_idmap_get(map, ids[key]), there[key] ? value_of(key) : NULL);
		count += there[key];
	}
	assert_int_equal(xy_idmap_count(map), count);
	while (xy_idmap_next(map, &position, &id, &value)) {
		unsigned key = (unsigned)((uint64_t *)value - ids);

		assert_true(key < KEYS && there[key]);
		assert_true(ids[key] == id);
		walked++;
	}
	assert_int_equal(walked, count);
	walked = 0;
	for (uint64_t scanned = 1; scanned != 0;) {
		size_t looks = 1;

		walked += xy_idmap_scan(map, &scanned, &looks, &id, &value);
	}
	assert_int_equal(walked, count);
}

/* Random puts and removals; the share of removals rises and falls, so that the map fills, grows,
 * and empties again. */
static void run_against_array(void)
{
	struct xy_idmap map = {0};

	memset(there, 0, sizeof(there));
	for (unsigned step = 0; step < 6000; step++) {
		unsigned key = (unsigned)rand() % KEYS;

		if (rand() % 100 < (step / 1000 % 2 ? 20 : 80)) {
			assert_int_equal(xy_idmap_put(&map, ids[key], value_of(key)),
					 there[key] ? -EEXIST : 0);
			there[key] = true;
		} else {
			assert_ptr_equal(xy_idmap_remove(&map, ids[key]),
					 there[key] ? value_of(key) : NULL);
			there[key] = false;
		}
		if (step % 50 == 0)
			assert_same(&map);
	}
	assert_same(&map);
	xy_idmap_clear(&map);
	memset(there, 0, sizeof(there));
	assert_same(&map);
}

/* In pieces of a few looks, between which most of the map is changed: those that stay are met once,
 * and nobody twice. */
static void scan_while_it_changes(void)
{
	unsigned met[KEYS] = {0}, pieces = 0;
	struct xy_idmap map = {0};
	uint64_t position = 1, id;
	void *value;

	for (unsigned key = 0; key < KEYS; key += 3)
		assert_int_equal(xy_idmap_put(&map, ids[key], value_of(key)), 0);
	while (position != 0) {
		size_t looks = 5;

		while (xy_idmap_scan(&map, &position, &looks, &id, &value)) {
			assert_true(id == *(uint64_t *)value);
			met[(uint64_t *)value - ids]++;
		}
		/* It grows, and what others displaced moves. */
		for (unsigned i = 0; i < 8; i++) {
			unsigned key = (unsigned)rand() % KEYS;

			if (key % 3 != 0 && !xy_idmap_remove(&map, ids[key]))
				assert_int_equal(xy_idmap_put(&map, ids[key], value_of(key)), 0);
		}
		pieces++;
	}
	assert_true(pieces > 10);
	for (unsigned key = 0; key < KEYS; key++)
		assert_in_range(met[key], key % 3 == 0, 1);
	xy_idmap_clear(&map);
}

static void random_ids_agree_with_brute_force(void **state)
{
	(void)state;
	srand(1);
	for (unsigned key = 0; key < KEYS; key++)
		assert_int_equal(xy_random_id(&ids[key]), 0);
	run_against_array();
	for (int round = 0; round < 20; round++)
		scan_while_it_changes();
}

static void ids_that_collide_agree_with_brute_force(void **state)
{
	(void)state;
	srand(2);
	/* Long runs, also around the end of the table, whatever its capacity. */
	for (unsigned key = 0; key < KEYS; key++)
		ids[key] = (uint64_t)(key + 1) << 32 | (uint32_t)(0u - 3u + key % 7);
	run_against_array();
	for (int round = 0; round < 20; round++)
		scan_while_it_changes();
}

static void id_zero_and_no_value_are_refused(void **state)
{
	struct xy_idmap map = {0};

	(void)state;
	assert_null(xy_idmap_get(&map, 1));
	assert_null(xy_idmap_remove(&map, 1));
	assert_int_equal(xy_idmap_put(&map, 0, &map), -EINVAL);
	assert_int_equal(xy_idmap_put(&map, 1, NULL), -EINVAL);
	assert_int_equal(xy_idmap_put(&map, 1, &map), 0);
	assert_null(xy_idmap_get(&map, 0));
	assert_null(xy_idmap_remove(&map, 0));
	assert_int_equal(xy_idmap_count(&map), 1);
	xy_idmap_clear(&map);
}

static void put_of_an_id_that_is_there_keeps_its_value(void **state)
{
	struct xy_idmap map = {0};
	int first, second;

	(void)state;
	assert_int_equal(xy_idmap_put(&map, 5, &first), 0);
	assert_int_equal(xy_idmap_put(&map, 5, &second), -EEXIST);
	assert_ptr_equal(xy_idmap_get(&map, 5), &first);
	assert_int_equal(xy_idmap_count(&map), 1);
	xy_idmap_clear(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_ids_agree_with_brute_force),
		cmocka_unit_test(ids_that_collide_agree_with_brute_force),
		cmocka_unit_test(id_zero_and_no_value_are_refused),
		cmocka_unit_test(put_of_an_id_that_is_there_keeps_its_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
