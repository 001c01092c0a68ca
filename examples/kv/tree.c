/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.c - the writer.
 *
 * A change of a page is logged, and then made, under the page's lock; the page's number in
 * folio_mark_dirty is the LSN, so folio calls log_flush before it writes the page.
 *
 * A split writes the new page on the right, which nobody can reach yet, then the left page with its
 * new high key and neighbour, then the parent. After each step the tree is valid, and all records
 * are found. If a crash comes before the third step, the next writer that passes there makes it.
 * The root stays in its page: its records move to two new pages.
 */
#include <errno.h>

#include "tree.h"

enum { LEVELS = 16 };

int grow(struct kv *kv, uint64_t pages)
{
	enum { STEP = 256 };
	uint64_t wanted = (pages + STEP - 1) / STEP * STEP;
	int r;

	if (pages <= kv->file_pages)
		return 0;
	if (pages > UINT32_MAX)
		return -ENOSPC;
	r = folio_file_truncate(kv->file, wanted * NODE_BYTES);
	if (!r)
		kv->file_pages = wanted;
	return r;
}

static int log_image(struct kv *kv, uint32_t number, const struct node *node, uint64_t *lsn)
{
	union {
		struct record record;
		char bytes[LOG_RECORD_MAX];
	} image;
	struct record *record = &image.record;
	uint32_t low = (uint32_t)sizeof(*node) + node->count * 8u, high = NODE_BYTES - node->bottom;
	int r;

	record->kind = LOG_IMAGE;
	record->number = number;
	record->key_len = 0;
	memcpy(record->data, node, low);
	memcpy(record->data + low, (const char *)node + node->bottom, high);
	r = log_append(&kv->log, record, (uint32_t)sizeof(*record) + low + high);
	*lsn = record->lsn;
	return r;
}

static int log_change(struct kv *kv, uint32_t number, const struct change *change, uint64_t *lsn)
{
	union {
		struct record record;
		char bytes[LOG_RECORD_MAX];
	} redo;
	struct record *record = &redo.record;
	uint32_t len = (uint32_t)sizeof(*record) + change->key_len;
	int r;

	record->kind = change->value ? LOG_PUT : LOG_DELETE;
	record->number = number;
	record->key_len = change->key_len;
	memcpy(record->data, change->key, change->key_len);
	if (change->value) {
		memcpy(record->data + change->key_len, change->value, change->value_len);
		len += change->value_len;
	}
	r = log_append(&kv->log, record, len);
	*lsn = record->lsn;
	return r;
}

/* Pins and locks a page. */
static int get_locked(struct kv *kv, uint32_t number, struct folio **folio, struct node **node)
{
	void *page;
	int r = folio_file_get_page(kv->file, number, 0, folio, &page);

	if (r)
		return r;
	r = folio_lock(*folio);
	if (r)
		folio_put(*folio);
	*node = page;
	return r;
}

/* Ends a change; @r is its result so far. What fails after the log has it leaves no way back. */
static int put_changed(struct kv *kv, struct folio *folio, uint64_t lsn, int r)
{
	if (!r)
		r = folio_mark_dirty(folio, lsn);
	if (r)
		kv->error = r;
	folio_unlock(folio);
	folio_put(folio);
	return r;
}

int write_page(struct kv *kv, uint32_t number, struct node *node)
{
	struct folio *folio;
	struct node *page;
	uint64_t lsn = 0;
	int r = get_locked(kv, number, &folio, &page);

	if (r)
		return r;
	r = log_image(kv, number, node, &lsn);
	if (!r) {
		node_seal(node, lsn);
		memcpy(page, node, NODE_BYTES);
	}
	return put_changed(kv, folio, lsn, r);
}

/* -E2BIG: it does not fit, and nothing has changed. */
static int change_page(struct kv *kv, uint32_t number, const struct change *change)
{
	struct folio *folio;
	struct node *node;
	union page copy;
	uint64_t lsn = 0;
	int r = get_locked(kv, number, &folio, &node);

	if (r)
		return r;
	if (!node_fits(node, change)) {
		folio_unlock(folio);
		folio_put(folio);
		return -E2BIG;
	}
	if (node->lsn > kv->log.base) {
		r = log_change(kv, number, change, &lsn);
		if (!r)
			node_apply(node, change);
	} else { /* the first change since the checkpoint: an image */
		memcpy(&copy, node, NODE_BYTES);
		node_apply(&copy.node, change);
		r = log_image(kv, number, &copy.node, &lsn);
		if (!r)
			memcpy(node, &copy, NODE_BYTES);
	}
	if (!r)
		node_seal(node, lsn);
	return put_changed(kv, folio, lsn, r);
}

static int new_page(struct kv *kv, unsigned level, struct node *node)
{
	uint64_t number = folio_u64_load_relaxed(&kv->pages);
	int r = grow(kv, number + 1);

	if (r)
		return r;
	folio_u64_store_relaxed(&kv->pages, number + 1);
	node_init(node, (uint32_t)number, level);
	return 0;
}

static void link_child(struct node *node, const void *key, size_t len, uint32_t child)
{
	struct change change = {key, &child, (uint16_t)len, sizeof(child)};

	node_apply(node, &change);
}

static int insert(struct kv *kv, const uint32_t *path, const struct change *change);

/* The root's records move to two pages, and it gets a level more. */
static int split_root(struct kv *kv, union page *old, const struct change *change)
{
	union page left, right;
	struct node *root = &old->node;
	unsigned level = root->level;
	int r = new_page(kv, level, &left.node);

	if (!r)
		r = new_page(kv, level, &right.node);
	if (r)
		return r;
	node_divide(root, change, &left.node, &right.node);
	left.node.right = right.node.number;
	r = write_page(kv, right.node.number, &right.node);
	if (!r)
		r = write_page(kv, left.node.number, &left.node);
	if (r)
		return r;
	node_init(root, NODE_ROOT, level + 1);
	link_child(root, "", 0, left.node.number);
	link_child(root, left.bytes + slot_at(left.node.high) + 2, slot_len(left.node.high),
		right.node.number);
	return write_page(kv, NODE_ROOT, root);
}

/* path[0] is full. Splits it, with the change, and links the new page in path[1]. */
static int split(struct kv *kv, const uint32_t *path, const struct change *change)
{
	union page old, left, right;
	struct change parent;
	int r = copy_page(kv, path[0], &old);

	if (r)
		return r;
	if (path[0] == NODE_ROOT)
		return split_root(kv, &old, change);
	r = new_page(kv, old.node.level, &right.node);
	if (r)
		return r;
	node_init(&left.node, path[0], old.node.level);
	node_divide(&old.node, change, &left.node, &right.node);
	right.node.right = old.node.right;
	left.node.right = right.node.number;
	r = write_page(kv, right.node.number, &right.node);
	if (!r)
		r = write_page(kv, path[0], &left.node);
	if (r)
		return r;
	parent = (struct change){left.bytes + slot_at(left.node.high) + 2, &right.node.number,
		(uint16_t)slot_len(left.node.high), sizeof(uint32_t)};
	r = insert(kv, path + 1, &parent);
	return kv->error ? r : 0; /* without the link the tree is valid: the next writer makes it */
}

static int insert(struct kv *kv, const uint32_t *path, const struct change *change)
{
	int r = change_page(kv, path[0], change);

	return r == -E2BIG ? split(kv, path, change) : r;
}

/*
 * The pages on the way to @key: path[0] is the leaf, path[1] its parent. With one writer, a page
 * that is reached from its left neighbour only lacks its link in the parent; it gets it here.
 */
static int find_path(struct kv *kv, const struct key *key, uint32_t *path, struct step *step)
{
	uint32_t number = NODE_ROOT;
	union page page;
	int r;

	for (;;) {
		r = read_page(kv, number, node_step, step);
		if (r)
			return r;
		if (step->level >= LEVELS || (step->level && !step->next))
			return -EBADMSG;
		path[step->level] = number;
		if (!step->next)
			return 0;
		number = step->next;
		if (step->right && (r = copy_page(kv, path[step->level], &page)) == 0) {
			struct change link = {page.bytes + slot_at(page.node.high) + 2, &number,
				(uint16_t)slot_len(page.node.high), sizeof(number)};

			r = insert(kv, path + step->level + 1, &link);
			number = NODE_ROOT; /* the way may be another one now */
		}
		if (r)
			return r;
	}
}

static int checkpoint(struct kv *kv)
{
	int r = log_flush(&kv->log, log_end(&kv->log));

	if (!r)
		r = folio_file_sync(kv->file, NULL, FOLIO_SYNC_DATA);
	return r ? r : log_begin(&kv->log, folio_u64_load_relaxed(&kv->pages));
}

static int change_tree(struct kv *kv, const struct change *change)
{
	struct key key = key_of(change->key, change->key_len);
	struct step step = {.key = &key};
	uint32_t path[LEVELS];
	int r;

	if (!change->key_len || change->key_len > KV_KEY_MAX || change->value_len > KV_VALUE_MAX)
		return -EINVAL;
	pthread_mutex_lock(&kv->writer);
	r = kv->error;
	if (!r && log_end(&kv->log) - kv->log.base > kv->log_bytes)
		r = checkpoint(kv);
	if (!r)
		r = find_path(kv, &key, path, &step);
	if (!r && !change->value && step.length == UINT16_MAX)
		r = -ENOENT;
	if (!r)
		r = insert(kv, path, change);
	pthread_mutex_unlock(&kv->writer);
	return r;
}

int kv_put(struct kv *kv, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct change change = {key, value ? value : "", (uint16_t)key_len, (uint16_t)value_len};

	if (key_len > KV_KEY_MAX || value_len > KV_VALUE_MAX)
		return -EINVAL;
	return change_tree(kv, &change);
}

int kv_delete(struct kv *kv, const void *key, size_t key_len)
{
	struct change change = {key, NULL, (uint16_t)key_len, 0};

	return key_len > KV_KEY_MAX ? -EINVAL : change_tree(kv, &change);
}

int kv_commit(struct kv *kv)
{
	return log_flush(&kv->log, log_end(&kv->log));
}

int kv_checkpoint(struct kv *kv)
{
	int r;

	pthread_mutex_lock(&kv->writer);
	r = kv->error ? kv->error : checkpoint(kv);
	pthread_mutex_unlock(&kv->writer);
	return r;
}
