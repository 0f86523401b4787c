/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/subject.h"

#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/wire.h>

/* Every token but the last takes at least two bytes, its dot included: the bound of all recursion
 * here. */
#define DEPTH_MAX ((XY_SUBJECT_MAX + 1) / 2)

struct token {
	const char *text;
	size_t length;
};

/* Lives as long as it holds an item or has a child. Children stand in a balanced tree (tsearch) and
 * not in a hash: tokens are chosen by clients, and no choice of theirs makes it slow. */
struct xy_tree_node {
	struct token token; /* text points to name */
	struct xy_tree_node *parent;
	void *children;
	uint32_t children_count;
	uint32_t topics_under; /* of this node and all below it */
	/* Those of them that lead to topics: a pattern's wildcard looks at these alone, however
	 * many patterns there are. */
	void *leading;
	struct xy_tree_item *topics;   /* of subjects that end here */
	struct xy_tree_item *patterns; /* of patterns that end here */
	char name[];
};

struct xy_tree {
	struct xy_tree_node *root;
};

static const struct token any = {"*", 1}, rest = {">", 1};

typedef void (*found_fn)(struct xy_tree_item *item, void *context);

static int token_compare(const void *a, const void *b)
{
	const struct token *left = a, *right = b;

	if (left->length != right->length)
		return left->length < right->length ? -1 : 1;
	return memcmp(left->text, right->text, left->length);
}

static bool token_equal(const struct token *a, const struct token *b)
{
	return token_compare(a, b) == 0;
}

/* Takes the first token off *text; *text is NULL after the last. */
static struct token token_take(const char **text)
{
	struct token token = {*text, strcspn(*text, ".")};

	*text = token.text[token.length] == '.' ? token.text + token.length + 1 : NULL;
	return token;
}

static struct xy_tree_node *node_new(struct xy_tree_node *parent, struct token token)
{
	struct xy_tree_node *node = calloc(1, sizeof(*node) + token.length);

	if (node == NULL)
		return NULL;
	memcpy(node->name, token.text, token.length);
	node->token = (struct token){node->name, token.length};
	node->parent = parent;
	return node;
}

static struct xy_tree_node *node_child(const struct xy_tree_node *node, const struct token *token)
{
	/* A node begins with its token, so both can be compared as tokens. */
	struct xy_tree_node *const *found = tfind(token, &node->children, token_compare);

	return found != NULL ? *found : NULL;
}

static struct xy_tree_node *node_child_add(struct xy_tree_node *node, struct token token)
{
	struct xy_tree_node *child = node_new(node, token);

	if (child == NULL)
		return NULL;
	if (tsearch(child, &node->children, token_compare) == NULL) {
		free(child);
		return NULL;
	}
	node->children_count++;
	return child;
}

/* Frees the node, and its ancestors, as far as nobody needs them. */
static void node_prune(struct xy_tree_node *node)
{
	while (node->parent != NULL && node->children_count == 0 && node->topics == NULL &&
	       node->patterns == NULL) {
		struct xy_tree_node *parent = node->parent;

		tdelete(node, &parent->children, token_compare);
		parent->children_count--;
		free(node);
		node = parent;
	}
}

struct xy_tree *xy_tree_new(void)
{
	struct xy_tree *tree = calloc(1, sizeof(*tree));

	if (tree == NULL)
		return NULL;
	tree->root = node_new(NULL, (struct token){"", 0});
	if (tree->root == NULL) {
		free(tree);
		errno = ENOMEM;
		return NULL;
	}
	return tree;
}

void xy_tree_free(struct xy_tree *tree)
{
	if (tree == NULL)
		return;
	assert(tree->root->children_count == 0);
	free(tree->root);
	free(tree);
}

/* The node of this subject or pattern, made when it is not there. */
static struct xy_tree_node *tree_place(struct xy_tree *tree, const char *text)
{
	struct xy_tree_node *node = tree->root;

	while (text != NULL) {
		struct token token = token_take(&text);
		struct xy_tree_node *child = node_child(node, &token);

		if (child == NULL)
			child = node_child_add(node, token);
		if (child == NULL) {
			node_prune(node);
			return NULL;
		}
		node = child;
	}
	return node;
}

/* One topic less at this node, and below each of its ancestors up to `end`, which is not told. */
static void topic_uncount(struct xy_tree_node *node, const struct xy_tree_node *end)
{
	for (; node != end && node->parent != NULL; node = node->parent)
		if (--node->topics_under == 0)
			tdelete(node, &node->parent->leading, token_compare);
}

static int topic_count(struct xy_tree_node *node)
{
	for (struct xy_tree_node *at = node; at->parent != NULL; at = at->parent) {
		if (at->topics_under == 0 &&
		    tsearch(at, &at->parent->leading, token_compare) == NULL) {
			topic_uncount(node, at);
			return -ENOMEM;
		}
		at->topics_under++;
	}
	return 0;
}

static void list_insert(struct xy_tree_item **head, struct xy_tree_item *item)
{
	item->next = *head;
	item->link = head;
	if (item->next != NULL)
		item->next->link = &item->next;
	*head = item;
}

int xy_tree_add_topic(struct xy_tree *tree, const char *subject, struct xy_tree_item *item)
{
	struct xy_tree_node *node = tree_place(tree, subject);

	if (node == NULL)
		return -ENOMEM;
	if (topic_count(node) != 0) {
		node_prune(node);
		return -ENOMEM;
	}
	item->node = node;
	item->topic = true;
	list_insert(&node->topics, item);
	return 0;
}

int xy_tree_add_pattern(struct xy_tree *tree, const char *pattern, struct xy_tree_item *item)
{
	struct xy_tree_node *node = tree_place(tree, pattern);

	if (node == NULL)
		return -ENOMEM;
	item->node = node;
	item->topic = false;
	list_insert(&node->patterns, item);
	return 0;
}

void xy_tree_remove(struct xy_tree *tree, struct xy_tree_item *item)
{
	struct xy_tree_node *node = item->node;

	(void)tree;
	if (item->link == NULL)
		return;
	*item->link = item->next;
	if (item->next != NULL)
		item->next->link = item->link;
	if (item->topic)
		topic_uncount(node, NULL);
	*item = (struct xy_tree_item){0};
	node_prune(node);
}

struct xy_tree_item *xy_tree_find_topic(const struct xy_tree *tree, const char *subject)
{
	const struct xy_tree_node *node = tree->root;

	while (subject != NULL && node != NULL) {
		struct token token = token_take(&subject);

		node = node_child(node, &token);
	}
	return node != NULL ? node->topics : NULL;
}

static void report(struct xy_tree_item *items, found_fn found, void *context)
{
	for (struct xy_tree_item *item = items; item != NULL; item = item->next)
		found(item, context);
}

static size_t patterns_below(const struct xy_tree_node *node, const char *subject, found_fn found,
			     void *context)
{
	const struct xy_tree_node *child;
	struct token token;
	size_t nodes = 1;

	if (subject == NULL) {
		report(node->patterns, found, context);
		return nodes;
	}
	token = token_take(&subject);
	child = node_child(node, &rest);
	if (child != NULL)
		report(child->patterns, found, context);
	child = node_child(node, &any);
	if (child != NULL)
		nodes += patterns_below(child, subject, found, context);
	child = node_child(node, &token);
	if (child != NULL)
		nodes += patterns_below(child, subject, found, context);
	return nodes;
}

size_t xy_tree_patterns_of(const struct xy_tree *tree, const char *subject, found_fn found,
			   void *context)
{
	return patterns_below(tree->root, subject, found, context);
}

/* A walk over the topics that a pattern matches, from one node down. */
struct topics_walk {
	const char *pattern; /* what is left of it; NULL = nothing */
	bool all;            /* a final > was met: everything below matches */
	int depth;
	found_fn found;
	void *context;
	size_t *nodes; /* looked at */
};

static void topics_below(const struct xy_tree_node *node, const struct topics_walk *walk);

static void topics_visit(const void *entry, VISIT visit, void *context)
{
	const struct xy_tree_node *child = *(const struct xy_tree_node *const *)entry;

	if (visit == postorder || visit == leaf)
		topics_below(child, context);
}

static void topics_below(const struct xy_tree_node *node, const struct topics_walk *walk)
{
	struct topics_walk below = *walk;
	const struct xy_tree_node *child;
	struct token token;

	assert(walk->depth <= DEPTH_MAX);
	++*walk->nodes;
	below.depth++;
	if (walk->all || walk->pattern == NULL)
		report(node->topics, walk->found, walk->context);
	if (!walk->all) {
		if (walk->pattern == NULL)
			return;
		token = token_take(&below.pattern);
		below.all = token_equal(&token, &rest);
		if (!below.all && !token_equal(&token, &any)) {
			child = node_child(node, &token);
			if (child != NULL)
				topics_below(child, &below);
			return;
		}
	}
	twalk_r(node->leading, topics_visit, &below);
}

size_t xy_tree_topics_of(const struct xy_tree *tree, const char *pattern, found_fn found,
			 void *context)
{
	size_t nodes = 0;
	struct topics_walk walk = {
		.pattern = pattern, .found = found, .context = context, .nodes = &nodes};

	topics_below(tree->root, &walk);
	return nodes;
}
