/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * end.c - the end of the file: growth, the tail of the last page, bytes written in place past the
 * end.
 */
#include "race.h"

#include "core/walk.h"
#include "quiet-cache.h"

static ssize_t append_run(struct task *task)
{
	ssize_t n = write_run(task);

	/* Drop the page from the cache, so that the other thread misses it. */
	if (folio_file_sync(task->file, NULL, 0) ||
		folio_file_invalidate(task->file, 0, UINT64_MAX))
		return -EPROTO;
	return n;
}

/*
 *	first                                           second
 *	overwrites all bytes that the file has of its
 *	last page: makes the page without reading
 *	                                                appends to the page, syncs, drops it
 *	stores its page, which lacks the appended bytes
 */
void test_append_during_full_write_of_last_page(void **state)
{
	struct world w = world_begin(64, 0, 100);
	struct task first = {.byte = 'f', .len = 100, .offset = 0};
	struct task second = {.byte = 's', .len = 100, .offset = 100};

	(void)state;
	task_begin(&first, &w, write_run, FOLIO_PAUSE_fill_unfrozen);
	watch(&w.file->inode->size_lock);
	task_begin(&second, &w, append_run, NOWHERE);
	wait_until(task_done(&second) || folio_u32_load_acquire(&lock_attempts));
	assert_int_equal(task_end(&first), 100);
	assert_int_equal(task_end(&second), 100);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 200);
	assert_true(all_are(disk(&w, 0, 100), 'f', 100));
	assert_true(all_are(disk(&w, 100, 100), 's', 100));
	world_end(&w);
}

/*
 * A write past the end zeroes the tail of the last page. If the write then fails, the file still
 * ends where it did.
 */
void test_growth_that_fails(void **state)
{
	struct world w = world_begin(64, 0, 100);
	struct folio *last, *taken[64];
	unsigned n = 0;
	char buf[200];

	(void)state;
	assert_int_equal(folio_file_read(w.file, buf, 100, 0), 100);
	assert_int_equal(folio_file_get(w.file, 0, 0, &last), 0);
	while (n < 64 && !folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &taken[n]))
		n++;
	assert_int_equal(write_byte(&w, 9000, 'x'), -ENOMEM);
	assert_int_equal(folio_file_size(w.file), 100);
	/* A short read uses the valid length of the folio. */
	assert_int_equal(folio_file_read(w.file, buf, 10, 200), 0);
	assert_int_equal(folio_file_read(w.file, buf, 20, 90), 10);
	assert_int_equal(folio_file_read(w.file, buf, 200, 0), 100);
	while (n)
		folio_put(taken[--n]);
	folio_put(last);
	world_end(&w);
}

/*
 *	reader                                          other
 *	has a folio for page 2, is about to query the
 *	size of the file on the device
 *	                                                truncates the file to 100, then grows it
 *	reads zeros, which is correct
 */
void test_fill_during_truncation(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE + 200);
	struct task reader = {.len = 200, .offset = 2 * PAGE};

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_fill_unfrozen);
	assert_int_equal(folio_file_truncate(w.file, 100), 0);
	assert_int_equal(write_byte(&w, 3 * PAGE, 'x'), 1);
	assert_int_equal(task_end(&reader), 200);
	assert_int_equal(reader.second, 0);
	world_end(&w);
}

/*
 *	grower                                          other
 *	writes past the end: the last page is not
 *	cached, so its tail needs no zeros
 *	                                                reads the page: it ends where the file ends
 *	grows the file
 *
 * The tests below continue with the page as @other left it.
 */
static void grow_while(struct world *w, void (*other)(struct world *w))
{
	struct task grower = {.byte = 'g', .len = 1, .offset = 5000};

	*w = world_begin(64, 0, 100);
	task_begin(&grower, w, write_run, FOLIO_PAUSE_fill_unfrozen);
	other(w);
	assert_int_equal(task_end(&grower), 1);
	assert_int_equal(folio_file_size(w->file), 5001);
}

static void write_ten(struct world *w)
{
	assert_int_equal(write_byte(w, 10, 'x'), 1);
}

/* Checks the last page against the expected contents, 'x' at byte 10 included. */
static void check_last_page(const char *page)
{
	assert_true(all_are(page, 'o', 10));
	assert_int_equal(page[10], 'x');
	assert_true(all_are(page + 11, 'o', 89));
	assert_true(all_are(page + 100, 0, PAGE - 100));
}

void test_reader_of_outgrown_page(void **state)
{
	struct task reader = {.len = PAGE - 200, .offset = 200};
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_while(&w, write_ten);
	/* Every look-up of the page passes here, so an endless loop of look-ups is detected. */
	reader.gate.again = true;
	open_gate(&reader.gate);
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_pin_before_get);
	wait_until(task_done(&reader) || folio_u32_load_acquire(&reader.gate.arrived) > 1000);
	assert_true(task_done(&reader));
	assert_int_equal(task_end(&reader), PAGE - 200);
	assert_int_equal(reader.second, 0);
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	check_last_page(page);
	/* Later readers need no lock. */
	expect_versions(w.cache);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

/* The number of valid bytes that the folio of a page records. No other thread is active. */
static uint32_t valid_of(struct world *w, uint64_t index)
{
	return folio_u32_load_relaxed(&entry_folio(tree_load(&w->file->inode->tree, index))->valid);
}

void test_writer_of_outgrown_page(void **state)
{
	struct world w;

	(void)state;
	grow_while(&w, write_ten);
	/* Without a look-up, which would correct it as well. */
	assert_int_equal(valid_of(&w, 0), 100);
	assert_int_equal(write_byte(&w, 10, 'x'), 1);
	assert_int_equal(valid_of(&w, 0), PAGE);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

/*
 * A dirty last page over which the file has grown is no longer the last page when the file grows
 * again.
 */
void test_growth_after_outgrown_page(void **state)
{
	struct world w;

	(void)state;
	grow_while(&w, write_ten);
	assert_int_equal(folio_file_truncate(w.file, 300), 0);
	assert_int_equal(folio_file_truncate(w.file, 6000), 0);
	/* Without a look-up, which would correct it as well. */
	assert_int_equal(valid_of(&w, 0), PAGE);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

/* A thread that has the page pinned writes in place to the range by which the file has grown. */
void test_in_place_after_growth(void **state)
{
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_while(&w, pin_it);
	assert_int_equal(folio_lock(pinned), 0);
	memset(pinned_page + 200, 'p', 10);
	assert_int_equal(folio_mark_dirty(pinned, 0), 0);
	folio_unlock(pinned);
	folio_put(pinned);
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	assert_true(all_are(page, 'o', 100));
	assert_true(all_are(page + 100, 0, 100));
	assert_true(all_are(page + 200, 'p', 10));
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_true(all_are(disk(&w, 200, 10), 'p', 10));
	world_end(&w);
}

static void write_past_the_end(struct world *w)
{
	pin_it(w);
	assert_int_equal(folio_lock(pinned), 0);
	pinned_page[10] = 'x';
	/* These bytes are never written. */
	memset(pinned_page + 200, 'p', 10);
	assert_int_equal(folio_mark_dirty(pinned, 0), 0);
	folio_unlock(pinned);
	folio_put(pinned);
}

/* Bytes that a program left past the end are not part of the file when it grows over them. */
void test_in_place_before_growth(void **state)
{
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_while(&w, write_past_the_end);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	check_last_page(page);
	world_end(&w);
}

static void outside_write_done(struct folio_io_request *request, ssize_t result)
{
	(void)request;
	assert_int_equal(result, PAGE);
}

static ssize_t open_run(struct task *task)
{
	return folio_file_open(task->w->cache, "a", O_RDWR, 0, &task->file);
}

/*
 *	opener                                          reader                      another program
 *	                                                                            grows the file
 *	finds that it grew: drops its
 *	pages
 *	                                                fills the last one by
 *	                                                the old size
 *	stores the larger size
 *	locks that page and writes to it
 */
void test_filled_while_growth_is_found(void **state)
{
	struct world w = world_begin(64, 0, 100);
	struct task opener = {0};
	struct folio_file *reader;
	static _Alignas(FOLIO_PAGE_SIZE) char page[FOLIO_PAGE_SIZE];
	struct iovec iov = {.iov_base = page, .iov_len = PAGE};
	struct folio_io_request request = {
		.iov = &iov, .iov_count = 1, .op = FOLIO_IO_WRITE, .complete = outside_write_done};
	struct folio_io_request *requests = &request;

	(void)state;
	/* No handle is open for writing until the opener opens one. */
	assert_int_equal(folio_file_close(w.file), 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_read(reader, page, 100, 0), 100);
	assert_int_equal(sim_ops.open(w.sim, "a", O_RDWR, 0, 0, &request.handle), 0);
	memset(page, 'e', PAGE);
	sim_ops.submit(w.sim, &requests, 1);
	sim_ops.close(w.sim, request.handle);
	task_begin(&opener, &w, open_run, FOLIO_PAUSE_drop_erased);
	assert_int_equal(folio_file_read(reader, page, 50, 0), 50);
	assert_int_equal(task_end(&opener), 0);
	w.file = opener.file;
	pin_it(&w);
	write_in_place(&w);
	assert_true(all_are(disk(&w, 10, PAGE - 10), 'e', PAGE - 10));
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&w);
}
