/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readers.c - readers verify what they see while two threads change the store and commit.
 *     readers FOLDER [--seed N] [--changes N]
 * Each writer has its own half of the keys. A value has the number of its change in all words, so a
 * reader sees whether it is one version; and no reader sees a key go back to an older version. Keys
 * divisible by four are never deleted: a scan finds each of them, in order.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <folio.h>

#include "kv.h"
#include "random.h"

enum { KEYS = 2000, READERS = 2, WRITERS = 2, WORDS = 20 };

static struct kv *kv;
static uint64_t seed, changes = 20000;
static folio_u64 running = WRITERS, seen_by_readers;

static void name_key(char *name, unsigned key)
{
	snprintf(name, 9, "%08u", key % 100000000);
}

static void put(unsigned key, uint64_t number)
{
	uint64_t value[WORDS];
	char name[9];
	unsigned i;
	int r;

	name_key(name, key);
	for (i = 0; i < WORDS; i++)
		value[i] = number;
	r = kv_put(kv, name, 8, value, sizeof(value));
	if (r)
		errx(1, "put: %s", strerror(-r));
}

static void *writer(void *context)
{
	unsigned half = *(unsigned *)context, key;
	uint64_t state = seed + half, number;
	char name[9];
	int r = 0;

	for (number = 1; number <= changes; number++) {
		key = (unsigned)(random_next(&state) % (KEYS / 2)) * 2 + half;
		if (key % 4 && random_next(&state) % 3 == 0) {
			name_key(name, key);
			r = kv_delete(kv, name, 8);
			if (r && r != -ENOENT)
				errx(1, "delete: %s", strerror(-r));
		} else {
			put(key, number);
		}
		if (number % 64 == 0 && (r = kv_commit(kv)) != 0)
			errx(1, "commit: %s", strerror(-r));
	}
	folio_u64_fetch_add_release(&running, (uint64_t)-1);
	return NULL;
}

struct reader {
	uint64_t newest[KEYS];
	unsigned next; /* of a scan: the key that must not be skipped */
	uint64_t gets;
};

static void see(struct reader *reader, unsigned key, const uint64_t *value, size_t len)
{
	unsigned i;

	if (len != WORDS * sizeof(uint64_t))
		errx(1, "key %u: a value of %zu bytes", key, len);
	for (i = 1; i < WORDS; i++) {
		if (value[i] != value[0])
			errx(1, "key %u: half of change %llu and half of %llu", key,
				(unsigned long long)value[0], (unsigned long long)value[i]);
	}
	if (value[0] < reader->newest[key])
		errx(1, "key %u: change %llu after %llu", key, (unsigned long long)value[0],
			(unsigned long long)reader->newest[key]);
	reader->newest[key] = value[0];
}

static int visit(void *context, const void *name, size_t name_len, const void *value, size_t len)
{
	struct reader *reader = context;
	uint64_t copy[WORDS];
	char text[9] = "";
	unsigned key;

	memcpy(text, name, name_len < 8 ? name_len : 8);
	key = (unsigned)strtoul(text, NULL, 10);
	if (key >= KEYS || key > reader->next)
		errx(1, "a scan reaches key %u, and has not had %u", key, reader->next);
	if (key == reader->next)
		reader->next += 4;
	memcpy(copy, value, len < sizeof(copy) ? len : sizeof(copy));
	see(reader, key, copy, len);
	return 0;
}

static void *reader(void *context)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	uint64_t state = seed + 100 + *(unsigned *)context, value[WORDS], last;
	char name[9];
	unsigned key;
	ssize_t n;
	int r;

	do {
		last = folio_u64_load_acquire(&running);
		for (unsigned i = 0; i < 500; i++) {
			key = (unsigned)(random_next(&state) % KEYS);
			name_key(name, key);
			n = kv_get(kv, name, 8, value, sizeof(value));
			if (n == -ENOENT ? key % 4 == 0 : n < 0)
				errx(1, "key %u: %s", key, strerror((int)-n));
			if (n >= 0)
				see(reader, key, value, (size_t)n);
		}
		reader->next = 0;
		r = kv_scan(kv, NULL, 0, visit, reader);
		if (r || reader->next != KEYS)
			errx(1, "a scan ends with %d at key %u", r, reader->next);
		folio_u64_fetch_add_relaxed(&seen_by_readers, 500);
	} while (last);
	free(reader);
	return NULL;
}

static void start(pthread_t *thread, void *(*function)(void *), unsigned *number)
{
	if (pthread_create(thread, NULL, function, number))
		errx(1, "no thread");
}

int main(int argc, char **argv)
{
	/* Little memory: pages leave and return all the time. */
	struct kv_params params = {.bytes = FOLIO_CACHE_BYTES_MIN, .log_bytes = 1 << 20};
	const char *given = getenv("FOLIO_SEED"), *why;
	pthread_t thread[READERS + WRITERS];
	unsigned number[] = {0, 1}, i;
	struct kv_shape shape;
	char path[4096], log_path[4104];
	int r;

	seed = given ? strtoull(given, NULL, 0) : random_seed();
	for (i = 2; i + 1 < (unsigned)argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--changes"))
			changes = strtoull(argv[i + 1], NULL, 0);
		else
			break;
	}
	if (argc < 2 || i != (unsigned)argc)
		errx(2, "usage: readers FOLDER [--seed N] [--changes N]");
	printf("readers: seed %llu (FOLIO_SEED)\n", (unsigned long long)seed);
	fflush(stdout);
	alarm(280);
	snprintf(path, sizeof(path), "%s/kv-readers.%ld", argv[1], (long)getpid());
	snprintf(log_path, sizeof(log_path), "%s.log", path);
	r = kv_open(path, &params, &kv);
	if (r)
		errx(1, "open: %s", strerror(-r));
	for (i = 0; i < KEYS; i += 4)
		put(i, 0);
	for (i = 0; i < WRITERS; i++)
		start(&thread[READERS + i], writer, &number[i]);
	for (i = 0; i < READERS; i++)
		start(&thread[i], reader, &number[i]);
	for (i = 0; i < READERS + WRITERS; i++)
		pthread_join(thread[i], NULL);
	r = kv_check(kv, &shape, &why);
	if (r)
		errx(1, "%s", why);
	r = kv_close(kv);
	if (r)
		errx(1, "close: %s", strerror(-r));
	unlink(path);
	unlink(log_path);
	printf("readers: %llu reads during %llu changes\n",
		(unsigned long long)folio_u64_load_relaxed(&seen_by_readers),
		(unsigned long long)changes * WRITERS);
	return 0;
}
