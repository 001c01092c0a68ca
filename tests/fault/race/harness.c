/* SPDX-License-Identifier: BSD-2-Clause */
/* harness.c - gates, the cache on its device, and the threads of a test. */
#include "race.h"

#include <time.h>

#include "cache/dirty.h"

/* ---- where threads stop ---- */

static _Thread_local struct gate *own_gate;
folio_ptr any_thread, at_sync, at_write, at_truncate, at_punch;
int sync_error;
folio_u32 full_syncs;
struct sim_file *written;
folio_u32 writes_seen;

static void pass(struct gate *gate, const void *object)
{
	folio_ptr_store_relaxed(&gate->object, (void *)object);
	if (gate->call) {
		folio_u32_fetch_add_release(&gate->arrived, 1);
		gate->call(gate);
		return;
	}
	folio_u32_fetch_add_relaxed(&gate->inside, 1);
	folio_u32_fetch_add_release(&gate->arrived, 1);
	wait_until(folio_u32_load_acquire(&gate->open));
	folio_u32_fetch_sub_release(&gate->inside, 1);
}

/* Each of these gates stops one thread, which takes it. */
struct gate *take(folio_ptr *from)
{
	void *gate = folio_ptr_load_acquire(from);

	while (gate && !folio_ptr_cas_acquire(from, &gate, NULL))
		continue;
	return gate;
}

static bool is_here(const struct gate *gate, enum folio_pause point, const void *object)
{
	return gate && gate->point == point && (!gate->at || gate->at == object);
}

void folio_torture_pause(enum folio_pause point, const void *object)
{
	struct gate *gate = folio_ptr_load_acquire(&any_thread);

	if (is_here(gate, point, object)) {
		gate = take(&any_thread);
		if (gate)
			pass(gate, object);
	}
	gate = own_gate;
	if (is_here(gate, point, object)) {
		if (!gate->again)
			own_gate = NULL;
		pass(gate, object);
	}
}

void arrived(const struct gate *gate)
{
	wait_until(folio_u32_load_acquire((folio_u32 *)&gate->arrived));
}

/* No thread uses the gate any longer that has stopped there. */
void open_gate(struct gate *gate)
{
	folio_u32_store_release(&gate->open, 1);
	wait_until(!folio_u32_load_acquire(&gate->inside));
}

folio_u64 clock_ahead;

/* The linker sends the library's calls here. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __real_clock_gettime(clockid_t clock, struct timespec *time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	int r = __real_clock_gettime(clock, time);

	if (clock == CLOCK_MONOTONIC)
		time->tv_sec += (time_t)folio_u64_load_acquire(&clock_ahead);
	return r;
}

static folio_ptr watched;
char any_lock;
folio_u32 lock_attempts;

/* The linker sends the library's calls here. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);

static void count_attempt(const void *lock)
{
	const void *want = folio_ptr_load_acquire(&watched);

	if (want && (want == lock || want == &any_lock))
		folio_u32_fetch_add_release(&lock_attempts, 1);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
	count_attempt(lock);
	folio_torture_pause(LOCKING, lock);
	return __real_pthread_mutex_lock(lock);
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
	count_attempt(lock);
	return __real_pthread_rwlock_rdlock(lock);
}

/* A thread can stop at LOCKING and at UNLOCKED, as at a pause point. */
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock);
int __real_pthread_mutex_unlock(pthread_mutex_t *lock);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
	int r = __real_pthread_mutex_unlock(lock);

	folio_torture_pause(UNLOCKED, lock);
	return r;
}

void watch(void *lock)
{
	folio_u32_store_relaxed(&lock_attempts, 0);
	folio_ptr_store_release(&watched, lock);
}

/* ---- the cache and its device ---- */

static int gated_sync(void *context, void *handle, unsigned flags)
{
	struct gate *gate = take(&at_sync);

	if (!(flags & FOLIO_IO_DATA_ONLY))
		folio_u32_fetch_add_relaxed(&full_syncs, 1);
	if (gate) {
		int error = sync_error;

		pass(gate, NULL);
		if (error)
			return -error;
	}
	return sim_ops.sync(context, handle, flags);
}

static int gated_truncate(void *context, void *handle, uint64_t size)
{
	struct gate *gate = take(&at_truncate);

	if (gate)
		pass(gate, NULL);
	return sim_ops.truncate(context, handle, size);
}

static int gated_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	struct gate *gate = take(&at_punch);

	if (gate)
		pass(gate, NULL);
	return sim_ops.punch(context, handle, offset, len);
}

void observe(void *arg, struct sim_file *file, uint64_t offset, uint64_t len)
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
		pass(gate, NULL);
}

/*
 * A file "a" of @size bytes 'o', open for writing. Nothing is written back by age; writers wait at
 * @dirty dirty pages.
 */
static struct world begin(uint64_t pages, uint64_t dirty, uint64_t size, enum sim_mode mode,
	int (*before_writeback)(void *context, uint64_t sequence))
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = dirty * PAGE,
		.dirty_age_ms = UINT32_MAX,
		.io = &ops,
		.before_writeback = before_writeback,
	};
	char *bytes = malloc(size + 1);
	struct world w;

	alarm(ALARM_SECONDS);
	own_gate = NULL;
	watch(NULL);
	folio_u32_store_relaxed(&full_syncs, 0);
	ops = sim_ops;
	ops.sync = gated_sync;
	ops.truncate = gated_truncate;
	ops.punch = gated_punch;
	assert_non_null(bytes);
	memset(bytes, 'o', size);
	w.sim = params.io_context = sim_new(1, mode);
	w.disk = sim_add(w.sim, "a", bytes, size);
	free(bytes);
	assert_int_equal(folio_cache_open(&params, &w.cache), 0);
	assert_int_equal(folio_file_open(w.cache, "a", O_RDWR, 0, &w.file), 0);
	return w;
}

struct world world_begin(uint64_t pages, uint64_t dirty, uint64_t size)
{
	return begin(pages, dirty, size, SIM_INLINE, NULL);
}

static int write_log(void *context, uint64_t sequence)
{
	(void)context;
	(void)sequence;
	return 0;
}

struct world world_begin_logged(uint64_t pages, uint64_t dirty, uint64_t size)
{
	return begin(pages, dirty, size, SIM_INLINE, write_log);
}

struct world world_begin_steps(uint64_t pages, uint64_t dirty, uint64_t size)
{
	return begin(pages, dirty, size, SIM_STEP, NULL);
}

void world_end(struct world *w)
{
	assert_int_equal(folio_file_close(w->file), 0);
	assert_int_equal(folio_cache_close(w->cache), 0);
	world_closed(w);
}

void world_closed(struct world *w)
{
	if (sim_complaint(w->sim))
		fail_msg("%s", sim_complaint(w->sim));
	sim_free(w->sim);
	alarm(0);
}

bool all_are(const char *bytes, char byte, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

/* What the device has in a range. */
const char *disk(struct world *w, uint64_t offset, size_t len)
{
	static char buf[4 * FOLIO_PAGE_SIZE];

	assert_true(len <= sizeof(buf));
	sim_peek(w->disk, buf, len, offset);
	return buf;
}

/* ---- threads and their calls ---- */

static void *task_thread(void *arg)
{
	struct task *task = arg;

	if (task->gate.point != NOWHERE)
		own_gate = &task->gate;
	task->result = task->run(task);
	own_gate = NULL;
	folio_u32_store_release(&task->done, 1);
	return NULL;
}

void task_start(struct task *task, struct world *w, ssize_t (*run)(struct task *task),
	enum folio_pause point)
{
	task->w = w;
	if (!task->file && w)
		task->file = w->file;
	task->run = run;
	task->gate.point = point;
	assert_int_equal(pthread_create(&task->thread, NULL, task_thread, task), 0);
}

void task_begin(struct task *task, struct world *w, ssize_t (*run)(struct task *task),
	enum folio_pause point)
{
	task_start(task, w, run, point);
	if (point != NOWHERE && !task->gate.open)
		arrived(&task->gate);
}

ssize_t task_end(struct task *task)
{
	open_gate(&task->gate);
	pthread_join(task->thread, NULL);
	return task->result;
}

bool task_done(struct task *task)
{
	return folio_u32_load_acquire(&task->done);
}

bool is_awaited(struct inode *inode)
{
	bool awaited;

	pthread_mutex_lock(&inode->tree.lock);
	awaited = inode->flights.awaited;
	pthread_mutex_unlock(&inode->tree.lock);
	return awaited;
}

/* Writes @len bytes @byte at @offset. */
ssize_t write_run(struct task *task)
{
	char buf[2 * FOLIO_PAGE_SIZE];

	memset(buf, task->byte, task->len);
	return folio_file_write(task->file, buf, task->len, task->offset);
}

ssize_t write_byte(struct world *w, uint64_t offset, char byte)
{
	return folio_file_write(w->file, &byte, 1, offset);
}

ssize_t sync_run(struct task *task)
{
	return folio_file_sync(task->file, NULL, 0);
}

ssize_t read_run(struct task *task)
{
	char buf[FOLIO_PAGE_SIZE];
	ssize_t n = folio_file_read(task->file, buf, task->len, task->offset);

	/* The byte that was read, if all bytes are equal. */
	task->second = n > 0 && all_are(buf, buf[0], (size_t)n) ? buf[0] : -1;
	return n;
}

struct folio *pinned;
char *pinned_page;

void pin_it(struct world *w)
{
	void *page;

	assert_int_equal(folio_file_get_page(w->file, 0, 0, &pinned, &page), 0);
	pinned_page = page;
}

/*
 * Writes in place to the pinned first page, drops the pin and syncs. The data must be on the
 * device.
 */
void write_in_place(struct world *w)
{
	assert_int_equal(folio_lock(pinned), 0);
	memset(pinned_page, 'p', 10);
	assert_int_equal(folio_mark_dirty(pinned, 0), 0);
	folio_unlock(pinned);
	folio_put(pinned);
	assert_int_equal(folio_file_sync(w->file, NULL, 0), 0);
	assert_true(all_are(disk(w, 0, 10), 'p', 10));
}

/* Makes a page dirty in place, but without folio_lock, which waits if too much is dirty. */
void mark_page(struct world *w, uint64_t index, uint64_t sequence)
{
	struct inode *inode = w->file->inode;
	struct folio *folio;

	assert_int_equal(folio_file_get(w->file, index, 0, &folio), 0);
	folio_lock_wait(folio, NULL);
	tree_lock(&inode->tree);
	dirty_mark_locked(inode, folio);
	dirty_sequence_locked(inode, folio, sequence);
	tree_unlock(&inode->tree);
	folio_unlocked(folio);
	folio_put(folio);
}

uint64_t passes_ended(struct folio_cache *cache)
{
	uint64_t ended;

	pthread_mutex_lock(&cache->writeback.lock);
	/* All files of the simulator are on one device. */
	ended = cache->writeback.devices->ended;
	pthread_mutex_unlock(&cache->writeback.lock);
	return ended;
}
