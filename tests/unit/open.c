/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing files: errors, a file opened twice, and calls that run at the same time. */
#include "fault-world.h"
#include "cache/inflight.h"

static void test_file_open_fails(void **state)
{
	struct world world;
	struct folio_file *file = NULL;
	uint64_t query;

	(void)state;
	world_begin(&world, 64, 0, 10 * PAGE);
	assert_int_equal(folio_file_open(NULL, "a", O_RDONLY, 0, &file), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, NULL, O_RDONLY, 0, &file), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDONLY, 0, NULL), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDWR, 0, &file), -EROFS);
	assert_int_equal(folio_file_open(world.cache, "a", O_WRONLY, 0, &file), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, "a", O_APPEND, 0, &file), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, "b", O_RDONLY, 0, &file), -ENOENT);
	/* The file is open. A query through the probe fails, and then the open does. */
	for (query = 1; query <= 2; query++) {
		io_fault_fail(world.io, IO_FAULT_GETATTR, query, EIO);
		io_fault_fail(world.io, IO_FAULT_OPEN, 1, EACCES);
		assert_int_equal(folio_file_open(world.cache, "a", O_RDONLY, 0, &file), -EACCES);
	}
	/* The probe finds it, but its size and times cannot be compared. */
	io_fault_fail(world.io, IO_FAULT_GETATTR, 3, EIO);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDONLY, 0, &file), -EIO);
	assert_null(file);
	/* A second handle that is not needed is closed with the file: POSIX locks stay. */
	io_fault_fail(world.io, IO_FAULT_GETATTR, 1, EIO);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDONLY, 0, &file), 0);
	assert_int_equal(io_fault_opens(world.io), 2);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(io_fault_opens(world.io), 2);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(io_fault_opens(world.io), 0);
	world.file = file_open(world.cache, "a");
	/* None of these calls left a handle open, and the file that is open still works. */
	assert_int_equal(io_fault_opens(world.io), 1);
	expect_read(&world, 0, 10 * PAGE, 1);
	assert_int_equal(folio_file_open(world.cache, "a",
				 O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME, 0, &file),
		0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_file_close(NULL), -EINVAL);
	world_end(&world);
}

/* A file that is opened twice shares its pages; another file of the same name does not. */
static void test_file_twice(void **state)
{
	struct folio_file *second, *third;
	struct io_fault_file *other;
	struct world world;
	uint64_t before;
	char buf[64];

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 10 * PAGE);
	expect_read(&world, 3 * PAGE, 100, 1);
	before = reads(&world);
	second = file_open(world.cache, "a");
	assert_int_equal(folio_file_read(second, buf, sizeof(buf), 3 * PAGE), sizeof(buf));
	assert_int_equal(reads(&world), before);
	/* The file has changed: the next open detects it, for all handles. */
	io_fault_change(world.contents);
	expect_read(&world, 3 * PAGE, 100, 1);
	assert_int_equal(reads(&world), before);
	third = file_open(world.cache, "a");
	expect_read(&world, 3 * PAGE, 100, 2);
	assert_int_equal(reads(&world), before + 1);
	assert_int_equal(folio_file_close(second), 0);
	assert_int_equal(folio_file_close(third), 0);
	/* One handle is left: the pages stay. */
	expect_read(&world, 3 * PAGE, 100, 2);
	assert_int_equal(reads(&world), before + 1);

	other = io_fault_add(world.io, "a", 5 * PAGE);
	second = file_open(world.cache, "a");
	assert_int_equal(folio_file_size(second), 5 * PAGE);
	assert_int_equal(folio_file_size(world.file), 10 * PAGE);
	assert_int_equal(folio_file_read(second, buf, sizeof(buf), 3 * PAGE), sizeof(buf));
	assert_true(io_fault_check(other, 3 * PAGE, buf, sizeof(buf), NULL, NULL));
	expect_read(&world, 3 * PAGE, 100, 2);
	assert_int_equal(folio_file_close(second), 0);
	/* The last handle is closed: the pages are dropped. */
	assert_int_equal(cache_stats(world.cache).pages_file, 1);
	world_end(&world);
}

static struct folio_cache
	*open_inside; /* opens a file of this cache from inside another open, once */

static int hooked_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	struct folio_cache *cache = open_inside;
	struct folio_file *file;

	open_inside = NULL;
	if (cache) {
		assert_int_equal(folio_file_open(cache, "b", O_RDONLY, 0, &file), 0);
		assert_int_equal(folio_file_close(file), 0);
	}
	return io_fault_ops.open(context, path, flags, mode, io_flags, handle);
}

/* A slow open delays no other open or close. */
static void test_open_during_open(void **state)
{
	struct folio_io_ops ops;
	struct folio_file *file;
	struct world world;

	(void)state;
	ops = io_fault_ops;
	ops.open = hooked_open;
	world_begin_over(&world, &ops, 1, 64, 10 * PAGE);
	io_fault_add(world.io, "b", PAGE);
	io_fault_add(world.io, "c", PAGE);
	open_inside = world.cache;
	assert_int_equal(folio_file_open(world.cache, "c", O_RDONLY, 0, &file), 0);
	assert_null(open_inside);
	assert_int_equal(folio_file_close(file), 0);
	world_end(&world);
}

static void *close_file(void *arg)
{
	struct world *world = arg;

	return (void *)(intptr_t)folio_file_close(world->file);
}

/* Close waits for the prefetched pages: memory that is being read into is not reused. */
static void test_close_during_prefetch(void **state)
{
	struct folio_range range = {.offset = 0, .len = 20 * PAGE};
	struct world world;
	pthread_t thread;
	void *r;

	(void)state;
	world_begin(&world, 64, 0, 100 * PAGE);
	io_fault_hold(world.io);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 20);
	io_fault_wait_held(world.io, 1);
	assert_int_equal(pthread_create(&thread, NULL, close_file, &world), 0);
	wait_until(folio_u32_load_relaxed(&world.file->inode->fills) & INODE_CLOSING);
	io_fault_release(world.io, UINT64_MAX);
	pthread_join(thread, &r);
	assert_int_equal((intptr_t)r, 0);
	assert_int_equal(cache_stats(world.cache).pages_free, 64);
	assert_int_equal(folio_cache_close(world.cache), 0);
	io_fault_free(world.io);
}

/* A backend that cannot probe opens a file again; the handle that is not needed is closed. */
static void test_without_probes(void **state)
{
	struct folio_io_ops ops = io_fault_ops;
	struct folio_file *second;
	struct world world;

	(void)state;
	ops.features = 0;
	world_begin_over(&world, &ops, 1, 64, 10 * PAGE);
	second = file_open(world.cache, "a");
	assert_ptr_equal(second->inode, world.file->inode);
	assert_int_equal(io_fault_opens(world.io), 1);
	expect_read(&world, 0, 10 * PAGE, 1);
	assert_int_equal(folio_file_close(second), 0);
	assert_int_equal(io_fault_opens(world.io), 1);
	world_end(&world);
}

/* As the cache computes the key of a file in its table. */
#define KEY_OF_DEVICE UINT64_C(0xd1342543de82ef95)

/* The file of 20 pages is on device 7, with the number that gives it the key of the other. */
static int getattr_of_one_key(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = io_fault_ops.getattr(context, handle, attr);

	attr->device = attr->size == 20 * PAGE ? 7 : 3;
	attr->inode = 5 + (3 - attr->device) * KEY_OF_DEVICE;
	return r;
}

/* Two files with one key are two files. */
static void test_one_key(void **state)
{
	struct folio_io_ops ops = io_fault_ops;
	struct io_fault_file *contents;
	struct folio_file *other;
	struct world world;
	char buf[64];

	(void)state;
	ops.getattr = getattr_of_one_key;
	world_begin_over(&world, &ops, 1, 64, 10 * PAGE);
	contents = io_fault_add(world.io, "b", 20 * PAGE);
	other = file_open(world.cache, "b");
	assert_ptr_not_equal(other->inode, world.file->inode);
	expect_read(&world, 3 * PAGE, 64, 1);
	assert_int_equal(folio_file_read(other, buf, sizeof(buf), 3 * PAGE), sizeof(buf));
	assert_true(io_fault_check(contents, 3 * PAGE, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_size(world.file), 10 * PAGE);
	assert_int_equal(folio_file_size(other), 20 * PAGE);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_open_fails),
		cmocka_unit_test(test_file_twice),
		cmocka_unit_test(test_without_probes),
		cmocka_unit_test(test_one_key),
		cmocka_unit_test(test_open_during_open),
		cmocka_unit_test(test_close_during_prefetch),
	};

	test_begin("open");
	return cmocka_run_group_tests_name("open", tests, NULL, NULL);
}
