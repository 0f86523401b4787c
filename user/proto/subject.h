/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subjects and patterns (NATS-style), and the tree that finds who matches whom.
 *
 * Grammar: docs/PROTOCOL.md, Subjects. Pure, bounded; the tree allocates.
 */
#ifndef XY_PROTO_SUBJECT_H
#define XY_PROTO_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A subject to publish on: valid UTF-8, 1 … 255 bytes, no white space (Unicode's White_Space), no
 * control characters (Cc), no empty token, no token that is exactly `*` or `>`. 0 or -EINVAL with a
 * sentence in why (may be NULL, static string). */
int xy_subject_check(const char *subject, size_t length, const char **ret_why);
/* A pattern to subscribe to: as above, but `*` may stand for a token and `>` as the last one. */
int xy_pattern_check(const char *pattern, size_t length, const char **ret_why);
/* Both must have passed their checks; zero-terminated. */
bool xy_pattern_match(const char *pattern, const char *subject);
/* Of two patterns (a subject is one, too): whether each subject that the inner one matches is
 * matched by the outer; whether there is a subject that both match. */
bool xy_pattern_covers(const char *outer, const char *inner);
bool xy_pattern_overlaps(const char *a, const char *b);

/*
 * The tree: one node per token, holding topics (literal subjects) and subscriptions (patterns)
 * alike, so that a new topic finds its subscriptions and a new subscription its topics in one walk
 * each. One thread. Items are embedded by their owner, who keeps them alive while they are in the
 * tree.
 */
struct xy_tree;
struct xy_tree_node;

struct xy_tree_item {
	struct xy_tree_item *next, **link; /* private; link is NULL when not in the tree */
	struct xy_tree_node *node;         /* private */
	bool topic;                        /* private */
};

struct xy_tree *xy_tree_new(void);       /* NULL with errno */
void xy_tree_free(struct xy_tree *tree); /* must be empty of items */

/* The strings must have passed their checks. 0 or -ENOMEM. Several items may share a place. */
int xy_tree_add_topic(struct xy_tree *tree, const char *subject, struct xy_tree_item *item);
int xy_tree_add_pattern(struct xy_tree *tree, const char *pattern, struct xy_tree_item *item);
/* Frees nodes that nobody needs any more. No-op for an item that is in no tree. */
void xy_tree_remove(struct xy_tree *tree, struct xy_tree_item *item);

/* The topic item at exactly this subject, or NULL. */
struct xy_tree_item *xy_tree_find_topic(const struct xy_tree *tree, const char *subject);
/* Calls found for every pattern item that matches the subject / every topic item that the pattern
 * matches. found must not change the tree. Returns how many nodes were looked at: wildcards make
 * many even where nothing is found, of those on the way to patterns and of those on the way to
 * topics. */
size_t xy_tree_patterns_of(const struct xy_tree *tree, const char *subject,
			   void (*found)(struct xy_tree_item *item, void *context), void *context);
size_t xy_tree_topics_of(const struct xy_tree *tree, const char *pattern,
			 void (*found)(struct xy_tree_item *item, void *context), void *context);

#endif
