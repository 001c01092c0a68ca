/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saving which pages are hot, and requesting them again: the same pages, in order, and never more
 * than fit.
 */
#include <pthread.h>
#include <sys/stat.h>

#include <folio/hot.h>

#include "asleep.h"
#include "cache-test.h"
#include "cache/identity.h"
#include "cache/inode.h"
#include "core/hotfile.h"
#include "evict/limits.h"
#include "quiet-cache.h"

#define FILES 3
#define PAGES 400 /* of each file */

static char folder[] = "folio-hot-XXXXXX";
static char list[64];

/* A backend that notes which pages are requested, and lets the test change what it reports. */
static struct folio_io_ops ops;
static uint64_t requested[FILES * PAGES]; /* pages, in the order of the requests */
static folio_u32 requests;
static uint64_t device_shift; /* device numbers after the machine has been started again */
static uint64_t other_files;  /* files that have been replaced: a bit for each inode number */
static uint32_t fields;       /* that it reports */
static bool late;             /* it answers after the deadline of one millisecond */
static bool one_number;       /* all files have one inode number, each on a device of its own */
static folio_u32 queries;     /* of attributes */
static struct folio_cache *looked_up; /* queries come with the lock of its open files */
static bool hold;                     /* reads stay in flight */
static struct folio_io_request *held[2];
static unsigned held_count;

static int note_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = folio_io_threads.getattr(context, handle, attr);

	attr->device += device_shift;
	attr->fields &= FOLIO_IO_ATTR_CTIME;
	attr->fields |= (fields | FOLIO_IO_ATTR_MOUNT) & attr->wanted;
	attr->handle_type = 0;
	attr->handle_bytes = 8;
	memset(attr->handle, 0, sizeof(attr->handle));
	memcpy(attr->handle, &attr->inode, 8);
	attr->handle[0] ^= (unsigned char)other_files;
	attr->btime_sec = (int64_t)(7 + other_files);
	if (late)
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	if (one_number) {
		attr->device += attr->inode;
		attr->inode = 1;
	}
	if (looked_up)
		assert_int_equal(pthread_mutex_trylock(&looked_up->files_lock), EBUSY);
	folio_u32_fetch_add_relaxed(&queries, 1);
	return r;
}

static void note_submit(void *context, struct folio_io_request **submitted, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (submitted[i]->op == FOLIO_IO_READ) {
			uint32_t n = folio_u32_fetch_add_relaxed(&requests, 1);

			requested[n % (FILES * PAGES)] = submitted[i]->offset / PAGE;
		}
	if (hold) {
		assert_true(held_count + count <= sizeof(held) / sizeof(held[0]));
		memcpy(held + held_count, submitted, count * sizeof(held[0]));
		held_count += count;
		return;
	}
	folio_io_threads.submit(context, submitted, count);
}

static const char *path_of(unsigned number)
{
	static _Thread_local char path[64];

	snprintf(path, sizeof(path), "%s/%u", folder, number);
	return path;
}

struct world {
	struct folio_cache *cache;
	struct folio_file *file[FILES];
	struct cache_limits limits; /* of the new cache */
};

/* Opens a cache of @pages, and @files files. */
static struct world begin(uint64_t pages, unsigned files, uint32_t timeout_ms, unsigned depth)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &ops,
		.io_depth = depth,
		.timeout_ms = timeout_ms,
		.closed_files_max = 1};
	struct world world = {.cache = NULL};
	unsigned i;

	folio_u32_store_relaxed(&requests, 0);
	assert_int_equal(folio_cache_open(&params, &world.cache), 0);
	world.limits = limits_of(world.cache);
	for (i = 0; i < files; i++)
		world.file[i] = file_open(world.cache, path_of(i));
	return world;
}

static void end(struct world *world)
{
	unsigned i;

	for (i = 0; i < FILES; i++)
		if (world->file[i])
			assert_int_equal(folio_file_close(world->file[i]), 0);
	expect_quiet(world->cache, &world->limits);
	assert_int_equal(folio_cache_close(world->cache), 0);
}

static void read_page(struct world *world, unsigned file, uint64_t index)
{
	char buf[8];

	assert_int_equal(
		folio_file_read(world->file[file], buf, sizeof(buf), index * PAGE + 100), 8);
}

/* A page that has been read again is hot. */
static void heat_page(struct world *world, unsigned file, uint64_t index)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		read_page(world, file, index);
}

static ssize_t load(struct world *world, struct folio_hot_load *result)
{
	ssize_t n;

	*result = (struct folio_hot_load){.size = sizeof(*result)};
	n = folio_cache_load_hot(world->cache, list, result);
	return n;
}

/* Waits until the reads have ended. */
static void await_reads(struct world *world)
{
	unsigned i;

	for (i = 0; i < FILES; i++)
		if (world->file[i])
			wait_until(!(folio_u32_load_acquire(&world->file[i]->inode->fills) &
				     ~INODE_CLOSING));
}

/* ---- tests ---- */

/* Random pages of all files are hot, others are cached; the hot ones come back. */
static void test_round_trip(void **state)
{
	static bool hot[FILES][PAGES];
	struct folio_hot_load result;
	uint64_t random = test_seed, pages = 0, i, n;
	struct world world = begin(2 * FILES * PAGES, FILES, 0, 0);
	unsigned file;

	(void)state;
	for (file = 0; file < FILES; file++) {
		for (i = 0; i < PAGES; i++) {
			hot[file][i] = random_below(&random, 3) == 0;
			pages += hot[file][i];
			if (hot[file][i])
				heat_page(&world, file, i);
			else if (random_below(&random, 2))
				read_page(&world, file, i);
		}
	}
	assert_int_equal(folio_cache_save_hot(world.cache, list), pages);
	end(&world);

	world = begin(2 * FILES * PAGES, FILES, 0, 0);
	assert_int_equal(load(&world, &result), pages);
	assert_int_equal(result.files, FILES);
	assert_int_equal(result.files_missing, 0);
	assert_int_equal(result.pages_missing + result.pages_skipped + result.pages_left, 0);
	await_reads(&world);
	for (file = 0; file < FILES; file++)
		for (i = 0; i < PAGES; i++)
			assert_int_equal(page_cached(world.file[file], i), hot[file][i]);
	/* In order: as many steps back as there are files but one. */
	n = folio_u32_load_relaxed(&requests);
	for (i = 1, file = 0; i < n; i++)
		file += requested[i] <= requested[i - 1];
	assert_true(file < FILES);
	assert_int_equal(cache_stats(world.cache).prefetch_pages, pages);
	/* They are not newcomers: they would be listed again. */
	assert_int_equal(folio_cache_save_hot(world.cache, list), pages);
	/* Again: all are cached. */
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(result.pages_skipped, pages);
	assert_int_equal(folio_cache_load_hot(world.cache, list, NULL), 0);
	end(&world);
}

/*
 * More ranges than are collected at once, then more pages without any than are examined at once,
 * and a page behind these.
 */
static void test_many_ranges(void **state)
{
	enum { RANGES = 600, LAST = 18000 };
	struct folio_hot_load result;
	struct world world;
	uint64_t i;

	(void)state;
	assert_int_equal(truncate(path_of(0), (LAST + 1) * PAGE), 0);
	world = begin(2 * LAST, 1, 0, 0);
	for (i = 0; i < LAST; i++)
		read_page(&world, 0, i);
	for (i = 0; i < RANGES; i++)
		heat_page(&world, 0, 2 * i);
	heat_page(&world, 0, LAST);
	assert_int_equal(folio_cache_save_hot(world.cache, list), RANGES + 1);
	end(&world);

	world = begin(2 * LAST, 1, 0, 0);
	assert_int_equal(load(&world, &result), RANGES + 1);
	/* The file is listed once. */
	assert_int_equal(result.files, 1);
	await_reads(&world);
	for (i = 0; i < LAST; i++)
		assert_int_equal(page_cached(world.file[0], i), i % 2 == 0 && i < 2 * RANGES);
	assert_true(page_cached(world.file[0], LAST));
	end(&world);
	assert_int_equal(truncate(path_of(0), PAGES * PAGE), 0);
}

/* The pages that a file keeps for its floor are hot, although they were used once. */
static void test_kept(void **state)
{
	enum { FLOOR = 60, BUDGET = 256 };
	struct folio_hot_load result;
	struct world world = begin(BUDGET, 2, 0, 0);
	uint64_t i;

	(void)state;
	for (i = 0; i < FLOOR; i++)
		read_page(&world, 0, i);
	assert_int_equal(folio_file_set_share(world.file[0], FLOOR * PAGE, 0), 0);
	for (i = 0; i < 8 * PAGES; i++)
		read_page(&world, 1, i % PAGES);
	assert_true(folio_cache_save_hot(world.cache, list) >= FLOOR);
	assert_true(folio_cache_load_hot(world.cache, list, NULL) >= 0);
	end(&world);

	world = begin(2 * FILES * PAGES, 2, 0, 0);
	assert_true(load(&world, &result) >= FLOOR);
	await_reads(&world);
	for (i = 0; i < FLOOR; i++)
		assert_true(page_cached(world.file[0], i));
	end(&world);
}

static void save_all(void)
{
	struct world world = begin(2 * FILES * PAGES, FILES, 0, 0);
	unsigned file, i;

	for (file = 0; file < FILES; file++)
		for (i = 0; i < PAGES; i++)
			heat_page(&world, file, i);
	assert_int_equal(folio_cache_save_hot(world.cache, list), FILES * PAGES);
	end(&world);
}

/* A cache that is full, or too small, evicts nothing. */
static void test_space(void **state)
{
	struct folio_hot_load result;
	folio_u32 *wakeup;
	struct world world;
	unsigned i;
	ssize_t n;

	(void)state;
	save_all();
	world = begin(PAGES, FILES, 0, 0);
	n = load(&world, &result);
	assert_true(n > PAGES * 3 / 4 && n < PAGES);
	assert_int_equal(n + (ssize_t)result.pages_left, FILES * PAGES);
	await_reads(&world);
	/* The beginning of the list. */
	assert_true(cache_stats(world.cache).pages_free >=
		    folio_u64_load_relaxed(&world.cache->evict.low));
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	/* Nothing is free. */
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	end(&world);

	world = begin(PAGES, FILES, 0, 0);
	wakeup = &world.cache->evict.wakeup;
	for (i = 0; i < 2 * PAGES; i++)
		read_page(&world, i / PAGES, i % PAGES);
	/* The evictor has as many pages free as it wants: of these, none is used that it needs. */
	wait_asleep(wakeup);
	await_quiet(world.cache);
	queues_unlock(&world.cache->queues);
	n = (ssize_t)cache_stats(world.cache).evictions;
	load(&world, &result);
	await_reads(&world);
	assert_int_equal(cache_stats(world.cache).evictions, n);
	end(&world);
}

/* Which files are found again. */
static void test_files(void **state)
{
	const uint32_t handle = FOLIO_IO_ATTR_HANDLE, btime = FOLIO_IO_ATTR_BTIME;
	const struct {
		uint32_t fields;
		uint64_t device_shift, other_files;
		bool found;
	} rows[] = {
		{handle, 0, 0, true},
		{handle, 5, 0, true},
		{handle, 0, 1, false},
		{btime, 0, 0, true},
		{btime, 5, 0, true},
		{btime, 0, 1, false},
		/* Only numbers: they must all be equal. */
		{0, 0, 0, true},
		{0, 5, 0, false},
	};
	struct folio_hot_load result;
	struct world world;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("# row %u\n", i);
		fields = rows[i].fields;
		save_all();
		device_shift = rows[i].device_shift;
		other_files = rows[i].other_files;
		world = begin(2 * FILES * PAGES, FILES, 0, 0);
		assert_int_equal(load(&world, &result), rows[i].found ? FILES * PAGES : 0);
		assert_int_equal(result.files, rows[i].found ? FILES : 0);
		assert_int_equal(result.files_missing, rows[i].found ? 0 : FILES);
		assert_int_equal(result.pages_missing, rows[i].found ? 0 : FILES * PAGES);
		await_reads(&world);
		end(&world);
		device_shift = other_files = 0;
	}
	fields = handle;
	/* A file that has grown, one that is shorter, and one that no handle has open. */
	save_all();
	assert_int_equal(truncate(path_of(0), 2 * PAGES * PAGE), 0);
	assert_int_equal(truncate(path_of(1), 10 * PAGE + 1), 0);
	world = begin(2 * FILES * PAGES, 2, 0, 0);
	assert_int_equal(load(&world, &result), PAGES + 11);
	assert_int_equal(result.files, 2);
	assert_int_equal(result.files_missing, 1);
	assert_int_equal(result.pages_missing, PAGES);
	assert_int_equal(result.pages_skipped, PAGES - 11);
	await_reads(&world);
	end(&world);
	assert_int_equal(truncate(path_of(0), PAGES * PAGE), 0);
	assert_int_equal(truncate(path_of(1), PAGES * PAGE), 0);
}

/*
 * A file is found by its numbers: no other one is queried, nor one that no handle has open. None is
 * closed by another thread in the meantime.
 */
static void test_lookups(void **state)
{
	struct folio_hot_load result;
	struct world world;

	(void)state;
	one_number = true;
	save_all();
	world = begin(2 * FILES * PAGES, FILES, 0, 0);
	folio_u32_store_relaxed(&queries, 0);
	looked_up = world.cache;
	assert_int_equal(load(&world, &result), FILES * PAGES);
	looked_up = NULL;
	assert_int_equal(folio_u32_load_relaxed(&queries), FILES);
	await_reads(&world);
	world.file[0]->inode->attr_recent = false;
	assert_int_equal(folio_file_close(world.file[0]), 0);
	world.file[0] = NULL;
	folio_u32_store_relaxed(&queries, 0);
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(result.files, FILES - 1);
	assert_int_equal(result.files_missing, 1);
	/* On each device, there is a file with the number of the one that is missing. */
	assert_int_equal(folio_u32_load_relaxed(&queries), 2 * (FILES - 1));
	end(&world);
	one_number = false;
}

/* Write a list that has one range, of the first file. */
static void write_range(struct world *world, uint64_t first, uint64_t pages)
{
	static struct hotfile_writer writer;
	struct folio_io_attr attr;

	assert_int_equal(
		identity_attr(world->cache, world->file[0]->inode->handle, IDENTITY_WANTED, &attr),
		0);
	assert_int_equal(hotfile_create(&writer, list), 0);
	hotfile_put_file(&writer, &attr);
	hotfile_put_range(&writer, first, pages);
	hotfile_put_file_end(&writer);
	assert_int_equal(hotfile_commit(&writer), 0);
}

/* A range may be longer than any file: the call does not take its length in steps. */
static void test_long_range(void **state)
{
	const uint64_t all = UINT64_C(1) << 52;
	struct folio_hot_load result;
	struct world world = begin(2 * PAGES, 1, 0, 0);

	(void)state;
	write_range(&world, 0, all);
	assert_int_equal(load(&world, &result), PAGES);
	assert_int_equal(result.pages_skipped, all - PAGES);
	write_range(&world, PAGES, all - PAGES);
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(result.pages_skipped, all - PAGES);
	await_reads(&world);
	end(&world);
	/* Of a long file, as much as there is memory for. */
	assert_int_equal(truncate(path_of(0), (off_t)1 << 40), 0);
	world = begin(2 * PAGES, 1, 0, 0);
	write_range(&world, 1, all - 1);
	assert_in_range(load(&world, &result), PAGES, 2 * PAGES);
	assert_int_equal(result.pages_skipped, all - (UINT64_C(1) << 28));
	assert_int_equal(result.pages_left + cache_stats(world.cache).prefetch_pages,
		(UINT64_C(1) << 28) - 1);
	await_reads(&world);
	end(&world);
	assert_int_equal(truncate(path_of(0), PAGES * PAGE), 0);
}

/* A file with a ceiling gets what it may have, and loses nothing; another one gets the rest. */
static void test_ceiling(void **state)
{
	const uint64_t ceiling = 100;
	struct folio_hot_load result;
	struct world world;
	unsigned i;

	(void)state;
	save_all();
	world = begin(2 * FILES * PAGES, FILES, 0, 0);
	for (i = 0; i < 10; i++)
		read_page(&world, 0, PAGES - 10 + i);
	assert_int_equal(folio_file_set_share(world.file[0], 0, ceiling * PAGE), 0);
	assert_int_equal(load(&world, &result), ceiling - 10 + (FILES - 1) * PAGES);
	await_reads(&world);
	assert_int_equal(result.pages_skipped, 10);
	assert_int_equal(result.pages_left, PAGES - ceiling);
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	for (i = 0; i < PAGES; i++)
		assert_int_equal(
			page_cached(world.file[0], i), i < ceiling - 10 || i >= PAGES - 10);
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(cache_stats(world.cache).evictions, 0);
	end(&world);
}

/* The deadline also ends a call that waits for nothing. */
static void test_deadline(void **state)
{
	struct folio_hot_load result;
	struct world world = begin(2 * PAGES, 1, 0, 0);

	(void)state;
	assert_int_equal(truncate(path_of(0), (off_t)1 << 40), 0);
	assert_int_equal(folio_file_revalidate(world.file[0]), 1);
	write_range(&world, 0, UINT64_C(1) << 52);
	world.cache->timeout_ms = 1;
	late = true;
	assert_int_equal(load(&world, &result), -ETIMEDOUT);
	late = false;
	world.cache->timeout_ms = 0;
	assert_int_equal(result.files, 1);
	assert_int_equal(cache_stats(world.cache).prefetch_pages, 0);
	end(&world);
	assert_int_equal(truncate(path_of(0), PAGES * PAGE), 0);
}

/* A file that no handle has open, and whose pages stay, is in the list. */
static void test_closed(void **state)
{
	struct world world = begin(2 * FILES * PAGES, 1, 0, 0);
	struct folio_hot_load result;
	uint64_t kept;

	(void)state;
	heat_page(&world, 0, 7);
	read_page(&world, 0, 9);
	world.file[0]->inode->attr_recent = false;
	assert_int_equal(folio_file_close(world.file[0]), 0);
	world.file[0] = NULL;
	kept = cache_stats(world.cache).files_closed;
	assert_int_equal(kept, 1);
	assert_int_equal(folio_cache_save_hot(world.cache, list), 1);
	/* It is not open. */
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(result.files_missing, 1);
	world.file[0] = file_open(world.cache, path_of(0));
	assert_int_equal(folio_file_invalidate(world.file[0], 0, UINT64_MAX), 0);
	assert_int_equal(load(&world, &result), 1);
	await_reads(&world);
	assert_true(page_cached(world.file[0], 7));
	end(&world);
}

static void test_errors(void **state)
{
	struct folio_hot_load result = {.size = 4};
	struct world world = begin(64, 1, 0, 0);
	int fd;

	(void)state;
	assert_int_equal(folio_cache_save_hot(NULL, list), -EINVAL);
	assert_int_equal(folio_cache_save_hot(world.cache, NULL), -EINVAL);
	assert_int_equal(folio_cache_load_hot(NULL, list, NULL), -EINVAL);
	assert_int_equal(folio_cache_load_hot(world.cache, NULL, NULL), -EINVAL);
	assert_int_equal(folio_cache_load_hot(world.cache, list, &result), -EINVAL);
	assert_int_equal(folio_cache_save_hot(world.cache, "missing/list"), -ENOENT);
	assert_int_equal(folio_cache_load_hot(world.cache, "missing/list", NULL), -ENOENT);
	/* Nothing is hot. */
	assert_int_equal(folio_cache_save_hot(world.cache, list), 0);
	assert_int_equal(load(&world, &result), 0);
	assert_int_equal(result.files, 0);
	/* A program of before has fewer fields. */
	memset(&result, 0x55, sizeof(result));
	result.size = offsetof(struct folio_hot_load, files_missing);
	assert_int_equal(folio_cache_load_hot(world.cache, list, &result), 0);
	assert_int_equal(result.files, 0);
	assert_int_equal(result.files_missing, UINT64_C(0x5555555555555555));
	fd = open(list, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_int_equal(load(&world, &result), -EBADMSG);
	end(&world);
}

/* With a deadline, which does not pass: there are fewer request slots than requests. */
static void test_slots(void **state)
{
	struct folio_hot_load result;
	struct world world;

	(void)state;
	save_all();
	world = begin(2 * FILES * PAGES, FILES, 100000, 1);
	assert_int_equal(load(&world, &result), FILES * PAGES);
	await_reads(&world);
	end(&world);
}

/* No request ends, so there is no slot for the second one until the deadline. */
static void test_no_slot(void **state)
{
	struct folio_hot_load result;
	struct world world;
	uint32_t timeout_ms;

	(void)state;
	save_all();
	world = begin(2 * FILES * PAGES, FILES, 100000, 1);
	hold = true;
	/* Longer each time, until this thread is not too late for the first request. */
	for (timeout_ms = 20; !held_count; timeout_ms *= 2) {
		world.cache->timeout_ms = timeout_ms;
		assert_int_equal(load(&world, &result), -ETIMEDOUT);
	}
	world.cache->timeout_ms = 100000;
	hold = false;
	assert_int_equal(held_count, 1);
	assert_int_equal(result.files, 1);
	assert_in_range(cache_stats(world.cache).prefetch_pages, 1, PAGES - 1);
	assert_int_equal(result.pages_left + cache_stats(world.cache).prefetch_pages, PAGES);
	held_count = 0;
	folio_io_threads.submit(world.cache->io_context, held, 1);
	await_reads(&world);
	end(&world);
}

/* Other threads open, read and close the files at the same time. */
static folio_u32 stop;

static void *open_and_close(void *arg)
{
	struct world *world = arg;
	uint64_t random = test_seed;
	struct folio_file *file;
	char buf[8];

	while (!folio_u32_load_relaxed(&stop)) {
		file = file_open(world->cache, path_of((unsigned)random_below(&random, FILES)));
		folio_file_read(file, buf, sizeof(buf), random_below(&random, PAGES) * PAGE);
		if (random_below(&random, 4) == 0)
			folio_file_invalidate(file, 0, UINT64_MAX);
		assert_int_equal(folio_file_close(file), 0);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct folio_hot_load result;
	pthread_t thread[2];
	struct world world;
	unsigned i;

	(void)state;
	save_all();
	world = begin(FILES * PAGES, 0, 0, 0);
	folio_u32_store_relaxed(&stop, 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, open_and_close, &world), 0);
	for (i = scaled(200); i-- > 0;) {
		folio_u32_store_relaxed(&requests, 0);
		assert_true(load(&world, &result) >= 0);
		if (i % 4 == 0)
			assert_true(folio_cache_save_hot(world.cache, list) >= 0);
		if (i % 16 == 0)
			save_all();
	}
	folio_u32_store_relaxed(&stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_many_ranges),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_long_range),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_no_slot),
		cmocka_unit_test(test_threads),
	};
	unsigned i;
	int r;

	test_begin("hot");
	ops = folio_io_threads;
	ops.getattr = note_getattr;
	ops.submit = note_submit;
	fields = FOLIO_IO_ATTR_HANDLE;
	if (!mkdtemp(folder))
		return 2;
	snprintf(list, sizeof(list), "%s/list", folder);
	for (i = 0; i < FILES; i++) {
		int fd = open(path_of(i), O_WRONLY | O_CREAT, 0600);

		if (fd < 0 || ftruncate(fd, PAGES * PAGE))
			return 2;
		close(fd);
	}
	r = cmocka_run_group_tests_name("hot", tests, NULL, NULL);
	for (i = 0; i < FILES; i++)
		unlink(path_of(i));
	unlink(list);
	rmdir(folder);
	return r;
}
