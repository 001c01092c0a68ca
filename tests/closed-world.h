/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closed-world.h - files on disk, and a cache that keeps the pages of files that no handle has
 * open, over a backend that reports the attributes that the test sets.
 */
#ifndef FOLIO_TESTS_CLOSED_WORLD_H
#define FOLIO_TESTS_CLOSED_WORLD_H

#include <sys/stat.h>

#include "cache-test.h"
#include "quiet-cache.h"

#define PAGES 10
#define FILES 8
#define BIG   200 /* pages of a file that is larger than the cache */

/* ---- a backend that reports the attributes that the test sets ---- */

/*
 * What it reports of all files. The times are long ago, so that a change is never recent: a test
 * that changes a file adds 1 to @changed.
 */
static struct {
	uint32_t fields;
	int64_t changed;
	bool ambiguous;
	char handle;
	int64_t btime;
	uint64_t generation;
	uint64_t mount;
	uint64_t limit;     /* with FOLIO_IO_ATTR_LIMIT */
	bool keeps;         /* attributes: only queries with FOLIO_IO_ATTR_FRESH get new ones */
	int64_t kept;       /* what it has kept of @changed */
	unsigned refreshes; /* such queries */
	int error;
	unsigned error_after; /* queries that succeed before @error */
} report;

static folio_u64 opened, closed; /* handles of the backend */
static folio_ptr last_opened;    /* the last one that is not a probe */
static int sync_error, flush_error;

/* Evict with this file when the next file has been opened, and is not yet found in the cache. */
static struct folio_file *evict_in_open;

/* Read a large file until no closed file has pages. */
static inline void evict_with(struct folio_file *big)
{
	static char buf[BIG * FOLIO_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < 100 && cache_stats(big->cache).files_closed; i++)
		assert_int_equal(folio_file_read(big, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(cache_stats(big->cache).files_closed, 0);
}

static inline int report_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = folio_io_threads.getattr(context, handle, attr);

	if (r < 0)
		return r;
	if (evict_in_open && handle == folio_ptr_load_relaxed(&last_opened)) {
		evict_with(evict_in_open);
		evict_in_open = NULL;
	}
	if (report.error && !report.error_after--) {
		r = report.error;
		report.error = 0;
		return r;
	}
	/* Threads that only query at the same time store nothing. */
	if (attr->wanted & FOLIO_IO_ATTR_FRESH)
		report.refreshes++;
	if ((!report.keeps || attr->wanted & FOLIO_IO_ATTR_FRESH) && report.kept != report.changed)
		report.kept = report.changed;
	attr->mtime_sec = 1000;
	attr->mtime_nsec = 1;
	attr->ctime_sec = 1000 + report.kept;
	attr->ctime_nsec = 1;
	attr->fields = report.fields & (attr->wanted | FOLIO_IO_ATTR_CTIME);
	if (report.ambiguous)
		attr->fields |= FOLIO_IO_ATTR_AMBIGUOUS;
	attr->handle_type = 1;
	attr->handle_bytes = 9;
	memcpy(attr->handle, &attr->inode, 8);
	attr->handle[8] = (unsigned char)report.handle;
	attr->btime_sec = report.btime;
	attr->btime_nsec = 0;
	attr->generation = report.generation;
	attr->mount = report.mount;
	attr->limit = report.limit;
	attr->limit_error = EFBIG;
	return 0;
}

static inline int report_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	int r = folio_io_threads.open(context, path, flags, mode, io_flags, handle);

	if (!r)
		folio_u64_fetch_add_relaxed(&opened, 1);
	if (!r && !(io_flags & FOLIO_IO_PROBE))
		folio_ptr_store_relaxed(&last_opened, *handle);
	return r;
}

static inline void report_close(void *context, void *handle)
{
	folio_u64_fetch_add_relaxed(&closed, 1);
	folio_io_threads.close(context, handle);
}

static inline int report_flush(void *context, void *handle)
{
	(void)context;
	(void)handle;
	return flush_error;
}

static inline int report_sync(void *context, void *handle, unsigned sync_flags)
{
	return sync_error ? sync_error : folio_io_threads.sync(context, handle, sync_flags);
}

/* ---- the world ---- */

struct world {
	struct folio_io_ops ops;
	struct folio_cache *cache;
	struct cache_limits limits; /* of the new cache */
	char folder[32];
	char contents[FILES][PAGES * FOLIO_PAGE_SIZE]; /* of files 0 .. FILES - 1 */
};

static struct world world;

static inline const char *path_of(unsigned number)
{
	static _Thread_local char path[64];

	snprintf(path, sizeof(path), "%s/%u", world.folder, number);
	return path;
}

/* Write a file past the cache, with other contents than before. */
static inline void write_outside(unsigned number)
{
	static uint64_t random;
	unsigned i;
	int fd;

	random += test_seed;
	for (i = 0; i < sizeof(world.contents[number]); i++)
		world.contents[number][i] = (char)random_next(&random);
	fd = open(path_of(number), O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(
		write(fd, world.contents[number], sizeof(world.contents[number])), PAGES * PAGE);
	close(fd);
}

static inline int refuse_writeback(void *context, uint64_t sequence)
{
	(void)sequence;
	return *(int *)context;
}

static int writeback_error;

static inline void begin(uint64_t pages, uint64_t closed_files_max)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.io = &world.ops,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = refuse_writeback,
		.before_writeback_context = &writeback_error,
		.closed_files_max = closed_files_max};
	unsigned i;

	memset(&report, 0, sizeof(report));
	report.fields = FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_MOUNT;
	sync_error = flush_error = writeback_error = 0;
	world.ops = folio_io_threads;
	world.ops.getattr = report_getattr;
	world.ops.open = report_open;
	world.ops.close = report_close;
	world.ops.sync = report_sync;
	world.ops.flush = report_flush;
	strcpy(world.folder, "folio-closed-XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	for (i = 0; i < FILES; i++)
		write_outside(i);
	assert_int_equal(folio_cache_open(&params, &world.cache), 0);
	world.limits = limits_of(world.cache);
}

static inline void end(void)
{
	unsigned i;

	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_cache_close(world.cache), 0);
	assert_int_equal(folio_u64_load_relaxed(&opened), folio_u64_load_relaxed(&closed));
	for (i = 0; i < FILES; i++)
		unlink(path_of(i));
	rmdir(world.folder);
}

static inline struct folio_file *open_it(unsigned number, int flags)
{
	struct folio_file *file = NULL;

	assert_int_equal(folio_file_open(world.cache, path_of(number), flags, 0600, &file), 0);
	return file;
}

/* Reads the entire file and compares. Returns how many of its pages were cached. */
static inline uint64_t read_all(struct folio_file *file, unsigned number)
{
	static _Thread_local char buf[PAGES * FOLIO_PAGE_SIZE + 1];
	struct folio_file_stat stat = {.size = sizeof(stat)};

	assert_int_equal(folio_file_stat(file, &stat), 0);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), PAGES * PAGE);
	assert_memory_equal(buf, world.contents[number], PAGES * PAGE);
	return stat.pages;
}

/* Opens, reads and closes the file. Returns how many of its pages were cached. */
static inline uint64_t use(unsigned number)
{
	struct folio_file *file = open_it(number, O_RDONLY);
	uint64_t cached = read_all(file, number);

	assert_int_equal(folio_file_close(file), 0);
	return cached;
}

static inline uint64_t files_closed(void)
{
	return cache_stats(world.cache).files_closed;
}

#endif
