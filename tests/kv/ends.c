/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ends.c - a crash after each record of the log: what recovery makes of every beginning of a log.
 * The tree is valid, has the records put so far and no other, also where a split was cut off; then
 * the next writer completes the split.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <folio.h>

#include "kv.h"
#include "log.h"

enum { RECORDS = 100, VALUE = 400, LOG_BYTES = 4 << 20, LOG_START = 2 * FOLIO_PAGE_SIZE };

static const struct kv_params params = {.bytes = 4 << 20};
static char log_bytes[LOG_BYTES];
static size_t log_len;

static void put(struct kv *kv, unsigned number)
{
	char name[9], value[VALUE];

	/* In no order: splits in the middle as well as at the end. */
	snprintf(name, sizeof(name), "%08u", number * 7919 % 10007);
	memset(value, (int)(number & 0xff), sizeof(value));
	assert_int_equal(kv_put(kv, name, 8, value, sizeof(value)), 0);
}

static bool has(struct kv *kv, unsigned number)
{
	char name[9], value[VALUE];
	ssize_t n;

	snprintf(name, sizeof(name), "%08u", number * 7919 % 10007);
	n = kv_get(kv, name, 8, value, sizeof(value));
	assert_true(n == VALUE || n == -ENOENT);
	assert_true(n < 0 || (unsigned char)value[VALUE - 1] == (number & 0xff));
	return n >= 0;
}

static void write_file(const char *name, const char *bytes, size_t len)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

/* The log of a process that ended after a commit; of its pages, none was written. */
static void make_log(void)
{
	struct kv *kv;
	int fd, status;
	ssize_t n;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		unsigned i;

		if (kv_open("ends-store", &params, &kv))
			_exit(1);
		for (i = 0; i < RECORDS; i++)
			put(kv, i);
		_exit(kv_commit(kv) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fd = open("ends-store.log", O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, log_bytes, LOG_BYTES);
	assert_in_range(n, LOG_START, LOG_BYTES - 1);
	log_len = (size_t)n;
	close(fd);
}

/* Recovers from the first @len bytes of the log. Returns how many pages lacked a link. */
static uint64_t recover(size_t len, unsigned *found)
{
	struct kv_shape shape, after;
	struct kv *kv;
	unsigned i;

	write_file("ends-store.log", log_bytes, len);
	write_file("ends-store", "", 0);
	assert_int_equal(kv_open("ends-store", &params, &kv), 0);
	assert_int_equal(kv_check(kv, &shape, NULL), 0);
	for (*found = 0; *found < RECORDS && has(kv, *found);)
		++*found;
	assert_int_equal(shape.records, *found);
	/* All changes again: on their way they complete the splits. */
	for (i = 0; i < RECORDS; i++)
		put(kv, i);
	assert_int_equal(kv_check(kv, &after, NULL), 0);
	assert_int_equal(after.records, RECORDS);
	assert_int_equal(after.unlinked, 0);
	assert_int_equal(kv_close(kv), 0);
	return shape.unlinked;
}

static void test_every_end(void **state)
{
	uint64_t unlinked = 0, end;
	unsigned found, before = 0;
	struct record record;
	size_t at = LOG_START;

	(void)state;
	make_log();
	memcpy(&record, log_bytes + at, sizeof(record));
	end = record.lsn - record.len;
	while (at + sizeof(record) <= log_len) {
		memcpy(&record, log_bytes + at, sizeof(record));
		if (record.len < sizeof(record) || record.lsn != end + record.len)
			break;
		/* Half a record, and the whole of it. */
		unlinked += recover(at + record.len / 2, &found);
		assert_int_equal(found, before);
		unlinked += recover(at + record.len, &found);
		assert_in_range(found, before, before + 1);
		before = found;
		at += record.len;
		end = record.lsn;
	}
	assert_int_equal(before, RECORDS);
	assert_true(unlinked > 5); /* else the test does not test it */
	unlink("ends-store");
	unlink("ends-store.log");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_end)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
