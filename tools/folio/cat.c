/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cat.c - folio cat: a file, through the cache, to standard output.
 *
 * The file is cut into blocks. Each thread takes the next block, pins its pages, which makes the device
 * read, waits for the block's turn and writes it straight from the pinned memory: no byte is copied
 * on the way, and with several threads several blocks are being read while one is written.
 *
 * Where pages cannot be pinned (the file ends here, an error, memory is short because all the others hold
 * pins) the thread falls back, in its turn, on reading by copy until the block is done or until the file
 * ends as read(2) says it: the answer to a file that grows or shrinks meanwhile is that of pread.
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
/* In a block of single pages. */
#define PINS_MAX    (BLOCK_MAX / FOLIO_PAGE_SIZE + 1)

static const char help[] =
	"usage: folio cat FILE [--cache SIZE] [--threads N] [--offset N] [--length N]\n"
	"\n"
	"Writes FILE to standard output, reading it through a cache of its own.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: 64M)\n"
	"  --threads N    read ahead with so many threads (default: 1)\n"
	"  --offset N     begin at this byte (suffixes K, M, G, T)\n"
	"  --length N     write at most so many bytes (default: to the end of the file)\n";

struct cat {
	const char *name;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t offset, end; /* to be written, unless the file ends before */
	uint64_t block;       /* bytes, a multiple of the page size */
	uint64_t next; /* block that nobody has taken, counted from the page that offset is in */

	pthread_mutex_t lock;
	pthread_cond_t turned;
	/* Guarded by lock. */
	uint64_t turn; /* block that may be written */
	bool stop;     /* the file's end, or an error, has been met */
	int status;
};

/* Pinned pages of one block, and what of them is to be written. */
struct pins {
	struct folio *folio[PINS_MAX];
	struct iovec iov[PINS_MAX];
	unsigned count;
	uint64_t bytes;
};

/*
 * Pin as much of offset .. end as can be had without going round any difficulty. A page is whole only up to
 * where the cache believes the file to end, asked after the page was filled: a fill that came back short
 * has set the size before.
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

/* Write offset .. end by copy. False: there is nothing to be written after it, because of the end or an error. */
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

/* Returns false when another thread has met the end meanwhile. */
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
 * Pins of all threads together leave the cache half of its pages, in which the pages of the next reads are
 * found and read-ahead goes on.
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
	/* With fewer threads than wanted the same bytes come, later. */
	while (started < threads - 1 && !pthread_create(&thread[started], NULL, write_blocks, cat))
		started++;
	write_blocks(cat);
	while (started)
		pthread_join(thread[--started], NULL);
	pthread_cond_destroy(&cat->turned);
	pthread_mutex_destroy(&cat->lock);
	return cat->status;
}

/* What is wrong with the file, as far as it can be told before it is read; NULL: nothing. */
static const char *objection(const char *path)
{
	const char *reason;
	struct stat in, out;
	int fd;

	if (stat(path, &in))
		return strerror(errno);
	/* Opening some devices does something. */
	reason = input_kind_objection(&in);
	if (reason)
		return reason;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return strerror(errno);
	reason = input_objection(fd, &in);
	close(fd);
	if (reason)
		return reason;
	/* It would grow as fast as it is read. */
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
	const char *reason;
	int status, result;

	status = options_parse("cat", specs, help, argc, argv, &cat.name, 1);
	if (status >= 0)
		return status;
	if (!cat.name) {
		complain("cat wants the name of a file; 'folio cat --help' explains it");
		return STATUS_USAGE;
	}
	if (!output_open_for_writing())
		return STATUS_FAILED;
	reason = objection(cat.name);
	if (reason) {
		complain("%s: %s", cat.name, reason);
		return STATUS_FAILED;
	}
	/* Neither end can be past what an offset can say. */
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
		/* Only a hint: without it the file is found to be read from start to end a little later. */
		folio_file_advise(cat.file, FOLIO_ADVICE_SEQUENTIAL);
		status = run(&cat, threads);
		folio_file_close(cat.file);
	}
	folio_cache_close(cat.cache);
	/* Some file systems tell only now that what was written did not fit. */
	if (close(STDOUT_FILENO) && status == STATUS_OK) {
		complain("cannot write to standard output: %s", strerror(errno));
		status = STATUS_FAILED;
	}
	return status;
}
