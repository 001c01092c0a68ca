/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-kv.c - this store. Readers share it; kv_commit makes a group durable. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "kv.h"

static void must(int r)
{
	if (r)
		engine_failed("kv", strerror(-r));
}

static void *open_store(const char *folder, uint64_t memory)
{
	struct kv_params params = {.bytes = memory};
	struct kv *kv = NULL;
	char path[4200];

	snprintf(path, sizeof(path), "%s/kv", folder);
	must(kv_open(path, &params, &kv));
	return kv;
}

static void close_store(void *kv)
{
	must(kv_close(kv));
}

static void put(void *kv, const unsigned char *keys, const unsigned char *values, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		must(kv_put(kv, keys + i * BENCH_KEY, BENCH_KEY, values + i * BENCH_VALUE,
			BENCH_VALUE));
	must(kv_commit(kv));
}

static void *reader(void *kv, const char *folder, uint64_t memory)
{
	(void)folder;
	(void)memory;
	return kv;
}

static void reader_close(void *kv)
{
	(void)kv;
}

static unsigned char get(void *kv, const unsigned char *key)
{
	unsigned char value[BENCH_VALUE];
	ssize_t n = kv_get(kv, key, BENCH_KEY, value, sizeof(value));

	if (n != BENCH_VALUE)
		engine_failed("kv", n < 0 ? strerror((int)-n) : "a value's length");
	return value[0];
}

const struct engine engine_kv = {"kv", open_store, close_store, put, reader, reader_close, get};
