/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compat-0.1.c - a program written for version 0.1: it includes <folio/cache.h> and nothing else of
 * folio, and makes every public call of that version. It must compile unchanged and run with each
 * later 0.x version. Add nothing of later versions here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <folio/cache.h>

enum { PAGES = 64 };

static unsigned failures;
static uint64_t logged, released;

static void expect(int line, const char *what, bool holds)
{
	if (holds)
		return;
	fprintf(stderr, "compat-0.1.c:%d: %s\n", line, what);
	failures++;
}

#define EXPECT(condition) expect(__LINE__, #condition, condition)

static int before_writeback(void *context, uint64_t sequence)
{
	*(uint64_t *)context = sequence;
	return 0;
}

static void release(struct folio *folio, void *context)
{
	*(uint64_t *)context += folio_size(folio);
}

static bool count_folio(const struct folio_pinned *pinned, void *context)
{
	const struct folio_holder *holder = pinned->holder;
	unsigned *count = context;

	EXPECT(pinned->size == sizeof(*pinned) && pinned->folio && pinned->references == 1);
	EXPECT(!pinned->dirty && !pinned->writeback && pinned->unknown <= pinned->references);
	EXPECT(pinned->own ? pinned->owner == context : pinned->in_file && pinned->inode);
	EXPECT(pinned->holders <= FOLIO_HOLDERS_MAX && (!pinned->holders || holder->count));
	(*count)++;
	return true;
}

/* The README's program of 0.1, with its results checked. */
static void read_first(struct folio_cache *cache, const char *path)
{
	struct folio_file *file;
	struct folio *folio;
	char buf[64];
	void *page;

	EXPECT(folio_file_open(cache, path, O_RDONLY, 0, &file) == 0);
	EXPECT(folio_file_read(file, buf, sizeof(buf), 0) == sizeof(buf) && buf[63] == 1);
	if (!folio_file_get_page(file, 0, 0, &folio, &page)) {
		EXPECT(*(unsigned char *)page == 1);
		folio_put(folio);
	} else {
		EXPECT(!"folio_file_get_page");
	}
	EXPECT(folio_file_write(file, buf, 1, 0) == -EBADF);
	EXPECT(folio_file_close(file) == 0);
}

static void read_all(struct folio_file *file)
{
	struct folio_range range = {.offset = 0, .len = UINT64_MAX};
	struct folio_read reads[PAGES];
	char bytes[PAGES];
	struct folio *folio;
	unsigned i;

	EXPECT(folio_file_size(file) == PAGES * FOLIO_PAGE_SIZE);
	EXPECT(folio_file_advise(file, FOLIO_ADVICE_RANDOM) == 0);
	EXPECT(folio_file_advise(file, FOLIO_ADVICE_SEQUENTIAL) == 0);
	EXPECT(folio_file_advise(file, FOLIO_ADVICE_NORMAL) == 0);
	EXPECT(folio_file_prefetch(file, &range, 1) >= 0);
	for (i = 0; i < PAGES; i++)
		reads[i] = (struct folio_read){&bytes[i], 1, i * FOLIO_PAGE_SIZE, -1};
	EXPECT(folio_file_read_batch(file, reads, PAGES, 0) == 0);
	for (i = 0; i < PAGES; i++)
		EXPECT(reads[i].result == 1 && bytes[i] == (char)(i + 1));
	EXPECT(folio_file_read_batch(file, reads, PAGES, FOLIO_READ_NOWAIT) == 0);
	EXPECT(folio_file_read_nowait(file, bytes, 1, 0) == 1);

	EXPECT(folio_file_get(file, 5, FOLIO_GET_NOWAIT, &folio) == 0);
	folio_get(folio);
	folio_put(folio);
	EXPECT(folio_index(folio) <= 5 && 5 < folio_index(folio) + (1u << folio_order(folio)));
	EXPECT(folio_size(folio) == (size_t)FOLIO_PAGE_SIZE << folio_order(folio));
	EXPECT(*(char *)folio_page(folio, 5) == 6 && folio_data(folio) <= folio_page(folio, 5));
	folio_put(folio);

	EXPECT(folio_file_invalidate(file, 0, UINT64_MAX) == 0);
	EXPECT(folio_file_revalidate(file) == 0);
	EXPECT(folio_file_get(file, PAGES, 0, &folio) == -ENODATA);
}

static void write_all(struct folio_cache *cache, const char *path)
{
	struct folio_range range = {.offset = FOLIO_PAGE_SIZE, .len = 1};
	struct folio_file *file;
	struct folio *folio;
	char byte = 'x';

	EXPECT(folio_file_open(cache, path, O_RDWR | O_CREAT, 0644, &file) == 0);
	EXPECT(folio_file_write(file, &byte, 1, FOLIO_PAGE_SIZE) == 1);
	EXPECT(folio_file_sync(file, &range, FOLIO_SYNC_DATA) == 0);

	EXPECT(folio_file_get(file, 1, 0, &folio) == 0);
	EXPECT(folio_lock(folio) == 0);
	((char *)folio_page(folio, 1))[0] = 'y';
	EXPECT(folio_mark_dirty(folio, 42) == 0);
	folio_unlock(folio);
	folio_put(folio);
	EXPECT(folio_file_sync(file, NULL, 0) == 0 && logged == 42);

	EXPECT(folio_file_punch(file, 0, FOLIO_PAGE_SIZE) == 0);
	EXPECT(folio_file_read(file, &byte, 1, 0) == 1 && byte == 0);
	EXPECT(folio_file_read(file, &byte, 1, FOLIO_PAGE_SIZE) == 1 && byte == 'y');
	EXPECT(folio_file_truncate(file, 1) == 0 && folio_file_size(file) == 1);
	EXPECT(folio_file_abandon(file) == 0);
}

/* The program's own folios, and the list of pins. */
static void own(struct folio_cache *cache, const char *path)
{
	struct folio_type_params params = {
		.size = sizeof(params), .name = "own", .release = release, .context = &released};
	struct folio *private, *typed, *page;
	struct folio_file *file;
	unsigned type, count = 0;
	FILE *text = tmpfile();

	EXPECT(folio_type_register(cache, &params, &type) == 0 && type > FOLIO_TYPE_PRIVATE);
	EXPECT(folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, &count, &private) == 0);
	EXPECT(folio_alloc(cache, 2, type, &count, &typed) == 0);
	EXPECT(folio_owner(private) == &count && folio_order(typed) == 2);
	EXPECT(folio_lock(typed) == -EINVAL);
	EXPECT(folio_file_open(cache, path, O_RDONLY | O_CLOEXEC, 0, &file) == 0);
	EXPECT(folio_file_get(file, 0, 0, &page) == 0);
	EXPECT(folio_cache_pins(cache, count_folio, &count) == 3 && count == 3);
	EXPECT(folio_cache_pins(cache, NULL, NULL) == 3);
	EXPECT(text && folio_cache_pins_print(cache, text) == 3 && ftell(text) > 0);
	if (text)
		fclose(text);
	EXPECT(folio_cache_close(cache) == -EBUSY);
	folio_put(page);
	folio_put(private);
	folio_put(typed);
	EXPECT(folio_file_close(file) == 0);
}

/* What the cache may use of a backend: here the library's own, called by hand. */
static void backend(const char *path)
{
	const struct folio_io_ops *io = &folio_io_threads;
	static char memory[FOLIO_PAGE_SIZE] __attribute__((aligned(FOLIO_PAGE_SIZE)));
	struct iovec iov = {.iov_base = memory, .iov_len = sizeof(memory)};
	struct folio_io_attr attr = {.size = 0};
	void *context = NULL, *handle;

	EXPECT(io->size == sizeof(*io) && folio_io_uring.size == sizeof(*io));
	EXPECT(strcmp(folio_io_uring.name, io->name) != 0);
	if (io->create(&context, 1) ||
		io->open(context, path, O_RDONLY, 0, FOLIO_IO_BUFFERED, &handle)) {
		EXPECT(!"a backend of threads");
		return;
	}
	EXPECT(io->getattr(context, handle, &attr) == 0 && attr.size == PAGES * FOLIO_PAGE_SIZE);
	EXPECT(io->read(context, handle, &iov, 1, 0) == sizeof(memory) && memory[0] == 1);
	EXPECT(io->sync(context, handle, FOLIO_IO_DATA_ONLY) == 0);
	io->close(context, handle);
	io->destroy(context);
}

static void counter(void)
{
	struct folio_ref ref;

	folio_ref_init_frozen(&ref);
	EXPECT(folio_ref_is_frozen(&ref) && !folio_ref_try_get(&ref));
	folio_ref_unfreeze(&ref, 1);
	EXPECT(folio_ref_try_get_n(&ref, 2) && folio_ref_count(&ref) == 3);
	folio_ref_get(&ref);
	folio_ref_get_n(&ref, 2);
	EXPECT(!folio_ref_put(&ref) && !folio_ref_put_n(&ref, 4));
	EXPECT(folio_ref_try_freeze(&ref, 1) && folio_ref_count(&ref) == 0);
	folio_ref_unfreeze(&ref, 1);
	EXPECT(folio_ref_put(&ref));
}

static void make_file(const char *path)
{
	static char page[FOLIO_PAGE_SIZE];
	FILE *file = fopen(path, "w");
	unsigned i;

	for (i = 0; file && i < PAGES; i++) {
		memset(page, (int)i + 1, sizeof(page));
		fwrite(page, sizeof(page), 1, file);
	}
	EXPECT(file && fclose(file) == 0);
}

int main(void)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = FOLIO_CACHE_BYTES_MIN * 16,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.before_writeback = before_writeback,
		.before_writeback_context = &logged,
		.bytes_max = FOLIO_CACHE_BYTES_MIN * 32,
	};
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	const char *folder = getenv("TMPDIR");
	char path[4096], other[4096];
	struct folio_cache *cache;
	struct folio_file *file;

	snprintf(path, sizeof(path), "%s/folio-compat-%ld", folder ? folder : "/tmp",
		(long)getpid());
	snprintf(other, sizeof(other), "%.4000s-written", path);
	make_file(path);
	EXPECT(strcmp(folio_version(), FOLIO_VERSION) == 0);
	if (folio_cache_open(&params, &cache)) {
		fprintf(stderr, "compat-0.1: folio_cache_open failed\n");
		unlink(path);
		return 1;
	}
	read_first(cache, path);
	EXPECT(folio_file_open(cache, path, O_RDONLY, 0, &file) == 0);
	read_all(file);
	EXPECT(folio_file_close(file) == 0);
	write_all(cache, other);
	own(cache, path);
	EXPECT(folio_cache_resize(cache, params.bytes_max) == 0);
	EXPECT(folio_cache_stats(cache, &stats) == 0 && stats.io && stats.hits && stats.misses);
	EXPECT(stats.pages == params.bytes_max / FOLIO_PAGE_SIZE && stats.writes);
	EXPECT(folio_cache_close(cache) == 0);
	EXPECT(released == 4 * FOLIO_PAGE_SIZE);
	backend(path);
	counter();
	unlink(path);
	unlink(other);
	printf("compat-0.1: %u failures\n", failures);
	return failures != 0;
}
