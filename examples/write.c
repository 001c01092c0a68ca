/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.c - write records, make them durable in groups, and know after an error how many are.
 *     write FILE
 * A write puts a record into the cache. A sync of a group's range makes the group durable; it also
 * reports errors of write-back. If it fails, the groups before it are durable.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <folio.h>

enum { RECORDS = 256, GROUP = 32 };

struct record {
	uint64_t number, check;
	char data[4096 - 16];
};

static void fill_in(struct record *record, uint64_t number)
{
	memset(record->data, (int)('a' + number % 26), sizeof(record->data));
	record->number = number;
	record->check = number * 0x9e3779b97f4a7c15u;
}

/* A new name in a folder is durable only after a sync of the folder. */
static int sync_folder(const char *file)
{
	char path[4096];
	int fd, r;

	snprintf(path, sizeof(path), "%s", file);
	fd = open(dirname(path), O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return -errno;
	r = fsync(fd) ? -errno : 0;
	close(fd);
	return r;
}

/* A write is short only if an error stopped it: the next call returns that error. */
static int write_all(struct folio_file *file, const char *bytes, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = folio_file_write(file, bytes, len, offset);

		if (n < 0)
			return (int)n;
		bytes += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Returns 0, or the error that ended it early. *durable: the number of durable records. */
static int write_records(struct folio_file *file, uint64_t *durable)
{
	struct record record;
	uint64_t number;
	int r;

	*durable = 0;
	for (number = 0; number < RECORDS; number++) {
		fill_in(&record, number);
		r = write_all(file, (char *)&record, sizeof(record), number * sizeof(record));
		if (!r && (number + 1) % GROUP == 0) {
			struct folio_range group = {
				.offset = *durable * sizeof(record),
				.len = GROUP * sizeof(record),
			};

			r = folio_file_sync(file, &group, FOLIO_SYNC_DATA);
			if (!r)
				*durable = number + 1;
		}
		if (r)
			return r;
	}
	return 0;
}

/* Reads the file through another cache, which has none of the written pages. */
static uint64_t count_valid(const struct folio_cache_params *params, const char *path)
{
	struct record record, expected;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t number = 0;

	if (folio_cache_open(params, &cache))
		return 0;
	if (!folio_file_open(cache, path, O_RDONLY, 0, &file)) {
		for (;; number++) {
			fill_in(&expected, number);
			if (folio_file_read(file, &record, sizeof(record),
				    number * sizeof(record)) != sizeof(record) ||
				memcmp(&record, &expected, sizeof(record)) != 0)
				break;
		}
		folio_file_close(file);
	}
	folio_cache_close(cache);
	return number;
}

static int failed(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	return 1;
}

int main(int argc, char **argv)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 1 << 20,
		.timeout_ms = 30000, /* if the device does not answer: an error, no endless wait */
	};
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t durable, valid;
	int r, status = 0;

	if (argc != 2)
		return fprintf(stderr, "usage: write FILE\n"), 2;
	r = folio_cache_open(&params, &cache);
	if (r)
		return failed("cache", r);
	r = folio_file_open(cache, argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644, &file);
	if (!r)
		r = sync_folder(argv[1]);
	if (r)
		return failed(argv[1], r);

	r = write_records(file, &durable);
	if (r)
		status = failed(argv[1], r);
	printf("%d records, %llu are durable\n", RECORDS, (unsigned long long)durable);

	/*
	 * If pages cannot be written, a close leaves them in the cache and the handle open. The
	 * program has already reported how many records are durable, so it drops these pages.
	 */
	r = folio_file_close(file);
	if (r) {
		status = failed("close", r);
		folio_file_abandon(file);
	}
	r = folio_cache_close(cache);
	if (r)
		status = failed("cache", r);

	valid = count_valid(&params, argv[1]);
	printf("%llu records read back\n", (unsigned long long)valid);
	return status || valid != RECORDS;
}
