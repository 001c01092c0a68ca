/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "crc.h"
#include "node.h"

static uint32_t load_child(const struct node *node, uint64_t slot)
{
	uint32_t child = 0;

	return node_value(node, slot, &child, sizeof(child)) == sizeof(child) ? child : 0;
}

void node_step(const void *page, void *context)
{
	const struct node *node = page;
	struct step *step = context;
	unsigned count = FOLIO_PEEK_LOAD(&node->count), at;
	uint64_t high = FOLIO_PEEK_LOAD(&node->high);
	bool equal;

	step->level = FOLIO_PEEK_LOAD(&node->level);
	step->length = UINT16_MAX;
	step->next = 0;
	step->right = high && node_compare(node, high, step->key) <= 0;
	if (step->right) {
		step->next = FOLIO_PEEK_LOAD(&node->right);
		return;
	}
	if (count > NODE_SLOTS)
		return;
	at = node_search(node, count, step->key, &equal);
	if (step->level == 0 && equal)
		step->length =
			node_value(node, FOLIO_PEEK_LOAD(&node->slot[at]), step->value, step->room);
	else if (step->level && (at || equal)) /* the last key that is not larger */
		step->next = load_child(node, FOLIO_PEEK_LOAD(&node->slot[equal ? at : at - 1]));
}

void node_init(struct node *node, uint32_t number, unsigned level)
{
	memset(node, 0, NODE_BYTES);
	node->number = number;
	node->level = (uint16_t)level;
	node->magic = NODE_MAGIC;
	node->bottom = NODE_BYTES;
}

static unsigned record_len(const struct node *node, uint64_t slot)
{
	uint16_t value_len;

	memcpy(&value_len, (const char *)node + slot_at(slot), 2);
	return 2u + slot_len(slot) + value_len;
}

static unsigned room(const struct node *node)
{
	return node->bottom - (unsigned)sizeof(*node) - node->count * 8u;
}

/* Writes a record below the others, and returns its slot. */
static uint64_t push(
	struct node *node, const void *key, size_t key_len, const void *value, size_t value_len)
{
	uint16_t len = (uint16_t)value_len;
	char *record;

	node->bottom = (uint16_t)(node->bottom - 2 - key_len - value_len);
	record = (char *)node + node->bottom;
	memcpy(record, &len, 2);
	memcpy(record + 2, key, key_len);
	if (value_len)
		memcpy(record + 2 + key_len, value, value_len);
	return (uint64_t)key_of(key, key_len).head << 32 | (uint64_t)node->bottom << 16 | key_len;
}

static uint64_t push_slot(struct node *node, const struct node *from, uint64_t slot)
{
	const char *record = (const char *)from + slot_at(slot);

	return push(node, record + 2, slot_len(slot), record + 2 + slot_len(slot),
		record_len(from, slot) - 2 - slot_len(slot));
}

void node_set_high(struct node *node, const void *key, size_t len)
{
	node->high = push(node, key, len, NULL, 0);
}

/* What the header, the slots and the records need that are not garbage; slot @without: skipped. */
static unsigned used(const struct node *node, unsigned without)
{
	unsigned bytes = sizeof(*node), i;

	if (node->high)
		bytes += record_len(node, node->high);
	for (i = 0; i < node->count; i++) {
		if (i != without)
			bytes += 8 + record_len(node, node->slot[i]);
	}
	return bytes;
}

bool node_fits(const struct node *node, const struct change *change)
{
	struct key key = key_of(change->key, change->key_len);
	unsigned len = 8u + 2u + change->key_len + change->value_len, at;
	bool equal;

	if (!change->value || room(node) >= len)
		return true;
	at = node_search(node, node->count, &key, &equal);
	return used(node, equal ? at : UINT16_MAX) + len <= NODE_BYTES;
}

static void compact(struct node *node)
{
	union page old;
	unsigned i;

	memcpy(&old, node, NODE_BYTES);
	node->bottom = NODE_BYTES;
	if (old.node.high)
		node->high = push_slot(node, &old.node, old.node.high);
	for (i = 0; i < node->count; i++)
		node->slot[i] = push_slot(node, &old.node, old.node.slot[i]);
}

void node_apply(struct node *node, const struct change *change)
{
	struct key key = key_of(change->key, change->key_len);
	unsigned at;
	bool equal;

	at = node_search(node, node->count, &key, &equal);
	if (equal) { /* its record becomes garbage */
		node->count--;
		memmove(&node->slot[at], &node->slot[at + 1], (node->count - at) * 8u);
	}
	if (!change->value)
		return;
	if (room(node) < 8u + 2u + change->key_len + change->value_len)
		compact(node);
	memmove(&node->slot[at + 1], &node->slot[at], (node->count - at) * 8u);
	node->slot[at] = push(node, change->key, change->key_len, change->value, change->value_len);
	node->count++;
}

/*
 * How many records stay in the left page: about half of the bytes. The change of @len bytes belongs
 * to slot @at, which has an older record of its key if @equal.
 */
static unsigned middle(const struct node *from, unsigned at, bool equal, unsigned len)
{
	unsigned total = used(from, equal ? at : UINT16_MAX) + len, bytes = sizeof(*from), i;

	if (at == from->count && !from->right && total - len + 2 + KV_KEY_MAX <= NODE_BYTES)
		return at; /* keys in order: leave the left page full */
	for (i = 0; i < from->count - 1u && bytes < total / 2; i++) {
		if (i == at) {
			bytes += len;
			if (i && !equal && bytes >= total / 2)
				return i; /* then the new record is the first on the right */
		}
		if (i != at || !equal)
			bytes += 8 + record_len(from, from->slot[i]);
	}
	return i ? i : 1;
}

void node_divide(
	const struct node *from, const struct change *change, struct node *left, struct node *right)
{
	struct key key = key_of(change->key, change->key_len);
	const char *record;
	bool equal;
	unsigned at = node_search(from, from->count, &key, &equal), i,
		 stay = middle(from, at, equal, 10u + change->key_len + change->value_len);

	if (from->high)
		right->high = push_slot(right, from, from->high);
	if (stay < from->count) { /* the separator is the first key on the right */
		record = (const char *)from + slot_at(from->slot[stay]);
		if (at == stay && !equal)
			node_set_high(left, change->key, change->key_len);
		else
			node_set_high(left, record + 2, slot_len(from->slot[stay]));
	} else {
		node_set_high(left, change->key, change->key_len);
	}
	for (i = 0; i < from->count; i++) {
		struct node *to = i < stay ? left : right;

		if (i == at && equal)
			continue;
		to->slot[to->count] = push_slot(to, from, from->slot[i]);
		to->count++;
	}
	node_apply(node_compare(left, left->high, &key) > 0 ? left : right, change);
}

void node_seal(struct node *node, uint64_t lsn)
{
	node->lsn = lsn;
	node->crc = crc32c(0, (const char *)node + 4, NODE_BYTES - 4);
}

int node_verify(const struct node *node, uint32_t number)
{
	bool good = node->crc == crc32c(0, (const char *)node + 4, NODE_BYTES - 4) &&
		    node->magic == NODE_MAGIC && node->number == number;

	return good ? 0 : -EBADMSG;
}
