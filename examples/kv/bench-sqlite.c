/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-sqlite.c - SQLite with a write-ahead log and synchronous=FULL: a commit is durable, as that
 * of kv. One connection for the writer, and one for each reader; each has the whole cache_size,
 * since connections do not share it, but the kernel's page cache comes on top.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sqlite3.h>

#include "bench.h"

struct connection {
	sqlite3 *db;
	sqlite3_stmt *put, *get;
};

static void run(struct connection *c, const char *statement)
{
	if (sqlite3_exec(c->db, statement, NULL, NULL, NULL) != SQLITE_OK)
		engine_failed("sqlite", sqlite3_errmsg(c->db));
}

static void *connect(const char *folder, uint64_t memory)
{
	struct connection *c = calloc(1, sizeof(*c));
	char text[4200];

	snprintf(text, sizeof(text), "%s/sqlite", folder);
	if (!c || sqlite3_open_v2(text, &c->db,
			  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			  NULL) != SQLITE_OK)
		engine_failed("sqlite", "open");
	sqlite3_busy_timeout(c->db, 10000);
	run(c, "PRAGMA page_size=4096");
	run(c, "PRAGMA journal_mode=WAL");
	run(c, "PRAGMA synchronous=FULL");
	snprintf(text, sizeof(text), "PRAGMA cache_size=-%llu", (unsigned long long)memory / 1024);
	run(c, text);
	run(c, "CREATE TABLE IF NOT EXISTS t(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID");
	if (sqlite3_prepare_v2(c->db, "INSERT OR REPLACE INTO t VALUES(?,?)", -1, &c->put, NULL) ||
		sqlite3_prepare_v2(c->db, "SELECT v FROM t WHERE k=?", -1, &c->get, NULL))
		engine_failed("sqlite", sqlite3_errmsg(c->db));
	return c;
}

static void disconnect(void *connection)
{
	struct connection *c = connection;

	sqlite3_finalize(c->put);
	sqlite3_finalize(c->get);
	sqlite3_close(c->db);
	free(c);
}

static void put(void *store, const unsigned char *keys, const unsigned char *values, unsigned count)
{
	struct connection *c = store;
	unsigned i;

	run(c, "BEGIN IMMEDIATE");
	for (i = 0; i < count; i++) {
		sqlite3_bind_blob(c->put, 1, keys + i * BENCH_KEY, BENCH_KEY, SQLITE_STATIC);
		sqlite3_bind_blob(c->put, 2, values + i * BENCH_VALUE, BENCH_VALUE, SQLITE_STATIC);
		if (sqlite3_step(c->put) != SQLITE_DONE)
			engine_failed("sqlite", sqlite3_errmsg(c->db));
		sqlite3_reset(c->put);
	}
	run(c, "COMMIT");
}

static void *reader(void *store, const char *folder, uint64_t memory)
{
	struct connection *c = connect(folder, memory);

	(void)store;
	run(c, "BEGIN"); /* one snapshot: no lock per statement */
	return c;
}

static void reader_close(void *connection)
{
	run(connection, "COMMIT");
	disconnect(connection);
}

static unsigned char get(void *connection, const unsigned char *key)
{
	struct connection *c = connection;
	unsigned char first;

	sqlite3_bind_blob(c->get, 1, key, BENCH_KEY, SQLITE_STATIC);
	if (sqlite3_step(c->get) != SQLITE_ROW)
		engine_failed("sqlite", "a key is missing");
	first = *(const unsigned char *)sqlite3_column_blob(c->get, 0);
	sqlite3_reset(c->get);
	return first;
}

const struct engine engine_sqlite = {"sqlite", connect, disconnect, put, reader, reader_close, get};
