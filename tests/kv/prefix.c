/* SPDX-License-Identifier: BSD-2-Clause */
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prefix.h"
#include "random.h"

struct change_of {
	unsigned key;
	char name[KV_KEY_MAX];
	unsigned char value[KV_VALUE_MAX];
	size_t name_len, value_len;
	bool removes;
};

static void name_key(struct change_of *change, unsigned key)
{
	uint64_t mixed = key;

	change->key = key;
	change->name_len = (size_t)snprintf(change->name, sizeof(change->name), "%05u%*s", key,
		(int)(random_next(&mixed) % 60), "");
}

static void make_change(struct change_of *change, uint64_t seed, uint64_t number)
{
	uint64_t state = seed + number * 0x2545f4914f6cdd1du;

	name_key(change, (unsigned)(random_next(&state) % PREFIX_KEYS));
	change->removes = random_next(&state) % 8 == 0;
	change->value_len = 8 + random_next(&state) % 300;
	memset(change->value, (int)(number & 0xff), sizeof(change->value));
	memcpy(change->value, &number, 8);
}

int prefix_change(struct kv *kv, uint64_t seed, uint64_t number)
{
	struct change_of change;
	int r;

	make_change(&change, seed, number);
	if (!change.removes)
		return kv_put(kv, change.name, change.name_len, change.value, change.value_len);
	r = kv_delete(kv, change.name, change.name_len);
	return r == -ENOENT ? 0 : r;
}

struct found {
	struct kv *kv;
	uint64_t seed, count, last[PREFIX_KEYS];
};

static int visit(
	void *context, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct found *found = context;
	unsigned char again[KV_VALUE_MAX];
	struct change_of change;
	uint64_t number;

	if (kv_get(found->kv, key, key_len, again, sizeof(again)) != (ssize_t)value_len ||
		memcmp(again, value, value_len))
		errx(1, "a scan and a read of one key have different results");
	if (value_len < 8)
		errx(1, "a value of %zu bytes", value_len);
	memcpy(&number, value, 8);
	make_change(&change, found->seed, number);
	if (change.removes || change.name_len != key_len || memcmp(change.name, key, key_len) ||
		change.value_len != value_len || memcmp(change.value, value, value_len))
		errx(1, "seed %llu: a record of change %llu that it has not made",
			(unsigned long long)found->seed, (unsigned long long)number);
	found->last[change.key] = number;
	found->count++;
	return 0;
}

static uint64_t differing(const struct prefix *prefix, const struct found *found)
{
	uint64_t count = 0;
	unsigned i;

	for (i = 0; i < PREFIX_KEYS; i++)
		count += prefix->last[i] != found->last[i];
	return count;
}

void prefix_check(struct kv *kv, struct prefix *prefix, uint64_t acknowledged, uint64_t begun)
{
	static struct found found;
	struct kv_shape shape;
	struct change_of change;
	uint64_t from = prefix->changes, fewest = PREFIX_KEYS, count;
	const char *why;
	int r = kv_check(kv, &shape, &why);

	if (r)
		errx(1, "seed %llu: %s: %s", (unsigned long long)prefix->seed, strerror(-r), why);
	memset(&found, 0, sizeof(found));
	found.kv = kv;
	found.seed = prefix->seed;
	prefix->unlinked += shape.unlinked;
	r = kv_scan(kv, NULL, 0, visit, &found);
	if (r || found.count != shape.records)
		errx(1, "seed %llu: a scan ends with %d after %llu of %llu records",
			(unsigned long long)prefix->seed, r, (unsigned long long)found.count,
			(unsigned long long)shape.records);
	count = differing(prefix, &found);
	for (;;) {
		uint64_t *last;

		if (prefix->changes >= acknowledged && count == 0)
			return;
		if (prefix->changes >= acknowledged && count < fewest)
			fewest = count;
		if (prefix->changes >= begun)
			break;
		make_change(&change, prefix->seed, ++prefix->changes);
		last = &prefix->last[change.key];
		count -= *last != found.last[change.key];
		*last = change.removes ? 0 : prefix->changes;
		count += *last != found.last[change.key];
	}
	errx(1,
		"seed %llu: %llu keys, at least, differ from every state after %llu to %llu "
		"changes; "
		"the run began with %llu",
		(unsigned long long)prefix->seed, (unsigned long long)fewest,
		(unsigned long long)acknowledged, (unsigned long long)begun,
		(unsigned long long)from);
}
