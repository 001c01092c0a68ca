/* SPDX-License-Identifier: BSD-2-Clause */
/* Many files are opened, written, synced and closed in any order, compared with a model. */
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cache-test.h"

#define FILES   60
#define HANDLES 3

static char folder[] = "folio-many-XXXXXX";

/* One byte of each file is written. */
struct entry {
	struct folio_file *handle[HANDLES];
	char byte;
};

static const char *path_of(unsigned number)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%u", folder, number);
	return path;
}

static void expect_byte(struct entry *entry, struct folio_file *file)
{
	char byte = 0;

	assert_int_equal(folio_file_read(file, &byte, 1, 0), entry->byte != 0);
	assert_int_equal(byte, entry->byte);
}

static void step(struct folio_cache *cache, struct entry *entry, unsigned number, uint64_t *random)
{
	struct folio_file **handle = &entry->handle[random_below(random, HANDLES)];

	if (!*handle) {
		assert_int_equal(
			folio_file_open(cache, path_of(number), O_RDWR | O_CREAT, 0600, handle), 0);
		expect_byte(entry, *handle);
		return;
	}
	switch (random_below(random, 4)) {
	case 0:
		assert_int_equal(folio_file_close(*handle), 0);
		*handle = NULL;
		break;
	case 1:
		assert_int_equal(folio_file_sync(*handle, NULL, FOLIO_SYNC_DATA), 0);
		break;
	default:
		entry->byte = (char)(1 + random_below(random, 100));
		assert_int_equal(folio_file_write(*handle, &entry->byte, 1, 0), 1);
		break;
	}
}

static void test_any_order(void **state)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 4 * FILES * PAGE,
		.dirty_age_ms = 5,
		.closed_files_max = FILES / 3};
	static struct entry entries[FILES];
	uint64_t random = test_seed;
	struct folio_cache *cache;
	unsigned i, n;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	for (n = scaled(3000); n-- > 0;) {
		i = (unsigned)random_below(&random, FILES);
		step(cache, &entries[i], i, &random);
	}
	/* The flusher finds every dirty file. */
	wait_until(cache_stats(cache).pages_dirty == 0);
	for (i = 0; i < FILES; i++) {
		for (n = 0; n < HANDLES; n++) {
			if (!entries[i].handle[n])
				continue;
			expect_byte(&entries[i], entries[i].handle[n]);
			assert_int_equal(folio_file_close(entries[i].handle[n]), 0);
		}
	}
	for (i = 0; i < FILES; i++) {
		int fd = open(path_of(i), O_RDONLY | O_CREAT, 0600);
		char byte = 0;

		assert_int_equal(pread(fd, &byte, 1, 0), entries[i].byte != 0);
		assert_int_equal(byte, entries[i].byte);
		close(fd);
		unlink(path_of(i));
	}
	assert_int_equal(folio_cache_close(cache), 0);
	rmdir(folder);
}

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* Descriptors run out: the open fails, and leaves none behind; after a close there is one again. */
static void test_descriptors_run_out(void **state)
{
	struct folio_cache *cache = cache_open(64, FOLIO_CACHE_BUFFERED, NULL);
	unsigned before = descriptors(), opened = 0, i;
	struct folio_file *file[40], *more;
	struct rlimit limit, small;
	char path[64];

	strcpy(folder, "folio-many-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	small = limit;
	small.rlim_cur = before + 20;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
	for (i = 0; i < 40; i++) {
		int r = folio_file_open(cache, path_of(i), O_RDWR | O_CREAT, 0600, &file[opened]);

		assert_true(r == 0 || r == -EMFILE);
		opened += r == 0;
	}
	assert_in_range(opened, 10, 30);
	/* A file that is open already needs none, or one for a moment. */
	assert_int_equal(folio_file_close(file[--opened]), 0);
	snprintf(path, sizeof(path), "%s", path_of(0));
	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &more), 0);
	assert_int_equal(folio_file_close(more), 0);
	assert_int_equal(folio_file_open(cache, path_of(39), O_RDWR | O_CREAT, 0600, &more), 0);
	assert_int_equal(folio_file_close(more), 0);
	while (opened > 0)
		assert_int_equal(folio_file_close(file[--opened]), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(descriptors(), before);
	for (i = 0; i < 40; i++)
		unlink(path_of(i));
	rmdir(folder);
	assert_int_equal(folio_cache_close(cache), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_descriptors_run_out),
	};

	test_begin("many-files");
	return cmocka_run_group_tests_name("many-files", tests, NULL, NULL);
}
