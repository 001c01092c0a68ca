/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a descriptor: the results are those of open(2), and a file that is refused is not even
 * opened.
 */
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "io-test.h"

/* The result of opening and closing a file. */
static int try(const char *path, int flags)
{
	void *handle;
	int r = io_file_open(&backend, path, flags, 0600, 0, &handle);

	if (!r)
		io_file_close(&backend, handle);
	return r;
}

/* Is the file opened in the time that it takes to refuse it? */
static bool opened_when_refused(const char *path, int flags, int expected)
{
	char events[4096];
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	bool opened;

	assert_true(watch >= 0);
	assert_true(inotify_add_watch(watch, path, IN_OPEN) >= 0);
	assert_int_equal(try(path, flags), expected);
	opened = read(watch, events, sizeof(events)) > 0;
	close(watch);
	return opened;
}

/*
 * A FIFO with a reader for a moment: its writer writes, and gets SIGPIPE. A device: a watchdog
 * starts, a tape rewinds.
 */
static void test_refused_unopened(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDONLY | O_NOFOLLOW};
	unsigned i;

	unlink(path_of("fifo"));
	unlink(path_of("device"));
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		assert_false(opened_when_refused(path_of("fifo"), flags[i], -EINVAL));
		assert_false(opened_when_refused(directory, flags[i], -EISDIR));
	}
	/* The null device, under a name that no other program opens. */
	if (mknod(path_of("device"), S_IFCHR | 0600, makedev(1, 3)) < 0) {
		print_message("# no device: %s\n", strerror(errno));
		return;
	}
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		assert_false(opened_when_refused(path_of("device"), flags[i], -EINVAL));
}

/* Each combination succeeds, or fails with the same errno as open(2). */
static void test_as_open(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL,
		O_RDONLY | O_NOFOLLOW, O_RDWR | O_CREAT | O_NOFOLLOW, O_RDONLY | O_NOATIME};
	static const char *const names[] = {
		"file", "link", "dangling", "loop", "none", "none/below", "file/below", ""};
	unsigned before = count_fds(), i, j;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		for (j = 0; j < sizeof(names) / sizeof(names[0]); j++) {
			const char *name = path_of(names[j]);
			int expected[2], turn;

			/* First open(2), then ours, each in the same folder. */
			for (turn = 0; turn < 2; turn++) {
				unlink(path_of("none"));
				unlink(path_of("target"));
				unlink(path_of("link"));
				unlink(path_of("dangling"));
				unlink(path_of("loop"));
				make_file("file", 100);
				assert_int_equal(symlink("file", path_of("link")), 0);
				assert_int_equal(symlink("target", path_of("dangling")), 0);
				assert_int_equal(symlink("loop", path_of("loop")), 0);
				name = *names[j] ? path_of(names[j]) : "";
				if (turn) {
					expected[1] = try(name, flags[i]);
				} else {
					expected[0] = open(name, flags[i], 0600);
					if (expected[0] >= 0)
						close(expected[0]);
					expected[0] = expected[0] < 0 ? -errno : 0;
				}
			}
			if (expected[0] != expected[1])
				print_message("# %s, flags %o\n", names[j], (unsigned)flags[i]);
			assert_int_equal(expected[1], expected[0]);
		}
	}
	assert_int_equal(count_fds(), before);
}

/*
 * With O_CREAT, the kernel refuses another user's file in a folder like /tmp (protected_regular),
 * so that a program does not take a file that was put there for it for its own.
 */
static void test_protected(void **state)
{
	char name[512];
	int fd, expected;

	unlink(path_of("sticky/file"));
	rmdir(path_of("sticky"));
	assert_int_equal(mkdir(path_of("sticky"), 0700), 0);
	assert_int_equal(chmod(path_of("sticky"), 01777), 0);
	make_file("sticky/file", 100);
	if (chown(path_of("sticky/file"), 12345, 12345) == 0) {
		snprintf(name, sizeof(name), "%s", path_of("sticky/file"));
		fd = open(name, O_RDWR | O_CREAT, 0600);
		expected = fd < 0 ? -errno : 0;
		if (fd >= 0)
			close(fd);
		assert_int_equal(try(name, O_RDWR | O_CREAT), expected);
		print_message("# the kernel returns %d\n", expected);
	}
	unlink(path_of("sticky/file"));
	rmdir(path_of("sticky"));
}

/* Without /proc the file is opened by its name. */
static void test_without_proc(void **state)
{
	int status;
	pid_t child;

	make_file("file", 100);
	unlink(path_of("fifo"));
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(60);
		if (geteuid() != 0 && unshare(CLONE_NEWUSER) < 0)
			_exit(77);
		if (chroot(directory) < 0 || chdir("/") < 0)
			_exit(77);
		if (try("/file", O_RDONLY) || try("/file", O_RDWR) ||
			try("/new", O_RDWR | O_CREAT) || try("/fifo", O_RDONLY) != -EINVAL ||
			opened_when_refused("/fifo", O_RDONLY, -EINVAL))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("# skipped: no chroot\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

static void *open_for_writing(void *arg)
{
	return (void *)(intptr_t)try(arg, O_RDWR);
}

/* Another program has a lease on the file: the open waits until it returns the lease. */
static void test_lease(void **state)
{
	pthread_t thread;
	sigset_t set;
	int fd, got;
	void *r;

	make_file("file", 100);
	fd = open(path_of("file"), O_RDONLY);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0) {
		print_message("# no leases: %s\n", strerror(errno));
		close(fd);
		return;
	}
	assert_int_equal(pthread_create(&thread, NULL, open_for_writing, path_of("file")), 0);
	assert_int_equal(sigwait(&set, &got), 0);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	pthread_join(thread, &r);
	assert_int_equal((intptr_t)r, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_unopened),
		cmocka_unit_test(test_as_open),
		cmocka_unit_test(test_protected),
		cmocka_unit_test(test_without_proc),
		cmocka_unit_test(test_lease),
	};

	return run_io_tests("io-open", tests, sizeof(tests) / sizeof(tests[0]));
}
