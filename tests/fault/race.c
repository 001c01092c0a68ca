/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * race.c - interleavings of the write side that once went wrong, each step by step.
 *
 * Threads stop at the library's pause points (src/pause.h), in the simulated device, and are seen when they are about to
 * take a lock; so the order of the steps is the test's, and no test waits for time. What hangs is ended by an alarm.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache.h"
#include "pause.h"
#include "sim.h"

#define PAGE          ((uint64_t)FOLIO_PAGE_SIZE)
#define ALARM_SECONDS 20

#define wait_until(condition)          \
	do {                           \
		while (!(condition))   \
			sched_yield(); \
	} while (0)

/* ---- where threads stop ---- */

struct gate {
	enum folio_pause point;
	bool again; /* at every pass, not the first only */
	folio_u32 arrived, open;
};

/* The calling thread's own gate; the gate of whoever comes by; those in the device: of writes, only to @written. */
static _Thread_local struct gate *mine;
static folio_ptr anybody, at_sync, at_write, at_truncate, at_punch;
static int sync_error; /* of the one who stops at at_sync */
static struct sim_file *written;
static folio_u32 writes_seen;

static void pass(struct gate *gate)
{
	folio_u32_fetch_add_release(&gate->arrived, 1);
	wait_until(folio_u32_load_acquire(&gate->open));
}

/* Once each: it is taken away by who stops there. */
static struct gate *take(folio_ptr *from)
{
	void *gate = folio_ptr_load_acquire(from);

	while (gate && !folio_ptr_cas_acquire(from, &gate, NULL))
		continue;
	return gate;
}

void folio_torture_pause(enum folio_pause point, const void *folio)
{
	struct gate *gate = folio_ptr_load_acquire(&anybody);

	(void)folio;
	if (gate && gate->point == point) {
		gate = take(&anybody);
		if (gate)
			pass(gate);
	}
	gate = mine;
	if (gate && gate->point == point) {
		if (!gate->again)
			mine = NULL;
		pass(gate);
	}
}

static void arrived(const struct gate *gate)
{
	wait_until(folio_u32_load_acquire((folio_u32 *)&gate->arrived));
}

static void open_gate(struct gate *gate)
{
	folio_u32_store_release(&gate->open, 1);
}

/* Who is about to take the lock that is watched. (The linker sends the library's calls here.) */
static folio_ptr watched;
static folio_u32 wanted;

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __real_pthread_mutex_lock(pthread_mutex_t *lock);

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
	if (folio_ptr_load_acquire(&watched) == lock)
		folio_u32_fetch_add_release(&wanted, 1);
	return __real_pthread_mutex_lock(lock);
}

static void watch(pthread_mutex_t *lock)
{
	folio_u32_store_relaxed(&wanted, 0);
	folio_ptr_store_release(&watched, lock);
}

/* ---- a world ---- */

static int gated_sync(void *context, void *handle, unsigned flags)
{
	struct gate *gate = take(&at_sync);

	if (gate) {
		int error = sync_error;

		pass(gate);
		if (error)
			return -error;
	}
	return sim_ops.sync(context, handle, flags);
}

static int gated_truncate(void *context, void *handle, uint64_t size)
{
	struct gate *gate = take(&at_truncate);

	if (gate)
		pass(gate);
	return sim_ops.truncate(context, handle, size);
}

static int gated_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	struct gate *gate = take(&at_punch);

	if (gate)
		pass(gate);
	return sim_ops.punch(context, handle, offset, len);
}

static void observe(void *arg, struct sim_file *file, uint64_t offset, uint64_t len)
{
	struct gate *gate;

	(void)arg;
	(void)offset;
	(void)len;
	if (file != written)
		return;
	folio_u32_fetch_add_release(&writes_seen, 1);
	gate = take(&at_write);
	if (gate)
		pass(gate);
}

struct world {
	struct sim *sim;
	struct sim_file *disk;
	struct folio_cache *cache;
	struct folio_file *file;
};

/* A file "a" of @size bytes 'o', open for writing. Nothing is written by age; writers wait at @dirty pages. */
static struct world world_begin(uint64_t pages, uint64_t dirty, uint64_t size)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = dirty * PAGE,
		.dirty_age_ms = UINT32_MAX,
		.io = &ops,
	};
	char *bytes = malloc(size + 1);
	struct world w;

	alarm(ALARM_SECONDS);
	mine = NULL;
	watch(NULL);
	ops = sim_ops;
	ops.sync = gated_sync;
	ops.truncate = gated_truncate;
	ops.punch = gated_punch;
	assert_non_null(bytes);
	memset(bytes, 'o', size);
	w.sim = params.io_context = sim_new(1, SIM_INLINE);
	w.disk = sim_add(w.sim, "a", bytes, size);
	free(bytes);
	assert_int_equal(folio_cache_open(&params, &w.cache), 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	return w;
}

static void world_end(struct world *w)
{
	assert_int_equal(folio_file_close(w->file), 0);
	assert_int_equal(folio_cache_close(w->cache), 0);
	if (sim_complaint(w->sim))
		fail_msg("%s", sim_complaint(w->sim));
	sim_free(w->sim);
	alarm(0);
}

static bool all_are(const char *bytes, char byte, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

/* What the device has of a range. */
static const char *disk(struct world *w, uint64_t offset, size_t len)
{
	static char buf[4 * FOLIO_PAGE_SIZE];

	assert_true(len <= sizeof(buf));
	sim_peek(w->disk, buf, len, offset);
	return buf;
}

/* Another thread, which stops at a point. */
struct task {
	pthread_t thread;
	struct world *w;
	struct folio_file *file;
	ssize_t (*run)(struct task *task);
	struct gate gate;
	ssize_t result, second;
	char byte;
	size_t len;
	uint64_t offset;
	folio_u32 done;
};

static void *task_thread(void *arg)
{
	struct task *task = arg;

	if (task->gate.point != FOLIO_PAUSES)
		mine = &task->gate;
	task->result = task->run(task);
	mine = NULL;
	folio_u32_store_release(&task->done, 1);
	return NULL;
}

static void task_begin(struct task *task, struct world *w, ssize_t (*run)(struct task *task),
	enum folio_pause point)
{
	task->w = w;
	if (!task->file)
		task->file = w->file;
	task->run = run;
	task->gate.point = point;
	assert_int_equal(pthread_create(&task->thread, NULL, task_thread, task), 0);
	if (point != FOLIO_PAUSES && !task->gate.open)
		arrived(&task->gate);
}

static ssize_t task_end(struct task *task)
{
	open_gate(&task->gate);
	pthread_join(task->thread, NULL);
	return task->result;
}

static bool task_done(struct task *task)
{
	return folio_u32_load_acquire(&task->done);
}

#define NOWHERE FOLIO_PAUSES

/* @len bytes @byte at @offset. */
static ssize_t write_run(struct task *task)
{
	char buf[2 * FOLIO_PAGE_SIZE];

	memset(buf, task->byte, task->len);
	return folio_file_write(task->file, buf, task->len, task->offset);
}

static ssize_t write_byte(struct world *w, uint64_t offset, char byte)
{
	return folio_file_write(w->file, &byte, 1, offset);
}

static ssize_t sync_run(struct task *task)
{
	return folio_file_sync(task->file, NULL, 0);
}

/* ---- large folios ---- */

/*
 *	writer                                          other
 *	splits a folio: its pieces are in the tree
 *	                                                drops them: their queue is the pool's still
 *	queues the pieces
 */
static void test_piece_dropped_before_it_is_queued(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	struct world w = world_begin(1024, 0, sizeof(buf));
	struct task writer = {.byte = 'w', .len = 1, .offset = 3 * PAGE};
	struct folio *folio;
	unsigned i;

	(void)state;
	assert_int_equal(folio_file_read(w.file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(folio_file_get(w.file, 3, 0, &folio), 0);
	assert_true(folio_order(folio) >= 2);
	/* What is left in the descriptors behind the first is whatever the pool had there. */
	for (i = 1; i < 1u << folio_order(folio); i++) {
		folio_u8_store_relaxed(&folio[i].queue, POOL_QUEUE_STOCK);
		folio[i].next = folio[i].prev = POOL_NONE;
	}
	folio_put(folio);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_split_stored);
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	assert_int_equal(task_end(&writer), 1);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(*disk(&w, 3 * PAGE, 1), 'w');
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	evict_settle(w.cache);
	assert_int_equal(w.cache->evict.main.folios + w.cache->evict.small.folios, 0);
	assert_int_equal(w.cache->evict.main.pages + w.cache->evict.small.pages, 0);
	world_end(&w);
}

/* ---- the end of the file ---- */

static ssize_t append_run(struct task *task)
{
	ssize_t n = write_run(task);

	/* Out of the cache, so that the other finds no page. */
	if (folio_file_sync(task->file, NULL, 0) ||
		folio_file_invalidate(task->file, 0, UINT64_MAX))
		return -EPROTO;
	return n;
}

/*
 *	first                                           second
 *	writes all that the file has of the last page:
 *	makes it, without reading
 *	                                                appends to the page, syncs, drops it
 *	its page, with nothing behind, is the file's
 */
static void test_append_beside_whole_last_page(void **state)
{
	struct world w = world_begin(64, 0, 100);
	struct task first = {.byte = 'f', .len = 100, .offset = 0};
	struct task second = {.byte = 's', .len = 100, .offset = 100};

	(void)state;
	task_begin(&first, &w, write_run, FOLIO_PAUSE_fill_unfrozen);
	watch(&w.file->inode->size_lock);
	task_begin(&second, &w, append_run, NOWHERE);
	wait_until(task_done(&second) || folio_u32_load_acquire(&wanted));
	assert_int_equal(task_end(&first), 100);
	assert_int_equal(task_end(&second), 100);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 200);
	assert_true(all_are(disk(&w, 0, 100), 'f', 100));
	assert_true(all_are(disk(&w, 100, 100), 's', 100));
	world_end(&w);
}

/*
 *	syncer                                          appender
 *	collects the last page: it is dirty, not locked
 *	                                                appends to it; it is dirty already
 *	takes the mark away, writes what it was
 */
static void test_append_beside_collecting(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct task syncer = {0};
	char buf[100];

	(void)state;
	memset(buf, 'a', sizeof(buf));
	assert_int_equal(folio_file_write(w.file, buf, sizeof(buf), 0), sizeof(buf));
	task_begin(&syncer, &w, sync_run, FOLIO_PAUSE_collect_seen);
	assert_int_equal(folio_file_write(w.file, buf, sizeof(buf), 100), sizeof(buf));
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 200);
	assert_true(all_are(disk(&w, 0, 200), 'a', 200));
	world_end(&w);
}

static ssize_t read_run(struct task *task)
{
	char buf[FOLIO_PAGE_SIZE];
	ssize_t n = folio_file_read(task->file, buf, task->len, task->offset);

	/* What it found, where all bytes of it are the same. */
	task->second = n > 0 && all_are(buf, buf[0], (size_t)n) ? buf[0] : -1;
	return n;
}

/*
 *	reader                                          other
 *	has the page pinned, knows that it has 4096
 *	bytes
 *	                                                truncates the file to 100: the rest is zeros
 *	copies
 */
static void test_copy_beside_truncation(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task reader = {.len = PAGE};

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_copy_measured);
	assert_int_equal(folio_file_truncate(w.file, 100), 0);
	assert_int_equal(task_end(&reader), 100);
	assert_int_equal(reader.second, 'o');
	world_end(&w);
}

/*
 *	reader                                          other
 *	has read the page from the file
 *	                                                invalidates it, and writes all of it: in another folio
 *	takes what is there now
 *
 * What it read may be half of what the other has begun to write back (found by team, seeds 7 and 593 once).
 */
static void test_read_overtaken(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task reader = {.len = PAGE};
	char page[FOLIO_PAGE_SIZE];

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_fill_settled);
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	memset(page, 'n', sizeof(page));
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(task_end(&reader), PAGE);
	assert_int_equal(reader.second, 'n');
	world_end(&w);
}

/*
 *	writer                                          other
 *	has filled a new page with what it writes
 *	                                                cannot read it yet, and drops it: it is not dirty yet
 *	finds it out of its file, and begins again
 */
static void test_written_page_dropped(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task writer = {.byte = 'n', .len = PAGE};
	char byte;

	(void)state;
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_fill_read);
	assert_int_equal(folio_file_read_nowait(w.file, &byte, 1, 0), -EAGAIN);
	assert_int_equal(folio_file_invalidate(w.file, 0, PAGE), 0);
	assert_int_equal(task_end(&writer), PAGE);
	assert_int_equal(folio_file_read(w.file, &byte, 1, 0), 1);
	assert_int_equal(byte, 'n');
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(*disk(&w, 0, 1), 'n');
	world_end(&w);
}

/*
 *	writer                                          reader
 *	has put new bytes into a page
 *	                                                copies nothing of it: neither old nor new as a whole
 *	ends                                            copies all of it
 */
static void test_copy_beside_write(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task writer = {.byte = 'n', .len = PAGE};
	char page[FOLIO_PAGE_SIZE], buf[64];

	(void)state;
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), sizeof(buf));
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_write_copied);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), -EAGAIN);
	assert_int_equal(folio_file_read_nowait(w.file, page, PAGE, 0), -EAGAIN);
	assert_int_equal(task_end(&writer), PAGE);
	assert_int_equal(folio_file_read_nowait(w.file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(folio_file_read_nowait(w.file, page, PAGE, 0), PAGE);
	assert_int_equal(buf[63], 'n');
	assert_int_equal(page[PAGE - 1], 'n');
	world_end(&w);
}

/* A write behind the end gives the last page its zeros; when it comes to nothing, the file ends where it did. */
static void test_growth_that_fails(void **state)
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
	/* A short read goes by what the folio says. */
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
 *	has a folio for page 2, about to ask how long
 *	the device's file is
 *	                                                truncates the file to 100, makes it longer again
 *	reads: nothing there, and rightly so
 */
static void test_fill_beside_truncation(void **state)
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
 *	writes behind the end: the last page is not
 *	there, and needs no zeros
 *	                                                reads it: it ends where the file does
 *	the file is longer
 *
 * What follows does so with the page as @other left it.
 */
static void grow_beside(struct world *w, void (*other)(struct world *w))
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

/* The last page as it is to be, but for byte 10. */
static void check_last_page(const char *page)
{
	assert_true(all_are(page, 'o', 10));
	assert_int_equal(page[10], 'x');
	assert_true(all_are(page + 11, 'o', 89));
	assert_true(all_are(page + 100, 0, PAGE - 100));
}

static void test_reader_of_outgrown_page(void **state)
{
	struct task reader = {.len = PAGE - 200, .offset = 200};
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_beside(&w, write_ten);
	/* Each look at the page passes here: it is not looked at for ever. */
	reader.gate.again = true;
	open_gate(&reader.gate);
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_pin_before_get);
	wait_until(task_done(&reader) || folio_u32_load_acquire(&reader.gate.arrived) > 1000);
	assert_true(task_done(&reader));
	assert_int_equal(task_end(&reader), PAGE - 200);
	assert_int_equal(reader.second, 0);
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	check_last_page(page);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

/* What the folio of a page says how much of it is the file's. Nobody else is about. */
static uint32_t valid_of(struct world *w, uint64_t index)
{
	return folio_u32_load_relaxed(&entry_folio(tree_load(&w->file->inode->tree, index))->valid);
}

static void test_writer_of_outgrown_page(void **state)
{
	struct world w;

	(void)state;
	grow_beside(&w, write_ten);
	/* Not looked up, which would put it right, too. */
	assert_int_equal(valid_of(&w, 0), 100);
	assert_int_equal(write_byte(&w, 10, 'x'), 1);
	assert_int_equal(valid_of(&w, 0), PAGE);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

/* The last page, dirty, behind which the file has just grown, is the last page no more when it grows again. */
static void test_growth_after_outgrown_page(void **state)
{
	struct world w;

	(void)state;
	grow_beside(&w, write_ten);
	assert_int_equal(folio_file_truncate(w.file, 300), 0);
	assert_int_equal(folio_file_truncate(w.file, 6000), 0);
	/* Not looked up, which would put it right, too. */
	assert_int_equal(valid_of(&w, 0), PAGE);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	world_end(&w);
}

static struct folio *pinned;
static char *pinned_page;

static void pin_it(struct world *w)
{
	void *page;

	assert_int_equal(folio_file_get_page(w->file, 0, 0, &pinned, &page), 0);
	pinned_page = page;
}

/* Who had it pinned writes in place to what the file has grown by. */
static void test_in_place_after_growth(void **state)
{
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_beside(&w, pin_it);
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

static void write_behind_the_end(struct world *w)
{
	pin_it(w);
	assert_int_equal(folio_lock(pinned), 0);
	pinned_page[10] = 'x';
	/* Never written. */
	memset(pinned_page + 200, 'p', 10);
	assert_int_equal(folio_mark_dirty(pinned, 0), 0);
	folio_unlock(pinned);
	folio_put(pinned);
}

/* What somebody left behind the end is not the file's when it grows over it. */
static void test_in_place_before_growth(void **state)
{
	char page[FOLIO_PAGE_SIZE];
	struct world w;

	(void)state;
	grow_beside(&w, write_behind_the_end);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	check_last_page(disk(&w, 0, PAGE));
	assert_int_equal(folio_file_read(w.file, page, PAGE, 0), PAGE);
	check_last_page(page);
	world_end(&w);
}

static ssize_t punch_run(struct task *task)
{
	return folio_file_punch(task->file, 100, 100000);
}

/*
 *	puncher                                         other
 *	knows that the file has 90001 bytes
 *	                                                truncates it to 50
 *	writes zeros, makes a hole
 */
static void test_punch_beside_truncation(void **state)
{
	struct world w = world_begin(64, 0, 90001);
	struct task puncher = {0};

	(void)state;
	task_begin(&puncher, &w, punch_run, FOLIO_PAUSE_punch_measured);
	assert_int_equal(folio_file_truncate(w.file, 50), 0);
	assert_int_equal(task_end(&puncher), 0);
	assert_int_equal(folio_file_size(w.file), 50);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), 50);
	assert_true(all_are(disk(&w, 0, 50), 'o', 50));
	world_end(&w);
}

/* ---- truncation, holes ---- */

static uint64_t passes_ended(struct folio_cache *cache)
{
	uint64_t ended;

	pthread_mutex_lock(&cache->writeback.lock);
	ended = cache->writeback.ended;
	pthread_mutex_unlock(&cache->writeback.lock);
	return ended;
}

static ssize_t truncate_run(struct task *task)
{
	return folio_file_truncate(task->file, task->len);
}

/*
 *	other                                           thread
 *	truncates: is at the device; the size is the
 *	smaller one
 *	                                                writes what is dirty: not the page with the new end
 *	the device refuses: the page is dirty as before
 */
static void test_refused_truncation_beside_the_thread(void **state)
{
	struct world w = world_begin(64, 0, 0);
	struct task other = {.len = 100};
	struct gate device = {.again = false};
	char page[FOLIO_PAGE_SIZE];
	uint64_t passes;

	(void)state;
	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, truncate_run, NOWHERE);
	arrived(&device);
	passes = passes_ended(w.cache);
	writeback_kick(w.cache);
	wait_until(passes_ended(w.cache) > passes);
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_int_equal(sim_size(w.disk), PAGE);
	assert_true(all_are(disk(&w, 0, PAGE), 'd', PAGE));
	world_end(&w);
}

/* What the pinned first page has been given is on the device, and the pin has gone. */
static void write_in_place(struct world *w)
{
	assert_int_equal(folio_lock(pinned), 0);
	memset(pinned_page, 'p', 10);
	assert_int_equal(folio_mark_dirty(pinned, 0), 0);
	folio_unlock(pinned);
	folio_put(pinned);
	assert_int_equal(folio_file_sync(w->file, NULL, 0), 0);
	assert_true(all_are(disk(w, 0, 10), 'p', 10));
}

/*
 *	other                                           reader
 *	truncates: is at the device; the size is the
 *	smaller one
 *	                                                fills the page with the new end, and keeps it pinned
 *	the device refuses
 *	                                                locks the page, and writes to it
 *
 * All of it is still the file's.
 */
static void test_pinned_beside_refused_truncation(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct task other = {.len = 100};
	struct gate device = {.again = false};

	(void)state;
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, truncate_run, NOWHERE);
	arrived(&device);
	pin_it(&w);
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	write_in_place(&w);
	assert_true(all_are(disk(&w, 10, 2 * PAGE - 10), 'o', 2 * PAGE - 10));
	world_end(&w);
}

static ssize_t open_truncated_run(struct task *task)
{
	return folio_file_open(task->w->cache, "a", O_RDWR | O_TRUNC, 0, &task->file);
}

/*
 *	other                                           writer
 *	                                                writes
 *	opens with O_TRUNC: is at the device
 *	                                                closes: other has it open, and with it what is dirty
 *	the device refuses: nobody has it open
 */
static void test_refused_opening_with_truncation(void **state)
{
	struct world w = world_begin(64, 0, 2 * PAGE);
	struct gate device = {.again = false};
	struct task other = {0};
	char page[FOLIO_PAGE_SIZE];

	(void)state;
	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, 0), PAGE);
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	folio_ptr_store_release(&at_truncate, &device);
	task_begin(&other, &w, open_truncated_run, NOWHERE);
	arrived(&device);
	assert_int_equal(folio_file_close(w.file), 0);
	open_gate(&device);
	assert_int_equal(task_end(&other), -EPERM);
	assert_true(all_are(disk(&w, 0, PAGE), 'd', PAGE));
	assert_true(all_are(disk(&w, PAGE, PAGE), 'o', PAGE));
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	world_end(&w);
}

static void written_beside(struct folio_io_request *request, ssize_t result)
{
	(void)request;
	assert_int_equal(result, PAGE);
}

static ssize_t open_run(struct task *task)
{
	return folio_file_open(task->w->cache, "a", O_RDWR, 0, &task->file);
}

/*
 *	opener                                          reader                          somebody else
 *	                                                                                makes the file longer
 *	finds that it grew: drops its pages
 *	                                                fills the last one, by the
 *	                                                size before
 *	stores the larger size
 *	locks that page, and writes to it
 */
static void test_filled_while_growth_is_found(void **state)
{
	struct world w = world_begin(64, 0, 100);
	struct task opener = {0};
	struct folio_file *reader;
	static _Alignas(FOLIO_PAGE_SIZE) char page[FOLIO_PAGE_SIZE];
	struct iovec iov = {.iov_base = page, .iov_len = PAGE};
	struct folio_io_request request = {
		.iov = &iov, .iov_count = 1, .op = FOLIO_IO_WRITE, .complete = written_beside};
	struct folio_io_request *requests = &request;

	(void)state;
	/* Opened for writing by nobody, until the opener comes. */
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

static ssize_t hole_run(struct task *task)
{
	return folio_file_punch(task->file, PAGE, PAGE);
}

/*
 *	other                                           thread
 *	punches; what is dirty there cannot be written
 *	                                                can write it
 *	makes the hole
 *	                                                and it lands in it
 *
 * So no hole is made, but zeros are written.
 */
static void test_hole_beside_the_thread(void **state)
{
	struct world w = world_begin(64, 0, 3 * PAGE);
	struct gate punch = {.again = false}, write = {.again = false};
	struct task other = {0};
	char page[FOLIO_PAGE_SIZE];

	(void)state;
	memset(page, 'd', PAGE);
	assert_int_equal(folio_file_write(w.file, page, PAGE, PAGE), PAGE);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	folio_ptr_store_release(&at_punch, &punch);
	task_begin(&other, &w, hole_run, NOWHERE);
	wait_until(task_done(&other) || folio_u32_load_acquire(&punch.arrived));
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	if (!task_done(&other)) {
		written = w.disk;
		sim_observe_writes(w.sim, observe, NULL);
		folio_ptr_store_release(&at_write, &write);
		writeback_kick(w.cache);
		arrived(&write);
		open_gate(&punch);
		wait_until(sim_calls(w.sim, SIM_PUNCH));
		open_gate(&write);
	}
	assert_int_equal(task_end(&other), 0);
	take(&at_punch);
	written = NULL;
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), 0);
	assert_true(all_are(disk(&w, PAGE, PAGE), 0, PAGE));
	world_end(&w);
}

/* What was written before a sync is written by it, though somebody else has it locked by then. */
static void test_sync_of_what_is_locked(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct task syncer = {0};
	struct folio *folio;

	(void)state;
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w.file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	task_begin(&syncer, &w, sync_run, NOWHERE);
	wait_until(task_done(&syncer) || folio_u32_load_acquire(&folio->flags) & FOLIO_WAITERS);
	assert_false(task_done(&syncer));
	folio_unlock(folio);
	folio_put(folio);
	assert_int_equal(task_end(&syncer), 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	world_end(&w);
}

/* ---- errors ---- */

/*
 *	first                                           second
 *	asks the device to sync; it fails
 *	                                                asks, too: it has nothing more to say
 *	learns that it has failed
 */
static void test_failed_sync_of_two(void **state)
{
	struct world w = world_begin(64, 0, PAGE);
	struct gate device = {.again = false};
	struct task first = {0}, second = {0};

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &second.file), 0);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	sync_error = EIO;
	folio_ptr_store_release(&at_sync, &device);
	task_begin(&first, &w, sync_run, NOWHERE);
	arrived(&device);
	watch(&w.file->inode->sync_lock);
	task_begin(&second, &w, sync_run, NOWHERE);
	wait_until(task_done(&second) || folio_u32_load_acquire(&wanted));
	open_gate(&device);
	assert_int_equal(task_end(&first), -EIO);
	assert_int_equal(task_end(&second), -EIO);
	assert_int_equal(folio_file_sync(w.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_close(second.file), 0);
	world_end(&w);
}

static ssize_t sync_twice_run(struct task *task)
{
	struct folio_range range = {5 * PAGE, PAGE};
	ssize_t r = folio_file_sync(task->file, &range, 0);

	task->second = folio_file_sync(task->file, NULL, 0);
	return r;
}

/*
 *	writer                                          syncer
 *	                                                syncs another page: is at the device
 *	a write has failed; it is counted
 *	                                                is told; syncs again: there has to be something to
 *	                                                write
 *	its folios are dirty again
 */
static void test_told_before_it_is_dirty_again(void **state)
{
	struct world w = world_begin(64, 0, 8 * PAGE);
	struct task writer = {0}, syncer = {0};
	struct inode *inode = w.file->inode;
	struct gate device = {.again = false};
	struct folio *folio;
	bool locked;

	(void)state;
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &syncer.file), 0);
	sync_error = 0;
	folio_ptr_store_release(&at_sync, &device);
	task_begin(&syncer, &w, sync_twice_run, NOWHERE);
	arrived(&device);
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	assert_int_equal(folio_file_get(w.file, 0, 0, &folio), 0);
	sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
	task_begin(&writer, &w, sync_run, FOLIO_PAUSE_run_failed);
	/* Nobody else is about. */
	locked = pthread_mutex_trylock(&inode->tree.lock) != 0;
	if (!locked)
		pthread_mutex_unlock(&inode->tree.lock);
	watch(&inode->tree.lock);
	open_gate(&device);
	/* Either it waits for the lock; or it has found nothing to write and waits for what is on its way. */
	wait_until(locked ? folio_u32_load_acquire(&wanted)
			  : folio_u32_load_acquire(&folio->flags) & FOLIO_WAITERS);
	assert_int_equal(task_end(&writer), -EIO);
	assert_int_equal(task_end(&syncer), -EIO);
	assert_int_equal(syncer.second, 0);
	assert_int_equal(*disk(&w, 0, 1), 'x');
	folio_put(folio);
	assert_int_equal(folio_file_close(syncer.file), 0);
	world_end(&w);
}

/* ---- the thread ---- */

/*
 *	thread                                          other
 *	could not write the first file; is writing the
 *	second
 *	                                                gives the first up
 *	could not write the second; is there one to do?
 */
static void test_pass_ends(void **state)
{
	struct world w = world_begin(64, 8, 0);
	struct gate device = {.again = false};
	struct folio_file *second;
	uint64_t i;

	(void)state;
	written = sim_add(w.sim, "b", NULL, 6 * PAGE);
	folio_u32_store_relaxed(&writes_seen, 0);
	sim_observe_writes(w.sim, observe, NULL);
	sim_fail_range(w.disk, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	sim_fail_range(written, SIM_WRITE, 0, SIM_FILE_MAX, EIO, true);
	folio_ptr_store_release(&at_write, &device);
	assert_int_equal(folio_file_open(w.cache, "b", O_RDWR, 0, &second), 0);
	/* The first one is listed first. From more than four pages on the thread is at work. */
	assert_int_equal(write_byte(&w, 0, 'x'), 1);
	for (i = 0; i < 6; i++)
		assert_int_equal(folio_file_write(second, "x", 1, i * PAGE), 1);
	arrived(&device);
	assert_int_equal(folio_file_abandon(w.file), -EIO);
	open_gate(&device);
	wait_until(passes_ended(w.cache) || folio_u32_load_acquire(&writes_seen) > 1000);
	assert_true(folio_u32_load_acquire(&writes_seen) <= 1000);
	sim_fail_range(w.disk, SIM_WRITE, 0, 0, 0, false);
	sim_fail_range(written, SIM_WRITE, 0, 0, 0, false);
	w.file = second;
	world_end(&w);
	written = NULL;
}

/*
 *	thread                                          writer
 *	begins a walk by age, for whatever reason
 *	                                                may not make more dirty: waits for a pass that begins
 *	                                                from here on
 *	walks; nothing is old
 *	                                                goes on waiting
 */
static void test_walk_is_no_pass(void **state)
{
	struct task writer = {.byte = 'w', .len = 1, .offset = 8 * PAGE};
	struct gate walk = {.point = FOLIO_PAUSE_thread_woken}, all = walk;
	struct world w;
	uint64_t i;

	(void)state;
	/* The thread's first walk is one by age. */
	folio_ptr_store_release(&anybody, &walk);
	w = world_begin(64, 8, 0);
	arrived(&walk);
	for (i = 0; i < 8; i++)
		assert_int_equal(write_byte(&w, i * PAGE, 'x'), 1);
	writer.gate.again = true;
	open_gate(&writer.gate);
	task_begin(&writer, &w, write_run, FOLIO_PAUSE_throttle_waits);
	arrived(&writer.gate);
	folio_ptr_store_release(&anybody, &all);
	open_gate(&walk);
	arrived(&all);
	wait_until(task_done(&writer) || folio_u32_load_acquire(&writer.gate.arrived) > 1);
	assert_false(task_done(&writer));
	assert_int_equal(folio_u64_load_relaxed(&w.cache->writeback.pages), 8);
	open_gate(&all);
	assert_int_equal(task_end(&writer), 1);
	world_end(&w);
}

/* ---- who holds pins ---- */

static bool remember_references(const struct folio_pinned *told, void *context)
{
	*(uint32_t *)context = told->references;
	return true;
}

/* Of the one folio that is pinned; 0: none is told. */
static ssize_t pins_run(struct task *task)
{
	uint32_t references = 0;

	folio_cache_pins(task->w->cache, remember_references, &references);
	return references;
}

/*
 *	reader                                          other
 *	fills a page: the version is even
 *	                                                finds it by the hint of an earlier life, and pins it
 *	                                                asks who holds pins
 *	says UPTODATE
 */
static void test_pin_before_the_page_is_uptodate(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct inode *inode = w.file->inode;
	struct task reader = {.len = 1, .offset = 5 * PAGE}, asker = {.w = &w};
	struct folio *folio;

	(void)state;
	task_begin(&reader, &w, read_run, FOLIO_PAUSE_fill_settled);
	tree_lock(&inode->tree);
	folio = entry_folio(tree_load(&inode->tree, 5));
	tree_unlock(&inode->tree);
	folio_u32_store_relaxed(&w.cache->pool.hint[hint_at(inode, inode->hint_start, 5 * PAGE) &
						    w.cache->pool.hint_mask],
		hint_make(pool_page(&w.cache->pool, folio), folio->order));
	assert_int_equal(folio_file_get(w.file, 5, FOLIO_GET_NOWAIT, &folio), 0);
	assert_true(pins_run(&asker) >= 1);
	assert_int_equal(task_end(&reader), 1);
	assert_int_equal(pins_run(&asker), 1);
	folio_put(folio);
	world_end(&w);
}

/* Pins a page, and has somebody ask who holds pins, who stops between its owner and the lock of his tree. */
static struct folio *pin_looked_at(struct world *w, struct task *asker)
{
	struct folio *folio;

	assert_int_equal(folio_file_get(w->file, 5, 0, &folio), 0);
	task_begin(asker, w, pins_run, FOLIO_PAUSE_pins_owner);
	return folio;
}

/*
 *	asker                                           other, who has a pin
 *	finds the folio in a file
 *	                                                drops it from there
 *	counts: there is no reference of the file's
 */
static void test_pin_dropped_while_it_is_looked_at(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct task asker = {.offset = 0};
	struct folio *folio = pin_looked_at(&w, &asker);

	(void)state;
	assert_int_equal(folio_file_invalidate(w.file, 0, UINT64_MAX), 0);
	assert_true(task_end(&asker) >= 1);
	folio_put(folio);
	world_end(&w);
}

/*
 *	asker                                           other, who has a pin
 *	finds the folio clean
 *	                                                makes it dirty: there is one reference more
 *	counts
 */
static void test_pin_dirtied_while_it_is_looked_at(void **state)
{
	struct world w = world_begin(1024, 0, 16 * PAGE);
	struct task asker = {.offset = 0};
	struct folio *folio = pin_looked_at(&w, &asker);

	(void)state;
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	folio_unlock(folio);
	assert_int_equal(task_end(&asker), 1);
	folio_put(folio);
	world_end(&w);
}

/*
 *	asker                                           other
 *	looks at a folio, with a reference
 *	                                                puts the pin that was on it
 *	                                                wants a page; all but that folio are pinned: waits for it
 *	goes on
 */
static void test_page_held_by_who_asks(void **state)
{
	struct world w = world_begin(64, 0, 100 * PAGE);
	struct task asker = {.offset = 0}, reader = {.len = 1, .offset = 99 * PAGE};
	struct folio *pin[64], *held;
	unsigned n = 0;

	(void)state;
	assert_int_equal(folio_file_advise(w.file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_get(w.file, 0, 0, &held), 0);
	assert_int_equal(folio_order(held), 0);
	while (!folio_alloc(w.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &pin[n]))
		assert_true(++n < 64);
	task_begin(&asker, &w, pins_run, FOLIO_PAUSE_pins_owner);
	folio_put(held);
	task_begin(&reader, &w, read_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&w.cache->evict.waiters) || task_done(&reader));
	task_end(&asker);
	assert_int_equal(task_end(&reader), 1);
	while (n > 0)
		folio_put(pin[--n]);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_beside_write),
		cmocka_unit_test(test_piece_dropped_before_it_is_queued),
		cmocka_unit_test(test_append_beside_whole_last_page),
		cmocka_unit_test(test_append_beside_collecting),
		cmocka_unit_test(test_read_overtaken),
		cmocka_unit_test(test_written_page_dropped),
		cmocka_unit_test(test_copy_beside_truncation),
		cmocka_unit_test(test_growth_that_fails),
		cmocka_unit_test(test_fill_beside_truncation),
		cmocka_unit_test(test_reader_of_outgrown_page),
		cmocka_unit_test(test_writer_of_outgrown_page),
		cmocka_unit_test(test_growth_after_outgrown_page),
		cmocka_unit_test(test_in_place_after_growth),
		cmocka_unit_test(test_in_place_before_growth),
		cmocka_unit_test(test_punch_beside_truncation),
		cmocka_unit_test(test_pass_ends),
		cmocka_unit_test(test_walk_is_no_pass),
		cmocka_unit_test(test_refused_truncation_beside_the_thread),
		cmocka_unit_test(test_pinned_beside_refused_truncation),
		cmocka_unit_test(test_refused_opening_with_truncation),
		cmocka_unit_test(test_filled_while_growth_is_found),
		cmocka_unit_test(test_hole_beside_the_thread),
		cmocka_unit_test(test_sync_of_what_is_locked),
		cmocka_unit_test(test_failed_sync_of_two),
		cmocka_unit_test(test_told_before_it_is_dirty_again),
		cmocka_unit_test(test_pin_before_the_page_is_uptodate),
		cmocka_unit_test(test_pin_dropped_while_it_is_looked_at),
		cmocka_unit_test(test_pin_dirtied_while_it_is_looked_at),
		cmocka_unit_test(test_page_held_by_who_asks),
	};

	return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
