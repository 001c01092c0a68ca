/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sweep.c - runs one sequence of calls that write a file again and again. Each run makes another
 * step fail: the first allocation, then the second, and so on until none is left; likewise each new
 * descriptor; and each read, write, sync, truncation and hole of the device, once or from then on.
 * Writes also come short, one in each run, and the power fails before each call of the device.
 *
 * Each call must do its work or return the error that was injected. Data synced with result 0 must
 * be on the device, at once and after a power cut. An error of write-back must be reported once
 * through each handle. After each call that failed, the state of the cache must be one that calls
 * can leave (quiet-cache.h). At the end, when nothing fails any longer, the file must have the
 * contents that the results of the calls imply, the entire sequence must succeed, and nothing may
 * leak or hang.
 */
#include "alloc-fault.h"

#include "history.h"
#include "quiet-cache.h"
#include "sim.h"

#define FILE_MAX      (80 * PAGE)
#define ALARM_SECONDS 30

/* A handle, and how many syncs through it returned an error. */
struct handle {
	struct folio_file *file;
	unsigned reported;
};

struct run {
	const struct folio_io_ops *ops;
	void *io_context;
	const char *path;
	struct sim *sim; /* NULL: a real file */
	struct sim_file *disk;
	int allowed;  /* the only error that calls may return */
	bool ordered; /* a failed call may be repeated at once and then succeed */
	uint32_t timeout_ms;

	struct folio_cache *cache;
	struct handle handle[2];

	unsigned char model[FILE_MAX];
	bool unknown[FILE_MAX / FOLIO_PAGE_SIZE]; /* a hole failed here: zeros or the old data */
	uint64_t size;
	struct history *history; /* versions since the last sync */
	bool lost;               /* a sync of the device failed: every later sync must fail */
	uint64_t syncs_failed;   /* syncs of the device that failed before the file was opened */
	unsigned failures;
	/* failed writes just before and after the second handle was opened */
	uint64_t failed_before, failed_after;
};

static unsigned char scratch[FILE_MAX];

/* Of the pages that a run has changed in place, and of those that write-back was asked about. */
static uint64_t sequence_marked;
static folio_u64 sequence_told;

static int allow_writeback(void *context, uint64_t sequence)
{
	uint64_t told = folio_u64_load_relaxed(&sequence_told);

	(void)context;
	while (sequence > told && !folio_u64_cas_relaxed(&sequence_told, &told, sequence))
		continue;
	return 0;
}

static int open_cache(const struct run *run, struct folio_cache **cache)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = 16 * PAGE,
		.dirty_age_ms = UINT32_MAX,
		.timeout_ms = run->timeout_ms,
		.before_writeback = run->sim ? NULL : allow_writeback,
		.io = run->ops,
		.io_context = run->io_context,
		.closed_files_max = 1,
	};

	return folio_cache_open(&params, cache);
}

/* Compares the cache with one in which no call has failed. */
static void check_quiet(struct run *run)
{
	static struct cache_limits limits;
	static bool known;

	if (!run->cache)
		return;
	spared++;
	if (!known) {
		const struct run other = {.ops = &folio_io_threads};
		struct folio_cache *cache;

		assert_int_equal(open_cache(&other, &cache), 0);
		limits = limits_of(cache);
		assert_int_equal(folio_cache_close(cache), 0);
		known = true;
	}
	expect_quiet(run->cache, &limits);
	spared--;
}

static bool is_cut(const struct run *run)
{
	return run->sim && sim_is_cut(run->sim);
}

/* True if the call failed, with an expected error. */
static bool judge(struct run *run, const char *what, int64_t result)
{
	if (result >= 0)
		return false;
	run->failures++;
	if (result != run->allowed && !(is_cut(run) && result == -EIO))
		fail_msg("%s: %s", what, strerror((int)-result));
	check_quiet(run);
	return true;
}

static void changed(struct run *run, uint64_t offset, uint64_t len)
{
	if (run->history && len)
		history_note(run->history, run->model, offset, len);
}

static void set_size(struct run *run, uint64_t size)
{
	run->size = size;
	if (run->history)
		history_note_size(run->history, size);
}

/* ---- the calls ---- */

static unsigned char byte_at(uint64_t i)
{
	return (unsigned char)(i * 31 + i / 256 * 7 + 1);
}

static void do_write(struct run *run, unsigned which, uint64_t offset, uint64_t len)
{
	static unsigned char salt;
	uint64_t i;
	bool dead = is_cut(run);
	ssize_t n;

	if (!run->handle[which].file)
		return;
	salt++;
	for (i = 0; i < len; i++)
		scratch[i] = byte_at(offset + i) ^ salt;
	n = folio_file_write(run->handle[which].file, scratch, len, offset);
	/* Without power, writes that only reach the cache are not part of the model. */
	if (judge(run, "write", n) || dead)
		return;
	assert_true(n <= (ssize_t)len && (n == (ssize_t)len || run->allowed));
	memcpy(run->model + offset, scratch, (size_t)n);
	changed(run, offset, (uint64_t)n);
	if (n && offset + (uint64_t)n > run->size)
		set_size(run, offset + (uint64_t)n);
}

static void do_write_in_place(struct run *run, uint64_t index)
{
	bool dead = is_cut(run);
	struct folio *folio;
	void *page;
	int r;

	if (!run->handle[0].file || index * PAGE + 300 > run->size)
		return;
	if (judge(run, "get", folio_file_get_page(run->handle[0].file, index, 0, &folio, &page)))
		return;
	r = folio_lock(folio);
	if (r)
		folio_put(folio);
	if (judge(run, "lock", r))
		return;
	memset((char *)page + 100, 0x77, 200);
	assert_int_equal(folio_mark_dirty(folio, index), 0);
	sequence_marked = index;
	folio_unlock(folio);
	folio_put(folio);
	if (dead)
		return;
	memset(run->model + index * PAGE + 100, 0x77, 200);
	changed(run, index * PAGE + 100, 200);
}

static void do_read(struct run *run, uint64_t offset, uint64_t len)
{
	bool dead = is_cut(run);
	uint64_t i;
	ssize_t n;

	if (!run->handle[0].file)
		return;
	n = folio_file_read(run->handle[0].file, scratch, len, offset);
	if (judge(run, "read", n) || dead || is_cut(run))
		return;
	assert_true((uint64_t)n <= (run->size > offset ? run->size - offset : 0));
	for (i = 0; i < (uint64_t)n; i++)
		if (scratch[i] != run->model[offset + i] && !run->unknown[(offset + i) / PAGE])
			fail_msg("a read at %llu differs", (unsigned long long)(offset + i));
}

static void do_truncate(struct run *run, uint64_t size)
{
	bool dead = is_cut(run), failed;
	uint64_t had = run->size;

	if (!run->handle[0].file)
		return;
	failed = judge(run, "truncate", folio_file_truncate(run->handle[0].file, size));
	if (dead)
		return;
	if (failed) {
		/* If power failed during the call, the truncation may have happened. */
		if (is_cut(run) && size < had) {
			history_cut(run->history, size);
			memset(run->model + size, 0, had - size);
			changed(run, size, had - size);
		}
		if (is_cut(run))
			history_note_size(run->history, size);
		return;
	}
	if (size < had) {
		if (run->history)
			history_cut(run->history, size);
		memset(run->model + size, 0, had - size);
		changed(run, size, had - size);
	}
	set_size(run, size);
}

static void do_punch(struct run *run, uint64_t offset, uint64_t len)
{
	bool dead = is_cut(run);
	uint64_t page;
	int r;

	if (!run->handle[0].file)
		return;
	r = folio_file_punch(run->handle[0].file, offset, len);
	if (dead) {
		judge(run, "punch", r);
		return;
	}
	if (judge(run, "punch", r) && run->ordered && !is_cut(run)) {
		r = folio_file_punch(run->handle[0].file, offset, len);
		assert_int_equal(r, 0);
	}
	if (r)
		for (page = offset / PAGE; page * PAGE < offset + len; page++)
			run->unknown[page] = true;
	memset(run->model + offset, 0, len);
	changed(run, offset, len);
}

/* Checks that the file on the device equals the model. @keeps: it must also survive a power cut. */
static void check_device(struct run *run, uint64_t offset, uint64_t end, bool keeps)
{
	uint64_t page, where = 0;

	if (!run->disk)
		return;
	for (page = offset / PAGE; page * PAGE < end; page++) {
		uint64_t len = end - page * PAGE < PAGE ? end - page * PAGE : PAGE;
		const unsigned char *right = run->model + page * PAGE;

		if (run->unknown[page])
			continue;
		if (!sim_has(run->disk, right, len, page * PAGE, &where))
			fail_msg("the device differs at %llu", (unsigned long long)where);
		if (keeps && !sim_keeps(run->disk, right, len, page * PAGE, &where))
			fail_msg("a power cut can lose synced data at %llu",
				(unsigned long long)where);
	}
}

static int do_sync(struct run *run, unsigned which, const struct folio_range *range)
{
	uint64_t offset = range ? range->offset : 0, end = run->size;
	struct handle *handle = &run->handle[which];
	int r;

	if (!handle->file)
		return 0;
	r = folio_file_sync(handle->file, range, range ? FOLIO_SYNC_DATA : 0);
	if (run->disk && sim_failed(run->disk, SIM_SYNC) > run->syncs_failed)
		run->lost = true;
	if (judge(run, "sync", r)) {
		handle->reported++;
		return r;
	}
	assert_false(run->lost);
	if (range && range->offset + range->len < end)
		end = range->offset + range->len;
	check_device(run, offset, end, true);
	if (run->history && !range) {
		history_settle(run->history, run->model, 0, FILE_MAX);
		history_settle_size(run->history, run->size);
	}
	return 0;
}

/*
 * Writes two pages, and drops the first without writing it. If they are one folio, the second is
 * written. The first may have been written before.
 */
static void do_discard(struct run *run, uint64_t index)
{
	int r;

	if (!run->handle[0].file)
		return;
	do_write(run, 0, index * PAGE, 2 * PAGE);
	r = folio_file_discard(run->handle[0].file, index * PAGE, PAGE);
	run->unknown[index] = true;
	if (judge(run, "discard", r))
		run->unknown[index + 1] = true;
}

static uint64_t writes_failed(const struct run *run)
{
	return run->disk ? sim_failed_idle(run->disk, SIM_WRITE) : 0;
}

/*
 * The sequence. It writes more than the budget holds, and dirties more at a time than the limit
 * allows.
 */
static void use_file(struct run *run)
{
	uint64_t i;
	int r;

	do_write(run, 0, 100, 50);
	do_write(run, 0, 0, 3 * PAGE);
	do_write(run, 0, 10 * PAGE + 5, 2 * PAGE);
	do_sync(run, 0, &(struct folio_range){2 * PAGE, 9 * PAGE});
	do_read(run, 0, 14 * PAGE);
	do_write_in_place(run, 1);
	for (i = 0; i < 24; i++)
		do_write(run, 0, i * 3 * PAGE + 17, PAGE / 2 + i * 200);
	run->failed_before = writes_failed(run);
	r = folio_file_open(run->cache, run->path, O_RDWR, 0, &run->handle[1].file);
	if (judge(run, "second open", r))
		run->handle[1].file = NULL;
	run->failed_after = writes_failed(run);
	do_write(run, 1, 20 * PAGE, 20 * PAGE);
	do_sync(run, 1, NULL);
	do_write_in_place(run, 12);
	do_punch(run, 5 * PAGE + 100, 6 * PAGE);
	do_read(run, 0, 40 * PAGE);
	do_truncate(run, 30 * PAGE + 1000);
	do_write(run, 1, 29 * PAGE, PAGE);
	do_truncate(run, 60 * PAGE);
	do_write(run, 0, 61 * PAGE, 10);
	do_write(run, 0, 50 * PAGE, 3 * PAGE + 1);
	do_punch(run, 49 * PAGE, 3 * PAGE);
	judge(run, "invalidate", folio_file_invalidate(run->handle[0].file, 0, UINT64_MAX));
	judge(run, "prefetch",
		folio_file_prefetch(run->handle[0].file, &(struct folio_range){0, 40 * PAGE}, 1));
	do_read(run, 28 * PAGE, 20 * PAGE);
	do_sync(run, 0, NULL);
	do_write(run, 1, run->size, 3000);
	do_discard(run, 64);
	do_truncate(run, 100);
	do_write(run, 0, 2 * PAGE, 5 * PAGE);
	do_sync(run, 1, NULL);
	do_write(run, 0, 3 * PAGE, 100);
}

static void run_sequence(struct run *run)
{
	int r;

	sequence_marked = 0;
	folio_u64_store_relaxed(&sequence_told, 0);
	alarm(ALARM_SECONDS);
	r = open_cache(run, &run->cache);
	if (judge(run, "cache_open", r)) {
		run->cache = NULL;
		return;
	}
	r = folio_file_open(run->cache, run->path, O_RDWR | O_CREAT, 0600, &run->handle[0].file);
	if (judge(run, "file_open", r)) {
		run->handle[0].file = NULL;
		return;
	}
	if (run->sim && !run->disk)
		run->disk = sim_find(run->sim, run->path);
	use_file(run);
}

static void open_first(struct run *run)
{
	assert_int_equal(folio_file_open(run->cache, run->path, O_RDWR | O_CREAT, 0600,
				 &run->handle[0].file),
		0);
}

/* Nothing fails any longer: the file must match the results of the calls. Closes its handles. */
static void settle(struct run *run)
{
	unsigned i;
	int r;

	if (!run->cache)
		return;
	run->allowed = run->sim ? -EIO : -ENOMEM;
	for (i = 0; i < 2; i++) {
		/* It may report errors not reported yet, and then no more. */
		if (do_sync(run, i, NULL) && !run->lost)
			assert_int_equal(do_sync(run, i, NULL), 0);
	}
	run->allowed = 0;
	if (!run->handle[0].file)
		open_first(run);
	assert_int_equal(folio_file_size(run->handle[0].file), run->size);
	do_read(run, 0, FILE_MAX);
	check_quiet(run);
	for (i = 0; i < 2; i++) {
		r = run->handle[i].file ? folio_file_close(run->handle[i].file) : 0;
		assert_int_equal(r, 0);
		run->handle[i].file = NULL;
	}
	check_device(run, 0, run->size, false);
	assert_int_equal(cache_stats(run->cache).pages_dirty, 0);
	assert_true(run->sim || folio_u64_load_relaxed(&sequence_told) == sequence_marked);
	check_quiet(run);
}

/* After settle: the cache works as if nothing had failed. */
static void finish(struct run *run)
{
	if (run->cache) {
		run->lost = false;
		run->syncs_failed = run->disk ? sim_failed(run->disk, SIM_SYNC) : 0;
		open_first(run);
		/* Data of a failed sync may be lost until all of it is overwritten. */
		do_truncate(run, FILE_MAX);
		do_truncate(run, 0);
		memset(run->unknown, 0, sizeof(run->unknown));
		use_file(run);
		settle(run);
		assert_int_equal(folio_cache_close(run->cache), 0);
		if (run->disk)
			assert_int_equal(sim_size(run->disk), run->size);
	}
	alarm(0);
}

/* ---- allocations ---- */

static void check_file(const struct run *run)
{
	int fd = open(run->path, O_RDONLY);
	uint64_t i;
	ssize_t n;

	if (fd < 0 && !run->size)
		return;
	assert_true(fd >= 0);
	n = pread(fd, scratch, sizeof(scratch), 0);
	close(fd);
	assert_int_equal(n, run->size);
	for (i = 0; i < run->size; i++)
		if (scratch[i] != run->model[i] && !run->unknown[i / PAGE])
			fail_msg("the file differs at %llu", (unsigned long long)i);
}

static void sweep_allocations(const struct folio_io_ops *ops, bool ever_after)
{
	static struct run run;
	uint64_t nth, found, before = 0;
	char path[80];
	unsigned files = 0;
	int fd;

	if (!SWEEPS_ALLOCATIONS) {
		print_message("# skipped: a sanitizer replaces the allocator\n");
		return;
	}
	snprintf(path, sizeof(path), "folio-sweep-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	/*
	 * Two runs without failures come first, for memory allocated once per process and for
	 * cached stacks.
	 */
	for (nth = 0;; nth++) {
		bool counts = nth >= 2;

		assert_int_equal(truncate(path, 0), 0);
		run = (struct run){.ops = ops, .path = path, .allowed = -ENOMEM};
		run.timeout_ms = ops ? 1000 * ALARM_SECONDS : 0;
		if (counts)
			arm(nth - 1, ever_after);
		run_sequence(&run);
		disarm();
		found = counts ? folio_u64_load_relaxed(&injected) : 0;
		settle(&run);
		finish(&run);
		check_file(&run);
		if (!counts) {
			assert_int_equal(run.failures, 0);
			files = open_files();
			before = folio_u64_load_relaxed(&outstanding);
			continue;
		}
		assert_int_equal(open_files(), files);
		if (!found)
			break;
	}
	print_message("# %llu allocations\n", (unsigned long long)nth);
	assert_true(nth > 20);
	unlink(path);
	assert_true(LEAKS_ARE_CHECKED || folio_u64_load_relaxed(&outstanding) <= before + 16);
}

static void test_allocations(void **state)
{
	(void)state;
	sweep_allocations(NULL, false);
	sweep_allocations(NULL, true);
}

static void test_allocations_io_threads(void **state)
{
	(void)state;
	sweep_allocations(&folio_io_threads, false);
	sweep_allocations(&folio_io_threads, true);
}

/* ---- descriptors ---- */

/* The process may open no descriptor, then one, and so on until nothing fails. */
static void test_descriptors(void **state)
{
	static struct run run;
	char path[] = "folio-sweep-XXXXXX";
	unsigned more = 0, files;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	files = open_files();
	do {
		assert_int_equal(truncate(path, 0), 0);
		run = (struct run){.path = path, .allowed = -EMFILE};
		allow_descriptors(more++);
		run_sequence(&run);
		allow_descriptors(UINT_MAX);
		settle(&run);
		finish(&run);
		check_file(&run);
		assert_int_equal(open_files(), files);
	} while (run.failures);
	print_message("# %u descriptors\n", more - 1);
	assert_true(more > 1);
	unlink(path);
}

/* ---- the device ---- */

static const char *const op_name[SIM_OPS] = {
	"create", "open", "getattr", "read", "write", "sync", "truncate", "punch", "flush"};

/* Shortens the nth write: another, shorter request is performed instead. */
static folio_u64 shorten_in;
static struct folio_io_request *shortened, shorter;
static struct iovec shorter_iov[FOLIO_IO_IOV_MAX];

static void complete_short(struct folio_io_request *request, ssize_t result)
{
	(void)request;
	shortened->complete(shortened, result);
}

static struct folio_io_request *shorten(struct folio_io_request *request)
{
	shortened = request;
	shorter = *request;
	memcpy(shorter_iov, request->iov, request->iov_count * sizeof(*request->iov));
	shorter_iov[request->iov_count - 1].iov_len -=
		request->iov[request->iov_count - 1].iov_len / 2;
	shorter.iov = shorter_iov;
	shorter.complete = complete_short;
	return &shorter;
}

static void shortening_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (requests[i]->op == FOLIO_IO_WRITE && folio_u64_load_relaxed(&shorten_in) &&
			folio_u64_fetch_sub_relaxed(&shorten_in, 1) == 1)
			requests[i] = shorten(requests[i]);
	sim_ops.submit(context, requests, count);
}

enum failure { ONCE, STICKY, SHORT };

static void begin_run(struct run *run, const struct folio_io_ops *ops, enum sim_mode mode,
	uint64_t seed, bool holes)
{
	*run = (struct run){.ops = ops, .path = "a"};
	run->sim = run->io_context = sim_new(seed, mode);
	/* With request slots, and calls on separate threads. */
	run->timeout_ms = mode == SIM_THREAD ? 1000 * ALARM_SECONDS : 0;
	sim_set_no_holes(run->sim, !holes);
}

static void end_run(struct run *run)
{
	if (sim_complaint(run->sim))
		fail_msg("%s", sim_complaint(run->sim));
	sim_free(run->sim);
	history_free(run->history);
}

/* If exactly one write failed, each handle open at that time must report the error once. */
static void check_reported(const struct run *run)
{
	if (writes_failed(run) != 1)
		return;
	assert_int_equal(run->handle[0].reported, 1);
	if (run->failed_after == run->failed_before)
		assert_int_equal(run->handle[1].reported, run->failed_before ? 0 : 1);
}

static void sweep_device(enum sim_op op, enum failure failure, enum sim_mode mode, bool holes)
{
	static struct folio_io_ops ops;
	static struct run run;
	uint64_t nth, found;

	ops = sim_ops;
	ops.submit = shortening_submit;
	for (nth = 1;; nth++) {
		begin_run(&run, &ops, mode, test_seed + nth, holes);
		run.allowed = -EIO;
		run.ordered = failure == ONCE;
		folio_u64_store_relaxed(&shorten_in, 0);
		shortened = NULL;
		if (failure != SHORT)
			sim_fail(run.sim, op, nth, EIO, failure == STICKY);
		else if (op == SIM_READ)
			sim_shorten(run.sim, nth, nth * 1000 % (5 * PAGE));
		else
			folio_u64_store_relaxed(&shorten_in, nth);
		run_sequence(&run);
		sim_wait_idle(run.sim);
		found = sim_injected(run.sim, op) + (shortened != NULL);
		if (failure == SHORT && op == SIM_READ)
			found = sim_calls(run.sim, SIM_READ) >= nth;
		sim_fail(run.sim, op, 0, 0, false);
		sim_shorten(run.sim, 0, 0);
		folio_u64_store_relaxed(&shorten_in, 0);
		settle(&run);
		if (op == SIM_WRITE && failure == ONCE)
			check_reported(&run);
		finish(&run);
		end_run(&run);
		if (!found)
			break;
	}
	print_message("# %s, %s, %s: %llu\n", op_name[op],
		failure == ONCE     ? "once"
		: failure == STICKY ? "from then on"
				    : "short",
		mode == SIM_INLINE ? "at once" : "by a thread", (unsigned long long)nth);
	assert_true(nth > 1);
}

static void sweep_op(enum sim_op op)
{
	sweep_device(op, ONCE, SIM_INLINE, true);
	sweep_device(op, ONCE, SIM_THREAD, true);
	sweep_device(op, STICKY, SIM_INLINE, true);
	sweep_device(op, STICKY, SIM_THREAD, true);
}

static void test_reads_fail(void **state)
{
	(void)state;
	sweep_op(SIM_READ);
	sweep_device(SIM_READ, SHORT, SIM_INLINE, true);
}

static void test_writes_fail(void **state)
{
	(void)state;
	sweep_op(SIM_WRITE);
	sweep_device(SIM_WRITE, ONCE, SIM_INLINE, false);
	sweep_device(SIM_WRITE, SHORT, SIM_INLINE, true);
	sweep_device(SIM_WRITE, SHORT, SIM_THREAD, true);
}

static void test_syncs_fail(void **state)
{
	(void)state;
	sweep_op(SIM_SYNC);
}

static void test_other_calls_fail(void **state)
{
	(void)state;
	sweep_op(SIM_TRUNCATE);
	sweep_op(SIM_PUNCH);
	sweep_device(SIM_CREATE, ONCE, SIM_INLINE, true);
	sweep_op(SIM_OPEN);
	sweep_op(SIM_GETATTR);
}

/* ---- opens that fail again and again ---- */

/* More than there are entries in the table of caches, and runs of write-back. */
#define OPENS 65

/* Opens of the file fail while @op does. */
static void fail_opens(struct run *run, enum sim_op op)
{
	struct folio_file *file;
	unsigned i;

	sim_fail(run->sim, op, 1, EIO, true);
	for (i = 0; i < OPENS; i++)
		assert_int_equal(folio_file_open(run->cache, run->path, O_RDWR | O_CREAT | O_TRUNC,
					 0600, &file),
			-EIO);
	sim_fail(run->sim, op, 0, 0, false);
	check_quiet(run);
}

static void test_opens_fail(void **state)
{
	static struct run run;
	unsigned i;

	(void)state;
	alarm(ALARM_SECONDS);
	begin_run(&run, &sim_ops, SIM_INLINE, test_seed, true);
	sim_fail(run.sim, SIM_CREATE, 1, EIO, true);
	for (i = 0; i < OPENS; i++)
		assert_int_equal(open_cache(&run, &run.cache), -EIO);
	sim_fail(run.sim, SIM_CREATE, 0, 0, false);
	assert_int_equal(open_cache(&run, &run.cache), 0);
	run.disk = sim_add(run.sim, run.path, NULL, 0);
	fail_opens(&run, SIM_OPEN);
	fail_opens(&run, SIM_GETATTR);
	fail_opens(&run, SIM_TRUNCATE);
	open_first(&run);
	/* The file is open already, and is not opened by the device again. */
	fail_opens(&run, SIM_GETATTR);
	fail_opens(&run, SIM_TRUNCATE);
	use_file(&run);
	settle(&run);
	finish(&run);
	end_run(&run);
}

/* ---- the power ---- */

/*
 * After the cut each sector must be one of its versions since the last sync, and the size must be
 * within the range of sizes since then.
 */
static void check_survivor(struct run *run)
{
	uint64_t size, at, least = UINT64_MAX, most = 0;
	unsigned i;

	run->allowed = 0;
	assert_int_equal(
		folio_file_open(run->cache, run->path, O_RDWR, 0, &run->handle[0].file), 0);
	size = folio_file_size(run->handle[0].file);
	/* Any size in between is allowed: a write is torn by sectors. */
	for (i = 0; i < history_sizes(run->history); i++) {
		uint64_t had = history_size(run->history, i);

		least = had < least ? had : least;
		most = had > most ? had : most;
	}
	if (size < least || size > most)
		fail_msg("the file has %llu bytes, and had %llu to %llu since the last sync",
			(unsigned long long)size, (unsigned long long)least,
			(unsigned long long)most);
	memset(scratch, 0, sizeof(scratch));
	assert_int_equal(folio_file_read(run->handle[0].file, scratch, size, 0), size);
	for (at = 0; at < FILE_MAX; at += SECTOR) {
		uint64_t len = at < size && size - at < SECTOR ? size - at : SECTOR;

		if (!history_allows(run->history, at / SECTOR, scratch + at, len))
			fail_msg("data that survived at %llu was never written",
				(unsigned long long)at);
	}
	assert_int_equal(folio_file_close(run->handle[0].file), 0);
}

static void sweep_power(enum sim_mode mode)
{
	static struct run run;
	bool cut = true;
	uint64_t nth;
	unsigned i;

	for (nth = 1; cut; nth++) {
		begin_run(&run, &sim_ops, mode, test_seed + nth, nth % 2);
		run.allowed = -EIO;
		run.history = history_new(FILE_MAX);
		run.disk = sim_add(run.sim, "a", NULL, 0);
		sim_cut_at(run.sim, nth);
		run_sequence(&run);
		sim_wait_idle(run.sim);
		cut = sim_is_cut(run.sim);
		if (!cut)
			sim_cut(run.sim);
		for (i = 0; i < 2; i++)
			if (run.handle[i].file)
				folio_file_abandon(run.handle[i].file);
		check_quiet(&run);
		assert_int_equal(folio_cache_close(run.cache), 0);
		sim_restore(run.sim);
		assert_int_equal(open_cache(&run, &run.cache), 0);
		check_survivor(&run);
		assert_int_equal(folio_cache_close(run.cache), 0);
		alarm(0);
		end_run(&run);
	}
	print_message("# %llu cuts\n", (unsigned long long)nth);
	assert_true(nth > 20);
}

static void test_power_fails(void **state)
{
	(void)state;
	sweep_power(SIM_INLINE);
	sweep_power(SIM_THREAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_fail),
		cmocka_unit_test(test_writes_fail),
		cmocka_unit_test(test_syncs_fail),
		cmocka_unit_test(test_other_calls_fail),
		cmocka_unit_test(test_opens_fail),
		cmocka_unit_test(test_power_fails),
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_allocations_io_threads),
		cmocka_unit_test(test_descriptors),
	};

	if (alloc_begin())
		return 1;
	test_begin("sweep");
	return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
