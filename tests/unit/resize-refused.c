/* SPDX-License-Identifier: BSD-2-Clause */
/* A budget that changes while the kernel gives no memory, or takes none back. */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "cache-test.h"

#define MAX_PAGES 1024

/* From now on, all calls fail: access to reserved memory, and the return of memory. */
static bool refuses_access;
static int refuses_return;

int mprotect(void *address, size_t len, int protection)
{
	if (refuses_access) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_mprotect, address, len, protection);
}

int madvise(void *address, size_t len, int advice)
{
	if (refuses_return && (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)) {
		errno = refuses_return;
		return -1;
	}
	return (int)syscall(SYS_madvise, address, len, advice);
}

static void check_read(struct folio_file *file, struct io_fault_file *contents, uint64_t index)
{
	char buf[200];

	assert_int_equal(folio_file_read(file, buf, sizeof(buf), index * PAGE + 100), sizeof(buf));
	assert_true(io_fault_check(contents, index * PAGE + 100, buf, sizeof(buf), NULL, NULL));
}

/* The budget stays as it is when the kernel gives or takes no memory, and can change later. */
static void test_refused(void **state)
{
	static const int errors[] = {EINVAL, EPERM};
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 64 * PAGE,
		.bytes_max = MAX_PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &io_fault_ops,
		.io_context = io};
	struct io_fault_file *contents = io_fault_add(io, "a", 4 * MAX_PAGES * PAGE);
	struct folio_cache *cache = NULL;
	struct folio_file *file;
	uint64_t i;

	(void)state;
	refuses_access = true;
	assert_int_equal(folio_cache_open(&params, &cache), -ENOMEM);
	assert_null(cache);
	refuses_access = false;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	file = file_open(cache, "a");
	refuses_access = true;
	assert_int_equal(folio_cache_resize(cache, 512 * PAGE), -ENOMEM);
	refuses_access = false;
	assert_int_equal(cache_stats(cache).pages, 64);
	for (i = 0; i < 2 * MAX_PAGES; i++)
		check_read(file, contents, i);
	assert_int_equal(folio_cache_resize(cache, 512 * PAGE), 0);
	for (i = 0; i < 2 * MAX_PAGES; i++)
		check_read(file, contents, i);
	for (i = 0; i < 2; i++) {
		refuses_return = errors[i];
		assert_int_equal(folio_cache_resize(cache, 64 * PAGE), -errors[i]);
		refuses_return = 0;
		assert_int_equal(cache_stats(cache).pages, 512);
		assert_int_equal(cache->evict.budget, 512);
	}
	for (i = 0; i < 2 * MAX_PAGES; i++)
		check_read(file, contents, i);
	assert_int_equal(folio_cache_resize(cache, 64 * PAGE), 0);
	assert_int_equal(cache_stats(cache).pages, 64);
	check_read(file, contents, 7);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
	};

	test_begin("resize-refused");
	return cmocka_run_group_tests_name("resize-refused", tests, NULL, NULL);
}
