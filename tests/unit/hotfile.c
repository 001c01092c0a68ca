/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of hot pages on disk: what was written is read; damage is found; nothing old is lost. */
#include <dirent.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "alloc-fault.h"

#include "core/hotfile.h"

static char folder[] = "folio-hotfile-XXXXXX";
static char path[64];

/* What the next calls return as errno; 0: they succeed. */
static int folder_error; /* fsync of a folder */
static int file_error;   /* fsync of another file */
static int write_error;  /* write, once */
static int read_error;   /* read, once */
static int close_error;  /* close, once */

int fsync(int fd)
{
	struct stat st;
	int error = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? folder_error : file_error;

	if (!error)
		return (int)syscall(SYS_fsync, fd);
	errno = error;
	return -1;
}

ssize_t write(int fd, const void *buf, size_t len)
{
	int error = write_error;

	write_error = 0;
	if (!error)
		return syscall(SYS_write, fd, buf, len);
	errno = error;
	return -1;
}

ssize_t read(int fd, void *buf, size_t len)
{
	int error = read_error;

	read_error = 0;
	if (!error)
		return syscall(SYS_read, fd, buf, len);
	errno = error;
	return -1;
}

/* As the kernel does, it closes the descriptor in any case. */
int close(int fd)
{
	int error = close_error, r = (int)syscall(SYS_close, fd);

	close_error = 0;
	if (!error)
		return r;
	errno = error;
	return -1;
}

/* What a list has: drawn from a seed, so that it need not be stored. */
struct drawn {
	uint64_t random, files, ranges, end;
};

static struct folio_io_attr draw_file(struct drawn *drawn)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr),
		.device = random_next(&drawn->random),
		.inode = random_next(&drawn->random),
		.fields = (uint32_t)random_below(&drawn->random, 128),
		.generation = random_next(&drawn->random),
		.btime_sec = (int64_t)random_next(&drawn->random),
		.btime_nsec = (uint32_t)random_next(&drawn->random),
		.handle_type = (int32_t)random_next(&drawn->random)};
	uint32_t i;

	if (attr.fields & FOLIO_IO_ATTR_HANDLE)
		attr.handle_bytes = (uint32_t)random_below(&drawn->random, FOLIO_IO_HANDLE_MAX + 1);
	for (i = 0; i < attr.handle_bytes; i++)
		attr.handle[i] = (unsigned char)random_next(&drawn->random);
	drawn->ranges = random_below(&drawn->random, 300);
	drawn->end = 0;
	return attr;
}

static void draw_range(struct drawn *drawn, uint64_t *first, uint64_t *pages)
{
	*first = drawn->end + random_below(&drawn->random, 1000);
	*pages = 1 + random_below(&drawn->random, 1000);
	drawn->end = *first + *pages;
}

static int write_list(uint64_t seed, uint64_t files)
{
	struct drawn drawn = {.random = seed};
	static struct hotfile_writer writer;
	uint64_t first, pages;
	int r = hotfile_create(&writer, path);

	if (r)
		return r;
	while (files-- > 0) {
		struct folio_io_attr attr = draw_file(&drawn);

		hotfile_put_file(&writer, &attr);
		while (drawn.ranges-- > 0) {
			draw_range(&drawn, &first, &pages);
			hotfile_put_range(&writer, first, pages);
		}
		hotfile_put_file_end(&writer);
	}
	return hotfile_commit(&writer);
}

static void expect_list(uint64_t seed, uint64_t files)
{
	struct drawn drawn = {.random = seed};
	uint64_t first, pages, found_first, found_pages;
	struct folio_io_attr found;
	static struct hotfile file;

	assert_int_equal(hotfile_open(&file, path), 0);
	while (files-- > 0) {
		struct folio_io_attr attr = draw_file(&drawn);

		assert_int_equal(hotfile_next_file(&file, &found), 1);
		assert_memory_equal(&found, &attr, sizeof(attr));
		while (drawn.ranges-- > 0) {
			draw_range(&drawn, &first, &pages);
			assert_int_equal(hotfile_next_range(&file, &found_first, &found_pages), 1);
			assert_int_equal(found_first, first);
			assert_int_equal(found_pages, pages);
		}
		assert_int_equal(hotfile_next_range(&file, &found_first, &found_pages), 0);
	}
	assert_int_equal(hotfile_next_file(&file, &found), 0);
	hotfile_close(&file);
}

static int open_result(void)
{
	static struct hotfile file;
	int r = hotfile_open(&file, path);

	if (!r)
		hotfile_close(&file);
	return r;
}

static unsigned names(void)
{
	DIR *dir = opendir(folder);
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* ---- tests ---- */

static void test_round_trip(void **state)
{
	uint64_t files, head[2];
	struct stat st;
	int fd;

	(void)state;
	for (files = 0; files < 20; files++) {
		assert_int_equal(write_list(test_seed + files, files), 0);
		expect_list(test_seed + files, files);
	}
	assert_int_equal(names(), 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* A list of this version is one for all later programs. */
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
	close(fd);
	assert_int_equal(head[1], 1);
}

static void put_bytes(const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

/* Each byte that is changed, each length that is cut off, and what is appended. */
static void test_damage(void **state)
{
	static char bytes[1 << 16];
	ssize_t len, i;
	int fd;

	(void)state;
	assert_int_equal(write_list(3, 3), 0);
	fd = open(path, O_RDONLY);
	len = read(fd, bytes, sizeof(bytes) - 8);
	close(fd);
	assert_true(len > 0 && len < (ssize_t)sizeof(bytes) - 8);
	for (i = 0; i < len; i += i < 400 || i > len - 100 ? 1 : 97) {
		bytes[i] ^= (char)(1 << i % 8);
		put_bytes(bytes, (size_t)len);
		/* The version and the page size. */
		assert_int_equal(open_result(), i >= 8 && i < 24 ? -EOPNOTSUPP : -EBADMSG);
		bytes[i] ^= (char)(1 << i % 8);
		put_bytes(bytes, (size_t)i);
		assert_int_equal(open_result(), -EBADMSG);
	}
	put_bytes(bytes, (size_t)len + 1);
	assert_int_equal(open_result(), -EBADMSG);
	put_bytes(bytes, (size_t)len + 8);
	assert_int_equal(open_result(), -EBADMSG);
	put_bytes(bytes, (size_t)len);
	assert_int_equal(open_result(), 0);
}

/* After it was checked, a list becomes shorter: it ends in the handle of its second file. */
static void test_cut_handle(void **state)
{
	/* Words of the list before the first range, of the end of a file, and of a second file. */
	enum { BEFORE = 12, END = 2, FIXED = 9 };
	struct folio_io_attr attr = {.inode = 1};
	static struct hotfile_writer writer;
	static struct hotfile file;
	uint64_t first, pages;
	unsigned i, ranges = (HOTFILE_WORDS - BEFORE - END - FIXED) / 2 - 1;

	(void)state;
	assert_int_equal(hotfile_create(&writer, path), 0);
	hotfile_put_file(&writer, &attr);
	for (i = 0; i < ranges; i++)
		hotfile_put_range(&writer, 2 * i, 1);
	hotfile_put_file_end(&writer);
	attr.fields = FOLIO_IO_ATTR_HANDLE;
	attr.handle_bytes = FOLIO_IO_HANDLE_MAX;
	hotfile_put_file(&writer, &attr);
	hotfile_put_file_end(&writer);
	assert_int_equal(hotfile_commit(&writer), 0);
	assert_int_equal(hotfile_open(&file, path), 0);
	/* The words that are in memory. */
	assert_int_equal(truncate(path, sizeof(file.word)), 0);
	assert_int_equal(hotfile_next_file(&file, &attr), 1);
	for (i = 0; i < ranges; i++)
		assert_int_equal(hotfile_next_range(&file, &first, &pages), 1);
	assert_int_equal(hotfile_next_range(&file, &first, &pages), 0);
	assert_int_equal(hotfile_next_file(&file, &attr), -EBADMSG);
	hotfile_close(&file);
}

/* As test_damage, with a list that is as long as the buffer. */
static void test_tail(void **state)
{
	const struct folio_io_attr attr = {.inode = 1};
	static struct hotfile_writer writer;
	struct stat st;
	unsigned i;

	(void)state;
	assert_int_equal(hotfile_create(&writer, path), 0);
	hotfile_put_file(&writer, &attr);
	for (i = 0; i < (HOTFILE_WORDS - 16) / 2; i++)
		hotfile_put_range(&writer, 2 * i, 1);
	hotfile_put_file_end(&writer);
	assert_int_equal(hotfile_commit(&writer), 0);
	assert_int_equal(open_result(), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, sizeof(writer.file.word));
	assert_int_equal(truncate(path, st.st_size + 1), 0);
	assert_int_equal(open_result(), -EBADMSG);
	assert_int_equal(truncate(path, st.st_size + 8), 0);
	assert_int_equal(open_result(), -EBADMSG);
}

static void write_ranges(uint64_t first, uint64_t pages, uint64_t second)
{
	const struct folio_io_attr attr = {.inode = 1};
	static struct hotfile_writer writer;

	assert_int_equal(hotfile_create(&writer, path), 0);
	hotfile_put_file(&writer, &attr);
	hotfile_put_range(&writer, first, pages);
	if (second)
		hotfile_put_range(&writer, second, 1);
	hotfile_put_file_end(&writer);
	assert_int_equal(hotfile_commit(&writer), 0);
}

/* Files with a right checksum and other faults, and what is no list at all. */
static void test_foreign(void **state)
{
	static struct hotfile_writer writer;
	struct folio_io_attr attr = {
		.fields = FOLIO_IO_ATTR_HANDLE, .handle_bytes = FOLIO_IO_HANDLE_MAX + 1};

	(void)state;
	write_ranges(5, 10, 15);
	assert_int_equal(open_result(), 0);
	write_ranges(5, 10, 14);
	assert_int_equal(open_result(), -EBADMSG);
	write_ranges((UINT64_C(1) << 52) - 1, 1, 0);
	assert_int_equal(open_result(), 0);
	write_ranges((UINT64_C(1) << 52) - 1, 2, 0);
	assert_int_equal(open_result(), -EBADMSG);
	write_ranges(5, UINT64_MAX, 0);
	assert_int_equal(open_result(), -EBADMSG);
	write_ranges(UINT64_MAX, 1, 0);
	assert_int_equal(open_result(), -EBADMSG);
	write_ranges(5, 0, 0);
	assert_int_equal(open_result(), -EBADMSG);
	/* A range of no pages in the place of the end of a file. */
	attr.handle_bytes = 0;
	assert_int_equal(hotfile_create(&writer, path), 0);
	hotfile_put_file(&writer, &attr);
	hotfile_put_range(&writer, 5, 0);
	assert_int_equal(hotfile_commit(&writer), 0);
	assert_int_equal(open_result(), -EBADMSG);
	attr.handle_bytes = FOLIO_IO_HANDLE_MAX + 1;
	/* A pipe has no beginning to go back to. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(open_result(), -ESPIPE);
	assert_int_equal(unlink(path), 0);
	/* A handle that is longer than any is left out. */
	assert_int_equal(hotfile_create(&writer, path), 0);
	hotfile_put_file(&writer, &attr);
	hotfile_put_file_end(&writer);
	assert_int_equal(hotfile_commit(&writer), 0);
	assert_int_equal(open_result(), 0);

	put_bytes("", 0);
	assert_int_equal(open_result(), -EBADMSG);
	put_bytes("a text of a user, in a file of the same name", 40);
	assert_int_equal(open_result(), -EBADMSG);
	unlink(path);
	assert_int_equal(open_result(), -ENOENT);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(open_result() < 0);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(open_result(), -EISDIR);
	assert_int_equal(write_list(1, 1), -EISDIR);
	rmdir(path);
	assert_int_equal(names(), 0);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
	(void)number;
	signals++;
}

/* A list that cannot be written leaves the one of before and no other file, and sends no signal. */
static void test_failures(void **state)
{
	struct rlimit before, limit;
	rlim_t limits[] = {0, 1000, 0, 0};
	char missing[100];
	struct stat st;
	int r[4], i;

	(void)state;
	assert_int_equal(write_list(7, 5), 0);
	assert_int_equal(stat(path, &st), 0);
	limits[2] = (rlim_t)st.st_size - 1;
	limits[3] = (rlim_t)st.st_size;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	signal(SIGXFSZ, count_signal);
	/* Nothing is printed here: the output may be a file, too. */
	for (i = 0; i < 4; i++) {
		limit.rlim_cur = limits[i];
		setrlimit(RLIMIT_FSIZE, &limit);
		r[i] = write_list(i < 2 ? 8 : 7, 5);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(signals, 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(r[i], i < 3 ? -EFBIG : 0);
	expect_list(7, 5);
	assert_int_equal(names(), 1);

	write_error = EINTR;
	assert_int_equal(write_list(7, 5), 0);
	write_error = ENOSPC;
	assert_int_equal(write_list(8, 5), -ENOSPC);
	file_error = EIO;
	assert_int_equal(write_list(8, 5), -EIO);
	/* The first error counts. */
	close_error = EDQUOT;
	assert_int_equal(write_list(8, 5), -EIO);
	file_error = 0;
	close_error = EDQUOT;
	assert_int_equal(write_list(8, 5), -EDQUOT);
	expect_list(7, 5);
	assert_int_equal(names(), 1);
	read_error = EINTR;
	assert_int_equal(open_result(), 0);
	read_error = EIO;
	assert_int_equal(open_result(), -EIO);

	snprintf(missing, sizeof(missing), "%s/missing/list", folder);
	strcpy(path, missing);
	assert_int_equal(write_list(8, 1), -ENOENT);
	snprintf(path, sizeof(path), "%s/list", folder);
}

/* The sync of a folder fails: only then is the new list there after an error. */
static void test_folder_sync(void **state)
{
	(void)state;
	assert_int_equal(write_list(7, 5), 0);
	folder_error = EINVAL;
	assert_int_equal(write_list(8, 5), 0);
	expect_list(8, 5);
	folder_error = EIO;
	assert_int_equal(write_list(9, 5), -EIO);
	folder_error = 0;
	expect_list(9, 5);
	assert_int_equal(names(), 1);
}

/* Root may read any folder unless it gives up these capabilities. They belong to a thread. */
static bool give_up_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	data[0].effective &= ~(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH);
	return syscall(SYS_capset, &header, data) == 0;
}

static void *write_unreadable(void *result)
{
	bool given_up = give_up_capabilities();

	*(int *)result = given_up && open(folder, O_RDONLY) < 0 ? write_list(8, 5) : 1;
	return NULL;
}

/* A folder in which the program may create files, but which it may not read. */
static void test_unreadable(void **state)
{
	pthread_t thread;
	int r;

	(void)state;
	assert_int_equal(write_list(7, 5), 0);
	assert_int_equal(chmod(folder, 0300), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_unreadable, &r), 0);
	pthread_join(thread, NULL);
	assert_int_equal(chmod(folder, 0700), 0);
	assert_int_equal(r, 0);
	expect_list(8, 5);
	assert_int_equal(names(), 1);
}

/* Each allocation fails: the list of before stays. */
static void test_out_of_memory(void **state)
{
	uint64_t n;
	int r;

	(void)state;
	/* Not skip(): meson takes the "not ok # SKIP" of cmocka for a failure. */
	if (!SWEEPS_ALLOCATIONS)
		return;
	assert_int_equal(write_list(7, 5), 0);
	for (n = 1;; n++) {
		arm(n, false);
		r = write_list(9, 5);
		disarm();
		if (!folio_u64_load_relaxed(&injected))
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(names(), 1);
		expect_list(7, 5);
	}
	assert_int_equal(r, 0);
	assert_true(n > 1);
	expect_list(9, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_cut_handle),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_folder_sync),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_out_of_memory),
	};
	int r;

	if (alloc_begin())
		return 2;
	test_begin("hotfile");
	if (!mkdtemp(folder))
		return 2;
	snprintf(path, sizeof(path), "%s/list", folder);
	r = cmocka_run_group_tests_name("hotfile", tests, NULL, NULL);
	unlink(path);
	rmdir(folder);
	return r;
}
