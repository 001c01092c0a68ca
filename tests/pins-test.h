/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins-test.h - a cache with two files, and what folio_cache_pins reports of it. Must be included
 * first.
 */
#ifndef FOLIO_TESTS_PINS_TEST_H
#define FOLIO_TESTS_PINS_TEST_H

#ifndef FOLIO_REF_DEBUG
#define FOLIO_REF_DEBUG
#endif

#include <pthread.h>
#include <sys/stat.h>

#include "cache-test.h"

#define FILE_PAGES  600
#define CACHE_PAGES 2048

struct world {
	struct folio_cache *cache;
	struct folio_file *file[2];
	struct stat stat[2];
	unsigned own_type;
	folio_u32 released;
	/* The device's writes wait while it is locked. */
	pthread_mutex_t gate;
	folio_u32 at_gate;
};

static struct world *gated;

static inline void gated_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	if (requests[0]->op == FOLIO_IO_WRITE) {
		folio_u32_fetch_add_release(&gated->at_gate, 1);
		pthread_mutex_lock(&gated->gate);
		pthread_mutex_unlock(&gated->gate);
	}
	folio_io_threads.submit(context, requests, count);
}

static inline void released(struct folio *folio, void *context)
{
	struct world *world = context;

	(void)folio;
	folio_u32_fetch_add_release(&world->released, 1);
}

/* Nothing happens in the cache but what the test does: no read-ahead, no write-back by age. */
static inline void world_begin(struct world *world)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = CACHE_PAGES * PAGE,
		.io = &ops,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.dirty_bytes = CACHE_PAGES / 2 * PAGE,
		.dirty_age_ms = UINT32_MAX,
	};
	struct folio_type_params type = {
		.size = sizeof(type), .name = "btree", .release = released, .context = world};
	unsigned i;

	memset(world, 0, sizeof(*world));
	ops = folio_io_threads;
	ops.submit = gated_submit;
	gated = world;
	pthread_mutex_init(&world->gate, NULL);
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_type_register(world->cache, &type, &world->own_type), 0);
	for (i = 0; i < 2; i++) {
		char path[] = "folio-pins-XXXXXX";
		int fd = mkstemp(path);

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, FILE_PAGES * PAGE), 0);
		assert_int_equal(fstat(fd, &world->stat[i]), 0);
		close(fd);
		assert_int_equal(
			folio_file_open(world->cache, path, O_RDWR, 0, &world->file[i]), 0);
		unlink(path);
	}
}

static inline void world_end(struct world *world)
{
	unsigned i;

	assert_int_equal(folio_cache_pins(world->cache, NULL, NULL), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(folio_file_close(world->file[i]), 0);
	assert_int_equal(folio_cache_pins(world->cache, NULL, NULL), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	pthread_mutex_destroy(&world->gate);
}

/* ---- reports ---- */

#define REPORTS_MAX CACHE_PAGES

struct reports {
	unsigned count;
	struct {
		struct folio_pinned pinned;
		struct folio_holder holder[FOLIO_HOLDERS_MAX];
	} one[REPORTS_MAX];
};

static inline bool remember(const struct folio_pinned *pinned, void *context)
{
	struct reports *reports = context;
	uint32_t i, known = 0;

	assert_int_equal(pinned->size, sizeof(*pinned));
	assert_true(reports->count < REPORTS_MAX);
	assert_true(pinned->references > 0);
	assert_true(pinned->holders <= FOLIO_HOLDERS_MAX);
	reports->one[reports->count].pinned = *pinned;
	for (i = 0; i < pinned->holders; i++) {
		reports->one[reports->count].holder[i] = pinned->holder[i];
		known += pinned->holder[i].count;
	}
	assert_true(pinned->unknown <= pinned->references);
	if (known <= pinned->references)
		assert_int_equal(known + pinned->unknown, pinned->references);
	reports->one[reports->count].pinned.holder = reports->one[reports->count].holder;
	reports->count++;
	return true;
}

static inline struct reports *look(struct world *world)
{
	static struct reports reports;
	ssize_t n;

	reports.count = 0;
	n = folio_cache_pins(world->cache, remember, &reports);
	assert_int_equal(n, reports.count);
	return &reports;
}

/* What was reported for a folio; NULL if nothing was. */
static inline const struct folio_pinned *of(
	const struct reports *reports, const struct folio *folio)
{
	unsigned i;

	for (i = 0; i < reports->count; i++)
		if (reports->one[i].pinned.folio == folio)
			return &reports->one[i].pinned;
	return NULL;
}

/* The report for @folio, which must be the only folio that is pinned. */
static inline const struct folio_pinned *the_one(struct world *world, const struct folio *folio)
{
	const struct reports *reports = look(world);

	assert_int_equal(reports->count, 1);
	assert_ptr_equal(reports->one[0].pinned.folio, folio);
	return &reports->one[0].pinned;
}

static inline void check_holder_at(const struct folio_pinned *pinned, uint32_t which,
	const char *file, int line, pid_t thread, uint32_t count)
{
	assert_true(which < pinned->holders);
	assert_string_equal(pinned->holder[which].file, file);
	assert_int_equal(pinned->holder[which].line, line);
	assert_int_equal(pinned->holder[which].thread, thread);
	assert_int_equal(pinned->holder[which].count, count);
}

#define check_holder(pinned, which, line, thread, count) \
	check_holder_at(pinned, which, __FILE__, line, thread, count)

#endif
