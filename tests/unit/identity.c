/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files with the same device and inode number: the cache shares pages only between handles of one
 * file, and refuses a second writer of a file that may be open for writing already.
 */
#include <limits.h>

#include "fault-world.h"

#define HANDLE     FOLIO_IO_ATTR_HANDLE
#define BTIME      FOLIO_IO_ATTR_BTIME
#define GENERATION FOLIO_IO_ATTR_GENERATION

/* Of a device's number in inode_key (cache/inode.c). */
#define KEY_FACTOR UINT64_C(0xd1342543de82ef95)

/* What the backend reports of the files "a" and "b", which have the same inode number. */
struct report {
	uint32_t fields;
	int32_t handle_type;
	uint32_t handle_bytes;
	char handle[4];
	int64_t btime_sec;
	uint32_t btime_nsec;
	uint64_t generation;
	uint64_t grown; /* bytes that the file has grown by */
};

static struct report reports[2];
static unsigned growing; /* so many queries find the files a page longer each time */
static uint64_t growth;  /* bytes by which they have grown */
static bool equal_keys;  /* the files have different numbers, and one key */
static bool old_backend; /* it knows the attributes of version 0.1 only */

static int report_attr(void *context, void *handle, struct folio_io_attr *attr)
{
	const size_t old_size = offsetof(struct folio_io_attr, wanted);
	struct folio_io_attr plain = {.size = 0};
	const struct report *report;
	int r = io_fault_ops.getattr(context, handle, &plain);

	if (r < 0)
		return r;
	/* The two are on different devices. */
	report = &reports[plain.device - 1];
	if (equal_keys)
		plain.inode = 42 - plain.device * KEY_FACTOR;
	else
		plain.device = 1;
	/* Numbers have 64 bits. */
	plain.inode += equal_keys ? 0 : UINT64_C(5) << 32;
	if (growing) {
		growing--;
		growth += PAGE;
	}
	plain.size += report->grown + growth;
	plain.struct_size = old_backend ? 0 : attr->struct_size;
	plain.wanted = attr->wanted;
	memcpy(attr, &plain, old_size);
	if (old_backend)
		return 0;
	attr->fields = report->fields & attr->wanted;
	if (!equal_keys)
		attr->fields |= FOLIO_IO_ATTR_AMBIGUOUS;
	attr->handle_type = report->handle_type;
	attr->handle_bytes = report->handle_bytes;
	memcpy(attr->handle, report->handle, sizeof(report->handle));
	attr->btime_sec = report->btime_sec;
	attr->btime_nsec = report->btime_nsec;
	attr->generation = report->generation;
	return 0;
}

static int no_sync(void *context, void *handle, unsigned sync_flags)
{
	return 0;
}

static int no_truncate(void *context, void *handle, uint64_t size)
{
	return 0;
}

static int no_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	return 0;
}

static void report_begin(struct world *world, struct folio_io_ops *ops)
{
	*ops = io_fault_ops;
	ops->getattr = report_attr;
	ops->sync = no_sync;
	ops->truncate = no_truncate;
	ops->punch = no_punch;
	world_begin_over(world, ops, 1, 64, 4 * PAGE);
	io_fault_add(world->io, "b", 4 * PAGE);
}

static int open_b(struct world *world, int flags, struct folio_file **file)
{
	return folio_file_open(world->cache, "b", flags, 0, file);
}

/* "a" is open and cached. Does "b" get its pages? */
static bool shares(struct world *world)
{
	struct folio_file *file;
	uint64_t before;
	char buf[64];

	expect_read(world, 0, 64, 1);
	before = reads(world);
	assert_int_equal(open_b(world, O_RDONLY, &file), 0);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(folio_file_close(file), 0);
	return reads(world) == before;
}

/* "a" is open for writing. The result of opening "b" for writing, too. */
static int second_writer(struct world *world)
{
	struct folio_file *first, *second = NULL;
	int r;

	assert_int_equal(folio_file_open(world->cache, "a", O_RDWR, 0, &first), 0);
	r = open_b(world, O_RDWR, &second);
	if (!r)
		assert_int_equal(folio_file_close(second), 0);
	assert_int_equal(folio_file_close(first), 0);
	return r;
}

enum { SAME, OTHER, DOUBT };

static const struct {
	struct report a, b;
	int expected;
} rows[] = {
	/* A handle decides alone. */
	{{HANDLE, 1, 4, "abcd"}, {HANDLE, 1, 4, "abcd"}, SAME},
	{{HANDLE, 1, 4, "abcd"}, {HANDLE, 1, 4, "abce"}, OTHER},
	{{HANDLE, 1, 4, "abcd"}, {HANDLE, 1, 3, "abcd"}, OTHER},
	{{HANDLE, 1, 4, "abcd"}, {HANDLE, 2, 4, "abcd"}, OTHER},
	{{HANDLE | BTIME, 1, 4, "abcd", 7}, {HANDLE | BTIME, 1, 4, "abcd", 8}, SAME},
	{{HANDLE, 1, 4, "abcd"}, {HANDLE, 1, 4, "abcd", .grown = PAGE}, SAME},
	/* A handle longer than the array. */
	{{HANDLE, 1, 1000, "abcd"}, {HANDLE, 1, 1000, "abcd"}, OTHER},
	/* Without one, the birth time and the size. */
	{{BTIME, .btime_sec = 7}, {BTIME, .btime_sec = 7}, SAME},
	{{BTIME, .btime_sec = 7}, {BTIME, .btime_sec = 8}, OTHER},
	{{BTIME, .btime_nsec = 7}, {BTIME, .btime_nsec = 8}, OTHER},
	{{BTIME, .btime_sec = 7}, {BTIME, .btime_sec = 7, .grown = PAGE}, DOUBT},
	{{BTIME | GENERATION, .generation = 7}, {BTIME | GENERATION, .generation = 7}, SAME},
	{{BTIME | GENERATION, .generation = 7}, {BTIME | GENERATION, .generation = 8}, OTHER},
	{{GENERATION, .generation = 7}, {GENERATION, .generation = 8}, OTHER},
	/* Too little is known. */
	{{0}, {0}, DOUBT},
	{{GENERATION, .generation = 7}, {GENERATION, .generation = 7}, DOUBT},
	{{HANDLE, 1, 4, "abcd"}, {BTIME}, DOUBT},
	{{BTIME}, {0}, DOUBT},
};

static void test_attributes(void **state)
{
	struct folio_io_ops ops;
	struct world world;
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int expected = rows[i].expected;

		reports[0] = rows[i].a;
		reports[1] = rows[i].b;
		print_message("# row %u\n", i);
		report_begin(&world, &ops);
		assert_int_equal(shares(&world), expected == SAME);
		/* "a" is closed first: a reader of it in doubt has an inode of its own. */
		assert_int_equal(folio_file_close(world.file), 0);
		assert_int_equal(second_writer(&world), expected == DOUBT ? -EBUSY : 0);
		world.file = file_open(world.cache, "a");
		world_end(&world);
	}
}

/* In doubt, a reader next to the writer is allowed, and so is a writer after the other's close. */
static void test_doubt(void **state)
{
	struct folio_file *reader, *writer, *other;
	struct folio_io_ops ops;
	struct world world;
	char buf[64];

	memset(reports, 0, sizeof(reports));
	report_begin(&world, &ops);
	assert_int_equal(open_b(&world, O_RDWR, &writer), 0);
	assert_int_equal(open_b(&world, O_RDONLY, &reader), 0);
	assert_int_equal(open_b(&world, O_RDWR, &other), -EBUSY);
	assert_int_equal(folio_file_read(reader, buf, sizeof(buf), 0), sizeof(buf));
	expect_read(&world, 0, 64, 1);
	assert_int_equal(folio_file_close(writer), 0);
	assert_int_equal(open_b(&world, O_RDWR, &writer), 0);
	assert_int_equal(folio_file_close(writer), 0);
	assert_int_equal(folio_file_close(reader), 0);
	/* The attributes of the open file cannot be read: doubt, too. */
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDWR, 0, &writer), 0);
	reports[0] = reports[1] = (struct report){HANDLE, 1, 4, "abcd"};
	/* No more probes, whose errors are left to the open. */
	world.cache->program_io.features = 0;
	io_fault_fail(world.io, IO_FAULT_GETATTR, 3, EIO);
	assert_int_equal(open_b(&world, O_RDWR, &other), -EBUSY);
	/* Those of the other one: the open fails. */
	io_fault_fail(world.io, IO_FAULT_GETATTR, 2, EIO);
	assert_int_equal(open_b(&world, O_RDWR, &other), -EIO);
	assert_int_equal(folio_file_close(writer), 0);
	world.file = file_open(world.cache, "a");
	world_end(&world);
}

/* A file that grows while it is compared is found to be itself. */
static void test_growing(void **state)
{
	struct folio_file *writer, *other;
	struct folio_io_ops ops;
	struct world world;

	reports[0] = reports[1] = (struct report){BTIME, .btime_sec = 7};
	report_begin(&world, &ops);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, "a", O_RDWR, 0, &writer), 0);
	growing = 10;
	assert_int_equal(open_b(&world, O_RDWR, &other), 0);
	assert_int_equal(growing, 0);
	assert_int_equal(folio_file_close(other), 0);
	/* But the comparison ends. */
	growing = UINT_MAX;
	assert_int_equal(open_b(&world, O_RDWR, &other), -EBUSY);
	growing = 0;
	assert_int_equal(folio_file_close(writer), 0);
	growth = 0;
	world.file = file_open(world.cache, "a");
	world_end(&world);
}

/* A backend of version 0.1 reports device and inode only, and they identify its files. */
static void test_old_backend(void **state)
{
	struct folio_io_ops ops;
	struct world world;

	old_backend = true;
	memset(reports, 0, sizeof(reports));
	report_begin(&world, &ops);
	assert_true(shares(&world));
	assert_int_equal(second_writer(&world), 0);
	world_end(&world);
	old_backend = false;
}

/* Numbers of two files whose keys in the table of open files are equal. */
static void test_equal_keys(void **state)
{
	struct folio_io_ops ops;
	struct world world;

	equal_keys = true;
	memset(reports, 0, sizeof(reports));
	report_begin(&world, &ops);
	assert_false(shares(&world));
	assert_int_equal(second_writer(&world), 0);
	world_end(&world);
	equal_keys = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_doubt),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_old_backend),
		cmocka_unit_test(test_equal_keys),
	};

	test_begin("identity");
	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
