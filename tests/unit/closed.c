/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that no handle has open keep their pages: which ones, for how long, and that a later open
 * never finds old contents.
 */
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
	int error;
	unsigned error_after; /* queries that succeed before @error */
} report;

static folio_u64 opened, closed; /* handles of the backend */
static folio_ptr last_opened;    /* the last one that is not a probe */
static int sync_error, flush_error;

/* Evict with this file when the next file has been opened, and is not yet found in the cache. */
static struct folio_file *evict_in_open;

/* Read a large file until no closed file has pages. */
static void evict_with(struct folio_file *big)
{
	static char buf[BIG * FOLIO_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < 100 && cache_stats(big->cache).files_closed; i++)
		assert_int_equal(folio_file_read(big, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(cache_stats(big->cache).files_closed, 0);
}

static int report_getattr(void *context, void *handle, struct folio_io_attr *attr)
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
	attr->mtime_sec = 1000;
	attr->mtime_nsec = 1;
	attr->ctime_sec = 1000 + report.changed;
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
	return 0;
}

static int report_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	int r = folio_io_threads.open(context, path, flags, mode, io_flags, handle);

	if (!r)
		folio_u64_fetch_add_relaxed(&opened, 1);
	if (!r && !(io_flags & FOLIO_IO_PROBE))
		folio_ptr_store_relaxed(&last_opened, *handle);
	return r;
}

static void report_close(void *context, void *handle)
{
	folio_u64_fetch_add_relaxed(&closed, 1);
	folio_io_threads.close(context, handle);
}

static int report_flush(void *context, void *handle)
{
	(void)context;
	(void)handle;
	return flush_error;
}

static int report_sync(void *context, void *handle, unsigned sync_flags)
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

static const char *path_of(unsigned number)
{
	static _Thread_local char path[64];

	snprintf(path, sizeof(path), "%s/%u", world.folder, number);
	return path;
}

/* Write a file past the cache, with other contents than before. */
static void write_outside(unsigned number)
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

static int refuse_writeback(void *context, uint64_t sequence)
{
	(void)sequence;
	return *(int *)context;
}

static int writeback_error;

static void begin(uint64_t pages, uint64_t closed_files_max)
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
	report.fields = FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_HANDLE;
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

static void end(void)
{
	unsigned i;

	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_cache_close(world.cache), 0);
	assert_int_equal(folio_u64_load_relaxed(&opened), folio_u64_load_relaxed(&closed));
	for (i = 0; i < FILES; i++)
		unlink(path_of(i));
	rmdir(world.folder);
}

static struct folio_file *open_it(unsigned number, int flags)
{
	struct folio_file *file = NULL;

	assert_int_equal(folio_file_open(world.cache, path_of(number), flags, 0600, &file), 0);
	return file;
}

/* Reads the entire file and compares. Returns how many of its pages were cached. */
static uint64_t read_all(struct folio_file *file, unsigned number)
{
	static _Thread_local char buf[PAGES * FOLIO_PAGE_SIZE + 1];
	struct folio_file_stat stat = {.size = sizeof(stat)};

	assert_int_equal(folio_file_stat(file, &stat), 0);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), PAGES * PAGE);
	assert_memory_equal(buf, world.contents[number], PAGES * PAGE);
	return stat.pages;
}

/* Opens, reads and closes the file. Returns how many of its pages were cached. */
static uint64_t use(unsigned number)
{
	struct folio_file *file = open_it(number, O_RDONLY);
	uint64_t cached = read_all(file, number);

	assert_int_equal(folio_file_close(file), 0);
	return cached;
}

static uint64_t files_closed(void)
{
	return cache_stats(world.cache).files_closed;
}

/* ---- tests ---- */

static void test_stays(void **state)
{
	struct folio_file *file;
	uint64_t fills;

	(void)state;
	begin(256, 4);
	assert_int_equal(use(0), 0);
	/* No descriptor is left. */
	assert_int_equal(folio_u64_load_relaxed(&opened), folio_u64_load_relaxed(&closed));
	assert_int_equal(files_closed(), 1);
	assert_int_equal(cache_stats(world.cache).pages_file, PAGES);
	expect_quiet(world.cache, &world.limits);

	fills = cache_stats(world.cache).fills;
	file = open_it(0, O_RDONLY);
	assert_int_equal(files_closed(), 0);
	assert_int_equal(read_all(file, 0), PAGES);
	assert_int_equal(cache_stats(world.cache).fills, fills);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(use(0), PAGES);
	/* Nothing is cached of a file that the program has invalidated. */
	file = open_it(0, O_RDONLY);
	assert_int_equal(folio_file_invalidate(file, 0, UINT64_MAX), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	assert_int_equal(use(0), 0);
	end();

	/* By default none stays. */
	begin(256, 0);
	assert_int_equal(use(0), 0);
	assert_int_equal(files_closed(), 0);
	assert_int_equal(cache_stats(world.cache).pages_file, 0);
	assert_int_equal(use(0), 0);
	end();
}

/* The file is another one, or has changed, when it is opened again. */
static void test_changed(void **state)
{
	char buf[2 * FOLIO_PAGE_SIZE];
	struct folio_file *file;

	(void)state;
	begin(256, 4);
	assert_int_equal(use(0), 0);
	write_outside(0);
	report.changed++;
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	/* Only the size shows it. */
	assert_int_equal(truncate(path_of(0), PAGE), 0);
	file = open_it(0, O_RDONLY);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), PAGE);
	assert_int_equal(folio_file_close(file), 0);
	write_outside(0);
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	/* Its number is that of another file now. */
	report.handle++;
	write_outside(0);
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	assert_int_equal(files_closed(), 2);
	/* A file that changes while it is open, and that no call has noticed. */
	file = open_it(0, O_RDONLY);
	assert_int_equal(read_all(file, 0), PAGES);
	write_outside(0);
	report.changed++;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(use(0), 0);
	end();
}

/* What a backend must report, so that a file is found again. */
static void test_identity(void **state)
{
	enum {
		C = FOLIO_IO_ATTR_CTIME,
		H = FOLIO_IO_ATTR_HANDLE,
		B = FOLIO_IO_ATTR_BTIME,
		G = FOLIO_IO_ATTR_GENERATION
	};
	static const struct {
		uint32_t fields, fields_later;
		bool other_btime, other_generation;
		uint64_t kept, found;
	} rows[] = {
		{C | H, C | H, false, false, 1, PAGES},
		{C | B, C | B, false, false, 1, PAGES},
		{C | B | G, C | B | G, false, false, 1, PAGES},
		{C | B, C | B, true, false, 1, 0},
		{C | B | G, C | B | G, false, true, 1, 0},
		/* The other time of creation counts for nothing, if there are handles. */
		{C | H | B, C | H | B, true, false, 1, PAGES},
		/* What was known at the close is unknown at the open. */
		{C | H, C | B, false, false, 1, 0},
		{C | B, C, false, false, 1, 0},
		/* An inode number alone may be that of a new file, and so may a generation be. */
		{C, C | H, false, false, 0, 0},
		{C | G, C | G, false, false, 0, 0},
		/* Nothing shows a change whose writer has restored the other time. */
		{H, H, false, false, 0, 0},
		{0, 0, false, false, 0, 0},
	};
	unsigned i;

	(void)state;
	for (i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned row = i / 2;

		begin(256, 4);
		report.ambiguous = i % 2;
		report.fields = rows[row].fields;
		assert_int_equal(use(0), 0);
		print_message("# row %u%s\n", row, report.ambiguous ? ", ambiguous" : "");
		assert_int_equal(files_closed(), rows[row].kept);
		report.fields = rows[row].fields_later;
		report.btime += rows[row].other_btime;
		report.generation += rows[row].other_generation;
		assert_int_equal(use(0), rows[row].found);
		end();
	}
}

/* Another change could leave the same times. An hour ahead stands for now, as in revalidate.c. */
static void test_recent(void **state)
{
	struct folio_file *file;
	int64_t ahead = (int64_t)time(NULL) + 3600;

	(void)state;
	begin(256, 4);
	/* When it was read. */
	report.changed = ahead;
	assert_int_equal(use(0), 0);
	assert_int_equal(files_closed(), 0);
	/* When it was last written, by the cache. */
	report.changed = 0;
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), 0);
	assert_int_equal(folio_file_write(file, "x", 1, 5), 1);
	world.contents[0][5] = 'x';
	report.changed = ahead;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	report.changed = 1;
	assert_int_equal(use(0), 0);
	end();
}

static void write_at(struct folio_file *file, unsigned number, char byte, uint64_t offset)
{
	assert_int_equal(folio_file_write(file, &byte, 1, offset), 1);
	world.contents[number][offset] = byte;
	report.changed++;
}

static void expect_on_disk(unsigned number)
{
	static char found[PAGES * FOLIO_PAGE_SIZE + 1];
	int fd = open(path_of(number), O_RDONLY);

	assert_int_equal(pread(fd, found, sizeof(found), 0), PAGES * PAGE);
	assert_memory_equal(found, world.contents[number], PAGES * PAGE);
	close(fd);
}

/* Files that the cache writes. */
static void test_written(void **state)
{
	struct folio_file *file, *other;

	(void)state;
	begin(256, 4);
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), 0);
	write_at(file, 0, 'a', 3 * PAGE + 1);
	assert_int_equal(folio_file_close(file), 0);
	expect_on_disk(0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(use(0), PAGES);
	/* Written again, first through a handle that could only read. */
	other = open_it(0, O_RDONLY);
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), PAGES);
	write_at(file, 0, 'b', 4 * PAGE + 1);
	/* The flusher knows the file again. */
	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_file_close(file), 0);
	write_at(file = open_it(0, O_RDWR), 0, 'c', 5 * PAGE + 1);
	assert_int_equal(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_file_close(other), 0);
	expect_on_disk(0);
	assert_int_equal(use(0), PAGES);
	/* Longer, and shorter. */
	file = open_it(0, O_RDWR);
	assert_int_equal(folio_file_truncate(file, 2 * PAGE + 7), 0);
	assert_int_equal(folio_file_truncate(file, PAGES * PAGE), 0);
	memset(world.contents[0] + 2 * PAGE + 7, 0, (PAGES - 2) * PAGE - 7);
	report.changed++;
	read_all(file, 0);
	assert_int_equal(folio_file_close(file), 0);
	expect_on_disk(0);
	assert_int_equal(use(0), PAGES);
	/* Another program writes to it, which it must not while the cache may. */
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), PAGES);
	write_outside(0);
	report.changed++;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	assert_int_equal(use(0), 0);
	/* Another program has written to it since, and changed the size alone. */
	file = open_it(0, O_RDWR);
	write_at(file, 0, 'd', 1);
	assert_int_equal(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(truncate(path_of(0), PAGES * PAGE + 1), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	end();
}

/* A file that the cache had written is made longer by another program. */
static void test_grown(void **state)
{
	struct folio_file *file;
	char byte = 0;

	(void)state;
	begin(256, 4);
	file = open_it(0, O_RDWR);
	write_at(file, 0, 'a', 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(truncate(path_of(0), BIG * PAGE), 0);
	file = open_it(0, O_RDONLY);
	assert_int_equal(folio_file_size(file), BIG * PAGE);
	/* Not as if the cache had made it longer: what is there is the other program's. */
	assert_int_equal(folio_u64_load_relaxed(&file->inode->disk_size) >= BIG * PAGE, 1);
	assert_int_equal(folio_file_read(file, &byte, 1, 0), 1);
	assert_int_equal(byte, 'a');
	assert_int_equal(folio_file_close(file), 0);
	/* By the cache, which writes no page for it. */
	file = open_it(1, O_RDWR);
	assert_int_equal(read_all(file, 1), 0);
	assert_int_equal(folio_file_truncate(file, BIG * PAGE), 0);
	assert_int_equal(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), 0);
	report.changed++;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 2);
	end();
}

/*
 * A closed file was not found, since the backend did not report what identifies it, and was opened
 * anew. From then on it is found: the one that is open, with pages that the file does not have yet.
 */
static void test_open_comes_first(void **state)
{
	struct folio_file *file, *second;

	(void)state;
	begin(256, 4);
	assert_int_equal(use(0), 0);
	report.fields = FOLIO_IO_ATTR_CTIME;
	file = open_it(0, O_RDWR);
	assert_int_equal(files_closed(), 1);
	write_at(file, 0, 'z', 7);
	report.changed = 0;
	report.fields |= FOLIO_IO_ATTR_HANDLE;
	second = open_it(0, O_RDONLY);
	read_all(second, 0);
	assert_int_equal(folio_file_close(second), 0);
	assert_int_equal(folio_file_close(file), 0);
	report.changed++;
	read_all(second = open_it(0, O_RDONLY), 0);
	assert_int_equal(folio_file_close(second), 0);
	end();
}

/* Opens that empty the file, or create another one. */
static void test_truncated(void **state)
{
	struct folio_file *file;

	(void)state;
	begin(256, 4);
	assert_int_equal(use(0), 0);
	file = open_it(0, O_RDWR | O_TRUNC);
	assert_int_equal(folio_file_size(file), 0);
	assert_int_equal(cache_stats(world.cache).pages_file, 0);
	report.changed++;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	write_outside(0);
	report.changed++;
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	/* A new file of the same name, and perhaps of the same number. */
	assert_int_equal(unlink(path_of(0)), 0);
	report.handle++;
	file = open_it(0, O_RDWR | O_CREAT | O_EXCL);
	assert_int_equal(folio_file_size(file), 0);
	write_at(file, 0, 'n', 0);
	assert_int_equal(folio_file_close(file), 0);
	write_outside(0);
	report.changed++;
	assert_int_equal(use(0), 0);
	end();
}

/* Something of the file is lost: its pages are not what it has. */
static void test_lost(void **state)
{
	struct folio_file *file;

	(void)state;
	begin(256, 4);
	/* A page that could not be written, and was given up. */
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), 0);
	assert_int_equal(folio_file_write(file, "lost", 4, 0), 4);
	writeback_error = -ENOSPC;
	assert_int_equal(folio_file_close(file), -ENOSPC);
	assert_int_equal(folio_file_abandon(file), -ENOSPC);
	assert_int_equal(files_closed(), 0);
	writeback_error = 0;
	assert_int_equal(use(0), 0);
	/* A sync of the device that failed. */
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), PAGES);
	sync_error = -EIO;
	write_at(file, 0, 'x', 0);
	assert_int_equal(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), -EIO);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	sync_error = 0;
	/* A file system that loses data, and reports it at the close only. */
	file = open_it(1, O_RDWR);
	assert_int_equal(read_all(file, 1), 0);
	write_at(file, 1, 'x', 0);
	flush_error = -EDQUOT;
	assert_int_equal(folio_file_close(file), -EDQUOT);
	flush_error = 0;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	/* The next handle of the file gets no error of before. */
	file = open_it(0, O_RDWR);
	write_at(file, 0, 'y', 0);
	assert_int_equal(folio_file_sync(file, NULL, FOLIO_SYNC_DATA), 0);
	assert_int_equal(folio_file_close(file), 0);
	end();
}

/* Pages that the program has pinned do not stay: it may be changing them. */
static void test_pinned(void **state)
{
	struct folio *folio, *locked;
	struct folio_file *file;
	uint64_t pages;
	void *page;

	(void)state;
	begin(256, 4);
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), 0);
	assert_int_equal(folio_file_get_page(file, 2, 0, &folio, &page), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(folio_lock(folio), -ENODATA);
	memset(page, 0, PAGE);
	pages = folio_size(folio) / PAGE;
	folio_put(folio);
	assert_int_equal(use(0), PAGES - pages);

	/* The only page that there is. */
	file = open_it(1, O_RDONLY);
	assert_int_equal(folio_file_get_page(file, 0, 0, &locked, &page), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	assert_int_equal(files_closed(), 0);
	folio_put(locked);
	end();
}

/* As many stay as the parameter allows: those that were closed last. */
static void test_bound(void **state)
{
	unsigned i;

	(void)state;
	begin(256, 3);
	for (i = 0; i < FILES; i++) {
		assert_int_equal(use(i), 0);
		assert_int_equal(files_closed(), i < 3 ? i + 1 : 3);
		expect_quiet(world.cache, &world.limits);
	}
	assert_int_equal(cache_stats(world.cache).pages_file, 3 * PAGES);
	assert_int_equal(use(FILES - 3), PAGES);
	/* That one was closed last now. */
	assert_int_equal(use(0), 0);
	assert_int_equal(use(FILES - 2), 0);
	assert_int_equal(use(FILES - 3), PAGES);
	assert_int_equal(files_closed(), 3);
	end();
}

/* The pages of a closed file are evicted like others, and the last one takes the file with it. */
static void test_evicted(void **state)
{
	const struct closed_files *closed_files;
	struct folio_file *big;
	struct inode *inode;

	(void)state;
	begin(64, 4);
	closed_files = &world.cache->closed;
	assert_int_equal(truncate(path_of(1), BIG * PAGE), 0);
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	inode = closed_files->kept.first;
	big = open_it(1, O_RDONLY);
	evict_with(big);
	/* The next open or close frees it. */
	assert_ptr_equal(closed_files->emptied.first, inode);
	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_file_close(big), 0);
	assert_null(closed_files->emptied.first);
	assert_int_equal(use(0), 0);

	/* It is opened itself, and so are its pages read again. */
	big = open_it(1, O_RDONLY);
	evict_with(big);
	assert_int_equal(use(0), 0);
	assert_null(closed_files->emptied.first);

	/* Its last page leaves while it is being opened. */
	assert_int_equal(use(0), PAGES);
	evict_in_open = big;
	assert_int_equal(use(0), 0);
	assert_null(evict_in_open);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(folio_file_close(big), 0);
	end();
}

/* A query fails: when a file is closed, it does not stay; when it is opened, the open fails. */
static void test_failing_queries(void **state)
{
	struct folio_file *file;
	unsigned i;
	int r;

	(void)state;
	begin(256, 4);
	file = open_it(0, O_RDONLY);
	read_all(file, 0);
	report.error = -EIO;
	report.error_after = 0;
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 0);
	for (i = 0;; i++) {
		use(0);
		assert_int_equal(files_closed(), 1);
		report.error = -EIO;
		report.error_after = i;
		r = folio_file_open(world.cache, path_of(0), O_RDONLY, 0, &file);
		expect_quiet(world.cache, &world.limits);
		if (r == 0)
			assert_int_equal(folio_file_close(file), 0);
		else
			assert_int_equal(r, -EIO);
		if (report.error)
			break;
	}
	/* More than one query of an open has failed. */
	assert_true(i > 2);
	report.error = 0;
	use(0);
	assert_int_equal(use(0), PAGES);
	end();
}

/* The library's own backend: the program itself, which was built some time ago. */
static void test_real(void **state)
{
	struct folio_io_attr attr = {
		.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME};
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 256 * PAGE, .closed_files_max = 1};
	struct folio_file_stat stat = {.size = sizeof(stat)};
	struct folio_cache *cache;
	struct folio_file *file;
	void *context = NULL, *handle;
	char buf[64];
	bool found;

	(void)state;
	assert_int_equal(folio_io_threads.create(&context, 1), 0);
	assert_int_equal(
		folio_io_threads.open(context, "/proc/self/exe", O_RDONLY, 0, 0, &handle), 0);
	assert_int_equal(folio_io_threads.getattr(context, handle, &attr), 0);
	folio_io_threads.close(context, handle);
	folio_io_threads.destroy(context);
	found = attr.fields & (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	file = file_open(cache, "/proc/self/exe");
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(cache_stats(cache).files_closed, found);
	file = file_open(cache, "/proc/self/exe");
	assert_int_equal(folio_file_stat(file, &stat), 0);
	assert_int_equal(stat.pages > 0, found);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), sizeof(buf));
	assert_memory_equal(buf, "\177ELF", 4);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
}

/* ---- threads ---- */

#define THREADS 4

/* Threads open, read and close the same files, in a cache that has no space for all of them. */
static void *use_files(void *arg)
{
	uint64_t random = test_seed + (uintptr_t)arg;
	unsigned i;

	for (i = scaled(2000); i-- > 0;)
		use((unsigned)random_below(&random, FILES));
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[THREADS];
	uintptr_t i;

	(void)state;
	begin(64, FILES / 2);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, use_files, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_true(files_closed() <= FILES / 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stays),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_recent),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_grown),
		cmocka_unit_test(test_open_comes_first),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_evicted),
		cmocka_unit_test(test_failing_queries),
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_threads),
	};

	test_begin("closed");
	return cmocka_run_group_tests_name("closed", tests, NULL, NULL);
}
