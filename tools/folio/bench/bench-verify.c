/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench-verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "progress.h"

#define BLOCK (UINT64_C(1) << 20)

struct verification {
	struct bench *bench;
	uint64_t blocks;
	uint64_t next;      /* the next block to take */
	uint64_t mismatch;  /* lowest offset that differs; UINT64_MAX: none */
	int error;          /* of a read, -errno */
	const char *reader; /* the function that failed */
};

static void note_mismatch(struct verification *check, uint64_t offset)
{
	uint64_t lowest = __atomic_load_n(&check->mismatch, __ATOMIC_RELAXED);

	while (offset < lowest && !__atomic_compare_exchange_n(&check->mismatch, &lowest, offset,
					  false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static uint64_t first_difference(const char *a, const char *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i;
}

/* Read len bytes, or fewer at the end of the file only. -errno. */
static ssize_t read_fully(int fd, char *buffer, size_t len, uint64_t offset)
{
	size_t done = 0;
	ssize_t got;

	while (done < len) {
		got = pread(fd, buffer + done, len - done, (off_t)(offset + done));
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* Compare len pinned bytes from offset on with theirs. The copy has just cached their pages. */
static bool verify_pins(struct verification *check, uint64_t offset, size_t len, const char *theirs)
{
	struct folio *folio;
	void *pinned;
	size_t page, part;
	bool good;
	int result;

	for (page = 0; page < len; page += FOLIO_PAGE_SIZE) {
		result = folio_file_get_page(check->bench->file,
			(offset + page) >> FOLIO_PAGE_SHIFT, 0, &folio, &pinned);
		if (result) {
			check->reader = "folio_file_get_page";
			check->error = result;
			return false;
		}
		part = len - page < FOLIO_PAGE_SIZE ? len - page : FOLIO_PAGE_SIZE;
		good = !memcmp(pinned, theirs + page, part);
		if (!good)
			note_mismatch(check,
				offset + page + first_difference(pinned, theirs + page, part));
		folio_put(folio);
		if (!good)
			return false;
	}
	return true;
}

static bool verify_block(
	struct verification *check, int fd, uint64_t offset, char *ours, char *theirs)
{
	struct bench *bench = check->bench;
	ssize_t got, expected;
	size_t len = BLOCK;

	if (len > bench->size - offset)
		len = bench->size - offset;
	expected = read_fully(fd, theirs, len, offset);
	got = folio_file_read(bench->file, ours, len, offset);
	if (expected < 0 || got < 0) {
		check->reader = expected < 0 ? "pread" : "folio_file_read";
		check->error = (int)(expected < 0 ? expected : got);
		return false;
	}
	if (got != expected || memcmp(ours, theirs, (size_t)got)) {
		note_mismatch(check, offset + first_difference(ours, theirs,
						      (size_t)(got < expected ? got : expected)));
		return false;
	}
	return verify_pins(check, offset, (size_t)got, theirs);
}

static bool verify_blocks(struct worker *worker)
{
	struct verification *check = worker->context;
	char *ours = malloc(BLOCK), *theirs = malloc(BLOCK);
	uint64_t block;
	bool good = ours && theirs;

	if (!good) {
		check->reader = "malloc";
		check->error = -ENOMEM;
	}
	while (good && !workers_failed(worker)) {
		block = __atomic_fetch_add(&check->next, 1, __ATOMIC_RELAXED);
		if (block >= check->blocks)
			break;
		if (worker->index == 0)
			progress("verifying: %" PRIu64 " %%", 100 * block / check->blocks);
		good = verify_block(
			check, check->bench->fds[worker->index], block * BLOCK, ours, theirs);
	}
	free(ours);
	free(theirs);
	return good;
}

bool bench_verify(struct bench *bench)
{
	struct verification check = {.bench = bench, .mismatch = UINT64_MAX};
	double start = seconds_now(), seconds;
	bool good;

	check.blocks = (bench->size + BLOCK - 1) / BLOCK;
	good = workers_each(bench->workers, bench->threads, verify_blocks, &check);
	seconds = seconds_now() - start;
	progress_end();
	if (!good && check.mismatch != UINT64_MAX) {
		complain("%s: cache and kernel return different bytes at offset %" PRIu64,
			bench->name, check.mismatch);
	} else if (!good) {
		complain("%s: %s: %s", bench->name, check.reader, strerror(-check.error));
	} else {
		report_verified(&bench->report, bench->size, bench->threads, seconds);
	}
	return good;
}
