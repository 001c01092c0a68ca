/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.c - the store, compared with a sorted array under random operations.
 *     model FOLDER [--seed N] [--seeds N] [--operations N]
 * Puts, deletes, reads, scans, commits, checkpoints, closes and opens; keys and values of all
 * lengths, few different keys or many, budgets from the smallest one on.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv.h"
#include "node.h"
#include "random.h"

struct entry {
	unsigned char key[KV_KEY_MAX];
	uint16_t key_len, value_len;
	unsigned char value[KV_VALUE_MAX];
};

static struct {
	struct entry **entry;
	size_t count, room;
} model;

static struct kv *kv;
static uint64_t state, operation, seed;
static char path[4096];

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition))                                                        \
			errx(1, "line %d, seed %llu, operation %llu: %s", __LINE__,      \
				(unsigned long long)seed, (unsigned long long)operation, \
				#condition);                                             \
	} while (0)

static uint64_t below(uint64_t limit)
{
	return random_next(&state) % limit;
}

/* The first entry that is not smaller. */
static size_t model_find(const struct entry *key, bool *equal)
{
	size_t low = 0, high = model.count;

	*equal = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct entry *e = model.entry[middle];
		int order = memcmp(
			e->key, key->key, e->key_len < key->key_len ? e->key_len : key->key_len);

		if (!order)
			order = e->key_len - key->key_len;
		if (!order)
			*equal = true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void model_remove(size_t at)
{
	free(model.entry[at]);
	model.count--;
	memmove(&model.entry[at], &model.entry[at + 1],
		(model.count - at) * sizeof(model.entry[0]));
}

static void model_put(const struct entry *entry)
{
	bool equal;
	size_t at = model_find(entry, &equal);

	if (equal)
		model_remove(at);
	if (model.count == model.room) {
		model.room = model.room ? 2 * model.room : 64;
		model.entry = realloc(model.entry, model.room * sizeof(model.entry[0]));
	}
	memmove(&model.entry[at + 1], &model.entry[at],
		(model.count - at) * sizeof(model.entry[0]));
	model.entry[at] = malloc(sizeof(*entry));
	*model.entry[at] = *entry;
	model.count++;
}

/* A key of a small or a large set: its length, and a shared beginning, follow from its number. */
static void make_key(struct entry *entry, unsigned shape)
{
	uint64_t number = below(shape & 1 ? 300 : 20000), mixed = number;
	unsigned i;

	entry->key_len = (uint16_t)(shape & 2 ? 8 : 1 + random_next(&mixed) % KV_KEY_MAX);
	memset(entry->key, shape & 4 ? 'k' : 0, entry->key_len);
	for (i = 0; i < 4 && i < entry->key_len; i++)
		entry->key[shape & 4 ? entry->key_len - 1u - i : i] =
			(unsigned char)(number >> 8 * i);
}

struct expected {
	size_t at, left;
};

static int visit(
	void *context, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct expected *expected = context;
	const struct entry *entry;

	CHECK(expected->at < model.count);
	entry = model.entry[expected->at++];
	CHECK(entry->key_len == key_len && memcmp(entry->key, key, key_len) == 0);
	CHECK(entry->value_len == value_len && memcmp(entry->value, value, value_len) == 0);
	return --expected->left ? 0 : 1;
}

static void scan(const struct entry *from, size_t limit)
{
	struct expected expected = {.left = limit};
	size_t first;
	bool equal;
	int r;

	first = expected.at = model_find(from, &equal);
	r = kv_scan(kv, from->key, from->key_len, visit, &expected);
	CHECK(r == (model.count - first >= limit));
	CHECK(r || expected.at == model.count);
}

static void verify_all(void)
{
	const struct entry all = {.key_len = 0};
	struct kv_shape shape;
	const char *why;

	if (kv_check(kv, &shape, &why))
		errx(1, "seed %llu, operation %llu: %s", (unsigned long long)seed,
			(unsigned long long)operation, why);
	CHECK(shape.records == model.count);
	CHECK(shape.unlinked == 0);
	scan(&all, SIZE_MAX);
}

static void reopen(const struct kv_params *params)
{
	if (kv) {
		CHECK(kv_close(kv) == 0);
		CHECK(kv_open(path, params, &kv) == 0);
		verify_all();
	} else {
		CHECK(kv_open(path, params, &kv) == 0);
	}
}

static void one_operation(unsigned shape)
{
	unsigned char value[KV_VALUE_MAX];
	static struct entry entry;
	uint64_t what = below(100);
	size_t at;
	ssize_t n;
	bool equal;

	make_key(&entry, shape);
	at = model_find(&entry, &equal);
	if (what < 50) {
		entry.value_len = (uint16_t)below(shape & 8 ? 1 + KV_VALUE_MAX : 20);
		memset(entry.value, (int)below(256), entry.value_len);
		CHECK(kv_put(kv, entry.key, entry.key_len, entry.value, entry.value_len) == 0);
		model_put(&entry);
	} else if (what < 70) {
		CHECK(kv_delete(kv, entry.key, entry.key_len) == (equal ? 0 : -ENOENT));
		if (equal)
			model_remove(at);
	} else if (what < 90) {
		n = kv_get(kv, entry.key, entry.key_len, value, sizeof(value));
		CHECK(n == (equal ? model.entry[at]->value_len : -ENOENT));
		CHECK(!equal || memcmp(value, model.entry[at]->value, (size_t)n) == 0);
	} else if (what < 97) {
		scan(&entry, 1 + below(200));
	} else if (what < 99) {
		CHECK(kv_commit(kv) == 0);
	} else if (below(10) == 0) {
		CHECK(kv_checkpoint(kv) == 0);
	}
}

static void run(uint64_t operations)
{
	struct kv_params params = {0};
	unsigned shape;
	char log[4200];

	snprintf(log, sizeof(log), "%s.log", path);
	unlink(path);
	unlink(log);
	state = seed;
	shape = (unsigned)below(16);
	params.bytes = below(2) ? FOLIO_CACHE_BYTES_MIN : 4 << 20;
	params.log_bytes = below(2) ? 100 << 10 : 4 << 20;
	reopen(&params);
	for (operation = 0; operation < operations; operation++) {
		one_operation(shape);
		if (operation % (operations / 5) == 0)
			reopen(&params);
	}
	verify_all();
	CHECK(kv_close(kv) == 0);
	kv = NULL;
	while (model.count)
		model_remove(model.count - 1);
	unlink(path);
	unlink(log);
}

int main(int argc, char **argv)
{
	uint64_t seeds = 16, operations = 5000, first;
	const char *given = getenv("FOLIO_SEED");
	int i;

	seed = given ? strtoull(given, NULL, 0) : random_seed();
	for (i = 2; i + 1 < argc; i += 2) {
		uint64_t number = strtoull(argv[i + 1], NULL, 0);

		if (!strcmp(argv[i], "--seed"))
			seed = number;
		else if (!strcmp(argv[i], "--seeds"))
			seeds = number;
		else if (!strcmp(argv[i], "--operations"))
			operations = number;
		else
			break;
	}
	if (argc < 2 || i != argc || operations < 5)
		errx(2, "usage: model FOLDER [--seed N] [--seeds N] [--operations N]");
	snprintf(path, sizeof(path), "%s/kv-model.%ld", argv[1], (long)getpid());
	printf("model: seeds %llu and up (FOLIO_SEED)\n", (unsigned long long)seed);
	fflush(stdout);
	for (first = seed; seed < first + seeds; seed++)
		run(operations);
	free(model.entry);
	printf("model: %llu seeds of %llu operations\n", (unsigned long long)seeds,
		(unsigned long long)operations);
	return 0;
}
