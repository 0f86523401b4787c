/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of a chaos run: whatever kind of failure there was, it is named, however many there were
 * of another.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "chaos/ledger.h"

#define FLOOD 5000

static uint32_t told(const struct ledger *ledger, const char *words)
{
	uint32_t count = 0;

	for (uint32_t n = 0; n < NOTES_MAX; n++)
		count += strstr(ledger->note[n].text, words) != NULL;
	return count;
}

static void each_kind_of_failure_is_named(void **state)
{
	struct ledger *ledger;
	int fd;

	(void)state;
	ledger = ledger_make(&fd);
	assert_non_null(ledger);
	for (uint64_t i = 0; i < FLOOD; i++)
		ledger_fail(ledger, UNACCOUNTED, "fan-sub-%u: pair-0 life 1: %" PRIu64 " missing",
			    (unsigned)(i % 7), i);
	ledger_fail(ledger, UNACCOUNTED, "%s: the proxy forgot", "raw");
	ledger_fail(ledger, OTHER, "proxy 1 died by itself, status %#x: see %s", 11, "here");
	ledger_fail(ledger, CORRUPT, "fan-sub-1: pair-0 life 1: %u missing", 7u);
	assert_int_equal(atomic_load(&ledger->failures), FLOOD + 3);
	assert_int_equal(atomic_load(&ledger->unaccounted), FLOOD + 1);
	assert_int_equal(told(ledger, "UNACCOUNTED: fan-sub-"), KIND_TOLD);
	assert_int_equal(told(ledger, "(more like this are counted only)"), 1);
	assert_int_equal(told(ledger, "UNACCOUNTED: raw: the proxy forgot"), 1);
	assert_int_equal(told(ledger, "FAILED: proxy 1 died by itself"), 1);
	assert_int_equal(told(ledger, "CORRUPT: fan-sub-1"), 1);
	munmap(ledger, sizeof(*ledger));
	close(fd);
}

static void more_kinds_than_there_is_room_for_share_the_last(void **state)
{
	struct ledger *ledger;
	char word[16];
	int fd;

	(void)state;
	ledger = ledger_make(&fd);
	assert_non_null(ledger);
	for (unsigned i = 0; i < 2 * KINDS_MAX; i++) {
		for (unsigned bit = 0; bit < 10; bit++)
			word[bit] = i >> bit & 1 ? 'x' : 'y';
		word[10] = '\0';
		ledger_fail(ledger, OTHER, "raw: %s", word);
	}
	assert_int_equal(told(ledger, "FAILED: raw: "), KINDS_MAX - 1 + KIND_TOLD);
	munmap(ledger, sizeof(*ledger));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_failure_is_named),
		cmocka_unit_test(more_kinds_than_there_is_room_for_share_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
