/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

struct ledger *ledger_attach(int fd)
{
	struct ledger *ledger =
		mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return ledger == MAP_FAILED ? NULL : ledger;
}

struct ledger *ledger_make(int *ret_fd)
{
	int fd = memfd_create("chaos-ledger", 0);
	struct ledger *ledger;

	if (fd < 0 || ftruncate(fd, sizeof(*ledger)) != 0)
		return NULL;
	ledger = ledger_attach(fd);
	if (ledger == NULL)
		return NULL;
	ledger->start_ms = xy_clock_ms();
	ledger->slower = 1;
	*ret_fd = fd;
	return ledger;
}

uint64_t ledger_ms(const struct ledger *ledger)
{
	return xy_clock_ms() - ledger->start_ms;
}

static void note(struct ledger *ledger, const char *format, va_list arguments)
{
	uint32_t place = atomic_fetch_add(&ledger->notes, 1) % NOTES_MAX;
	struct note *note = &ledger->note[place];

	note->ms = ledger_ms(ledger);
	vsnprintf(note->text, sizeof(note->text), format, arguments);
	atomic_store(&note->written, true);
}

void ledger_note(struct ledger *ledger, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(ledger, format, arguments);
	va_end(arguments);
}

/* Of the words that make the kind: without who says it, and without those that have a number. */
static uint64_t kind_name(enum verdict verdict, const char *text)
{
	const char *at = strstr(text, ": ");
	uint64_t name = 0xcbf29ce484222325u + verdict;

	for (at = at != NULL ? at + 2 : text; *at != '\0';) {
		size_t length = strcspn(at, " ");

		if (strcspn(at, "0123456789") >= length)
			for (size_t i = 0; i < length; i++)
				name = (name ^ (unsigned char)at[i]) * 0x100000001b3u;
		at += length + strspn(at + length, " ");
	}
	return name | 1;
}

/* When there are too many kinds, the last place is that of all others. */
static struct failure_kind *kind_find(struct ledger *ledger, uint64_t name)
{
	for (uint32_t k = 0; k < KINDS_MAX - 1; k++) {
		uint64_t taken = 0;

		if (atomic_compare_exchange_strong(&ledger->kind[k].name, &taken, name) ||
		    taken == name)
			return &ledger->kind[k];
	}
	return &ledger->kind[KINDS_MAX - 1];
}

void ledger_fail(struct ledger *ledger, enum verdict verdict, const char *format, ...)
{
	static const char *const word[] = {
		[CORRUPT] = "CORRUPT",       [REORDERED] = "REORDERED",
		[DUPLICATED] = "DUPLICATED", [UNACCOUNTED] = "UNACCOUNTED",
		[OTHER] = "FAILED",
	};
	_Atomic(uint32_t) *const count[] = {
		[CORRUPT] = &ledger->corrupt,       [REORDERED] = &ledger->reordered,
		[DUPLICATED] = &ledger->duplicated, [UNACCOUNTED] = &ledger->unaccounted,
		[OTHER] = &ledger->other,
	};
	char text[240];
	va_list arguments;
	uint32_t told;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	atomic_fetch_add(count[verdict], 1);
	atomic_fetch_add(&ledger->failures, 1);
	/* The first ones tell; a flood of one kind would push the others out of the log. */
	told = atomic_fetch_add(&kind_find(ledger, kind_name(verdict, text))->count, 1);
	if (told < KIND_TOLD)
		ledger_note(ledger, "%s: %s%s", word[verdict], text,
			    told == KIND_TOLD - 1 ? " (more like this are counted only)" : "");
}

/* ---- randomness ------------------------------------------------------------------------------ */

uint64_t dice_roll(struct dice *dice)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

struct dice dice_of(uint64_t seed, uint64_t who)
{
	struct dice dice = {.state = seed};

	dice.state = dice_roll(&dice) ^ who * 0xd6e8feb86659fd93ull;
	dice_roll(&dice);
	return dice;
}

uint64_t dice_below(struct dice *dice, uint64_t below)
{
	return dice_roll(dice) % below;
}
