/* SPDX-License-Identifier: BSD-2-Clause */
#include <stddef.h>

#include "base/bytes.h"
#include "io/timer.h"

/* The last due time that the levels can hold. */
#define DUE_MAX ((UINT64_C(1) << (XY_WHEEL_BITS * XY_WHEEL_LEVELS)) - 1)

static void timer_push(struct xy_timer **head, struct xy_timer *timer)
{
	timer->next = *head;
	if (timer->next)
		timer->next->link = &timer->next;
	timer->link = head;
	*head = timer;
}

void xy_timer_stop(struct xy_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->next = NULL;
	timer->link = NULL;
}

bool xy_timer_active(const struct xy_timer *timer)
{
	return timer->link != NULL;
}

void xy_wheel_start(struct xy_wheel *wheel, struct xy_timer *timer, uint64_t due_ms)
{
	unsigned int level, slot;

	timer->due_ms = xy_min(due_ms, DUE_MAX);
	if (timer->due_ms <= wheel->time) {
		timer_push(&wheel->soon, timer);
		return;
	}
	level = (63 - (unsigned int)__builtin_clzll(timer->due_ms ^ wheel->time)) / XY_WHEEL_BITS;
	slot = timer->due_ms >> (level * XY_WHEEL_BITS) & (XY_WHEEL_SLOTS - 1);
	timer_push(&wheel->slot[level][slot], timer);
	wheel->occupied[level] |= UINT64_C(1) << slot;
}

/* The occupied slot that starts first, and when. */
static uint64_t wheel_first(struct xy_wheel *wheel, unsigned int *ret_level, unsigned int *ret_slot)
{
	for (unsigned int level = 0; level < XY_WHEEL_LEVELS; level++) {
		while (wheel->occupied[level]) {
			unsigned int slot = (unsigned int)__builtin_ctzll(wheel->occupied[level]);
			unsigned int shift = level * XY_WHEEL_BITS;

			if (!wheel->slot[level][slot]) {
				wheel->occupied[level] &= ~(UINT64_C(1) << slot);
				continue;
			}
			*ret_level = level;
			*ret_slot = slot;
			return (wheel->time >> (shift + XY_WHEEL_BITS) << XY_WHEEL_BITS | slot)
			       << shift;
		}
	}
	return UINT64_MAX;
}

uint64_t xy_wheel_next(struct xy_wheel *wheel)
{
	unsigned int level, slot;

	return wheel->soon ? wheel->time : wheel_first(wheel, &level, &slot);
}

/* Takes a list out, turned into the order of starting. */
static struct xy_timer *list_take(struct xy_timer **head)
{
	struct xy_timer *timer = *head, *taken = NULL;

	*head = NULL;
	while (timer) {
		struct xy_timer *next = timer->next;

		timer_push(&taken, timer);
		timer = next;
	}
	return taken;
}

/* Returns the new end. */
static struct xy_timer **list_append(struct xy_timer **end, struct xy_timer *timer)
{
	*end = timer;
	if (timer)
		timer->link = end;
	while (*end)
		end = &(*end)->next;
	return end;
}

void xy_wheel_expire(struct xy_wheel *wheel, uint64_t now_ms)
{
	struct xy_timer **end = list_append(&wheel->batch, list_take(&wheel->soon));
	unsigned int level, slot;
	uint64_t start;

	while ((start = wheel_first(wheel, &level, &slot)) <= now_ms) {
		struct xy_timer *timer = list_take(&wheel->slot[level][slot]);

		wheel->time = start;
		wheel->occupied[level] &= ~(UINT64_C(1) << slot);
		while (timer) {
			struct xy_timer *next = timer->next;

			xy_wheel_start(wheel, timer, timer->due_ms);
			timer = next;
		}
		end = list_append(end, list_take(&wheel->soon));
	}
	if (wheel->time < now_ms)
		wheel->time = now_ms;
}

static void list_clear(struct xy_timer **head)
{
	while (*head)
		xy_timer_stop(*head);
}

void xy_wheel_clear(struct xy_wheel *wheel)
{
	list_clear(&wheel->batch);
	list_clear(&wheel->soon);
	for (unsigned int level = 0; level < XY_WHEEL_LEVELS; level++) {
		for (unsigned int slot = 0; slot < XY_WHEEL_SLOTS; slot++)
			list_clear(&wheel->slot[level][slot]);
	}
}
