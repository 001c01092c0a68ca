/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that were written, and that no handle has open, keep their pages, unless data was lost. */
#include <folio/pin.h>

#include "cache/limbo.h"
#include "closed-world.h"

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
	report.fields = FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_MOUNT;
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
	/* The program has pinned nothing since: no page is examined. */
	file = open_it(0, O_RDONLY);
	assert_int_equal(read_all(file, 0), PAGES);
	folio = entry_folio(tree_load(&file->inode->tree, 2));
	folio_get(folio);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(use(0), PAGES);
	folio_put(folio);

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

/* Nor do those of which a pin is published. */
static void test_published(void **state)
{
	struct folio_file *file;
	struct folio_pin pin;

	(void)state;
	begin(256, 4);
	file = open_it(0, O_RDWR);
	assert_int_equal(read_all(file, 0), 0);
	assert_int_equal(folio_file_pin(file, 2, 0, &pin), 0);
	assert_non_null(pin.slot);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(files_closed(), 1);
	assert_int_equal(folio_lock(pin.folio), -ENODATA);
	memset(pin.page, 0, PAGE);
	assert_int_equal(use(0), PAGES - folio_size(pin.folio) / PAGE);
	folio_unpin(&pin);
	limbo_look(world.cache);
	end();
}

/* Nor does the last of more pages than a close examines under one hold of the lock. */
static void test_pinned_far(void **state)
{
	enum { MANY = 1200 };
	struct folio_file_stat stat = {.size = sizeof(stat)};
	struct folio_file *file;
	struct folio *folio;
	void *page;
	uint64_t i;
	char byte;

	(void)state;
	begin(4 * MANY, 4);
	assert_int_equal(truncate(path_of(0), MANY * PAGE), 0);
	file = open_it(0, O_RDONLY);
	for (i = 0; i < MANY; i++)
		assert_int_equal(folio_file_read(file, &byte, 1, i * PAGE), 1);
	assert_int_equal(folio_file_get_page(file, MANY - 1, 0, &folio, &page), 0);
	assert_int_equal(folio_order(folio), 0);
	assert_int_equal(folio_file_close(file), 0);
	folio_put(folio);
	file = open_it(0, O_RDONLY);
	assert_int_equal(folio_file_stat(file, &stat), 0);
	assert_int_equal(stat.pages, MANY - 1);
	assert_false(page_cached(file, MANY - 1));
	assert_int_equal(folio_file_close(file), 0);
	end();
}

/* A change in place that cannot be marked stays in memory only, until the close at most. */
static void test_refused_mark(void **state)
{
	struct folio_file *file;
	struct folio *folio;
	unsigned i;
	void *page;

	(void)state;
	begin(256, 4);
	report.limit = PAGE;
	for (i = 0; i < 2; i++) {
		/* The file is not open for writing; or it can never take the page. */
		if (i)
			report.fields |= FOLIO_IO_ATTR_LIMIT;
		file = open_it(0, i ? O_RDWR : O_RDONLY);
		assert_int_equal(read_all(file, 0), 0);
		assert_int_equal(folio_file_get_page(file, 2, 0, &folio, &page), 0);
		assert_int_equal(folio_lock(folio), 0);
		memset(page, 'z', PAGE);
		assert_int_equal(folio_mark_dirty(folio, 0), i ? -EFBIG : -EBADF);
		assert_int_equal(folio_unlock(folio), 0);
		folio_put(folio);
		assert_int_equal(folio_file_close(file), 0);
		assert_int_equal(files_closed(), 0);
	}
	/* It counts for that time only. */
	assert_int_equal(use(0), 0);
	assert_int_equal(use(0), PAGES);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_grown),
		cmocka_unit_test(test_open_comes_first),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_pinned_far),
		cmocka_unit_test(test_refused_mark),
	};

	test_begin("closed-written");
	return cmocka_run_group_tests_name("closed-written", tests, NULL, NULL);
}
