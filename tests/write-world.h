/* SPDX-License-Identifier: BSD-2-Clause */
/* write-world.h - a cache with one real file, and a model of that file. */
#ifndef FOLIO_TESTS_WRITE_WORLD_H
#define FOLIO_TESTS_WRITE_WORLD_H

#include <pthread.h>

#include "cache-test.h"
#include "quiet-cache.h"

#define MODEL_PAGES 200
#define MODEL_BYTES (MODEL_PAGES * PAGE)

struct world {
	struct folio_cache *cache;
	struct folio_file *file;
	struct cache_limits limits; /* of the new cache */
	char path[64];
	uint64_t base; /* the model is the part of the file from here on; before it is a hole */
	uint64_t size; /* of the model */
	char model[MODEL_BYTES];
};

/* Opens the cache, and the file, which exists. */
static inline void world_open(struct world *world, const struct folio_cache_params *params)
{
	assert_int_equal(folio_cache_open(params, &world->cache), 0);
	world->limits = limits_of(world->cache);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

static inline void world_begin(struct world *world, unsigned pages, uint64_t dirty_pages)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.dirty_bytes = dirty_pages * PAGE,
		.dirty_age_ms = UINT32_MAX,
	};
	int fd;

	memset(world, 0, sizeof(*world));
	snprintf(world->path, sizeof(world->path), "folio-write-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	world_open(world, &params);
}

static inline void world_end(struct world *world)
{
	assert_int_equal(folio_file_close(world->file), 0);
	expect_quiet(world->cache, &world->limits);
	assert_int_equal(folio_cache_close(world->cache), 0);
	unlink(world->path);
}

/* Compares the file, as the kernel reads it, with the model. */
static inline void check_file(struct world *world)
{
	static char buf[MODEL_BYTES + 1];
	int fd = open(world->path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = pread(fd, buf, sizeof(buf), (off_t)world->base);
	close(fd);
	assert_int_equal(n, world->size);
	assert_memory_equal(buf, world->model, world->size);
}

#endif
