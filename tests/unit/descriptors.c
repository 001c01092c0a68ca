/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that has closed standard streams: no descriptor of the library takes their numbers, so
 * that no message of the program ends up in a file of the cache.
 */
#include <sys/wait.h>

#include "cache-test.h"

/* TSan cannot start threads in the child of a process that had threads. */
#if defined(__SANITIZE_THREAD__)
#define FORKS false
#else
#define FORKS true
#endif

/* In the child, which has no standard error: the line of the first failure is its exit status. */
#define EXPECT(condition)                \
	do {                             \
		if (!(condition))        \
			_exit(__LINE__); \
	} while (0)

/* None of the descriptors in @closed, a bit for each, is in use. */
static bool are_free(unsigned closed)
{
	int fd;

	for (fd = 0; fd < 3; fd++)
		if (closed & 1u << fd && (fcntl(fd, F_GETFD) >= 0 || errno != EBADF))
			return false;
	return true;
}

static void use_cache(const struct folio_io_ops *ops, const char *path, unsigned closed)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE, .io = ops};
	struct folio_file *writer, *reader;
	struct folio_cache *cache;
	char buf[100] = "some bytes";

	EXPECT(folio_cache_open(&params, &cache) == 0);
	EXPECT(are_free(closed));
	EXPECT(folio_file_open(cache, path, O_RDONLY, 0, &reader) == 0);
	EXPECT(are_free(closed));
	EXPECT(folio_file_open(cache, path, O_RDWR, 0, &writer) == 0);
	EXPECT(are_free(closed));
	EXPECT(folio_file_write(writer, buf, sizeof(buf), 5 * PAGE) == sizeof(buf));
	EXPECT(folio_file_sync(writer, NULL, 0) == 0);
	EXPECT(folio_file_read(reader, buf, sizeof(buf), 9 * PAGE) == sizeof(buf));
	EXPECT(are_free(closed));
	EXPECT(folio_file_close(writer) == 0);
	EXPECT(folio_file_close(reader) == 0);
	EXPECT(folio_cache_close(cache) == 0);
	EXPECT(are_free(closed));
}

/* Any of the three may be closed. */
static void expect_free(const struct folio_io_ops *ops)
{
	char path[] = "folio-test-XXXXXX";
	unsigned closed;
	int fd, file = mkstemp(path);

	assert_true(file >= 0 && ftruncate(file, (off_t)(10 * PAGE)) == 0);
	close(file);
	for (closed = 1; closed < 8; closed++) {
		int status = 0;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (child == 0) {
			for (fd = 0; fd < 3; fd++)
				if (closed & 1u << fd)
					close(fd);
			use_cache(ops, path, closed);
			_exit(0);
		}
		assert_true(child > 0 && waitpid(child, &status, 0) == child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status))
			fail_msg("closed %#x: line %d", closed, WEXITSTATUS(status));
	}
	unlink(path);
}

static void test_uring(void **state)
{
	void *context = NULL;
	int error;

	(void)state;
	error = folio_io_uring.create(&context, 4);
	if (error) {
		print_message("# skipped: io_uring is unavailable: %s\n", strerror(-error));
		return;
	}
	folio_io_uring.destroy(context);
	expect_free(&folio_io_uring);
}

static void test_threads(void **state)
{
	(void)state;
	expect_free(&folio_io_threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uring),
		cmocka_unit_test(test_threads),
	};

	test_begin("descriptors");
	if (!FORKS) {
		printf("1..0 # SKIP threads cannot be started after a fork\n");
		return 0;
	}
	return cmocka_run_group_tests_name("descriptors", tests, NULL, NULL);
}
