/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sweeps: one sequence of calls is repeated while the first allocation fails, then the second, and
 * so on until the sequence makes no more; likewise the first read of the device, the second, ...;
 * or the process may open no more files, one more, ...
 * Each call succeeds or returns an error that fits, nothing wrong is read, and nothing leaks. After
 * each call that failed, the state of the cache must be one that calls can leave (quiet-cache.h).
 * Afterwards the sequence succeeds in the same cache.
 */
#include "alloc-fault.h"

#include <folio/hot.h>

#include "cache/table.h"
#include "quiet-cache.h"

/* ---- the sequence ---- */

#define FILE_PAGES 300
/* The budget, and what it grows to. */
#define PAGES_MIN  64
#define PAGES_MAX  96
/* Some runs have a deadline, which never comes, and so request slots and other paths of a miss. */
#define TIMEOUT_MS 100000

static unsigned char expected[FILE_PAGES * FOLIO_PAGE_SIZE];

/* What a run of the sequence found; judged when nothing fails any longer. */
struct run {
	const struct folio_io_ops *ops;
	void *io_context;
	const char *path;
	uint32_t timeout_ms;
	int allowed;               /* the error that calls may return */
	struct folio_cache *cache; /* NULL: not open, or another thread is in a call */
	uint64_t failures, wrong, refused;
	const char *where;
	int wrong_error;
};

static int open_cache(const struct run *run, uint64_t pages, struct folio_cache **cache)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = pages * PAGE,
		.bytes_max = PAGES_MAX * PAGE,
		.readahead = 16 * PAGE,
		.timeout_ms = run->timeout_ms,
		.io = run->ops,
		.io_context = run->io_context,
		.closed_files_max = 1};

	return folio_cache_open(&params, cache);
}

/* Compares the cache with one of the same budget in which no call has failed. */
static void check_quiet(const struct run *run)
{
	static struct cache_limits limits;
	uint64_t pages;

	if (!run->cache)
		return;
	spared++;
	pages = cache_stats(run->cache).pages;
	if (pages != limits.pages) {
		const struct run other = {.ops = &folio_io_threads};
		struct folio_cache *cache;

		assert_int_equal(open_cache(&other, pages, &cache), 0);
		limits = limits_of(cache);
		assert_int_equal(folio_cache_close(cache), 0);
	}
	expect_quiet(run->cache, &limits);
	spared--;
}

static void judge(struct run *run, const char *where, ssize_t result)
{
	if (result >= 0)
		return;
	run->failures++;
	check_quiet(run);
	if (result == run->allowed)
		return;
	run->refused++;
	run->where = where;
	run->wrong_error = (int)result;
}

static void judge_bytes(struct run *run, const unsigned char *buf, ssize_t n, uint64_t offset)
{
	if (n > 0 && memcmp(buf, expected + offset, (size_t)n) != 0)
		run->wrong++;
}

struct second {
	struct run own;
	struct folio_file *file;
};

/* The part of another thread, whose first calls attach it. */
static void *second_thread(void *arg)
{
	struct second *second = arg;
	struct run *run = &second->own;
	unsigned char buf[200];
	uint64_t i;

	for (i = 0; i < 40; i++) {
		uint64_t offset = (i * 37 % FILE_PAGES) * PAGE + i;
		ssize_t n = folio_file_read(second->file, buf, sizeof(buf), offset);

		judge(run, "read of a second thread", n);
		judge_bytes(run, buf, n, offset);
	}
	return NULL;
}

static void release_nothing(struct folio *folio, void *context)
{
	(void)folio;
	(void)context;
}

#define HOT_LIST "folio-cache-sweep.hot"

/* Saves which pages are hot, drops them, and requests them again. */
static void use_hot_list(struct run *run, struct folio_cache *cache, struct folio_file *file)
{
	ssize_t saved = folio_cache_save_hot(cache, HOT_LIST);

	judge(run, "save_hot", saved);
	judge(run, "invalidate", folio_file_invalidate(file, 0, UINT64_MAX));
	if (saved >= 0)
		judge(run, "load_hot", folio_cache_load_hot(cache, HOT_LIST, NULL));
}

/* All that a program does with a file. With @io_errors reads may fail, else allocations. */
static void use_file(struct run *run, struct folio_cache *cache, struct folio_file *file)
{
	struct folio_type_params type_params = {
		.size = sizeof(type_params), .name = "test", .release = release_nothing};
	static unsigned char buf[40 * FOLIO_PAGE_SIZE];
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	struct folio_range range[] = {
		{100 * PAGE, 20 * PAGE}, {200 * PAGE, PAGE}, {250 * PAGE, 60 * PAGE}};
	struct second second = {.own = {.allowed = run->allowed}, .file = file};
	struct folio_read reads[40];
	struct folio *folio, *private;
	struct folio_file *again;
	unsigned type = FOLIO_TYPE_PRIVATE;
	pthread_t thread;
	uint64_t i;
	ssize_t n;
	void *page;
	int r;

	/* In sequence, with read-ahead. */
	for (i = 0; i < 60; i++) {
		n = folio_file_read(file, buf, 100, i * PAGE);
		judge(run, "read", n);
		judge_bytes(run, buf, n, i * PAGE);
	}
	/* A long read at random, at the end of the file. */
	n = folio_file_read(file, buf, sizeof(buf), 61 * PAGE + 5);
	judge(run, "long read", n);
	judge_bytes(run, buf, n, 61 * PAGE + 5);
	for (i = 0; i < 60; i++) {
		uint64_t offset = (i * 89 % FILE_PAGES) * PAGE + i;

		n = folio_file_read(file, buf, 64, offset);
		judge(run, "random read", n);
		judge_bytes(run, buf, n, offset);
	}
	judge(run, "read at the end", folio_file_read(file, buf, 100, FILE_PAGES * PAGE));
	judge(run, "prefetch", folio_file_prefetch(file, range, 3));
	for (i = 0; i < 40; i++)
		reads[i] = (struct folio_read){buf + i * 64, 64, i * 53 % FILE_PAGES * PAGE + i, 0};
	r = folio_file_read_batch(file, reads, 40, 0);
	judge(run, "batch", r);
	for (i = 0; i < 40 && !r; i++) {
		judge(run, "read of a batch", reads[i].result);
		judge_bytes(run, reads[i].buf, reads[i].result, reads[i].offset);
	}
	for (i = 0; i < 20; i++) {
		n = folio_file_read_nowait(file, buf, 64, (100 + i) * PAGE);
		if (n != -EAGAIN)
			judge(run, "read_nowait", n);
		judge_bytes(run, buf, n, (100 + i) * PAGE);
	}
	for (i = 0; i < 30; i++) {
		uint64_t index = i * 71 % FILE_PAGES;

		r = folio_file_get_page(file, index, i % 3 ? 0 : FOLIO_GET_NOWAIT, &folio, &page);
		if (i % 3 || r != -EAGAIN)
			judge(run, "get", r);
		if (!r) {
			judge_bytes(run, page, PAGE, index * PAGE);
			/* As FOLIO_REF_DEBUG does. Without memory, the pin has no holder. */
			folio_pin_taken(folio, __FILE__, __LINE__);
			folio_pin_put(folio);
			folio_put(folio);
		}
	}
	r = folio_type_register(cache, &type_params, &type);
	judge(run, "type_register", r);
	r = folio_alloc(cache, 2, type, run, &private);
	judge(run, "alloc", r);
	if (!r)
		folio_put(private);
	r = folio_file_open(cache, run->path, O_RDONLY, 0, &again);
	judge(run, "second open", r);
	if (!r)
		judge(run, "second close", folio_file_close(again));
	/* The test's own thread must be attached. */
	spared++;
	r = pthread_create(&thread, NULL, second_thread, &second);
	spared--;
	if (!r) {
		pthread_join(thread, NULL);
		run->failures += second.own.failures;
		run->wrong += second.own.wrong;
		run->refused += second.own.refused;
		if (second.own.where) {
			run->where = second.own.where;
			run->wrong_error = second.own.wrong_error;
		}
	}
	use_hot_list(run, cache, file);
	judge(run, "revalidate", folio_file_revalidate(file));
	for (i = 0; i < 30; i++) {
		n = folio_file_read(file, buf, 3 * PAGE, i * 10 * PAGE);
		judge(run, "read after invalidation", n);
		judge_bytes(run, buf, n, i * 10 * PAGE);
	}
	judge(run, "growth", folio_cache_resize(cache, PAGES_MAX * PAGE));
	n = folio_file_read(file, buf, sizeof(buf), 150 * PAGE);
	judge(run, "read in a larger cache", n);
	judge_bytes(run, buf, n, 150 * PAGE);
	judge(run, "shrinking", folio_cache_resize(cache, PAGES_MIN * PAGE));
	judge(run, "stats", folio_cache_stats(cache, &stats));
}

static void run_sequence(struct run *run, struct folio_file **file)
{
	int r;

	*file = NULL;
	r = open_cache(run, PAGES_MIN, &run->cache);
	judge(run, "cache_open", r);
	if (r)
		return;
	r = folio_file_open(run->cache, run->path, O_RDONLY, 0, file);
	judge(run, "file_open", r);
	if (r)
		return;
	use_file(run, run->cache, *file);
}

/* The number of caches that the process has open. */
static unsigned caches_open(void)
{
	unsigned i, n = 0;

	for (i = 0; i < CACHES_MAX; i++)
		n += folio_ptr_load_relaxed(&cache_table[i]) != NULL;
	return n;
}

/* Nothing fails any longer: all contents are right, the sequence succeeds, all can be closed. */
static void finish(struct run *run, struct folio_file *file)
{
	static unsigned char buf[50 * FOLIO_PAGE_SIZE];
	struct folio_cache *cache = run->cache;
	uint64_t i, failures = run->failures;

	assert_int_equal(caches_open(), cache != NULL);
	if (!cache)
		return;
	if (!file)
		assert_int_equal(folio_file_open(cache, run->path, O_RDONLY, 0, &file), 0);
	assert_int_equal(folio_file_size(file), sizeof(expected));
	for (i = 0; i < sizeof(expected); i += sizeof(buf)) {
		assert_int_equal(folio_file_read(file, buf, sizeof(buf), i), sizeof(buf));
		assert_memory_equal(buf, expected + i, sizeof(buf));
	}
	check_quiet(run);
	assert_int_equal(folio_cache_resize(cache, PAGES_MIN * PAGE), 0);
	use_file(run, cache, file);
	assert_int_equal(run->failures, failures);
	assert_int_equal(folio_file_close(file), 0);
	check_quiet(run);
	/* All pages are free, or it would return -EBUSY. (Before, the evictor may hold some.) */
	assert_int_equal(folio_cache_close(cache), 0);
	assert_int_equal(caches_open(), 0);
}

static void expect_well(const struct run *run, uint64_t nth)
{
	if (run->refused)
		print_error("with number %llu failing, %s returned %d\n", (unsigned long long)nth,
			run->where, run->wrong_error);
	assert_int_equal(run->refused, 0);
	assert_int_equal(run->wrong, 0);
}

static void fill_expected(void)
{
	uint64_t random = test_seed;
	size_t i;

	for (i = 0; i < sizeof(expected); i += 8) {
		uint64_t word = random_next(&random);

		memcpy(expected + i, &word, 8);
	}
}

/* A real file with the expected contents. */
static void make_file(char path[80])
{
	const char *folder = getenv("TMPDIR");
	int fd;

	fill_expected();
	snprintf(path, 80, "%s/folio-test-XXXXXX", folder ? folder : "/tmp");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, expected, sizeof(expected)), sizeof(expected));
	close(fd);
}

/* ---- allocations ---- */

static void sweep_allocations(const struct folio_io_ops *ops, bool ever_after)
{
	struct run run = {.ops = ops, .allowed = -ENOMEM};
	char path[80];
	struct folio_file *file;
	uint64_t nth, found, before = 0;
	unsigned files = 0;

	if (!SWEEPS_ALLOCATIONS) {
		print_message("# skipped: a sanitizer replaces the allocator\n");
		return;
	}
	make_file(path);
	run.path = path;
	/*
	 * Twice without failures: for memory allocated once for a process, and stacks that are
	 * kept.
	 */
	for (nth = 0; nth < 2; nth++) {
		run_sequence(&run, &file);
		finish(&run, file);
		expect_well(&run, 0);
		assert_int_equal(run.failures, 0);
		files = open_files();
		before = folio_u64_load_relaxed(&outstanding);
	}
	for (nth = 1;; nth++) {
		run = (struct run){.ops = ops, .allowed = -ENOMEM, .path = path};
		run.timeout_ms = ops ? TIMEOUT_MS : 0;
		arm(nth, ever_after);
		run_sequence(&run, &file);
		disarm();
		found = folio_u64_load_relaxed(&injected);
		finish(&run, file);
		expect_well(&run, nth);
		assert_int_equal(open_files(), files);
		if (!found)
			break;
	}
	print_message("# %llu allocations\n", (unsigned long long)nth);
	assert_true(nth > 20);
	unlink(path);
	/*
	 * Not one for each run: the rest are the stacks of a thread or two. (Leak checking does
	 * this better, and ASan frees the memory of threads without calling these functions.)
	 */
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
static void sweep_descriptors(const struct folio_io_ops *ops)
{
	unsigned more = 0, files;
	struct folio_file *file;
	struct run run;
	char path[80];

	make_file(path);
	files = open_files();
	do {
		run = (struct run){.ops = ops, .allowed = -EMFILE, .path = path};
		allow_descriptors(more);
		run_sequence(&run, &file);
		allow_descriptors(UINT_MAX);
		finish(&run, file);
		expect_well(&run, more);
		assert_int_equal(open_files(), files);
		more++;
	} while (run.failures);
	print_message("# %u descriptors\n", more - 1);
	assert_true(more > 1);
	unlink(path);
}

static void test_descriptors(void **state)
{
	(void)state;
	sweep_descriptors(NULL);
	sweep_descriptors(&folio_io_threads);
}

/* ---- the device ---- */

static void sweep_device(enum io_fault_op op, bool shorten, unsigned threads)
{
	static const uint64_t lengths[] = {
		0, 100, FOLIO_PAGE_SIZE, FOLIO_PAGE_SIZE + 1, 3 * FOLIO_PAGE_SIZE};
	struct folio_file *file;
	uint64_t nth;

	fill_expected();
	for (nth = 1;; nth++) {
		struct io_fault *io = io_fault_new(test_seed + nth, threads);
		struct run run = {.ops = &io_fault_ops,
			.io_context = io,
			.path = "a",
			.timeout_ms = threads ? TIMEOUT_MS : 0,
			.allowed = shorten ? -EIO : -EREMOTEIO};
		uint64_t found;

		io_fault_add_bytes(io, "a", expected, sizeof(expected));
		if (shorten)
			io_fault_shorten(io, nth, lengths[nth % 5]);
		else
			io_fault_fail(io, op, nth, EREMOTEIO);
		run_sequence(&run, &file);
		found = io_fault_injected(io);
		io_fault_wait_idle(io);
		io_fault_fail(io, op, 0, 0);
		io_fault_shorten(io, 0, 0);
		finish(&run, file);
		expect_well(&run, nth);
		/*
		 * One failure reaches only the caller and the readers that waited for the same
		 * page.
		 */
		assert_true(run.failures <= 2 + 20 + 10);
		assert_int_equal(io_fault_opens(io), 0);
		io_fault_free(io);
		if (!found)
			break;
		assert_int_equal(found, 1);
	}
	print_message("# %llu calls\n", (unsigned long long)nth);
	/* A file that is open is not opened again. */
	assert_true(nth > (op == IO_FAULT_CREATE || op == IO_FAULT_OPEN ? 1 : 2));
}

static void test_reads_fail(void **state)
{
	(void)state;
	sweep_device(IO_FAULT_READ, false, 2);
	sweep_device(IO_FAULT_READ, false, 0);
}

static void test_reads_short(void **state)
{
	(void)state;
	sweep_device(IO_FAULT_READ, true, 2);
	sweep_device(IO_FAULT_READ, true, 0);
}

static void test_other_calls_fail(void **state)
{
	(void)state;
	sweep_device(IO_FAULT_CREATE, false, 1);
	sweep_device(IO_FAULT_OPEN, false, 1);
	sweep_device(IO_FAULT_GETATTR, false, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_allocations_io_threads),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_reads_fail),
		cmocka_unit_test(test_reads_short),
		cmocka_unit_test(test_other_calls_fail),
	};
	int r;

	if (alloc_begin())
		return 1;
	test_begin("cache-sweep");
	r = cmocka_run_group_tests_name("cache-sweep", tests, NULL, NULL);
	unlink(HOT_LIST);
	return r;
}
