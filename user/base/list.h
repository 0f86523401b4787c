/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A circular doubly linked list, embedded in its items.
 *
 * The head is a node of its own. A node that is in no list points to itself, so removing twice is
 * harmless; both heads and nodes must be initialised once. No locks.
 */
#ifndef XY_BASE_LIST_H
#define XY_BASE_LIST_H

#include <stdbool.h>

#include "base/bytes.h"

struct xy_list {
	struct xy_list *next, *prev;
};

static inline void xy_list_init(struct xy_list *list)
{
	list->next = list->prev = list;
}

/* Of a head: no items. Of a node: in no list. */
static inline bool xy_list_empty(const struct xy_list *list)
{
	return list->next == list;
}

static inline void xy_list_insert(struct xy_list *node, struct xy_list *prev, struct xy_list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void xy_list_add_head(struct xy_list *head, struct xy_list *node)
{
	xy_list_insert(node, head, head->next);
}

static inline void xy_list_add_tail(struct xy_list *head, struct xy_list *node)
{
	xy_list_insert(node, head->prev, head);
}

static inline void xy_list_remove(struct xy_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	xy_list_init(node);
}

#define xy_list_entry(node, type, member) xy_container_of(node, type, member)

/* First or last item, or NULL when the list is empty. */
#define xy_list_first(head, type, member) \
	(xy_list_empty(head) ? NULL : xy_list_entry((head)->next, type, member))
#define xy_list_last(head, type, member) \
	(xy_list_empty(head) ? NULL : xy_list_entry((head)->prev, type, member))

/* `item` is a variable of the item's pointer type; the list must not change meanwhile. */
#define xy_list_each(item, head, member)                                    \
	for (item = xy_list_entry((head)->next, __typeof__(*item), member); \
	     &item->member != (head);                                       \
	     item = xy_list_entry(item->member.next, __typeof__(*item), member))

/* As above; the body may remove and free `item` (only). `after` is a second such variable. */
#define xy_list_each_safe(item, after, head, member)                             \
	for (item = xy_list_entry((head)->next, __typeof__(*item), member),      \
	    after = xy_list_entry(item->member.next, __typeof__(*item), member); \
	     &item->member != (head);                                            \
	     item = after, after = xy_list_entry(after->member.next, __typeof__(*item), member))

#endif
