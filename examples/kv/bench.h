/* SPDX-License-Identifier: BSD-2-Clause */
/* bench.h - the stores that kv bench compares, behind one table each. */
#ifndef KV_BENCH_H
#define KV_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_KEY = 8, BENCH_VALUE = 92, BENCH_RECORD = BENCH_KEY + BENCH_VALUE };

/* Functions return 0, or end the program with a message. */
struct engine {
	const char *name;
	/* Opens a store in an existing folder, with @memory bytes for its cache. */
	void *(*open)(const char *folder, uint64_t memory);
	void (*close)(void *store);
	/* Inserts @count records in one durable group; @keys and @values have them in a row. */
	void (*put)(void *store, const unsigned char *keys, const unsigned char *values,
		unsigned count);
	/* Of one thread: what a reader needs; NULL is fine. */
	void *(*reader)(void *store, const char *folder, uint64_t memory);
	void (*reader_close)(void *reader);
	/* Reads one value; returns its first byte. */
	unsigned char (*get)(void *reader, const unsigned char *key);
};

extern const struct engine engine_kv;
#ifdef HAVE_SQLITE
extern const struct engine engine_sqlite;
#endif
#ifdef HAVE_LMDB
extern const struct engine engine_lmdb;
#endif

void engine_failed(const char *engine, const char *what) __attribute__((noreturn));

#endif
