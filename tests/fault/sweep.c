/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sweep.c - one sequence of calls that write a file, again and again, while the first allocation fails, then the second,
 * and so on until it asks for no more; likewise each read, write, sync, truncation and hole of the device, once or from then
 * on; each write that comes short; and the power, before each.
 *
 * Each call does what it should or says why not; what a sync of 0 promised is on the device, at once and after a power cut;
 * an error of write-back is told once to each handle; in the end, when nothing fails any more, the file is what the
 * calls say that it is, and nothing leaks or hangs.
 */
#include "alloc-fault.h"

#include "history.h"
#include "sim.h"

#define FILE_MAX      (80 * PAGE)
#define ALARM_SECONDS 30

/* A handle, and how often a sync told it of an error. */
struct handle {
	struct folio_file *file;
	unsigned told;
};

struct run {
	const struct folio_io_ops *ops;
	void *io_context;
	const char *path;
	struct sim *sim; /* NULL: a real file */
	struct sim_file *disk;
	int allowed;  /* the error that calls may return */
	bool ordered; /* a call that fails may succeed when it is repeated at once */

	struct folio_cache *cache;
	struct handle handle[2];

	unsigned char model[FILE_MAX];
	bool unknown[FILE_MAX / FOLIO_PAGE_SIZE]; /* a hole failed here: zeros, or what was there */
	uint64_t size;
	struct history *history; /* since the last sync */
	bool lost;               /* a sync of the device failed: each says so */
	unsigned failures;
	uint64_t failed_before, failed_after; /* writes, when the second handle was opened */
};

static unsigned char scratch[FILE_MAX];

static bool is_cut(const struct run *run)
{
	return run->sim && sim_is_cut(run->sim);
}

/* True: it failed, with reason. */
static bool judge(struct run *run, const char *what, int64_t result)
{
	if (result >= 0)
		return false;
	run->failures++;
	if (result != run->allowed && !(is_cut(run) && result == -EIO))
		fail_msg("%s: %s", what, strerror((int)-result));
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
	/* Without power, what is in the cache is of no interest any more: it is not the model's. */
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

	if (!run->handle[0].file || index * PAGE + 300 > run->size)
		return;
	if (judge(run, "get", folio_file_get_page(run->handle[0].file, index, 0, &folio, &page)))
		return;
	assert_int_equal(folio_lock(folio), 0);
	memset((char *)page + 100, 0x77, 200);
	assert_int_equal(folio_mark_dirty(folio, index), 0);
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
		/* Where the power fails in it, it may have happened. */
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

/* What the file has of the model, and has to keep. */
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
			fail_msg("a power cut can lose what was synced at %llu",
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
	if (run->disk && sim_failed(run->disk, SIM_SYNC))
		run->lost = true;
	if (judge(run, "sync", r)) {
		handle->told++;
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

static uint64_t writes_failed(const struct run *run)
{
	return run->disk ? sim_failed_idle(run->disk, SIM_WRITE) : 0;
}

/* The sequence. More is written than the budget has, and more is dirty at a time than may be. */
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
	do_truncate(run, 100);
	do_write(run, 0, 2 * PAGE, 5 * PAGE);
	do_sync(run, 1, NULL);
	do_write(run, 0, 3 * PAGE, 100);
}

static int open_cache(struct run *run)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = 16 * PAGE,
		.dirty_age_ms = UINT32_MAX,
		.io = run->ops,
		.io_context = run->io_context,
	};

	return folio_cache_open(&params, &run->cache);
}

static void run_sequence(struct run *run)
{
	int r;

	alarm(ALARM_SECONDS);
	r = open_cache(run);
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

/* Nothing fails any more: what the calls said is so. */
static void finish(struct run *run)
{
	unsigned i;
	int r;

	if (!run->cache)
		goto out;
	run->allowed = run->sim ? -EIO : -ENOMEM;
	for (i = 0; i < 2; i++) {
		/* Told of what it had not been told of, and then no more. */
		if (do_sync(run, i, NULL) && !run->lost)
			assert_int_equal(do_sync(run, i, NULL), 0);
	}
	run->allowed = 0;
	if (!run->handle[0].file)
		assert_int_equal(folio_file_open(run->cache, run->path, O_RDWR | O_CREAT, 0600,
					 &run->handle[0].file),
			0);
	assert_int_equal(folio_file_size(run->handle[0].file), run->size);
	do_read(run, 0, FILE_MAX);
	for (i = 0; i < 2; i++) {
		r = run->handle[i].file ? folio_file_close(run->handle[i].file) : 0;
		assert_int_equal(r, 0);
	}
	check_device(run, 0, run->size, false);
	assert_int_equal(cache_stats(run->cache).pages_dirty, 0);
	assert_int_equal(folio_cache_close(run->cache), 0);
	if (run->disk)
		assert_int_equal(sim_size(run->disk), run->size);
out:
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
		print_message("# left out: a sanitizer has the allocator\n");
		return;
	}
	snprintf(path, sizeof(path), "folio-sweep-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	/* Twice with nothing failing: what is allocated once for a process, and stacks that are kept. */
	for (nth = 0;; nth++) {
		bool counts = nth >= 2;

		assert_int_equal(truncate(path, 0), 0);
		run = (struct run){.ops = ops, .path = path, .allowed = -ENOMEM};
		if (counts)
			arm(nth - 1, ever_after);
		run_sequence(&run);
		disarm();
		found = counts ? folio_u64_load_relaxed(&injected) : 0;
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

/* ---- the device ---- */

static const char *const op_name[SIM_OPS] = {
	"create", "open", "getattr", "read", "write", "sync", "truncate", "punch"};

/* The nth write ends before its end: another request is performed in its place. */
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
	sim_set_no_holes(run->sim, !holes);
}

static void end_run(struct run *run)
{
	if (sim_complaint(run->sim))
		fail_msg("%s", sim_complaint(run->sim));
	sim_free(run->sim);
	history_free(run->history);
}

/* A write failed once: each handle that was open heard of it, once. */
static void check_told(const struct run *run)
{
	if (writes_failed(run) != 1)
		return;
	assert_int_equal(run->handle[0].told, 1);
	if (run->failed_after == run->failed_before)
		assert_int_equal(run->handle[1].told, run->failed_before ? 0 : 1);
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
		finish(&run);
		if (op == SIM_WRITE && failure == ONCE)
			check_told(&run);
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

/* ---- the power ---- */

/* What is there afterwards: each sector as it was at some time since the last sync, and a size within those that it had. */
static void check_survivor(struct run *run)
{
	uint64_t size, at, least = UINT64_MAX, most = 0;
	unsigned i;

	run->allowed = 0;
	assert_int_equal(
		folio_file_open(run->cache, run->path, O_RDWR, 0, &run->handle[0].file), 0);
	size = folio_file_size(run->handle[0].file);
	/* Any in between: a write is torn by sectors. */
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
			fail_msg("what survived at %llu was never there", (unsigned long long)at);
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
		assert_int_equal(folio_cache_close(run.cache), 0);
		sim_restore(run.sim);
		assert_int_equal(open_cache(&run), 0);
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
		cmocka_unit_test(test_power_fails),
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_allocations_io_threads),
	};

	if (alloc_begin())
		return 1;
	test_begin("sweep");
	return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
