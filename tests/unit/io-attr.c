/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes of files that the library's own backends report. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "io-test.h"

#define IDENTITY (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME | FOLIO_IO_ATTR_GENERATION)

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u
#endif

/* ---- system calls of the backend, in place of those of libc ---- */

/* What the kernel is: statx fails, or knows no number of a mount; fstatvfs as well. */
static struct {
	bool no_statx, no_btime, no_mount, no_statvfs, read_only;
	unsigned refreshes; /* statx that must ask the server */
} kernel;

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict stx)
{
	kernel.refreshes += (flags & AT_STATX_SYNC_TYPE) == AT_STATX_FORCE_SYNC;
	if (kernel.no_statx) {
		errno = ENOSYS;
		return -1;
	}
	if (kernel.no_mount)
		mask &= ~STATX_MNT_ID_UNIQUE;
	if (syscall(SYS_statx, fd, path, flags, mask, stx) < 0)
		return -1;
	if (kernel.no_btime)
		stx->stx_mask &= ~STATX_BTIME;
	return 0;
}

int fstatvfs(int fd, struct statvfs *file_system)
{
	(void)fd;
	memset(file_system, 0, sizeof(*file_system));
	file_system->f_flag = kernel.read_only ? ST_RDONLY : 0;
	errno = EPERM;
	return kernel.no_statvfs ? -1 : 0;
}

static struct folio_io_attr attr_of(const char *name)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = IDENTITY};
	struct stat st;
	void *handle;

	assert_int_equal(io_file_open(&backend, path_of(name), O_RDONLY, 0, 0, &handle), 0);
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	io_file_close(&backend, handle);
	assert_int_equal(stat(path_of(name), &st), 0);
	assert_int_equal(attr.mtime_sec, st.st_mtim.tv_sec);
	assert_int_equal(attr.mtime_nsec, st.st_mtim.tv_nsec);
	assert_true(attr.fields & FOLIO_IO_ATTR_CTIME);
	assert_int_equal(attr.ctime_sec, st.st_ctim.tv_sec);
	assert_int_equal(attr.ctime_nsec, st.st_ctim.tv_nsec);
	assert_int_equal(attr.struct_size, sizeof(attr));
	assert_int_equal(attr.wanted, IDENTITY);
	assert_true(attr.fields & FOLIO_IO_ATTR_AMBIGUOUS);
	return attr;
}

static bool handles_equal(const struct folio_io_attr *a, const struct folio_io_attr *b)
{
	return a->handle_type == b->handle_type && a->handle_bytes == b->handle_bytes &&
	       memcmp(a->handle, b->handle, a->handle_bytes) == 0;
}

/* Two names of a file have one handle; two files have two. */
static void test_handle(void **state)
{
	struct folio_io_attr file, again, other;
	char name[512];

	make_file("file", 5000);
	make_file("other", 5000);
	snprintf(name, sizeof(name), "%s", path_of("name"));
	assert_int_equal(link(path_of("file"), name), 0);
	file = attr_of("file");
	again = attr_of("name");
	other = attr_of("other");
	if (file.fields & FOLIO_IO_ATTR_HANDLE) {
		assert_true(handles_equal(&file, &again));
		assert_false(handles_equal(&file, &other));
	} else {
		print_message("# the file system has no handles\n");
	}
}

/* A handle that only probes reports the size that the file has now. */
static void test_probe_is_fresh(void **state)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = IDENTITY};
	void *handle;
	off_t size;

	make_file("growing", 5000);
	assert_int_equal(
		io_file_open(&backend, path_of("growing"), O_RDONLY, 0, FOLIO_IO_PROBE, &handle),
		0);
	for (size = 6000; size < 8000; size += 1000) {
		assert_int_equal(truncate(path_of("growing"), size), 0);
		assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
		assert_int_equal(attr.size, size);
	}
	io_file_close(&backend, handle);
}

/* The path of a probe names another file by now, or none. */
static void test_probe_replaced(void **state)
{
	struct folio_io_attr attr = {
		.struct_size = sizeof(attr), .wanted = IDENTITY | FOLIO_IO_ATTR_ACCESS};
	unsigned fds = count_fds();
	char other[512];
	void *handle;
	unsigned gone;

	snprintf(other, sizeof(other), "%s", path_of("other"));
	for (gone = 0; gone < 2; gone++) {
		make_file("probed", 5000);
		make_file("other", 5000);
		assert_int_equal(io_file_open(&backend, path_of("probed"), O_RDONLY, 0,
					 FOLIO_IO_PROBE, &handle),
			0);
		assert_int_equal(
			gone ? unlink(path_of("probed")) : rename(other, path_of("probed")), 0);
		assert_int_equal(io_file_getattr(NULL, handle, &attr), gone ? -ENOENT : -ESTALE);
		io_file_close(&backend, handle);
		assert_int_equal(count_fds(), fds);
	}
}

/* What a process may do with a file, by its effective IDs: as open(2), which opens the file. */
static void test_access(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_RDONLY | O_NOATIME};
	static const mode_t modes[] = {0, 0444, 0666};
	int status, expected, fd, r;
	unsigned i, j;
	void *handle;
	pid_t child;

	make_file("file", 5000);
	assert_int_equal(chmod(directory, 0755), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(60);
		for (i = 0; i < 9; i++) {
			struct folio_io_attr attr = {
				.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_ACCESS};

			/* Root becomes another user; the file is root's. */
			if (seteuid(0) == 0 && (chmod(path_of("file"), modes[i / 3]) < 0 ||
						       setegid(12345) < 0 || seteuid(12345) < 0))
				_exit(2);
			j = i % 3;
			fd = open(path_of("file"), flags[j]);
			expected = fd < 0 ? -errno : 0;
			if (fd >= 0)
				close(fd);
			if (io_file_open(&backend, path_of("file"), flags[j], 0, FOLIO_IO_PROBE,
				    &handle))
				_exit(3);
			r = io_file_getattr(NULL, handle, &attr);
			io_file_close(&backend, handle);
			if (r != expected || (!r && !(attr.fields & FOLIO_IO_ATTR_ACCESS)))
				_exit(4);
		}
		_exit(seteuid(0) == 0 || getuid() != 0 ? 0 : 5);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool deny(unsigned call)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a sandbox without name_to_handle_at, the birth time is reported instead. */
static void test_denied_handle(void **state)
{
	struct folio_io_attr attr;
	struct statx stx;
	int status;
	pid_t child;

	make_file("file", 5000);
	assert_int_equal(statx(AT_FDCWD, path_of("file"), 0, STATX_BTIME, &stx), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(60);
		if (!deny(SYS_name_to_handle_at))
			_exit(2);
		attr = attr_of("file");
		if (attr.fields & FOLIO_IO_ATTR_HANDLE)
			_exit(3);
		if (stx.stx_mask & STATX_BTIME && (!(attr.fields & FOLIO_IO_ATTR_BTIME) ||
							  attr.btime_sec != stx.stx_btime.tv_sec ||
							  attr.btime_nsec != stx.stx_btime.tv_nsec))
			_exit(4);
		kernel.no_btime = true;
		attr = attr_of("file");
		if (attr.fields & FOLIO_IO_ATTR_BTIME)
			_exit(5);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static struct folio_io_attr mount_of(unsigned io_flags, uint32_t wanted)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = wanted};
	void *handle;

	assert_int_equal(
		io_file_open(&backend, path_of("file"), O_RDONLY, 0, io_flags, &handle), 0);
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	io_file_close(&backend, handle);
	assert_true((attr.fields & FOLIO_IO_ATTR_MOUNT) || !attr.mount);
	return attr;
}

/*
 * The mount that a file is in. A kernel that does not number mounts cannot tell two images apart,
 * which matters if they are read-only: their times are those that they were made with.
 */
static void test_mount(void **state)
{
	const uint32_t wanted = FOLIO_IO_ATTR_MOUNT;
	struct folio_io_attr attr;
	struct statx stx;
	unsigned i;

	(void)state;
	make_file("file", 5000);
	assert_int_equal(statx(AT_FDCWD, path_of("file"), 0, STATX_MNT_ID_UNIQUE, &stx), 0);
	for (i = 0; i < 2; i++) {
		unsigned io_flags = i ? FOLIO_IO_PROBE : 0;

		assert_false(mount_of(io_flags, IDENTITY).fields & FOLIO_IO_ATTR_MOUNT);
		if (stx.stx_mask & STATX_MNT_ID_UNIQUE) {
			attr = mount_of(io_flags, wanted);
			assert_true(attr.fields & FOLIO_IO_ATTR_MOUNT);
			assert_true(attr.mount != 0);
			assert_int_equal(attr.mount, stx.stx_mnt_id);
		}
		kernel.no_mount = true;
		attr = mount_of(io_flags, wanted);
		assert_true(attr.fields & FOLIO_IO_ATTR_MOUNT);
		assert_int_equal(attr.mount, 0);
		kernel.read_only = true;
		assert_false(mount_of(io_flags, wanted).fields & FOLIO_IO_ATTR_MOUNT);
		kernel.read_only = false;
		kernel.no_statvfs = true;
		assert_false(mount_of(io_flags, wanted).fields & FOLIO_IO_ATTR_MOUNT);
		kernel.no_mount = kernel.no_statvfs = false;
		kernel.no_statx = true;
		assert_false(mount_of(io_flags, wanted).fields & FOLIO_IO_ATTR_MOUNT);
		kernel.no_statx = false;
	}
}

/* A query that must have what the server has. */
static void test_fresh(void **state)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr)};
	void *handle;

	(void)state;
	make_file("file", 5000);
	assert_int_equal(io_file_open(&backend, path_of("file"), O_RDONLY, 0, 0, &handle), 0);
	kernel.refreshes = 0;
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	attr.wanted = IDENTITY | FOLIO_IO_ATTR_MOUNT;
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	assert_int_equal(kernel.refreshes, 0);
	attr.wanted = FOLIO_IO_ATTR_FRESH;
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	assert_int_equal(kernel.refreshes, 1);
	assert_int_equal(attr.size, 5000);
	assert_false(attr.fields & FOLIO_IO_ATTR_FRESH);
	kernel.no_statx = true;
	assert_int_equal(io_file_getattr(NULL, handle, &attr), -ENOSYS);
	kernel.no_statx = false;
	io_file_close(&backend, handle);
}

/* A program for version 0.1 has a struct that ends before wanted. */
static void test_old_struct(void **state)
{
	const size_t old_size = offsetof(struct folio_io_attr, wanted);
	struct folio_io_attr attr;
	unsigned char *bytes = (unsigned char *)&attr;
	void *handle;
	size_t i;

	make_file("file", 5000);
	memset(bytes, 0x5a, sizeof(attr));
	attr.struct_size = 0;
	assert_int_equal(io_file_open(&backend, path_of("file"), O_RDONLY, 0, 0, &handle), 0);
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	io_file_close(&backend, handle);
	assert_int_equal(attr.size, 5000);
	for (i = old_size; i < sizeof(attr); i++)
		assert_int_equal(bytes[i], 0x5a);
}

static uint64_t limit_of(const char *name)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_LIMIT};
	void *handle;

	assert_int_equal(io_file_open(&backend, path_of(name), O_RDWR, 0, 0, &handle), 0);
	assert_int_equal(io_file_getattr(NULL, handle, &attr), 0);
	io_file_close(&backend, handle);
	assert_true(attr.fields & FOLIO_IO_ATTR_LIMIT);
	assert_int_equal(attr.limit_error, EFBIG);
	return attr.limit;
}

/* The limit is where pwrite refuses. */
static void test_limit(void **state)
{
	struct rlimit unlimited, limit;
	uint64_t most;
	int fd;

	(void)state;
	make_file("file", 1);
	most = limit_of("file");
	assert_int_equal(limit_of("file"), most);
	if (most < INT64_MAX) {
		fd = open(path_of("file"), O_RDWR);
		assert_true(fd >= 0);
		assert_int_equal(pwrite(fd, "x", 1, (off_t)most), -1);
		assert_int_equal(errno, EFBIG);
		assert_int_equal(pwrite(fd, "xx", 2, (off_t)most - 1), 1);
		close(fd);
		unlink(path_of("file"));
	}
	make_file("other", 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	limit = unlimited;
	limit.rlim_cur = 12345;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(limit_of("other"), 12345);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	assert_int_equal(limit_of("other"), most);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_handle),
	cmocka_unit_test(test_probe_is_fresh),
	cmocka_unit_test(test_probe_replaced),
	cmocka_unit_test(test_access),
	cmocka_unit_test(test_denied_handle),
	cmocka_unit_test(test_mount),
	cmocka_unit_test(test_fresh),
	cmocka_unit_test(test_old_struct),
	cmocka_unit_test(test_limit),
};

int main(void)
{
	return run_io_tests("io-attr", tests, sizeof(tests) / sizeof(tests[0]));
}
