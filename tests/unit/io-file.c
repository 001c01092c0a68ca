/* SPDX-License-Identifier: BSD-2-Clause */
/* Code that the backends share: the choice of a backend, a full file system. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "io-test.h"
#include "sandbox.h"

static void choose_and_read(const struct folio_io_ops *expected)
{
	const struct folio_io_ops *ops = NULL;
	struct world world = {0};
	void *handle;

	assert_int_equal(io_choose(&ops, &world.context, 8), 0);
	if (expected)
		assert_ptr_equal(ops, expected);
	world.ops = ops;
	handle = open_file(&world, "random", 0);
	random_reads(&world, handle, seed, 2);
	ops->close(world.context, handle);
	ops->destroy(world.context);
}

/* Container run-times deny io_uring_setup. A program may also deny the call that comes later. */
static void test_choose(void **state)
{
	static const unsigned calls[] = {SYS_io_uring_setup, SYS_io_uring_enter};
	void *context = NULL;
	int status;
	pid_t child;
	unsigned i;

	make_file("random", RANDOM_SIZE);
	choose_and_read(NULL);
	for (i = 0; i < 2; i++) {
		fflush(NULL);
		child = fork();
		if (child == 0) {
			alarm(60);
			if (!sandbox_deny(calls[i], EPERM))
				_exit(2);
			if (folio_io_uring.create(&context, 8) != -EPERM)
				_exit(3);
			choose_and_read(&folio_io_threads);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static bool uring_works(void)
{
	void *context = NULL;
	int error = folio_io_uring.create(&context, 4);

	if (!error)
		folio_io_uring.destroy(context);
	else
		print_message("# io_uring is not tested: %s\n", strerror(-error));
	return !error;
}

static bool write_line(const char *path, const char *format, unsigned number)
{
	FILE *file = fopen(path, "w");

	return file && fprintf(file, format, number) > 0 && fclose(file) == 0;
}

/* Becomes root of a private mount namespace. */
static bool become_root(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	       write_line("/proc/self/setgroups", "deny", 0) &&
	       write_line("/proc/self/uid_map", "0 %u 1\n", uid) &&
	       write_line("/proc/self/gid_map", "0 %u 1\n", gid);
}

/* A file system of eight pages. Runs in a child with a private mount namespace. */
static void run_full(const struct folio_io_ops *ops)
{
	struct world world = {.ops = ops};
	struct group group = GROUP_INIT;
	uint64_t random = seed;
	struct read *write;
	unsigned flags;
	void *handle;

	assert_int_equal(ops->create(&world.context, 4), 0);
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		handle = open_writable(&world, "full", O_CREAT | O_TRUNC, flags);
		write = write_new(&group, handle, 0, 20 * PAGE, &random);
		assert_int_equal(write_now(&world, write), -ENOSPC);
		read_free(write);
		/* It works again when there is space. */
		assert_int_equal(ops->truncate(world.context, handle, 0), 0);
		write = write_new(&group, handle, 0, 5 * PAGE + 7, &random);
		assert_int_equal(write_now(&world, write), 5 * PAGE + 7);
		read_free(write);
		ops->close(world.context, handle);
	}
	ops->destroy(world.context);
}

static void test_write_full(void **state)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 && !become_root())
			_exit(77);
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("none", directory, "tmpfs", 0, "size=32k") < 0)
			_exit(77);
		run_full(&folio_io_threads);
		if (uring_works())
			run_full(&folio_io_uring);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("# skipped: no file system can be mounted\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_write_full),
	};

	return run_io_tests("io-file", tests, sizeof(tests) / sizeof(tests[0]));
}
