/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cat.c - folio cat: writes a file to standard output, through the cache.
 *
 * The file is divided into blocks. Each thread takes the next block, pins its pages, which reads
 * them from the device, waits for the block's turn and writes it directly from the pinned memory.
 * No byte is copied, and with several threads, several blocks are read while one is written.
 *
 * If pages cannot be pinned (the end of the file, an error, or no memory because the other threads
 * have pins), the thread reads by copy when it is its turn, until the block is complete or read(2)
 * would report the end of the file. If the file grows or shrinks in the meantime, the result is
 * that of pread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <folio/cache.h>

#include "command.h"
#include "input.h"
#include "options.h"

#define BLOCK_MAX   (UINT64_C(1) << 20)
#define COPY_SIZE   ((size_t)64 << 10)
#define THREADS_MAX 256
/* Of a block that consists of single pages. */
#define PINS_MAX    (BLOCK_MAX / FOLIO_PAGE_SIZE + 1)

static const char help[] =
	"usage: folio cat FILE [--cache SIZE] [--threads N] [--offset N] [--length N]\n"
	"\n"
	"Reads FILE through a cache inside the process, and writes it to standard output.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: 64M)\n"
	"  --threads N    read ahead with N threads (default: 1)\n"
	"  --offset N     start at this byte (suffixes K, M, G, T)\n"
	"  --length N     write at most N bytes (default: to the end of the file)\n";

struct cat {
	const char *name;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t offset, end; /* the range to write, unless the file ends earlier */
	uint64_t block;       /* bytes, a multiple of the page size */
	/* The next block to take. Blocks are counted from the page that contains offset. */
	uint64_t next;

	pthread_mutex_t lock;
	pthread_cond_t turned;
	/* Guarded by lock. */
	uint64_t turn; /* block that may be written */
	bool stop;     /* the end of the file or an error was found */
	int status;
};

/* The pinned pages of one block, and the parts of them to write. */
struct pins {
	struct folio *folio[PINS_MAX];
	struct iovec iov[PINS_MAX];
	unsigned count;
	uint64_t bytes;
};

/*
 * Pin pages from offset to end, and stop at the first difficulty. The contents of a page are valid
 * up to the size that the cache has for the file. Get the size after the page was filled: a short
 * fill updates it first.
 */
static void pin_range(struct cat *cat, uint64_t offset, uint64_t end, struct pins *pins)
{
	struct folio *folio;
	uint64_t index, stop, size;
	void *page;

	pins->count = 0;
	pins->bytes = 0;
	while (offset < end && pins->count < PINS_MAX) {
		index = offset >> FOLIO_PAGE_SHIFT;
		if (folio_file_get_page(cat->file, index, 0, &folio, &page))
			return;
		size = folio_file_size(cat->file);
		stop = (folio_index(folio) << FOLIO_PAGE_SHIFT) + folio_size(folio);
		if (stop > end)
			stop = end;
		if (stop > size)
			stop = size;
		if (stop <= offset) {
			folio_put(folio);
			return;
		}
		pins->folio[pins->count] = folio;
		pins->iov[pins->count].iov_base = (char *)page + offset % FOLIO_PAGE_SIZE;
		pins->iov[pins->count].iov_len = stop - offset;
		pins->count++;
		pins->bytes += stop - offset;
		offset = stop;
	}
}

static void put_all(struct pins *pins)
{
	while (pins->count)
		folio_put(pins->folio[--pins->count]);
}

/* Write offset .. end by copy. False after the end of the file or an error: nothing follows. */
static bool copy_range(struct cat *cat, uint64_t offset, uint64_t end, int *status)
{
	char *buffer = malloc(COPY_SIZE);
	struct iovec iov;
	ssize_t got = 0;

	if (!buffer) {
		complain("out of memory");
		*status = STATUS_FAILED;
		return false;
	}
	while (offset < end) {
		got = folio_file_read(cat->file, buffer,
			end - offset < COPY_SIZE ? end - offset : COPY_SIZE, offset);
		if (got < 0) {
			complain("%s: %s (at offset %" PRIu64 ")", cat->name, strerror((int)-got),
				offset);
			*status = STATUS_FAILED;
		}
		if (got <= 0)
			break;
		iov.iov_base = buffer;
		iov.iov_len = (size_t)got;
		if (!output_all(&iov, 1)) {
			*status = STATUS_FAILED;
			break;
		}
		offset += (uint64_t)got;
	}
	free(buffer);
	return offset >= end;
}

/* False if another thread has found the end of the file, or an error. */
static bool wait_for_turn(struct cat *cat, uint64_t block)
{
	bool go;

	pthread_mutex_lock(&cat->lock);
	while (cat->turn != block && !cat->stop)
		pthread_cond_wait(&cat->turned, &cat->lock);
	go = !cat->stop;
	pthread_mutex_unlock(&cat->lock);
	return go;
}

static void end_turn(struct cat *cat, bool stop, int status)
{
	pthread_mutex_lock(&cat->lock);
	cat->turn++;
	if (stop)
		cat->stop = true;
	if (status)
		cat->status = status;
	pthread_cond_broadcast(&cat->turned);
	pthread_mutex_unlock(&cat->lock);
}

static void *write_blocks(void *argument)
{
	struct cat *cat = argument;
	struct pins *pins = malloc(sizeof(*pins));
	uint64_t block, offset, end;
	bool more = true;
	int status;

	while (more) {
		block = __atomic_fetch_add(&cat->next, 1, __ATOMIC_RELAXED);
		offset = cat->offset / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE + block * cat->block;
		end = offset + cat->block;
		if (offset < cat->offset)
			offset = cat->offset;
		if (end > cat->end)
			end = cat->end;
		if (offset >= end)
			break;
		if (pins)
			pin_range(cat, offset, end, pins);
		if (!wait_for_turn(cat, block)) {
			if (pins)
				put_all(pins);
			break;
		}
		status = STATUS_OK;
		if (pins && pins->count) {
			offset += pins->bytes;
			if (!output_all(pins->iov, pins->count)) {
				status = STATUS_FAILED;
				more = false;
			}
			put_all(pins);
		}
		if (more && offset < end)
			more = copy_range(cat, offset, end, &status);
		end_turn(cat, !more, status);
	}
	free(pins);
	return NULL;
}

/*
 * The pins of all threads together use at most half of the cache. The other half is for read-ahead
 * and for the pages of the next reads.
 */
static void choose_blocks(struct cat *cat, uint64_t cache_bytes, unsigned *threads)
{
	uint64_t share = cache_bytes / 2;

	if (*threads > share / FOLIO_PAGE_SIZE / 4)
		*threads = (unsigned)(share / FOLIO_PAGE_SIZE / 4);
	cat->block = share / *threads / FOLIO_PAGE_SIZE * FOLIO_PAGE_SIZE;
	if (cat->block > BLOCK_MAX)
		cat->block = BLOCK_MAX;
}

static int run(struct cat *cat, unsigned threads)
{
	pthread_t thread[THREADS_MAX];
	unsigned started = 0;

	pthread_mutex_init(&cat->lock, NULL);
	pthread_cond_init(&cat->turned, NULL);
	/* With fewer threads than requested, the output is the same, but slower. */
	while (started < threads - 1 && !pthread_create(&thread[started], NULL, write_blocks, cat))
		started++;
	write_blocks(cat);
	while (started)
		pthread_join(thread[--started], NULL);
	pthread_cond_destroy(&cat->turned);
	pthread_mutex_destroy(&cat->lock);
	return cat->status;
}

/* The reason why the file cannot be copied, found before it is read; NULL: none. */
static const char *objection(const char *path)
{
	const char *reason;
	struct stat in, out;
	int fd;

	fd = input_open(path, O_RDONLY, &in, &reason);
	if (fd < 0)
		return reason;
	close(fd);
	/* The file would grow as fast as it is read. */
	if (!fstat(STDOUT_FILENO, &out) && S_ISREG(out.st_mode) && in.st_dev == out.st_dev &&
		in.st_ino == out.st_ino)
		return "standard output is the same file";
	return NULL;
}

int cat_command(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = UINT64_C(64) << 20};
	struct cat cat = {.status = STATUS_OK};
	uint64_t length = INT64_MAX;
	unsigned threads = 1;
	const struct option_spec specs[] = {
		{"--cache", OPTION_SIZE, &params.bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{"--threads", OPTION_COUNT, &threads, 1, THREADS_MAX},
		{"--offset", OPTION_SIZE, &cat.offset, 0, INT64_MAX},
		{"--length", OPTION_SIZE, &length, 0, INT64_MAX},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const struct option_set set = {"cat", specs, help, 1};
	const char *reason;
	int status, result;

	status = options_parse(&set, argc, argv, &cat.name);
	if (status >= 0)
		return status;
	if (!cat.name) {
		complain("cat needs the name of a file; 'folio cat --help' explains it");
		return STATUS_USAGE;
	}
	if (!output_open_for_writing())
		return STATUS_FAILED;
	reason = objection(cat.name);
	if (reason) {
		complain("%s: %s", cat.name, reason);
		return STATUS_FAILED;
	}
	/* Both ends must be valid offsets. */
	cat.end = length > INT64_MAX - cat.offset ? INT64_MAX : cat.offset + length;
	choose_blocks(&cat, params.bytes, &threads);

	result = folio_cache_open(&params, &cat.cache);
	if (result) {
		complain("cannot open a cache of %s: %s", size_about(params.bytes),
			strerror(-result));
		return STATUS_FAILED;
	}
	result = folio_file_open(cat.cache, cat.name, O_RDONLY | O_CLOEXEC, 0, &cat.file);
	if (result) {
		complain("%s: %s", cat.name, strerror(-result));
		status = STATUS_FAILED;
	} else {
		/* Only a hint: without it, the cache detects sequential reads a little later. */
		folio_file_advise(cat.file, FOLIO_ADVICE_SEQUENTIAL);
		status = run(&cat, threads);
		folio_file_close(cat.file);
	}
	folio_cache_close(cat.cache);
	/* Some file systems report only now that there was no space for the data. */
	if (close(STDOUT_FILENO) && status == STATUS_OK) {
		complain("cannot write to standard output: %s", strerror(errno));
		status = STATUS_FAILED;
	}
	return status;
}
