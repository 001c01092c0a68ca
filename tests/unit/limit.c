/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that the file can never take are refused at once: past RLIMIT_FSIZE, past the end of a
 * device. SIGXFSZ has its default action, which would end the test.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "write-world.h"

static void set_limit(uint64_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static uint64_t size_of(struct world *world)
{
	struct stat st;

	assert_int_equal(stat(world->path, &st), 0);
	return (uint64_t)st.st_size;
}

/* As pwrite: EFBIG past the limit, fewer bytes across it. The rest of the file can be synced. */
static void test_process_limit(void **state)
{
	static struct world world;

	(void)state;
	world_begin(&world, 64, 0);
	memset(world.model, 'x', 11 * PAGE);
	set_limit(10 * PAGE + 100);
	assert_int_equal(folio_file_write(world.file, "x", 1, 100 * PAGE), -EFBIG);
	assert_int_equal(folio_file_write(world.file, "x", 1, 10 * PAGE + 100), -EFBIG);
	assert_int_equal(folio_file_write(world.file, "x", 0, 100 * PAGE), 0);
	assert_int_equal(folio_file_truncate(world.file, 10 * PAGE + 101), -EFBIG);
	assert_int_equal(folio_file_size(world.file), 0);
	assert_int_equal(folio_file_write(world.file, world.model, 11 * PAGE, 0), 10 * PAGE + 100);
	assert_int_equal(folio_file_truncate(world.file, 10 * PAGE + 100), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.size = 10 * PAGE + 100;
	check_file(&world);
	/* A file that is as long as the limit can be overwritten up to its end. */
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(folio_file_write(world.file, "z", 1, 10 * PAGE + 99), 1);
	world.model[10 * PAGE + 99] = 'z';
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	/* A limit that is raised counts at once. */
	set_limit(RLIM_INFINITY);
	assert_int_equal(folio_file_write(world.file, "y", 1, 12 * PAGE), 1);
	memset(world.model + world.size, 0, 12 * PAGE - world.size);
	world.model[12 * PAGE] = 'y';
	world.size = 12 * PAGE + 1;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/*
 * The file is longer than the limit by now: the page that contains the limit cannot be written,
 * since write-back would write it to its end.
 */
static void test_file_longer_than_limit(void **state)
{
	static struct world world;
	struct folio *folio;
	uint64_t i;

	(void)state;
	world_begin(&world, 64, 0);
	world.size = 4 * PAGE;
	memset(world.model, 'x', world.size);
	for (i = 0; i < 4; i++)
		assert_int_equal(folio_file_write(world.file, "x", 1, i * PAGE), 1);
	assert_int_equal(folio_file_write(world.file, world.model, world.size, 0), world.size);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	set_limit(2 * PAGE + 100);
	assert_int_equal(folio_file_write(world.file, "yyy", 3, 2 * PAGE - 2), 2);
	memcpy(world.model + 2 * PAGE - 2, "yy", 2);
	assert_int_equal(folio_file_write(world.file, "y", 1, 2 * PAGE), -EFBIG);
	assert_int_equal(folio_file_get(world.file, 2, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 0), -EFBIG);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(folio_file_truncate(world.file, 3 * PAGE), 0);
	world.size = 3 * PAGE;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	set_limit(RLIM_INFINITY);
	world_end(&world);
}

/* A limit that is lowered below what was accepted: the pages can be discarded. */
static void test_limit_lowered(void **state)
{
	static struct world world;

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_write(world.file, "a", 1, 0), 1);
	assert_int_equal(folio_file_write(world.file, "x", 1, 20 * PAGE), 1);
	set_limit(PAGE);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EFBIG);
	assert_int_equal(folio_file_write(world.file, "x", 1, 10 * PAGE), -EFBIG);
	assert_int_equal(folio_file_discard(world.file, PAGE, UINT64_MAX), 0);
	assert_int_equal(folio_file_size(world.file), PAGE);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(size_of(&world), PAGE);
	set_limit(RLIM_INFINITY);
	world_end(&world);
}

/* ---- a device ---- */

static uint64_t device_size;

static int device_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = folio_io_threads.getattr(context, handle, attr);

	attr->size = device_size;
	attr->fields = FOLIO_IO_ATTR_LIMIT;
	attr->limit = device_size;
	attr->limit_error = ENOSPC;
	return r;
}

static int device_truncate(void *context, void *handle, uint64_t size)
{
	(void)context;
	(void)handle;
	return size == device_size ? 0 : -EINVAL;
}

static void test_device(void **state)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops, .dirty_age_ms = UINT32_MAX};
	static struct world world;
	int fd;

	(void)state;
	ops = folio_io_threads;
	ops.getattr = device_getattr;
	ops.truncate = device_truncate;
	device_size = 8 * PAGE;
	memset(&world, 0, sizeof(world));
	strcpy(world.path, "folio-limit-XXXXXX");
	fd = mkstemp(world.path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)device_size), 0);
	close(fd);
	world_open(&world, &params);
	assert_int_equal(folio_file_write(world.file, "x", 1, 8 * PAGE), -ENOSPC);
	assert_int_equal(folio_file_write(world.file, "xxx", 3, 8 * PAGE - 2), 2);
	assert_int_equal(folio_file_truncate(world.file, 7 * PAGE), -EINVAL);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	/* A larger device: its new end counts. When it is smaller again, pages past it go. */
	device_size = 12 * PAGE;
	assert_int_equal(folio_file_write(world.file, "y", 1, 11 * PAGE), 1);
	device_size = 8 * PAGE;
	assert_int_equal(folio_file_truncate(world.file, 8 * PAGE), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	assert_int_equal(folio_file_size(world.file), 8 * PAGE);
	assert_int_equal(folio_file_write(world.file, "x", 1, 8 * PAGE), -ENOSPC);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	memcpy(world.model + 8 * PAGE - 2, "xx", 2);
	world.size = 8 * PAGE;
	check_file(&world);
	world_end(&world);
}

/*
 * A backend of another version: it reports no limit, and its files have no flush. The cache accepts
 * all writes, and a close confirms nothing.
 */
static int getattr_without_limit(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = folio_io_threads.getattr(context, handle, attr);

	attr->fields &= ~FOLIO_IO_ATTR_LIMIT;
	return r;
}

static void test_no_limit(void **state)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops, .dirty_age_ms = UINT32_MAX};
	static struct world world;
	int fd;

	(void)state;
	ops = folio_io_threads;
	ops.getattr = getattr_without_limit;
	ops.flush = NULL;
	memset(&world, 0, sizeof(world));
	strcpy(world.path, "folio-limit-XXXXXX");
	fd = mkstemp(world.path);
	assert_true(fd >= 0);
	close(fd);
	world_open(&world, &params);
	set_limit(10);
	assert_int_equal(folio_file_write(world.file, "x", 1, 8 * PAGE), 1);
	set_limit(RLIM_INFINITY);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.model[8 * PAGE] = 'x';
	world.size = 8 * PAGE + 1;
	check_file(&world);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_limit),
		cmocka_unit_test(test_file_longer_than_limit),
		cmocka_unit_test(test_limit_lowered),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_no_limit),
	};

	test_begin("limit");
	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
