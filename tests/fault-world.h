/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault-world.h - a cache with one open file on the fault-injecting backend (io-fault.h), and
 * threads that share it.
 */
#ifndef FOLIO_TESTS_FAULT_WORLD_H
#define FOLIO_TESTS_FAULT_WORLD_H

#include <pthread.h>

#include "cache-test.h"

#define THREADS 4

struct world {
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_cache *cache;
	struct folio_file *file;
};

static inline void world_begin(struct world *world, uint64_t pages, uint32_t flags, uint64_t size)
{
	world->io = io_fault_new(test_seed, THREADS);
	world->contents = io_fault_add(world->io, "a", size);
	world->cache = cache_open(pages, flags, world->io);
	world->file = file_open(world->cache, "a");
}

/*
 * The same over @ops, a copy of io_fault_ops in which the test has replaced functions, and without
 * read-ahead. The backend has @threads threads.
 */
static inline void world_begin_over(struct world *world, const struct folio_io_ops *ops,
	unsigned threads, uint64_t pages, uint64_t size)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.io = ops};

	world->io = io_fault_new(test_seed, threads);
	world->contents = io_fault_add(world->io, "a", size);
	params.io_context = world->io;
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	world->file = file_open(world->cache, "a");
}

static inline void world_end(struct world *world)
{
	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	assert_int_equal(io_fault_opens(world->io), 0);
	io_fault_free(world->io);
}

/* Reads @len bytes and expects all of them to be right and of generation @oldest or later. */
static inline void expect_read(struct world *world, uint64_t offset, size_t len, uint64_t oldest)
{
	uint64_t found = UINT64_MAX;
	char *buf = malloc(len + 1);

	assert_non_null(buf);
	assert_int_equal(folio_file_read(world->file, buf, len, offset), len);
	assert_true(io_fault_check(world->contents, offset, buf, len, &found, NULL));
	assert_true(found >= oldest);
	free(buf);
}

static inline uint64_t reads(struct world *world)
{
	return io_fault_calls(world->io, IO_FAULT_READ);
}

/* ---- threads ---- */

struct shared {
	struct world world;
	folio_u64 floor; /* a read that begins now returns this generation or a later one */
	folio_u32 failures;
	folio_u32 stop;
	unsigned steps;
	uint64_t pages;
};

struct worker {
	struct shared *shared;
	pthread_t thread;
	uint64_t random;
};

static inline void failed(struct shared *shared, bool condition)
{
	if (condition)
		folio_u32_fetch_add_relaxed(&shared->failures, 1);
}

#endif
