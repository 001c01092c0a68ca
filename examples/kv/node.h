/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.h - one page of the tree.
 *
 *	| header | slot[0] .. slot[count - 1] |   free   | records, up to the end |
 *	                                                 ^ bottom
 *
 * A slot has the first four bytes of its key, so that most comparisons need nothing else, and the
 * place of its record: the length of the value in two bytes, the key, the value. The slots are
 * sorted by key. In a leaf (level 0) the records are the user's. Above, a value is the number of a
 * page whose keys are not smaller than the record's key; the first key of a level is empty.
 *
 * All keys of a page are smaller than its high key; @right is the page with those from there on. So
 * a reader that reaches a page after it was split, or before its parent knows that, moves right.
 * P. Lehman and S. Yao, "Efficient locking for concurrent operations on B-trees", TODS 1981.
 *
 * The functions of this header read a page that may change under them, and become garbage: they
 * load each field once, check it, and end whatever they find (folio/peek.h).
 */
#ifndef KV_NODE_H
#define KV_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <folio.h>

#include "kv.h"

#define NODE_MAGIC 0x6b76

struct node {
	uint32_t crc;    /* CRC-32C of the bytes that follow */
	uint32_t number; /* of the page: one that was written to the wrong place is noticed */
	uint64_t lsn;    /* of the page's last change in the log */
	uint32_t right;  /* the next page of the level; 0: none */
	uint16_t level;  /* 0: a leaf */
	uint16_t count;  /* of the slots */
	uint16_t bottom; /* where the records begin */
	uint16_t magic;
	uint32_t unused;
	uint64_t high; /* a slot; 0: no key is too large */
	uint64_t slot[];
};

enum {
	NODE_BYTES = FOLIO_PAGE_SIZE,
	NODE_SLOTS = (NODE_BYTES - sizeof(struct node)) / sizeof(uint64_t),
	NODE_ROOT = 0, /* the root's page, always */
};

/* A page in memory of the program. */
union page {
	struct node node;
	char bytes[NODE_BYTES];
};

/** struct key - a key to look for; bytes past len are zeros up to 4 at least */
struct key {
	const unsigned char *bytes;
	uint32_t len, head;
};

/* A slot: head << 32 | at << 16 | length of the key. */
static inline uint32_t slot_at(uint64_t slot)
{
	return slot >> 16 & 0xffff;
}

static inline uint32_t slot_len(uint64_t slot)
{
	return slot & 0xffff;
}

static inline bool slot_sane(uint64_t slot)
{
	return slot_len(slot) <= KV_KEY_MAX && slot_at(slot) + 2 + slot_len(slot) <= NODE_BYTES;
}

static inline struct key key_of(const void *bytes, size_t len)
{
	unsigned char head[4] = {0};

	memcpy(head, bytes, len < 4 ? len : 4);
	return (struct key){bytes, (uint32_t)len,
		(uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 |
			head[3]};
}

/* Below, at or above 0, as memcmp(3): the key of a slot, compared with @key. */
static inline int node_compare(const struct node *node, uint64_t slot, const struct key *key)
{
	uint32_t len = slot_len(slot);
	unsigned char bytes[KV_KEY_MAX];
	int order;

	if (slot >> 32 != key->head)
		return slot >> 32 < key->head ? -1 : 1;
	if (!slot_sane(slot))
		return 1;
	folio_peek_copy(bytes, (const char *)node + slot_at(slot) + 2, len);
	order = memcmp(bytes, key->bytes, len < key->len ? len : key->len);
	return order ? order : (int)len - (int)key->len;
}

/*
 * The first of @count slots whose key is not smaller. *@equal: it is the same. The processor cannot
 * predict the comparisons, so the compiler shall choose without a branch.
 */
static inline unsigned node_search(
	const struct node *node, unsigned count, const struct key *key, bool *equal)
{
	unsigned low = 0;

	*equal = false;
	while (count > 0) {
		unsigned half = count / 2;
		uint64_t slot = FOLIO_PEEK_LOAD(&node->slot[low + half]);
		bool less = slot >> 32 < key->head;

		if (__builtin_expect(slot >> 32 == key->head, 0)) {
			int order = node_compare(node, slot, key);

			less = order < 0;
			if (order == 0)
				*equal = true;
		}
		low = less ? low + half + 1 : low;
		count = less ? count - half - 1 : half;
	}
	return low;
}

/* Copies a value, @room bytes at most, and returns its length; above KV_VALUE_MAX: garbage. */
static inline unsigned node_value(const struct node *node, uint64_t slot, void *to, size_t room)
{
	const char *record = (const char *)node + slot_at(slot);
	uint16_t len;

	if (!slot_sane(slot))
		return UINT16_MAX;
	folio_peek_copy(&len, record, sizeof(len));
	if (len > KV_VALUE_MAX || slot_at(slot) + 2 + slot_len(slot) + len > NODE_BYTES)
		return UINT16_MAX;
	if (room)
		folio_peek_copy(to, record + 2 + slot_len(slot), len < room ? len : room);
	return len;
}

/** struct step - where a search goes on after a page */
struct step {
	const struct key *key;
	void *value; /* for a leaf: receives the value, @room bytes of it */
	size_t room;
	unsigned level, length; /* of the page; of the value, UINT16_MAX: none */
	uint32_t next;          /* the page to go on with; 0: this is the leaf */
	bool right;             /* next is on the same level */
};

/* One step of a search in a page that may change: a folio_peek_fn. */
void node_step(const void *page, void *step);

/* ---- the rest is for the writer, or for a copy of a page ---- */

/* One change of a page: a record to put there, or with a value of NULL, a key to remove. */
struct change {
	const void *key, *value;
	uint16_t key_len, value_len;
};

void node_init(struct node *node, uint32_t number, unsigned level);
/* Is there room for the change? */
bool node_fits(const struct node *node, const struct change *change);
/* Makes a change that fits. The result depends on nothing but the page and the change. */
void node_apply(struct node *node, const struct change *change);
/* Sets the high key; there is room, since the page is new. */
void node_set_high(struct node *node, const void *key, size_t len);
/* Distributes the records of @from, and the change, which does not fit, to two new pages. */
void node_divide(const struct node *from, const struct change *change, struct node *left,
	struct node *right);

/* A page is sealed after each change, and is verified when a call reads it. */
void node_seal(struct node *node, uint64_t lsn);
int node_verify(const struct node *node, uint32_t number);

#endif
