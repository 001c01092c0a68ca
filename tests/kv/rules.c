/* SPDX-License-Identifier: BSD-2-Clause */
/* rules.c - what the store promises when something is wrong: damaged pages, a log that fails. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <folio.h>

#include "crc.h"
#include "kv.h"
#include "sim.h"

enum { RECORDS = 400 };

static char path[64], log_path[70];
static const struct kv_params small = {.bytes = FOLIO_CACHE_BYTES_MIN};

static void name_key(char *name, unsigned key)
{
	snprintf(name, 9, "%08u", key % 100000000);
}

static void fill(struct kv *kv)
{
	char name[9], value[300];
	unsigned i;

	for (i = 0; i < RECORDS; i++) {
		name_key(name, i);
		memset(value, (int)(i & 0xff), sizeof(value));
		assert_int_equal(kv_put(kv, name, 8, value, sizeof(value)), 0);
	}
}

static void test_crc(void **state)
{
	char bytes[300];
	size_t len;

	(void)state;
	/* The check value of the published catalogues. */
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283u);
	for (len = 0; len < sizeof(bytes); len++) {
		bytes[len] = (char)(len * 37);
		assert_int_equal(crc32c(0, bytes, len), crc32c_portable(0, bytes, len));
		assert_int_equal(crc32c(crc32c(0, bytes, len / 3), bytes + len / 3, len - len / 3),
			crc32c(0, bytes, len));
	}
}

static void flip_bit(uint64_t bit)
{
	int fd = open(path, O_RDWR);
	unsigned char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
	byte ^= (unsigned char)(1u << bit % 8);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
	close(fd);
}

/* One bit of a page is wrong: no read returns anything but the right value or -EBADMSG. */
static void check_damaged(void)
{
	char name[9], value[300], expected[300];
	struct kv_shape shape;
	unsigned i, bad = 0;
	const char *why;
	struct kv *kv;

	assert_int_equal(kv_open(path, &small, &kv), 0);
	assert_int_equal(kv_check(kv, &shape, &why), -EBADMSG);
	for (i = 0; i < RECORDS; i++) {
		ssize_t n;

		name_key(name, i);
		memset(expected, (int)(i & 0xff), sizeof(expected));
		n = kv_get(kv, name, 8, value, sizeof(value));
		if (n == -EBADMSG) {
			bad++;
			continue;
		}
		assert_int_equal(n, sizeof(value));
		assert_memory_equal(value, expected, sizeof(value));
	}
	assert_true(bad > 0);
	assert_int_equal(kv_close(kv), 0);
}

static void test_damaged_page(void **state)
{
	struct kv_shape shape;
	struct kv *kv;
	uint64_t page, bit;

	(void)state;
	assert_int_equal(kv_open(path, &small, &kv), 0);
	fill(kv);
	assert_int_equal(kv_check(kv, &shape, NULL), 0);
	assert_int_equal(shape.records, RECORDS);
	assert_true(shape.levels > 1);
	assert_int_equal(kv_close(kv), 0);
	for (page = 0; page < shape.pages; page++) {
		bit = page * FOLIO_PAGE_SIZE * 8 + page * 7919 % (FOLIO_PAGE_SIZE * 8);
		flip_bit(bit);
		check_damaged();
		flip_bit(bit);
	}
	assert_int_equal(kv_open(path, &small, &kv), 0);
	assert_int_equal(kv_check(kv, &shape, NULL), 0);
	assert_int_equal(kv_close(kv), 0);
}

static void test_files(void **state)
{
	struct kv *kv, *other;

	(void)state;
	assert_int_equal(kv_open(path, &small, &kv), 0);
	assert_int_equal(kv_open(path, &small, &other), -EBUSY);
	fill(kv);
	assert_int_equal(kv_close(kv), 0);
	/* Pages without their log are not trusted. */
	assert_int_equal(unlink(log_path), 0);
	assert_int_equal(kv_open(path, &small, &kv), -EBADMSG);
	assert_int_equal(kv_open("/no such folder/kv", &small, &kv), -ENOENT);
}

static void test_lengths(void **state)
{
	char bytes[KV_VALUE_MAX + 1] = {0};
	struct kv *kv;

	(void)state;
	assert_int_equal(kv_open(path, &small, &kv), 0);
	assert_int_equal(kv_put(kv, bytes, 0, bytes, 1), -EINVAL);
	assert_int_equal(kv_put(kv, bytes, KV_KEY_MAX + 1, bytes, 1), -EINVAL);
	assert_int_equal(kv_put(kv, bytes, 1, bytes, KV_VALUE_MAX + 1), -EINVAL);
	assert_int_equal(kv_delete(kv, bytes, KV_KEY_MAX + 1), -EINVAL);
	assert_int_equal(kv_get(kv, bytes, 0, bytes, 1), -EINVAL);
	assert_int_equal(kv_get(kv, bytes, KV_KEY_MAX + 1, bytes, 1), -EINVAL);
	assert_int_equal(kv_put(kv, bytes, KV_KEY_MAX, bytes, KV_VALUE_MAX), 0);
	assert_int_equal(kv_put(kv, bytes, 1, NULL, 0), 0);
	assert_int_equal(kv_get(kv, bytes, 1, NULL, 0), 0);
	assert_int_equal(kv_get(kv, bytes, KV_KEY_MAX, bytes, 1), KV_VALUE_MAX);
	assert_int_equal(kv_close(kv), 0);
}

/* A sync of the log fails once: no later commit may claim that it is durable. */
static void test_log_fails(void **state)
{
	struct sim *pages = sim_new(1, SIM_INLINE), *log = sim_new(2, SIM_INLINE);
	struct kv_params params = {.bytes = FOLIO_CACHE_BYTES_MIN,
		.io = &sim_ops,
		.io_context = pages,
		.log_context = log};
	struct kv_shape shape;
	char value[4];
	struct kv *kv;

	(void)state;
	assert_int_equal(kv_open("kv", &params, &kv), 0);
	assert_int_equal(kv_put(kv, "a", 1, "1", 1), 0);
	assert_int_equal(kv_commit(kv), 0);
	assert_int_equal(kv_put(kv, "b", 1, "2", 1), 0);
	sim_fail(log, SIM_SYNC, 1, EIO, false);
	assert_int_equal(kv_commit(kv), -EIO);
	assert_int_equal(kv_commit(kv), -EIO);
	assert_int_equal(kv_put(kv, "c", 1, "3", 1), -EIO);
	assert_int_equal(kv_get(kv, "a", 1, value, sizeof(value)), 1);
	assert_int_equal(kv_close(kv), -EIO);
	assert_int_equal(kv_open("kv", &params, &kv), 0);
	assert_int_equal(kv_get(kv, "a", 1, value, sizeof(value)), 1);
	assert_int_equal(kv_get(kv, "c", 1, value, sizeof(value)), -ENOENT);
	assert_int_equal(kv_check(kv, &shape, NULL), 0);
	assert_int_equal(kv_put(kv, "c", 1, "3", 1), 0);
	assert_int_equal(kv_close(kv), 0);
	sim_free(pages);
	sim_free(log);
}

static int make_path(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "kv-rules.%ld", (long)getpid());
	snprintf(log_path, sizeof(log_path), "%s.log", path);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	unlink(path);
	unlink(log_path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),
		cmocka_unit_test_setup_teardown(test_damaged_page, make_path, remove_files),
		cmocka_unit_test_setup_teardown(test_files, make_path, remove_files),
		cmocka_unit_test_setup_teardown(test_lengths, make_path, remove_files),
		cmocka_unit_test(test_log_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
