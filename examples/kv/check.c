/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - is the tree valid?
 *
 * Each page verifies; its keys ascend, and are in the range that its parent has for it. The pages
 * of a level are linked from left to right without a gap, and have the range between their
 * separators: a parent may lack a link (a split before a crash), but may have none too many.
 */
#include <errno.h>
#include <stdlib.h>

#include "tree.h"

struct walk {
	struct kv *kv;
	struct kv_shape *shape;
	const char *why;
	uint32_t next[UINT8_MAX]; /* of each level: the right link of the last page */
};

static int wrong(struct walk *walk, const char *why)
{
	walk->why = why;
	return -EBADMSG;
}

static struct key slot_key(const struct node *node, uint64_t slot)
{
	return key_of((const char *)node + slot_at(slot) + 2, slot_len(slot));
}

/* The slots and records lie in the page, and the keys ascend between @low and the high key. */
static int check_node(struct walk *walk, const struct node *node, const struct key *low)
{
	struct key key = *low;
	unsigned i;
	char byte;

	if (node->count > NODE_SLOTS || node->bottom > NODE_BYTES ||
		node->bottom < sizeof(*node) + node->count * 8u)
		return wrong(walk, "a page's header");
	if (node->level && !node->count)
		return wrong(walk, "a page without children");
	for (i = 0; i < node->count; i++) {
		uint64_t slot = node->slot[i];

		if (slot_at(slot) < node->bottom || node_value(node, slot, &byte, 0) == UINT16_MAX)
			return wrong(walk, "a record is outside of its page");
		if (key_of((const char *)node + slot_at(slot) + 2, slot_len(slot)).head !=
			slot >> 32)
			return wrong(walk, "a slot has another key than its record");
		if (node_compare(node, slot, &key) < (i ? 1 : 0))
			return wrong(walk, "keys do not ascend");
		key = slot_key(node, slot);
	}
	if (node->level && node_compare(node, node->slot[0], low) != 0)
		return wrong(walk, "a page's first child does not begin where the page does");
	if (!node->high != !node->right)
		return wrong(walk, "a high key and no page on the right, or the reverse");
	if (node->high && node_compare(node, node->high, &key) <= 0)
		return wrong(walk, "a key is not below the high key");
	return 0;
}

static int check_tree(struct walk *walk, uint32_t number, int level, const struct key *low,
	const struct key *high);

/* The children of a page, each with its right neighbours up to the next child. */
static int check_children(struct walk *walk, const struct node *node)
{
	unsigned i;
	int r;

	for (i = 0; i < node->count; i++) {
		struct key low = slot_key(node, node->slot[i]), high = {0};
		bool last = i + 1 == node->count;
		uint64_t end = last ? node->high : node->slot[i + 1];
		uint32_t child = 0;

		if (node_value(node, node->slot[i], &child, sizeof(child)) != sizeof(child))
			return wrong(walk, "a child's number");
		if (end)
			high = slot_key(node, end);
		r = check_tree(walk, child, node->level - 1, &low, end ? &high : NULL);
		if (r)
			return r;
	}
	return 0;
}

/* The pages of one level from @number on, which together have the keys from @low up to @high. */
static int check_tree(struct walk *walk, uint32_t number, int level, const struct key *low,
	const struct key *high)
{
	unsigned char bytes[KV_KEY_MAX];
	struct key from = *low;
	union page page;
	bool last;
	int r;

	do {
		if (++walk->shape->pages > folio_u64_load_relaxed(&walk->kv->pages))
			return wrong(walk, "a page is linked twice");
		r = copy_page(walk->kv, number, &page);
		if (r)
			return walk->why = "a page cannot be read, or its checksum is wrong", r;
		if (level < 0) /* the root */
			level = page.node.level < UINT8_MAX ? page.node.level : 0;
		if (page.node.level != level)
			return wrong(walk, "a page's level");
		if (number != NODE_ROOT && walk->next[level] && walk->next[level] != number)
			return wrong(walk, "a page is not its left neighbour's right one");
		walk->next[level] = page.node.right;
		r = check_node(walk, &page.node, &from);
		if (!r && level)
			r = check_children(walk, &page.node);
		if (r)
			return r;
		if (!level)
			walk->shape->records += page.node.count;
		last = high ? page.node.high && node_compare(&page.node, page.node.high, high) >= 0
			    : !page.node.high;
		if (last && high && node_compare(&page.node, page.node.high, high) != 0)
			return wrong(walk, "a page has keys of its right neighbour");
		if (!last && !page.node.high)
			return wrong(walk, "a level ends before its parent does");
		if (!last) {
			from = slot_key(&page.node, page.node.high);
			memcpy(bytes, from.bytes, from.len);
			from.bytes = bytes;
			number = page.node.right;
			walk->shape->unlinked++;
		}
	} while (!last);
	return 0;
}

int kv_check(struct kv *kv, struct kv_shape *shape, const char **why)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	struct key low = key_of("", 0);
	union page root;
	int r;

	if (!walk)
		return -ENOMEM;
	*walk = (struct walk){.kv = kv, .shape = shape, .why = ""};
	*shape = (struct kv_shape){0};
	pthread_mutex_lock(&kv->writer);
	r = check_tree(walk, NODE_ROOT, -1, &low, NULL);
	if (!r)
		r = copy_page(kv, NODE_ROOT, &root);
	if (!r)
		shape->levels = root.node.level + UINT64_C(1);
	pthread_mutex_unlock(&kv->writer);
	if (why)
		*why = walk->why;
	free(walk);
	return r;
}
