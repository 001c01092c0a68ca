/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * read.c - readers: no locks, in place where the page is cached.
 *
 * A reader has one page at a time. Between two of them anything may happen: if the page was split,
 * its high key sends the reader to the right. Pages are never freed, so a page number that was read
 * stays right, and the root never moves.
 */
#include <errno.h>

#include "tree.h"

/* What a visit through a call gets is a copy, which does not change, so it can be verified. */
struct verified {
	folio_peek_fn *visit;
	void *context;
	uint32_t number;
	int result;
};

static void visit_verified(const void *page, void *context)
{
	struct verified *verified = context;

	verified->result = node_verify(page, verified->number);
	if (!verified->result)
		verified->visit(page, verified->context);
}

/* Reads through a call. A damaged page leaves the cache, so that the next reader tries again. */
static int read_verified(struct kv *kv, uint32_t number, folio_peek_fn *visit, void *context)
{
	struct verified verified = {visit, context, number, 0};
	int r = folio_file_visit(kv->file, number, visit_verified, &verified);

	if (!r && verified.result)
		folio_file_invalidate(kv->file, (uint64_t)number * NODE_BYTES, NODE_BYTES);
	return r ? r : verified.result;
}

int read_page(struct kv *kv, uint32_t number, folio_peek_fn *visit, void *context)
{
	struct folio_peek peek;
	unsigned tries;

	for (tries = 0; kv->view && tries < 3; tries++) {
		const void *page = folio_peek(kv->view, number, &peek);

		if (!page)
			break;
		visit(page, context);
		if (folio_peek_valid(&peek))
			return 0;
	}
	/* Also each page that has just come from the device: nobody may peek there yet. */
	return read_verified(kv, number, visit, context);
}

static void visit_copy(const void *page, void *context)
{
	memcpy(context, page, NODE_BYTES);
}

int copy_page(struct kv *kv, uint32_t number, union page *page)
{
	return read_verified(kv, number, visit_copy, page);
}

ssize_t kv_get(struct kv *kv, const void *key, size_t key_len, void *value, size_t room)
{
	struct key wanted = key_of(key, key_len);
	struct step step = {.key = &wanted, .value = value, .room = room};
	uint64_t hops = folio_u64_load_relaxed(&kv->pages) + 64;
	uint32_t number = NODE_ROOT;

	if (!key_len || key_len > KV_KEY_MAX)
		return -EINVAL;
	do {
		int r = read_page(kv, number, node_step, &step);

		if (r)
			return r;
		number = step.next;
	} while (number && hops-- > 0);
	if (number || step.level)
		return -EBADMSG;
	return step.length == UINT16_MAX ? -ENOENT : (ssize_t)step.length;
}

/* ---- scans ---- */

enum {
	AHEAD = 32
}; /* leaves that one call reads ahead; 2 at first, so that short scans are cheap */

/* The records come from copies of leaves, and the numbers of the next leaves from their parent. */
struct scan {
	union page leaf, parent;
	unsigned next;   /* the parent's first slot that is not read ahead */
	unsigned ahead;  /* leaves until the next call */
	unsigned window; /* how many the next call reads */
};

static uint32_t child_at(const struct node *node, unsigned at)
{
	uint32_t child = 0;

	node_value(node, node->slot[at], &child, sizeof(child));
	return child;
}

/* To the leaf of @key. Leaves its parent in scan->parent, and the slot after it in scan->next. */
static int descend(struct kv *kv, struct scan *scan, const struct key *key)
{
	struct step step = {.key = key};
	uint32_t number = NODE_ROOT;
	bool equal;
	int r;

	scan->parent.node.count = 0;
	for (;;) {
		r = copy_page(kv, number, &scan->leaf);
		if (r)
			return r;
		node_step(&scan->leaf, &step);
		if (!step.next)
			return step.level ? -EBADMSG : 0;
		if (step.level == 1 && !step.right) {
			scan->parent = scan->leaf;
			scan->next = node_search(&scan->parent.node, scan->parent.node.count, key,
					     &equal) +
				     equal;
		}
		number = step.next;
	}
}

/* Before the leaf that follows is read: are it and the next ones on their way? */
static int read_ahead(struct kv *kv, struct scan *scan)
{
	struct folio_range range[AHEAD];
	struct node *parent = &scan->parent.node;
	unsigned count = 0;
	int r;

	if (scan->ahead) {
		scan->ahead--;
		return 0;
	}
	if (scan->next >= parent->count && parent->count && parent->right) {
		r = copy_page(kv, parent->right, &scan->parent);
		if (r)
			return r;
		scan->next = 0;
	}
	for (; count < scan->window && scan->next < parent->count; scan->next++, count++)
		range[count] = (struct folio_range){
			(uint64_t)child_at(parent, scan->next) * NODE_BYTES, NODE_BYTES};
	scan->ahead = count ? count - 1 : 0;
	scan->window = scan->window < AHEAD ? 2 * scan->window : AHEAD;
	if (count > 1)
		folio_file_prefetch(kv->file, range, count); /* a hint */
	return 0;
}

int kv_scan(struct kv *kv, const void *key, size_t key_len, kv_visit_fn *visit, void *context)
{
	struct key from = key_of(key_len ? key : "", key_len);
	struct scan scan = {.window = 2};
	const struct node *leaf = &scan.leaf.node;
	unsigned at;
	bool equal;
	int r;

	if (key_len > KV_KEY_MAX)
		return -EINVAL;
	r = descend(kv, &scan, &from);
	if (r)
		return r;
	at = node_search(leaf, leaf->count, &from, &equal);
	for (;;) {
		for (; at < leaf->count; at++) {
			const char *record = scan.leaf.bytes + slot_at(leaf->slot[at]);
			unsigned len = slot_len(leaf->slot[at]);
			uint16_t value_len;

			memcpy(&value_len, record, sizeof(value_len));
			r = visit(context, record + 2, len, record + 2 + len, value_len);
			if (r)
				return r;
		}
		if (!leaf->right)
			return 0;
		r = read_ahead(kv, &scan);
		if (!r)
			r = copy_page(kv, leaf->right, &scan.leaf);
		if (r)
			return r;
		at = 0;
	}
}
