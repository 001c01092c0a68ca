/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench-file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/machine.h"
#include "command.h"
#include "input.h"
#include "options.h"
#include "progress.h"
#include "random.h"

#define FILE_BYTES (UINT64_C(256) << 20)
#define BLOCK      (UINT64_C(1) << 20)

/* Every word is different, so that a byte from a wrong offset is detected. */
static bool fill_file(int fd)
{
	uint64_t *block = malloc(BLOCK), word = 0, offset;
	bool done = false;
	size_t i;

	if (!block)
		return false;
	for (offset = 0; offset < FILE_BYTES; offset += BLOCK) {
		for (i = 0; i < BLOCK / sizeof(*block); i++)
			block[i] = random_mix(++word);
		for (i = 0; i < BLOCK;) {
			ssize_t written =
				pwrite(fd, (char *)block + i, BLOCK - i, (off_t)(offset + i));

			if (written < 0)
				goto out;
			i += (size_t)written;
		}
	}
	/* Otherwise direct reads would wait for the data to be written first. */
	done = !fdatasync(fd);
out:
	free(block);
	return done;
}

int bench_file_make(struct bench *bench)
{
	const char *directory = getenv("TMPDIR");
	char *path;
	int fd;

	if (!directory || !*directory)
		directory = "/var/tmp";
	progress("writing a file of %s to %s", size_about(FILE_BYTES), directory);
	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		/* Not every file system supports files without a name. */
		if (asprintf(&path, "%s/folio-bench-XXXXXX", directory) < 0)
			return -1;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
		free(path);
	}
	if (fd < 0 || !fill_file(fd)) {
		progress_end();
		complain("cannot create a file of %s in %s: %s", size_about(FILE_BYTES), directory,
			strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	bench->name = "made for this run";
	if (asprintf(&bench->path, "/proc/self/fd/%d", fd) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool open_descriptors(struct bench *bench)
{
	const int flags = bench->writes ? O_RDWR : O_RDONLY;
	const char *reason;
	struct stat stat;
	unsigned i;

	bench->fds = malloc(bench->threads * sizeof(*bench->fds));
	if (!bench->fds) {
		complain("out of memory");
		return false;
	}
	for (i = 0; i < bench->threads; i++)
		bench->fds[i] = -1;
	bench->fds[0] = input_open(bench->path, flags, &stat, &reason);
	if (bench->fds[0] < 0) {
		complain("%s: %s", bench->name, reason);
		return false;
	}
	for (i = 1; i < bench->threads; i++) {
		bench->fds[i] = open(bench->path, flags | O_CLOEXEC);
		if (bench->fds[i] < 0) {
			complain("%s: %s", bench->name, strerror(errno));
			return false;
		}
	}
	return true;
}

bool bench_file_open(struct bench *bench)
{
	uint64_t least = bench->writes ? 2 * FOLIO_PAGE_SIZE : LINE_SIZE;
	off_t end;

	if (!open_descriptors(bench))
		return false;
	/* stat returns no size for a block device. */
	end = lseek(bench->fds[0], 0, SEEK_END);
	if (end < 0) {
		complain("%s: %s", bench->name, strerror(errno));
		return false;
	}
	bench->size = (uint64_t)end;
	if (bench->size < least) {
		complain("%s: %" PRIu64 " bytes are too few to measure; at least %" PRIu64
			 " are needed",
			bench->name, bench->size, least);
		return false;
	}
	return true;
}

static uint64_t default_cache(uint64_t size)
{
	uint64_t bytes, spare = size / 10, most = machine_memory() / 2;

	/* A tenth of a small file is less than what the cache keeps free. */
	if (spare < UINT64_C(8) << 20)
		spare = UINT64_C(8) << 20;
	bytes = size + spare < most ? size + spare : most;
	/* Rounded up to a MiB, for people. */
	bytes = (bytes + (1 << 20) - 1) >> 20 << 20;
	return bytes < FOLIO_CACHE_BYTES_MIN ? FOLIO_CACHE_BYTES_MIN : bytes;
}

bool bench_cache_open(struct bench *bench)
{
	struct folio_cache_params params = {.size = sizeof(params)};
	int result;

	if (!bench->cache_bytes)
		bench->cache_bytes = default_cache(bench->size);
	bench->fits = bench->cache_bytes >= bench->size;
	/* The cache keeps some pages free, and chooses itself which of the others to keep. */
	bench->part = bench->fits ? bench->size
				  : bench->cache_bytes / 4 * 3 / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	params.bytes = bench->cache_bytes;
	result = folio_cache_open(&params, &bench->cache);
	if (result) {
		complain("cannot open a cache of %s: %s", size_about(bench->cache_bytes),
			strerror(-result));
		return false;
	}
	result = folio_file_open(bench->cache, bench->path,
		(bench->writes ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0, &bench->file);
	if (result) {
		complain("%s: %s", bench->name, strerror(-result));
		return false;
	}
	return true;
}

void bench_cache_close(struct bench *bench)
{
	if (bench->file)
		folio_file_abandon(bench->file);
	if (bench->cache)
		folio_cache_close(bench->cache);
	bench->file = NULL;
	bench->cache = NULL;
}

void bench_file_close(struct bench *bench)
{
	unsigned i;

	bench_cache_close(bench);
	for (i = 0; bench->fds && i < bench->threads; i++) {
		if (bench->fds[i] >= 0)
			close(bench->fds[i]);
	}
	free(bench->fds);
	free(bench->path);
}
