/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that gives up system calls after it has opened a cache: what it reads and writes stays
 * right, and no call waits for ever.
 */
#include <sys/wait.h>

#include "cache-test.h"
#include "io/file.h"
#include "sandbox.h"

/* A child that hangs ends after so long. */
#ifndef ALARM_SECONDS
#define ALARM_SECONDS 50
#endif

/* TSan cannot start threads in the child of a process that had threads. */
#if defined(__SANITIZE_THREAD__)
#define FORKS false
#else
#define FORKS true
#endif

#define NO_SANDBOX 77 /* exit status of a child */
#define NO_URING   78

#define FILE_PAGES 400

/* In the child, where cmocka cannot report a failure. */
#define EXPECT(condition)                                                  \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "in the child: %s\n", #condition); \
			_exit(1);                                          \
		}                                                          \
	} while (0)

static void fill(char *buf, uint64_t page)
{
	memset(buf, (int)(page % 251), PAGE);
}

/* The file through another descriptor: what is on the disk. */
static void expect_on_disk(const char *path, uint64_t first, uint64_t end)
{
	static char right[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	int fd = open(path, O_RDONLY);

	for (; first < end; first++) {
		fill(right, first);
		EXPECT(pread(fd, got, PAGE, (off_t)(first * PAGE)) == (ssize_t)PAGE);
		EXPECT(!memcmp(right, got, PAGE));
	}
	close(fd);
}

static void write_pages(struct folio_file *file, uint64_t first, uint64_t end)
{
	static char buf[FOLIO_PAGE_SIZE];

	for (; first < end; first++) {
		fill(buf, first);
		EXPECT(folio_file_write(file, buf, PAGE, first * PAGE) == (ssize_t)PAGE);
	}
}

/* With read-ahead, prefetches and misses: the cache is smaller than the file. */
static void expect_pages(struct folio_file *file)
{
	static char right[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	struct folio_range ranges[2] = {{0, 20 * PAGE}, {300 * PAGE, 20 * PAGE}};
	uint64_t page;

	EXPECT(folio_file_prefetch(file, ranges, 2) >= 0);
	for (page = 0; page < FILE_PAGES; page++) {
		fill(right, page);
		EXPECT(folio_file_read(file, got, PAGE, page * PAGE) == (ssize_t)PAGE);
		EXPECT(!memcmp(right, got, PAGE));
	}
}

static void child(const char *path, uint32_t timeout_ms)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 128 * PAGE, .timeout_ms = timeout_ms};
	struct folio_range range = {0, 20 * PAGE};
	struct folio_cache *cache;
	struct folio_file *file;
	char page[FOLIO_PAGE_SIZE];

	EXPECT(folio_cache_open(&params, &cache) == 0);
	if (strcmp(cache_stats(cache).io, "io_uring") != 0)
		_exit(NO_URING);
	EXPECT(folio_file_open(cache, path, O_RDWR, 0, &file) == 0);
	/* Use the ring also where the file system only blocks, as tmpfs does. */
	((struct io_file *)file->inode->handle)->blocks = false;
	write_pages(file, 0, 20);
	EXPECT(folio_file_sync(file, NULL, 0) == 0);
	write_pages(file, 20, 40);

	if (!sandbox_deny(SYS_io_uring_enter, EPERM))
		_exit(NO_SANDBOX);
	EXPECT(folio_file_sync(file, NULL, 0) == 0);
	expect_on_disk(path, 0, 40);
	/* The sync may have written on its own thread. These reads are for the ring. */
	EXPECT(folio_file_invalidate(file, 0, 20 * PAGE) == 0);
	EXPECT(folio_file_prefetch(file, &range, 1) > 0);
	EXPECT(folio_file_read(file, page, PAGE, 0) == PAGE);
	EXPECT(!strcmp(cache_stats(cache).io, "threads"));
	write_pages(file, 40, FILE_PAGES);
	expect_pages(file);
	EXPECT(folio_file_close(file) == 0);
	expect_on_disk(path, 0, FILE_PAGES);
	EXPECT(folio_cache_close(cache) == 0);
}

static void expect_well(uint32_t timeout_ms)
{
	char path[] = "folio-test-XXXXXX";
	int file, status = 0;
	pid_t pid;

	if (!FORKS) {
		print_message("# skipped: threads cannot be started after a fork\n");
		return;
	}
	file = mkstemp(path);
	assert_true(file >= 0);
	close(file);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(ALARM_SECONDS);
		child(path, timeout_ms);
		_exit(0);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	unlink(path);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SANDBOX)
		print_message("# skipped: the kernel has no filters of system calls\n");
	else if (WEXITSTATUS(status) == NO_URING)
		print_message("# skipped: io_uring is unavailable\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_uring_denied(void **state)
{
	(void)state;
	expect_well(0);
}

static void test_uring_denied_deadline(void **state)
{
	(void)state;
	expect_well(30000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uring_denied),
		cmocka_unit_test(test_uring_denied_deadline),
	};

	test_begin("sandbox");
	return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
