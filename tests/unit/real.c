/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Real files, through the default backend and the one with threads: reads return what pread(2)
 * does.
 */
#include <sys/stat.h>

#include "cache-test.h"

#define REAL_BYTES (300 * PAGE + 1234)

struct real {
	char path[64];
	int fd;
};

static void real_begin(struct real *real, uint64_t size)
{
	const char *folder = getenv("TMPDIR");

	snprintf(real->path, sizeof(real->path), "%s/folio-test-XXXXXX", folder ? folder : "/tmp");
	real->fd = mkstemp(real->path);
	assert_true(real->fd >= 0);
	assert_int_equal(ftruncate(real->fd, (off_t)size), 0);
}

static void real_end(struct real *real)
{
	close(real->fd);
	unlink(real->path);
}

static void real_write(struct real *real, uint64_t offset, uint64_t len, uint64_t *random)
{
	uint64_t words[512];
	unsigned i;

	while (len) {
		uint64_t part = len < sizeof(words) ? len : sizeof(words);

		for (i = 0; i < 512; i++)
			words[i] = random_next(random);
		assert_int_equal(pwrite(real->fd, words, part, (off_t)offset), part);
		offset += part;
		len -= part;
	}
}

static void expect_as_pread(
	struct real *real, struct folio_file *file, uint64_t offset, uint64_t len)
{
	static char ours[40 * FOLIO_PAGE_SIZE], right[40 * FOLIO_PAGE_SIZE];
	ssize_t n = pread(real->fd, right, len, (off_t)offset);

	assert_true(n >= 0);
	memset(ours, 0x33, len);
	assert_int_equal(folio_file_read(file, ours, len, offset), n);
	assert_memory_equal(ours, right, (size_t)n);
}

static void read_real(const struct folio_io_ops *ops, uint32_t flags, uint64_t pages)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = pages * PAGE, .flags = flags, .io = ops};
	uint64_t random = test_seed, i;
	struct folio_cache *cache = NULL;
	struct folio_file *file;
	struct real real;

	real_begin(&real, REAL_BYTES);
	/* Holes, and data that begin and end at any offset. */
	real_write(&real, 100, 50000, &random);
	real_write(&real, 40 * PAGE, 100 * PAGE, &random);
	real_write(&real, 200 * PAGE + 77, 20 * PAGE, &random);
	real_write(&real, REAL_BYTES - 3000, 3000, &random);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	file = file_open(cache, real.path);
	assert_int_equal(folio_file_size(file), REAL_BYTES);
	for (i = 0; i < REAL_BYTES; i += 30 * PAGE)
		expect_as_pread(&real, file, i, 30 * PAGE);
	for (i = scaled(1500); i-- > 0;) {
		uint64_t len = random_below(&random, 4) ? random_below(&random, 300)
							: random_below(&random, 30 * PAGE);

		expect_as_pread(&real, file, random_below(&random, REAL_BYTES + 5000), len);
		if (random_below(&random, 50) == 0) {
			uint64_t offset = random_below(&random, REAL_BYTES - 20000);

			len = 1 + random_below(&random, 20000);
			real_write(&real, offset, len, &random);
			assert_int_equal(folio_file_invalidate(file, offset, len), 0);
			expect_as_pread(&real, file, offset, len);
		}
		if (random_below(&random, 100) == 0) {
			assert_int_equal(
				ftruncate(real.fd, (off_t)random_below(&random, REAL_BYTES)), 0);
			assert_true(folio_file_revalidate(file) >= 0);
			expect_as_pread(&real, file, 0, 30 * PAGE);
			assert_int_equal(ftruncate(real.fd, (off_t)REAL_BYTES), 0);
			assert_int_equal(folio_file_revalidate(file), 1);
		}
	}
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	real_end(&real);
}

static void test_real_default(void **state)
{
	(void)state;
	read_real(NULL, 0, 64);
	read_real(NULL, FOLIO_CACHE_BUFFERED, 1000);
}

static void test_real_threads(void **state)
{
	(void)state;
	read_real(&folio_io_threads, 0, 64);
	read_real(&folio_io_threads, FOLIO_CACHE_BUFFERED | FOLIO_CACHE_NO_READAHEAD, 1000);
}

static void test_real_kinds(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio_file *file = NULL, *second = NULL;
	struct folio_cache_stats stats;
	char other[80], buf[64];
	struct real real;

	(void)state;
	real_begin(&real, 5 * PAGE);
	snprintf(other, sizeof(other), "%s.other", real.path);
	assert_int_equal(folio_file_open(cache, "/", O_RDONLY, 0, &file), -EISDIR);
	assert_int_equal(folio_file_open(cache, "/dev/null", O_RDONLY, 0, &file), -EINVAL);
	assert_int_equal(folio_file_open(cache, other, O_RDONLY, 0, &file), -ENOENT);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_int_equal(folio_file_open(cache, other, O_RDONLY, 0, &file), -EINVAL);
	unlink(other);
	assert_int_equal(symlink(real.path, other), 0);
	assert_int_equal(folio_file_open(cache, other, O_RDONLY | O_NOFOLLOW, 0, &file), -ELOOP);
	assert_null(file);
	/* One file by two names. */
	file = file_open(cache, other);
	second = file_open(cache, real.path);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), sizeof(buf));
	stats = cache_stats(cache);
	assert_int_equal(folio_file_read(second, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(cache_stats(cache).fills, stats.fills);
	assert_int_equal(cache_stats(cache).hits, stats.hits + 1);
	/* The file is removed and stays usable while it is open. */
	unlink(other);
	unlink(real.path);
	assert_int_equal(folio_file_read(second, buf, sizeof(buf), 4 * PAGE), sizeof(buf));
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_file_close(second), 0);
	real_end(&real);
	assert_int_equal(folio_cache_close(cache), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_default),
		cmocka_unit_test(test_real_threads),
		cmocka_unit_test(test_real_kinds),
	};

	test_begin("real");
	return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
