/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POSIX locks of the program on a file stay while the cache has the file open; and files that the
 * program opens itself.
 */
#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cache-test.h"
#include "sandbox.h"

#define PAGES 10

struct locked {
	char path[64];
	int fd; /* has the lock */
};

static void locked_begin(struct locked *locked)
{
	struct flock lock = {.l_type = F_WRLCK};
	char page[FOLIO_PAGE_SIZE];
	unsigned i;

	snprintf(locked->path, sizeof(locked->path), "folio-locks-XXXXXX");
	locked->fd = mkstemp(locked->path);
	assert_true(locked->fd >= 0);
	for (i = 0; i < PAGES; i++) {
		memset(page, 'a' + (int)i, sizeof(page));
		assert_int_equal(pwrite(locked->fd, page, sizeof(page), (off_t)(i * PAGE)), PAGE);
	}
	assert_int_equal(fcntl(locked->fd, F_SETLK, &lock), 0);
}

static void locked_end(struct locked *locked)
{
	close(locked->fd);
	unlink(locked->path);
}

/* Does another process get the lock? */
static bool is_free(const struct locked *locked)
{
	struct flock lock = {.l_type = F_WRLCK};
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		_exit(fcntl(open(locked->path, O_RDWR), F_SETLK, &lock) == 0);
	assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static unsigned descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static struct folio_file *open_as(struct folio_cache *cache, const char *path, int flags)
{
	struct folio_file *file = NULL;

	assert_int_equal(folio_file_open(cache, path, flags, 0, &file), 0);
	return file;
}

static void test_locks_stay(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio_file *reader, *writer, *more, *refused;
	unsigned i, before, turn;
	struct locked locked;

	locked_begin(&locked);
	reader = open_as(cache, locked.path, O_RDONLY);
	assert_false(is_free(&locked));
	writer = open_as(cache, locked.path, O_RDWR);
	assert_false(is_free(&locked));
	/* However often it is opened, no more descriptors are used. */
	before = descriptors();
	for (turn = 0; turn < 20; turn++) {
		for (i = 0; i < 2; i++) {
			more = open_as(cache, locked.path, i ? O_RDWR | O_CREAT : O_RDONLY);
			assert_int_equal(descriptors(), before);
			assert_int_equal(folio_file_close(more), 0);
		}
	}
	assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDWR, &more), 0);
	assert_int_equal(descriptors(), before);
	assert_int_equal(folio_file_close(more), 0);
	/* Nor if the open fails, or if a handle is closed. */
	assert_int_equal(
		folio_file_open(cache, locked.path, O_RDWR | O_CREAT | O_EXCL, 0600, &refused),
		-EEXIST);
	assert_false(is_free(&locked));
	assert_int_equal(folio_file_close(writer), 0);
	assert_false(is_free(&locked));
	assert_int_equal(folio_file_close(reader), 0);
	/* The last close drops them, as close(2) does. */
	assert_true(is_free(&locked));
	locked_end(&locked);
	assert_int_equal(folio_cache_close(cache), 0);
}

/* A backend whose probe fails, or finds the file not open yet: the file is opened again. */
static bool probe_fails;

static int blind_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	if (probe_fails && io_flags & FOLIO_IO_PROBE)
		return -EACCES;
	return folio_io_threads.open(context, path, flags, mode, io_flags, handle);
}

static void test_spare_descriptors(void **state)
{
	struct folio_io_ops ops = folio_io_threads;
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops};
	unsigned before = descriptors(), open_before;
	struct folio_file *reader, *more;
	struct folio_cache *cache;
	struct locked locked;

	ops.open = blind_open;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	locked_begin(&locked);
	reader = open_as(cache, locked.path, O_RDONLY);
	open_before = descriptors();
	probe_fails = true;
	more = open_as(cache, locked.path, O_RDONLY);
	assert_false(is_free(&locked));
	assert_int_equal(folio_file_close(more), 0);
	assert_false(is_free(&locked));
	assert_int_equal(descriptors(), open_before + 1);
	assert_int_equal(folio_file_close(reader), 0);
	assert_true(is_free(&locked));
	locked_end(&locked);
	assert_int_equal(folio_cache_close(cache), 0);
	assert_int_equal(descriptors(), before);
}

/* The numbers 0 to 2 are free, and the file gets none of them, without a close that drops locks. */
static void test_standard_streams_closed(void **state)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	struct folio_file *reader, *writer;
	struct folio_cache *cache;
	struct locked locked;
	int status, fd;
	pid_t child;

#if defined(__SANITIZE_THREAD__)
	/* TSan cannot start threads in the child of a process that had threads. */
	print_message("# skipped under ThreadSanitizer\n");
	return;
#endif
	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(60);
		locked_begin(&locked);
		for (fd = 0; fd < 3; fd++)
			close(fd);
		if (folio_cache_open(&params, &cache) ||
			folio_file_open(cache, locked.path, O_RDONLY, 0, &reader) ||
			folio_file_open(cache, locked.path, O_RDWR, 0, &writer))
			_exit(1);
		if (fcntl(0, F_GETFD) >= 0 || fcntl(1, F_GETFD) >= 0 || fcntl(2, F_GETFD) >= 0)
			_exit(2);
		if (is_free(&locked))
			_exit(3);
		locked_end(&locked);
		_exit(0);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A file that the caller may not open is not opened through a handle that the cache has. */
static void test_access(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio_file *reader, *more = NULL;
	struct locked locked;
	uid_t user = geteuid();

	locked_begin(&locked);
	reader = open_as(cache, locked.path, O_RDONLY);
	assert_int_equal(fchmod(locked.fd, 0), 0);
	/* Root may open everything. */
	if (user == 0)
		assert_int_equal(seteuid(12345), 0);
	assert_int_equal(folio_file_open(cache, locked.path, O_RDONLY, 0, &more), -EACCES);
	/* A descriptor is enough. */
	assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDONLY, &more), 0);
	assert_int_equal(folio_file_close(more), 0);
	if (user == 0)
		assert_int_equal(seteuid(user), 0);
	assert_int_equal(folio_file_close(reader), 0);
	locked_end(&locked);
	assert_int_equal(folio_cache_close(cache), 0);
}

/* In a child. Its exit status is 0 if all is well, and 77 if the kernel has no sandboxes. */
static int open_in_sandbox(const char *path)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	struct folio_file *reader, *more;
	struct folio_cache *cache;
	unsigned before, turn;

	/* faccessat2, which older sandboxes do not know. */
	if (!sandbox_deny(439, EPERM))
		return 77;
	if (folio_cache_open(&params, &cache) || folio_file_open(cache, path, O_RDONLY, 0, &reader))
		return 1;
	before = descriptors();
	for (turn = 0; turn < 5; turn++)
		if (folio_file_open(cache, path, O_RDONLY, 0, &more) || folio_file_close(more))
			return 2;
	return descriptors() == before ? 0 : 3;
}

/* A sandbox that denies the check of permissions: still no descriptor is used per open. */
static void test_sandbox(void **state)
{
	struct locked locked;
	pid_t child;
	int status;

#if defined(__SANITIZE_THREAD__)
	/* TSan cannot start threads in the child of a process that had threads. */
	print_message("# skipped under ThreadSanitizer\n");
	return;
#endif
	locked_begin(&locked);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(60);
		_exit(open_in_sandbox(locked.path));
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
	locked_end(&locked);
	if (WEXITSTATUS(status) == 77) {
		print_message("# skipped: the kernel has no sandboxes\n");
		return;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- a file that the program has opened ---- */

static void expect_page(struct folio_file *file, unsigned index)
{
	char byte = 0;

	assert_int_equal(folio_file_read(file, &byte, 1, index * PAGE), 1);
	assert_int_equal(byte, 'a' + (int)index);
}

/* The file has no name any more, and the program has closed the descriptor. */
static void test_open_fd(void **state)
{
	unsigned before = descriptors(), flags;
	struct locked locked;

	for (flags = 0; flags < 2; flags++) {
		struct folio_cache *cache = cache_open(64, flags ? FOLIO_CACHE_BUFFERED : 0, NULL);
		struct folio_file *reader, *writer, *other;
		char byte = 'x';
		int again;

		locked_begin(&locked);
		unlink(locked.path);
		assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDONLY, &reader), 0);
		expect_page(reader, 3);
		assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDWR, &writer), 0);
		assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDONLY, &other), 0);
		again = dup(locked.fd);
		close(locked.fd);
		assert_int_equal(folio_file_write(writer, &byte, 1, 5 * PAGE + 7), 1);
		assert_int_equal(folio_file_read(other, &byte, 1, 5 * PAGE + 7), 1);
		assert_int_equal(byte, 'x');
		assert_int_equal(folio_file_sync(writer, NULL, 0), 0);
		assert_int_equal(pread(again, &byte, 1, (off_t)(5 * PAGE + 7)), 1);
		assert_int_equal(byte, 'x');
		expect_page(other, 4);
		close(again);
		assert_int_equal(folio_file_close(reader), 0);
		assert_int_equal(folio_file_close(writer), 0);
		expect_page(other, 9);
		assert_int_equal(folio_file_close(other), 0);
		assert_int_equal(folio_cache_close(cache), 0);
	}
	assert_int_equal(descriptors(), before);
}

/* Direct I/O, if the descriptor has it; the descriptor's flags stay as they are. */
static void test_open_fd_direct(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio_file *file;
	struct locked locked;
	char bytes[100] = "some bytes", found[100];
	int fd, flags;

	locked_begin(&locked);
	fd = open(locked.path, O_RDWR | O_DIRECT);
	if (fd >= 0) {
		flags = fcntl(fd, F_GETFL);
		assert_int_equal(folio_file_open_fd(cache, fd, O_RDWR, &file), 0);
		expect_page(file, 6);
		/* The end of the file is inside a block. */
		assert_int_equal(folio_file_write(file, bytes, sizeof(bytes), PAGES * PAGE), 100);
		assert_int_equal(folio_file_close(file), 0);
		assert_int_equal(fcntl(fd, F_GETFL), flags);
		close(fd);
		assert_int_equal(pread(locked.fd, found, 100, (off_t)(PAGES * PAGE)), 100);
		assert_memory_equal(found, bytes, 100);
	} else {
		print_message("# no direct I/O: %s\n", strerror(errno));
	}
	locked_end(&locked);
	assert_int_equal(folio_cache_close(cache), 0);
}

static int fd_result(struct folio_cache *cache, int fd, int flags)
{
	struct folio_file *file = NULL;
	int r = folio_file_open_fd(cache, fd, flags, &file);

	if (!r)
		assert_int_equal(folio_file_close(file), 0);
	return r;
}

static void test_open_fd_errors(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL), *other;
	struct folio_io_ops without = folio_io_threads;
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &without};
	unsigned before = descriptors(), i;
	struct folio_file *file;
	struct locked locked;
	int fd[2];

	locked_begin(&locked);
	assert_int_equal(folio_file_open_fd(NULL, 0, O_RDONLY, &file), -EINVAL);
	assert_int_equal(folio_file_open_fd(cache, locked.fd, O_RDONLY, NULL), -EINVAL);
	assert_int_equal(fd_result(cache, locked.fd, O_WRONLY), -EINVAL);
	assert_int_equal(fd_result(cache, locked.fd, O_RDWR | O_CREAT), -EINVAL);
	assert_int_equal(fd_result(cache, -1, O_RDONLY), -EBADF);
	fd[0] = open(locked.path, O_RDONLY);
	assert_int_equal(fd_result(cache, fd[0], O_RDWR), -EBADF);
	assert_int_equal(fd_result(cache, fd[0], O_RDONLY), 0);
	close(fd[0]);
	fd[0] = open(locked.path, O_WRONLY);
	assert_int_equal(fd_result(cache, fd[0], O_RDONLY), -EBADF);
	close(fd[0]);
	fd[0] = open(locked.path, O_PATH);
	assert_int_equal(fd_result(cache, fd[0], O_RDONLY), -EBADF);
	close(fd[0]);
	fd[0] = open(locked.path, O_RDWR | O_APPEND);
	assert_int_equal(fd_result(cache, fd[0], O_RDWR), -EINVAL);
	assert_int_equal(fd_result(cache, fd[0], O_RDONLY), 0);
	close(fd[0]);
	fd[0] = open(".", O_RDONLY);
	assert_int_equal(fd_result(cache, fd[0], O_RDONLY), -EISDIR);
	close(fd[0]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(fd_result(cache, fd[0], O_RDWR), -EINVAL);
	for (i = 0; i < 2; i++)
		close(fd[i]);
	locked_end(&locked);
	assert_int_equal(descriptors(), before);
	assert_int_equal(folio_cache_close(cache), 0);
	/* A backend without descriptors. */
	without.open_fd = NULL;
	assert_int_equal(folio_cache_open(&params, &other), 0);
	assert_int_equal(fd_result(other, 0, O_RDONLY), -EOPNOTSUPP);
	assert_int_equal(folio_cache_close(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locks_stay),
		cmocka_unit_test(test_spare_descriptors),
		cmocka_unit_test(test_standard_streams_closed),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_sandbox),
		cmocka_unit_test(test_open_fd),
		cmocka_unit_test(test_open_fd_direct),
		cmocka_unit_test(test_open_fd_errors),
	};

	test_begin("locks");
	return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
