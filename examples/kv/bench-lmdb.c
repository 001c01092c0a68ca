/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-lmdb.c - LMDB, which syncs each commit. Its cache is the kernel's: only a limit from
 * outside (a memory cgroup) binds it.
 */
#include <stdlib.h>
#include <lmdb.h>

#include "bench.h"

struct store {
	MDB_env *env;
	MDB_dbi dbi;
};

struct reader {
	MDB_txn *txn;
	MDB_dbi dbi;
};

static void must(int r)
{
	if (r)
		engine_failed("lmdb", mdb_strerror(r));
}

static void *open_store(const char *folder, uint64_t memory)
{
	struct store *store = calloc(1, sizeof(*store));
	MDB_txn *txn;

	(void)memory;
	if (!store)
		engine_failed("lmdb", "no memory");
	must(mdb_env_create(&store->env));
	must(mdb_env_set_mapsize(store->env, (size_t)16 << 30));
	must(mdb_env_open(store->env, folder, MDB_NOTLS | MDB_NORDAHEAD, 0644));
	must(mdb_txn_begin(store->env, NULL, 0, &txn));
	must(mdb_dbi_open(txn, NULL, 0, &store->dbi));
	must(mdb_txn_commit(txn));
	return store;
}

static void close_store(void *opened)
{
	struct store *store = opened;

	mdb_env_close(store->env);
	free(store);
}

static void put(
	void *opened, const unsigned char *keys, const unsigned char *values, unsigned count)
{
	struct store *store = opened;
	MDB_txn *txn;
	unsigned i;

	must(mdb_txn_begin(store->env, NULL, 0, &txn));
	for (i = 0; i < count; i++) {
		MDB_val key = {BENCH_KEY, (void *)(uintptr_t)(keys + i * BENCH_KEY)},
			value = {BENCH_VALUE, (void *)(uintptr_t)(values + i * BENCH_VALUE)};

		must(mdb_put(txn, store->dbi, &key, &value, 0));
	}
	must(mdb_txn_commit(txn));
}

static void *open_reader(void *opened, const char *folder, uint64_t memory)
{
	struct store *store = opened;
	struct reader *reader = calloc(1, sizeof(*reader));

	(void)folder;
	(void)memory;
	if (!reader)
		engine_failed("lmdb", "no memory");
	reader->dbi = store->dbi;
	must(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn));
	return reader;
}

static void close_reader(void *opened)
{
	struct reader *reader = opened;

	mdb_txn_abort(reader->txn);
	free(reader);
}

static unsigned char get(void *opened, const unsigned char *wanted)
{
	struct reader *reader = opened;
	MDB_val key = {BENCH_KEY, (void *)(uintptr_t)wanted}, value;

	must(mdb_get(reader->txn, reader->dbi, &key, &value));
	return *(const unsigned char *)value.mv_data;
}

const struct engine engine_lmdb = {
	"lmdb", open_store, close_store, put, open_reader, close_reader, get};
