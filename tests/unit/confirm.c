/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file system that takes data and loses it, and reports that only when a descriptor is closed:
 * the last close returns the error, the handle stays open, and a retry writes the data again.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cache-test.h"
#include "io/file.h"
#include "quiet-cache.h"

#define PAGES 10

/* ---- a backend whose flush fails, and then loses what was written ---- */

static folio_u32 flushes, failures;
static void (*in_flush)(void *);
static void *in_flush_arg;

static int losing_flush(void *context, void *handle)
{
	struct io_file *file = handle;

	folio_u32_fetch_add_relaxed(&flushes, 1);
	if (in_flush)
		in_flush(in_flush_arg);
	if (!folio_u32_load_relaxed(&failures))
		return 0;
	folio_u32_fetch_sub_relaxed(&failures, 1);
	assert_int_equal(ftruncate(file->fd, 0), 0);
	return -EDQUOT;
}

static int (*truncate_op)(void *, void *, uint64_t); /* NULL: as the library's */

static folio_u32 queried; /* the attributes of a file, since the flush has begun */

static int watched_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	if (folio_u32_load_relaxed(&flushes))
		folio_u32_store_release(&queried, 1);
	return folio_io_threads.getattr(context, handle, attr);
}

struct lossy {
	struct folio_io_ops ops;
	struct folio_cache *cache;
	struct folio_file *file;
	struct cache_limits limits; /* of the new cache */
	char path[64];
	char contents[PAGES * FOLIO_PAGE_SIZE];
};

static int open_again(struct lossy *lossy, int flags, struct folio_file **file)
{
	return folio_file_open(lossy->cache, lossy->path, flags, 0, file);
}

/* A file of random bytes; not written yet. */
static void lossy_begin(struct lossy *lossy, uint32_t timeout_ms)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 1024 * PAGE,
		.io = &lossy->ops,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.dirty_age_ms = UINT32_MAX,
		.timeout_ms = timeout_ms};
	uint64_t random = test_seed;
	unsigned i;
	int fd;

	lossy->ops = folio_io_threads;
	lossy->ops.flush = losing_flush;
	lossy->ops.getattr = watched_getattr;
	if (truncate_op)
		lossy->ops.truncate = truncate_op;
	folio_u32_store_relaxed(&flushes, 0);
	folio_u32_store_relaxed(&failures, 0);
	in_flush = NULL;
	for (i = 0; i < sizeof(lossy->contents); i++)
		lossy->contents[i] = (char)random_next(&random);
	snprintf(lossy->path, sizeof(lossy->path), "folio-confirm-XXXXXX");
	fd = mkstemp(lossy->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, lossy->contents, sizeof(lossy->contents)), PAGES * PAGE);
	close(fd);
	assert_int_equal(folio_cache_open(&params, &lossy->cache), 0);
	lossy->limits = limits_of(lossy->cache);
	assert_int_equal(open_again(lossy, O_RDWR, &lossy->file), 0);
}

static void lossy_write(struct lossy *lossy, unsigned page, char byte)
{
	lossy->contents[page * PAGE + 5] = byte;
	assert_int_equal(folio_file_write(lossy->file, &byte, 1, page * PAGE + 5), 1);
}

static void lossy_write_all(struct lossy *lossy)
{
	unsigned page;

	for (page = 0; page < PAGES; page++)
		lossy_write(lossy, page, (char)('a' + page));
}

static void expect_on_disk(struct lossy *lossy)
{
	static char found[PAGES * FOLIO_PAGE_SIZE + 1];
	int fd = open(lossy->path, O_RDONLY);

	assert_int_equal(pread(fd, found, sizeof(found), 0), PAGES * PAGE);
	assert_memory_equal(found, lossy->contents, PAGES * PAGE);
	close(fd);
}

static void lossy_end(struct lossy *lossy)
{
	expect_quiet(lossy->cache, &lossy->limits);
	assert_int_equal(folio_cache_close(lossy->cache), 0);
	unlink(lossy->path);
}

static void test_close_reports(void **state)
{
	static struct lossy lossy;

	lossy_begin(&lossy, 0);
	lossy_write_all(&lossy);
	folio_u32_store_relaxed(&failures, 2);
	assert_int_equal(folio_file_close(lossy.file), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, PAGES);
	/* The handle works, and each close tries again. */
	lossy_write(&lossy, 3, 'x');
	assert_int_equal(folio_file_close(lossy.file), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, PAGES);
	expect_quiet(lossy.cache, &lossy.limits);
	assert_int_equal(folio_file_close(lossy.file), 0);
	assert_int_equal(folio_u32_load_relaxed(&flushes), 3);
	expect_on_disk(&lossy);
	lossy_end(&lossy);
}

/* Pages that were only read are not written, and nothing is asked if nothing was written. */
static void test_only_what_was_written(void **state)
{
	static struct lossy lossy;
	struct folio_file *second;
	char byte;
	unsigned i;

	lossy_begin(&lossy, 0);
	for (i = 0; i < PAGES; i++)
		assert_int_equal(folio_file_read(lossy.file, &byte, 1, i * PAGE), 1);
	assert_int_equal(folio_file_close(lossy.file), 0);
	assert_int_equal(folio_u32_load_relaxed(&flushes), 0);

	assert_int_equal(open_again(&lossy, O_RDWR, &lossy.file), 0);
	for (i = 0; i < PAGES; i++)
		assert_int_equal(folio_file_read(lossy.file, &byte, 1, i * PAGE), 1);
	lossy_write(&lossy, 3, 'x');
	/* A close that leaves another handle open asks nothing. */
	assert_int_equal(open_again(&lossy, O_RDONLY, &second), 0);
	assert_int_equal(folio_file_sync(lossy.file, NULL, 0), 0);
	assert_int_equal(folio_file_close(lossy.file), 0);
	assert_int_equal(folio_u32_load_relaxed(&flushes), 0);
	folio_u32_store_relaxed(&failures, 1);
	assert_int_equal(folio_file_close(second), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, 1);
	/* An abandon tries to write it, and drops it if the file system loses it again. */
	folio_u32_store_relaxed(&failures, 1);
	assert_int_equal(folio_file_abandon(second), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, 0);
	lossy_end(&lossy);
}

/* A large folio is written, and then split, since a part of it is written again. */
static void test_split(void **state)
{
	struct folio_range all = {0, PAGES * PAGE};
	static struct lossy lossy;
	struct folio *folio;

	lossy_begin(&lossy, 0);
	assert_int_equal(folio_file_prefetch(lossy.file, &all, 1), PAGES);
	assert_int_equal(
		folio_file_write(lossy.file, lossy.contents, PAGES * PAGE, 0), PAGES * PAGE);
	assert_int_equal(folio_file_sync(lossy.file, NULL, 0), 0);
	assert_int_equal(get_unsplit(lossy.file, 1, &folio), 0);
	assert_true(folio_order(folio) > 1);
	folio_put(folio);
	lossy_write(&lossy, 1, 'x');
	folio_u32_store_relaxed(&failures, 1);
	assert_int_equal(folio_file_close(lossy.file), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, PAGES);
	assert_int_equal(folio_file_close(lossy.file), 0);
	expect_on_disk(&lossy);
	lossy_end(&lossy);
}

/*
 * The file was cut inside a dirty folio, which was written, and then split. The page past the end
 * that this has left has no bytes to write: it does not become dirty.
 */
static void test_split_past_the_end(void **state)
{
	struct folio_range all = {0, PAGES * PAGE};
	static struct lossy lossy;
	struct stat st;

	lossy_begin(&lossy, 0);
	assert_int_equal(folio_file_prefetch(lossy.file, &all, 1), PAGES);
	assert_int_equal(
		folio_file_write(lossy.file, lossy.contents, PAGES * PAGE, 0), PAGES * PAGE);
	assert_int_equal(folio_file_truncate(lossy.file, 6 * PAGE + 100), 0);
	assert_int_equal(folio_file_sync(lossy.file, NULL, 0), 0);
	/* The folio is not split while the thread that wrote it still holds it. */
	wait_until(page_references(lossy.file, 6) == 1);
	lossy_write(&lossy, 6, 'x');
	assert_true(page_cached(lossy.file, 7));
	folio_u32_store_relaxed(&failures, 1);
	assert_int_equal(folio_file_close(lossy.file), -EDQUOT);
	assert_int_equal(cache_stats(lossy.cache).pages_dirty, 7);
	assert_int_equal(folio_file_close(lossy.file), 0);
	assert_int_equal(stat(lossy.path, &st), 0);
	assert_int_equal(st.st_size, 6 * PAGE + 100);
	lossy_end(&lossy);
}

/* ---- a flush that takes its time ---- */

static folio_u32 held;

static void hold_flush(void *arg)
{
	(void)arg;
	wait_until(!folio_u32_load_acquire(&held));
}

static void test_deadline(void **state)
{
	static struct lossy lossy;

	lossy_begin(&lossy, 100000);
	lossy_write_all(&lossy);
	folio_u32_store_relaxed(&held, 1);
	in_flush = hold_flush;
	folio_u32_store_relaxed(&failures, 1);
	/* Of the close only: the writes may last as long as they want. */
	lossy.cache->timeout_ms = 30;
	assert_int_equal(folio_file_close(lossy.file), -ETIMEDOUT);
	lossy.cache->timeout_ms = 100000;
	folio_u32_store_release(&held, 0);
	/* The flush that was left has failed: the pages are dirty again, and are written. */
	while (folio_file_close(lossy.file) == -ETIMEDOUT)
		continue;
	assert_int_equal(folio_u32_load_relaxed(&flushes), 2);
	expect_on_disk(&lossy);
	lossy_end(&lossy);
}

/*
 * The program opens the file and locks it: not before the descriptor of the flush is closed. Other
 * files can be opened and closed in the meantime.
 */
static folio_u32 opened;

static void flush_during_open(void *arg)
{
	struct lossy *lossy = arg;
	struct folio_file *other;
	uint64_t opens;

	/* By the open, which has files_lock. */
	wait_until(folio_u32_load_acquire(&queried));
	/* It has left the lock: it waits, or it is counted. */
	pthread_mutex_lock(&lossy->cache->files_lock);
	opens = lossy->file->inode->opens;
	pthread_mutex_unlock(&lossy->cache->files_lock);
	assert_int_equal(opens, 1);
	assert_int_equal(folio_file_open(lossy->cache, "/proc/self/exe", O_RDONLY, 0, &other), 0);
	assert_int_equal(folio_file_close(other), 0);
	assert_false(folio_u32_load_relaxed(&opened));
}

static void *open_in_flush(void *arg)
{
	struct lossy *lossy = arg;
	struct folio_file *file;

	wait_until(folio_u32_load_relaxed(&flushes));
	if (open_again(lossy, O_RDWR, &file))
		return NULL;
	folio_u32_store_relaxed(&opened, 1);
	return file;
}

static void test_open_waits(void **state)
{
	static struct lossy lossy;
	pthread_t thread;
	void *file;

	lossy_begin(&lossy, 0);
	lossy_write_all(&lossy);
	folio_u32_store_relaxed(&queried, 0);
	folio_u32_store_relaxed(&opened, 0);
	in_flush = flush_during_open;
	in_flush_arg = &lossy;
	assert_int_equal(pthread_create(&thread, NULL, open_in_flush, &lossy), 0);
	assert_int_equal(folio_file_close(lossy.file), 0);
	pthread_join(thread, &file);
	in_flush = NULL;
	assert_non_null(file);
	assert_int_equal(folio_file_close(file), 0);
	lossy_end(&lossy);
}

/* An open that truncates the file has begun before the close: it does not return in the flush. */
static folio_u32 truncating, flushed;

static int truncate_until_flush(void *context, void *handle, uint64_t size)
{
	folio_u32_store_release(&truncating, 1);
	wait_until(folio_u32_load_relaxed(&flushes));
	return folio_io_threads.truncate(context, handle, size);
}

static void flush_during_truncation(void *arg)
{
	unsigned turns;

	(void)arg;
	/* Until the open has failed to wait. */
	for (turns = 0; turns < 10000 && !folio_u32_load_acquire(&opened); turns++)
		sched_yield();
	folio_u32_store_release(&flushed, 1);
}

static void *open_truncating(void *arg)
{
	struct lossy *lossy = arg;
	struct folio_file *file;
	bool waited;

	if (open_again(lossy, O_RDWR | O_TRUNC, &file))
		return NULL;
	waited = folio_u32_load_acquire(&flushed);
	folio_u32_store_release(&opened, 1);
	return waited ? file : NULL;
}

static void test_truncation_waits(void **state)
{
	static struct lossy lossy;
	pthread_t thread;
	void *file;

	truncate_op = truncate_until_flush;
	lossy_begin(&lossy, 0);
	lossy_write_all(&lossy);
	assert_int_equal(folio_file_sync(lossy.file, NULL, 0), 0);
	folio_u32_store_relaxed(&truncating, 0);
	folio_u32_store_relaxed(&flushed, 0);
	folio_u32_store_relaxed(&opened, 0);
	in_flush = flush_during_truncation;
	assert_int_equal(pthread_create(&thread, NULL, open_truncating, &lossy), 0);
	wait_until(folio_u32_load_acquire(&truncating));
	assert_int_equal(folio_file_close(lossy.file), 0);
	pthread_join(thread, &file);
	in_flush = NULL;
	truncate_op = NULL;
	assert_non_null(file);
	assert_int_equal(folio_file_close(file), 0);
	lossy_end(&lossy);
}

/* ---- the library's own flush ---- */

/* From here on, close(2) fails, and closes nothing. */
static bool close_fails(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDQUOT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a child: its exit status is 0 if all is well. */
static int flush_descriptors(const char *path, bool exhausted)
{
	struct rlimit none = {0, 0};
	struct io_backend backend = {0};
	void *handle;

	if (io_file_open(&backend, path, O_RDWR, 0, 0, &handle) || io_file_flush(&backend, handle))
		return 1;
	if (exhausted) {
		if (setrlimit(RLIMIT_NOFILE, &none))
			return 2;
		/* Asked in another way. */
		return io_file_flush(&backend, handle) ? 3 : 0;
	}
	if (!close_fails())
		return 4;
	return io_file_flush(&backend, handle) == -EDQUOT ? 0 : 5;
}

static void test_flush(void **state)
{
	char path[] = "folio-confirm-XXXXXX";
	int fd = mkstemp(path), status, exhausted;
	pid_t child;

	for (exhausted = 0; exhausted < 2; exhausted++) {
		fflush(NULL);
		child = fork();
		if (child == 0) {
			alarm(60);
			_exit(flush_descriptors(path, exhausted));
		}
		assert_true(child > 0 && waitpid(child, &status, 0) == child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_close_reports),
		cmocka_unit_test(test_only_what_was_written),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_past_the_end),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_open_waits),
		cmocka_unit_test(test_truncation_waits),
		cmocka_unit_test(test_flush),
	};

	test_begin("confirm");
	return cmocka_run_group_tests_name("confirm", tests, NULL, NULL);
}
