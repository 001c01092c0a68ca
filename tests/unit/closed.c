/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that no handle has open keep their pages: which ones, for how long, and that a later open
 * never finds old contents.
 */
#include "closed-world.h"

static void test_stays(void **state)
{
	struct folio_file *file;
	uint64_t fills;

	(void)state;
	begin(256, UINT64_C(1) << 32);
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

/* The file system keeps attributes for a while: an open of a closed file must have new ones. */
static void test_kept_attributes(void **state)
{
	struct folio_file *file, *second;

	(void)state;
	begin(256, 4);
	assert_int_equal(use(0), 0);
	report.keeps = true;
	write_outside(0);
	report.changed++;
	assert_int_equal(report.refreshes, 0);
	assert_int_equal(use(0), 0);
	assert_int_equal(report.refreshes, 1);
	assert_int_equal(use(0), PAGES);
	assert_int_equal(report.refreshes, 2);
	/* No other query asks the server. */
	assert_int_equal(use(1), 0);
	file = open_it(2, O_RDONLY);
	assert_int_equal(read_all(file, 2), 0);
	second = open_it(2, O_RDWR);
	assert_int_equal(folio_file_revalidate(file), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_file_close(second), 0);
	assert_int_equal(report.refreshes, 2);
	end();
}

/* What a backend must report, so that a file is found again. */
static void test_identity(void **state)
{
	enum {
		C = FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_MOUNT,
		T = FOLIO_IO_ATTR_CTIME,
		M = FOLIO_IO_ATTR_MOUNT,
		H = FOLIO_IO_ATTR_HANDLE,
		B = FOLIO_IO_ATTR_BTIME,
		G = FOLIO_IO_ATTR_GENERATION
	};
	static const struct {
		uint32_t fields, fields_later;
		bool other_btime, other_generation, other_mount;
		uint64_t kept, found;
	} rows[] = {
		{C | H, C | H, false, false, false, 1, PAGES},
		{C | B, C | B, false, false, false, 1, PAGES},
		{C | B | G, C | B | G, false, false, false, 1, PAGES},
		{C | B, C | B, true, false, false, 1, 0},
		{C | B | G, C | B | G, false, true, false, 1, 0},
		/* The other time of creation counts for nothing, if there are handles. */
		{C | H | B, C | H | B, true, false, false, 1, PAGES},
		/* What was known at the close is unknown at the open. */
		{C | H, C | B, false, false, false, 1, 0},
		{C | B, C, false, false, false, 1, 0},
		/* An inode number alone may be that of a new file, and so may a generation be. */
		{C, C | H, false, false, false, 0, 0},
		{C | G, C | G, false, false, false, 0, 0},
		/* Nothing shows a change whose writer has restored the other time. */
		{H | M, H | M, false, false, false, 0, 0},
		{0, 0, false, false, false, 0, 0},
		/* Another image on the same device: all is equal but the mount. */
		{C | H, C | H, false, false, true, 1, 0},
		{C | B, C | B, false, false, true, 1, 0},
		/* The mount is unknown. */
		{C | H, T | H, false, false, false, 1, 0},
		{T | H, C | H, false, false, false, 0, 0},
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
		report.mount += rows[row].other_mount;
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
	struct folio_io_attr attr = {.struct_size = sizeof(attr),
		.wanted = FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME | FOLIO_IO_ATTR_MOUNT};
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
	found = attr.fields & (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME) &&
		attr.fields & FOLIO_IO_ATTR_MOUNT;
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
		cmocka_unit_test(test_kept_attributes),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_recent),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_evicted),
		cmocka_unit_test(test_failing_queries),
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_threads),
	};

	test_begin("closed");
	return cmocka_run_group_tests_name("closed", tests, NULL, NULL);
}
