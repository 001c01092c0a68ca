/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What programs have compiled in: the place and the type of each field of a public struct, and the
 * values of the constants. A program that was built with an older version finds them where they
 * were: new fields come at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <folio/cache.h>

/* @field of the struct being checked is at byte @offset, and has the type @...; FUNCTION: any. */
#define FIELD(field, offset, ...)                                                \
	do {                                                                     \
		assert_int_equal(offsetof(struct checked, field), offset);       \
		assert_true(__builtin_types_compatible_p(                        \
			__typeof__(((struct checked *)0)->field), __VA_ARGS__)); \
	} while (0)
#define FUNCTION(field, offset) assert_int_equal(offsetof(struct checked, field), offset)

static void test_cache_params(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_cache_params
	FIELD(size, 0, size_t);
	FIELD(bytes, 8, uint64_t);
	FIELD(flags, 16, uint32_t);
	FIELD(io_depth, 20, uint32_t);
	FIELD(io, 24, const struct folio_io_ops *);
	FIELD(io_context, 32, void *);
	FIELD(readahead, 40, uint64_t);
	FIELD(dirty_bytes, 48, uint64_t);
	FIELD(dirty_age_ms, 56, uint32_t);
	FIELD(timeout_ms, 60, uint32_t);
	FUNCTION(before_writeback, 64);
	FIELD(before_writeback_context, 72, void *);
	FIELD(bytes_max, 80, uint64_t);
#undef checked
}

static void test_read(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_read
	FIELD(buf, 0, void *);
	FIELD(len, 8, size_t);
	FIELD(offset, 16, uint64_t);
	FIELD(result, 24, ssize_t);
#undef checked
}

static void test_range(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_range
	FIELD(offset, 0, uint64_t);
	FIELD(len, 8, uint64_t);
#undef checked
}

static void test_io_attr(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_io_attr
	FIELD(device, 0, uint64_t);
	FIELD(inode, 8, uint64_t);
	FIELD(size, 16, uint64_t);
	FIELD(mtime_sec, 24, int64_t);
	FIELD(mtime_nsec, 32, uint32_t);
	FIELD(struct_size, 36, uint32_t);
	FIELD(wanted, 40, uint32_t);
	FIELD(fields, 44, uint32_t);
	FIELD(ctime_sec, 48, int64_t);
	FIELD(btime_sec, 56, int64_t);
	FIELD(ctime_nsec, 64, uint32_t);
	FIELD(btime_nsec, 68, uint32_t);
	FIELD(generation, 72, uint64_t);
	FIELD(handle_type, 80, int32_t);
	FIELD(handle_bytes, 84, uint32_t);
	FIELD(handle, 88, unsigned char[FOLIO_IO_HANDLE_MAX]);
	FIELD(limit, 216, uint64_t);
	FIELD(limit_error, 224, uint32_t);
	FIELD(reserved, 228, uint32_t);
	FIELD(mount, 232, uint64_t);
#undef checked
}

static void test_io_request(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_io_request
	FIELD(handle, 0, void *);
	FIELD(offset, 8, uint64_t);
	FIELD(iov, 16, const struct iovec *);
	FIELD(iov_count, 24, uint32_t);
	FIELD(op, 28, uint32_t);
	FUNCTION(complete, 32);
	FIELD(next, 40, struct folio_io_request *);
	FIELD(cookie, 48, uint64_t[2]);
#undef checked
}

static void test_io_stat(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_io_stat
	FIELD(size, 0, size_t);
	FIELD(name, 8, const char *);
	FIELD(files_buffered, 16, uint64_t);
#undef checked
}

static void test_io_ops(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_io_ops
	FIELD(size, 0, size_t);
	FIELD(name, 8, const char *);
	FUNCTION(create, 16);
	FUNCTION(destroy, 24);
	FUNCTION(open, 32);
	FUNCTION(close, 40);
	FUNCTION(getattr, 48);
	FUNCTION(read, 56);
	FUNCTION(submit, 64);
	FUNCTION(sync, 72);
	FUNCTION(truncate, 80);
	FUNCTION(punch, 88);
	FIELD(features, 96, uint32_t);
	FUNCTION(open_fd, 104);
	FUNCTION(stat, 112);
	FUNCTION(direct, 120);
	FUNCTION(flush, 128);
#undef checked
}

static void test_holder(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_holder
	FIELD(file, 0, const char *);
	FIELD(line, 8, int);
	FIELD(thread, 12, pid_t);
	FIELD(count, 16, uint32_t);
#undef checked
}

static void test_pinned(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_pinned
	FIELD(size, 0, size_t);
	FIELD(folio, 8, const struct folio *);
	FIELD(type, 16, const char *);
	FIELD(owner, 24, void *);
	FIELD(own, 32, bool);
	FIELD(in_file, 33, bool);
	FIELD(dirty, 34, bool);
	FIELD(writeback, 35, bool);
	FIELD(device, 40, uint64_t);
	FIELD(inode, 48, uint64_t);
	FIELD(index, 56, uint64_t);
	FIELD(order, 64, uint32_t);
	FIELD(references, 68, uint32_t);
	FIELD(holder, 72, const struct folio_holder *);
	FIELD(holders, 80, uint32_t);
	FIELD(unknown, 84, uint32_t);
#undef checked
}

static void test_cache_stats(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_cache_stats
	FIELD(size, 0, size_t);
	FIELD(io, 8, const char *);
	FIELD(pages, 16, uint64_t);
	FIELD(pages_free, 24, uint64_t);
	FIELD(pages_file, 32, uint64_t);
	FIELD(pages_private, 40, uint64_t);
	FIELD(bytes_metadata, 48, uint64_t);
	FIELD(huge_bytes, 56, uint64_t);
	FIELD(hits, 64, uint64_t);
	FIELD(misses, 72, uint64_t);
	FIELD(retries, 80, uint64_t);
	FIELD(fills, 88, uint64_t);
	FIELD(fill_bytes, 96, uint64_t);
	FIELD(fill_errors, 104, uint64_t);
	FIELD(readahead_pages, 112, uint64_t);
	FIELD(prefetch_pages, 120, uint64_t);
	FIELD(evictions, 128, uint64_t);
	FIELD(evictions_direct, 136, uint64_t);
	FIELD(evict_busy, 144, uint64_t);
	FIELD(refaults, 152, uint64_t);
	FIELD(invalidations, 160, uint64_t);
	FIELD(out_of_memory, 168, uint64_t);
	FIELD(pages_dirty, 176, uint64_t);
	FIELD(pages_writeback, 184, uint64_t);
	FIELD(writes, 192, uint64_t);
	FIELD(write_bytes, 200, uint64_t);
	FIELD(write_errors, 208, uint64_t);
	FIELD(throttled, 216, uint64_t);
	FIELD(files_buffered, 224, uint64_t);
#undef checked
}

static void test_file_stat(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_file_stat
	FIELD(size, 0, size_t);
	FIELD(bytes, 8, uint64_t);
	FIELD(pages, 16, uint64_t);
	FIELD(pages_dirty, 24, uint64_t);
	FIELD(direct_read, 32, uint32_t);
	FIELD(direct_write, 36, uint32_t);
	FIELD(device, 40, uint64_t);
	FIELD(inode, 48, uint64_t);
	FIELD(bytes_file, 56, uint64_t);
	FIELD(mtime_sec, 64, int64_t);
	FIELD(ctime_sec, 72, int64_t);
	FIELD(mtime_nsec, 80, uint32_t);
	FIELD(ctime_nsec, 84, uint32_t);
#undef checked
}

static void test_type_params(void **state)
{
	(void)state;
	/* On other machines the layout is another one. */
	if (sizeof(void *) != 8)
		skip();
#define checked folio_type_params
	FIELD(size, 0, size_t);
	FIELD(name, 8, const char *);
	FUNCTION(release, 16);
	FIELD(context, 24, void *);
#undef checked
}

static void test_constants(void **state)
{
	(void)state;
	assert_int_equal(FOLIO_PAGE_SHIFT, 12);
	assert_int_equal(FOLIO_PAGE_SIZE, 4096);
	assert_int_equal(FOLIO_ORDER_MAX, 9);
	assert_int_equal(FOLIO_CACHE_BUFFERED, 1);
	assert_int_equal(FOLIO_CACHE_NO_HUGE_PAGES, 2);
	assert_int_equal(FOLIO_CACHE_NO_READAHEAD, 4);
	assert_int_equal(FOLIO_CACHE_BYTES_MIN, 64 * 4096);
	assert_int_equal(FOLIO_READ_NOWAIT, 1);
	assert_int_equal(FOLIO_GET_NOWAIT, 1);
	assert_int_equal(FOLIO_SYNC_DATA, 1);
	assert_int_equal(FOLIO_TYPE_PRIVATE, 2);
	assert_int_equal(FOLIO_HOLDERS_MAX, 16);
	assert_int_equal(FOLIO_IO_ATTR_AMBIGUOUS, 1);
	assert_int_equal(FOLIO_IO_ATTR_HANDLE, 2);
	assert_int_equal(FOLIO_IO_ATTR_BTIME, 4);
	assert_int_equal(FOLIO_IO_ATTR_CTIME, 8);
	assert_int_equal(FOLIO_IO_ATTR_GENERATION, 16);
	assert_int_equal(FOLIO_IO_ATTR_ACCESS, 32);
	assert_int_equal(FOLIO_IO_ATTR_LIMIT, 64);
	assert_int_equal(FOLIO_IO_ATTR_MOUNT, 128);
	assert_int_equal(FOLIO_IO_ATTR_FRESH, 256);
	assert_int_equal(FOLIO_IO_HANDLE_MAX, 128);
	assert_int_equal(FOLIO_IO_IOV_MAX, 64);
	assert_int_equal(FOLIO_IO_READ, 0);
	assert_int_equal(FOLIO_IO_WRITE, 1);
	assert_int_equal(FOLIO_IO_BUFFERED, 1);
	assert_int_equal(FOLIO_IO_PROBE, 2);
	assert_int_equal(FOLIO_IO_DATA_ONLY, 1);
	assert_int_equal(FOLIO_IO_CAN_PROBE, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_params),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_io_attr),
		cmocka_unit_test(test_io_request),
		cmocka_unit_test(test_io_stat),
		cmocka_unit_test(test_io_ops),
		cmocka_unit_test(test_holder),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_cache_stats),
		cmocka_unit_test(test_file_stat),
		cmocka_unit_test(test_type_params),
		cmocka_unit_test(test_constants),
	};

	return cmocka_run_group_tests_name("abi", tests, NULL, NULL);
}
