/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies to and from memory whose page faults are served by a thread that uses the cache itself.
 * While a copy waits for that thread, it holds nothing that the thread needs: every call on the
 * cache, and on others, ends. A deadlock ends the test by a signal.
 */
#include <semaphore.h>

#include "user-memory.h"

#define REGION 256u                /* pages of the memory */
#define FRAMES 128u                /* pages of a cache */
#define FAR    (UINT64_C(1) << 31) /* pages so far apart have three nodes each */
#define SPARSE (UINT64_C(4096))    /* number of such pages in a file */
#define NODES  200u                /* of a cache: fewer than its pages need if they are far apart */

/* A cache with a file whose pages are used close together, and one where they are far apart. */
struct guest_cache {
	struct io_fault *io;
	struct io_fault_file *contents[2];
	struct folio_cache *cache;
	struct folio_file *file[2];
};

static void guest_cache_begin(struct guest_cache *guest, uint32_t timeout_ms)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = FRAMES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &io_fault_ops,
		.timeout_ms = timeout_ms};

	params.io_context = guest->io = io_fault_new(test_seed, 2);
	guest->contents[0] = io_fault_add(guest->io, "dense", 1000 * PAGE);
	guest->contents[1] = io_fault_add(guest->io, "sparse", SPARSE * FAR);
	assert_int_equal(folio_cache_open(&params, &guest->cache), 0);
	guest->file[0] = file_open(guest->cache, "dense");
	guest->file[1] = file_open(guest->cache, "sparse");
#ifndef __SANITIZE_THREAD__
	/* The evictor may read it. */
	guest->cache->tree_budget.nodes_max = NODES;
#endif
}

static void guest_cache_end(struct guest_cache *guest)
{
	assert_int_equal(folio_file_close(guest->file[0]), 0);
	assert_int_equal(folio_file_close(guest->file[1]), 0);
	assert_int_equal(folio_cache_close(guest->cache), 0);
	io_fault_free(guest->io);
}

/* Reads @pages pages of either file, and checks them. Returns false if one is wrong. */
static bool read_pages(struct guest_cache *guest, unsigned which, unsigned pages, uint64_t *random)
{
	bool good = true;
	char buf[PAGE];

	while (pages--) {
		uint64_t offset = which ? random_below(random, SPARSE) * FAR
					: random_below(random, 1000) * PAGE;

		good = good &&
		       folio_file_read(guest->file[which], buf, PAGE, offset) == (ssize_t)PAGE &&
		       io_fault_check(guest->contents[which], offset, buf, PAGE, NULL, NULL);
	}
	return good;
}

/* ---- reads ---- */

struct reading {
	struct guest_cache guest[2];
	unsigned caches; /* that the server uses */
	uint64_t random; /* of the server */
	/* Of test_batch: the first two pages of the memory; pages read before the second one. */
	const char *image;
	uint64_t first, pages;
	struct user_memory memory;
	folio_u32 failures;
};

static void serve_by_reads(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE])
{
	struct reading *reading = memory->context;
	unsigned i;

	for (i = 0; i < reading->pages && page == 1; i++)
		if (folio_file_read(reading->guest[0].file[0], to, PAGE,
			    (reading->first + i) * PAGE) != (ssize_t)PAGE)
			folio_u32_fetch_add_relaxed(&reading->failures, 1);
	for (i = 0; i < 2 * reading->caches; i++)
		if (!read_pages(&reading->guest[i / 2], i % 2, 10, &reading->random))
			folio_u32_fetch_add_relaxed(&reading->failures, 1);
	if (reading->image && page < 2)
		memcpy(to, reading->image + page * PAGE, PAGE);
	else
		memset(to, (int)page, PAGE);
}

struct reader {
	struct reading *reading;
	unsigned number;
	pthread_t thread;
};

/* Each second page of the memory: one read into it, of any length. Some end in the next page. */
static void *read_into(void *arg)
{
	static const size_t lengths[] = {100, 3000, 4000, 2 * PAGE};
	struct reader *reader = arg;
	struct reading *reading = reader->reading;
	struct guest_cache *guest = &reading->guest[0];
	uint64_t random = test_seed + reader->number;
	size_t page;

	for (page = 2 * reader->number; page + 3 < REGION; page += 4) {
		char *to = reading->memory.bytes + page * PAGE + 100;
		size_t len = lengths[random_below(&random, 4)];
		unsigned which = (unsigned)random_below(&random, 2);
		uint64_t offset = which ? random_below(&random, SPARSE) * FAR
					: random_below(&random, 990) * PAGE;

		if (folio_file_read(guest->file[which], to, len, offset) != (ssize_t)len ||
			!io_fault_check(guest->contents[which], offset, to, len, NULL, NULL))
			folio_u32_fetch_add_relaxed(&reading->failures, 1);
	}
	return NULL;
}

static void read_run(unsigned caches, uint32_t timeout_ms)
{
	struct reading reading = {.caches = caches,
		.random = test_seed,
		.memory = {.pages = REGION, .serve = serve_by_reads}};
	struct reader reader[2];
	unsigned i, round;

	reading.memory.context = &reading;
	for (i = 0; i < caches; i++)
		guest_cache_begin(&reading.guest[i], timeout_ms);
	if (user_memory_begin(&reading.memory)) {
		for (round = 0; round < scaled(2); round++) {
			user_memory_forget(&reading.memory);
			for (i = 0; i < 2; i++) {
				reader[i] = (struct reader){.reading = &reading, .number = i};
				assert_int_equal(pthread_create(&reader[i].thread, NULL, read_into,
							 &reader[i]),
					0);
			}
			for (i = 0; i < 2; i++)
				pthread_join(reader[i].thread, NULL);
		}
		assert_true(user_memory_served(&reading.memory) > REGION / 4);
		user_memory_end(&reading.memory);
	}
	assert_int_equal(folio_u32_load_relaxed(&reading.failures), 0);
	for (i = 0; i < caches; i++)
		guest_cache_end(&reading.guest[i]);
}

static void test_read(void **state)
{
	(void)state;
	read_run(1, 0);
}

static void test_read_with_deadlines(void **state)
{
	(void)state;
	read_run(1, 60000);
}

static void test_two_caches(void **state)
{
	(void)state;
	read_run(2, 0);
}

/*
 * The array of a batch, and its buffers, in such memory. The array continues in a second page,
 * whose fault comes after reads for the first one were started; the thread that serves it needs
 * those pages.
 */
enum { BATCH = 96, FIRST_PAGE = 70 };

static void batch_run(struct reading *reading, bool prefetch)
{
	static _Alignas(16) char image[2 * PAGE];
	struct guest_cache *guest = &reading->guest[0];
	const size_t at = PAGE - FIRST_PAGE * (prefetch ? sizeof(struct folio_range)
							: sizeof(struct folio_read));
	struct folio_range *range = (struct folio_range *)(image + at);
	struct folio_read *reads = (struct folio_read *)(image + at);
	void *array = reading->memory.bytes + at;
	unsigned i;

	/* All pages are free, so that the call starts to read as many as it is given. */
	assert_int_equal(folio_file_invalidate(guest->file[0], 0, UINT64_MAX), 0);
	reading->first = random_below(&reading->random, 900);
	for (i = 0; i < BATCH; i++) {
		/*
		 * Some pages twice: fewer reads of the device than elements. Ranges go backward,
		 * since ascending ones are requested together, when the last of them is known.
		 */
		uint64_t at_page = (prefetch ? BATCH - 1 - i : i) * 3 / 4;
		uint64_t offset = (reading->first + at_page) * PAGE;

		if (prefetch)
			range[i] = (struct folio_range){offset, PAGE};
		else
			reads[i] = (struct folio_read){reading->memory.bytes + (2 + i) * PAGE,
				i % 3 ? 3000 : 100, offset, 0};
	}
	reading->image = image;
	user_memory_forget(&reading->memory);
	if (prefetch) {
		assert_true(folio_file_prefetch(guest->file[0], array, BATCH) >= 0);
		return;
	}
	assert_int_equal(folio_file_read_batch(guest->file[0], array, BATCH, 0), 0);
	reads = array;
	for (i = 0; i < BATCH; i++) {
		assert_int_equal(reads[i].result, reads[i].len);
		assert_true(io_fault_check(guest->contents[0], reads[i].offset, reads[i].buf,
			reads[i].len, NULL, NULL));
	}
}

static void test_batch(void **state)
{
	struct reading reading = {.random = test_seed,
		.pages = FIRST_PAGE * 3 / 4,
		.memory = {.pages = REGION, .serve = serve_by_reads}};
	unsigned round;

	(void)state;
	reading.memory.context = &reading;
	guest_cache_begin(&reading.guest[0], 0);
	if (user_memory_begin(&reading.memory)) {
		for (round = 0; round < scaled(10); round++)
			batch_run(&reading, round % 2);
		user_memory_end(&reading.memory);
	}
	assert_int_equal(folio_u32_load_relaxed(&reading.failures), 0);
	guest_cache_end(&reading.guest[0]);
}

/* ---- a copy that waits for long ---- */

/*
 * A reader waits for a page fault until it is let go. In the meantime its page leaves the cache and
 * changes, nodes and pages come and go, other files and caches are opened and closed.
 */
struct stall {
	struct user_memory memory;
	sem_t waits, go;
};

static void serve_when_told(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE])
{
	struct stall *stall = memory->context;

	sem_post(&stall->waits);
	while (sem_wait(&stall->go))
		continue;
	memset(to, (int)page, PAGE);
}

struct stalled {
	struct stall *stall;
	struct guest_cache *guest;
	uint64_t offset;
	size_t len;
	bool good;
};

static void *read_stalled(void *arg)
{
	struct stalled *read = arg;
	char *to = read->stall->memory.bytes + 1000;

	read->good =
		folio_file_read(read->guest->file[0], to, read->len, read->offset) ==
			(ssize_t)read->len &&
		io_fault_check(read->guest->contents[0], read->offset, to, read->len, NULL, NULL);
	return NULL;
}

static void test_stalled_copy(void **state)
{
	static const size_t lengths[] = {100, 3000, 4 * PAGE};
	struct stall stall = {.memory = {.pages = 8, .serve = serve_when_told}};
	struct guest_cache guest, other;
	uint64_t random = test_seed;
	struct stalled read;
	pthread_t thread;
	unsigned i, n;

	(void)state;
	stall.memory.context = &stall;
	if (!user_memory_begin(&stall.memory))
		return;
	guest_cache_begin(&guest, 0);
	for (n = 0; n < 2 * sizeof(lengths) / sizeof(lengths[0]); n++) {
		sem_init(&stall.waits, 0, 0);
		sem_init(&stall.go, 0, 0);
		user_memory_forget(&stall.memory);
		read = (struct stalled){.stall = &stall,
			.guest = &guest,
			.offset = 10 * PAGE + 500,
			.len = lengths[n / 2]};
		/* Cached, or a miss. */
		assert_int_equal(folio_file_invalidate(guest.file[0], 0, UINT64_MAX), 0);
		if (n % 2)
			assert_true(read_pages(&guest, 0, 100, &random));
		assert_int_equal(pthread_create(&thread, NULL, read_stalled, &read), 0);
		while (sem_wait(&stall.waits))
			continue;
		assert_true(read_pages(&guest, 1, 500, &random));
		guest_cache_begin(&other, 0);
		assert_true(read_pages(&other, 1, 500, &random));
		guest_cache_end(&other);
		io_fault_change(guest.contents[0]);
		assert_int_equal(folio_file_revalidate(guest.file[0]), 1);
		assert_true(read_pages(&guest, 0, 500, &random));
		/* The copy has no page pinned. */
		wait_until(folio_cache_pins(guest.cache, NULL, NULL) == 0);
		for (i = 0; i < 8; i++)
			sem_post(&stall.go);
		pthread_join(thread, NULL);
		assert_true(read.good);
	}
	user_memory_end(&stall.memory);
	guest_cache_end(&guest);
}

/* ---- writes ---- */

/*
 * A file of PAGES pages and a model of it. The thread that serves a fault of the source writes the
 * same page, reads it, makes the file longer, and syncs.
 */
#define PAGES 64u

struct writing {
	struct folio_cache *cache;
	struct folio_file *file;
	char *model;
	uint64_t size;   /* of the file */
	uint64_t offset; /* of the write */
	bool short_file; /* the server makes the file longer */
	struct user_memory memory;
	folio_u32 failures;
};

static void serve_by_writes(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE])
{
	struct writing *writing = memory->context;
	uint64_t start = writing->offset & ~(PAGE - 1);
	char buf[PAGE];
	bool bad;

	/* The first bytes of the page, which the writer leaves alone. */
	memset(writing->model + start, 's', 50);
	bad = folio_file_write(writing->file, writing->model + start, 50, start) != 50;
	bad = bad || folio_file_read(writing->file, buf, PAGE, start) < 50;
	if (writing->short_file) {
		/* Parts of the write may have made it longer. */
		writing->size = folio_file_size(writing->file) + 100;
		bad = bad || folio_file_truncate(writing->file, writing->size);
	}
	bad = bad || folio_file_sync(writing->file, NULL, 0);
	if (bad)
		folio_u32_fetch_add_relaxed(&writing->failures, 1);
	memset(to, 'a' + (int)(page + start / PAGE) % 16, PAGE);
}

static void expect_written(struct writing *writing, size_t len)
{
	char *from = writing->memory.bytes + 60;
	uint64_t offset = writing->offset;

	user_memory_forget(&writing->memory);
	assert_int_equal(folio_file_write(writing->file, from, len, offset), len);
	user_memory_served(&writing->memory);
	memcpy(writing->model + offset, from, len);
	if (writing->size < offset + len)
		writing->size = offset + len;
}

static void write_run(uint32_t timeout_ms)
{
	static const size_t lengths[] = {100, 3000, PAGE, 3 * PAGE, 20 * PAGE + 5};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = FRAMES * PAGE,
		.timeout_ms = timeout_ms,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES};
	struct writing writing = {.memory = {.pages = 32, .serve = serve_by_writes}};
	char path[] = "folio-memory-XXXXXX", *buf = malloc(2 * PAGES * PAGE);
	uint64_t random = test_seed;
	unsigned i;
	int fd;

	writing.memory.context = &writing;
	if (!user_memory_begin(&writing.memory)) {
		free(buf);
		return;
	}
	writing.model = calloc(2 * PAGES, PAGE);
	assert_true(buf && writing.model);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(folio_cache_open(&params, &writing.cache), 0);
	assert_int_equal(folio_file_open(writing.cache, path, O_RDWR, 0, &writing.file), 0);
	for (i = 0; i < scaled(40); i++) {
		size_t len = lengths[i % 5];

		/* In the file; or at its end, or past it, so that it grows. */
		writing.short_file = i / 5 % 3 == 1;
		writing.offset = 60 + (i / 5 % 3 ? writing.size & ~(PAGE - 1)
						 : random_below(&random, 20) * PAGE);
		if (writing.offset + len > PAGES * PAGE) {
			assert_int_equal(folio_file_truncate(writing.file, 0), 0);
			memset(writing.model, 0, writing.size);
			writing.size = writing.offset = 60;
			assert_int_equal(folio_file_truncate(writing.file, 60), 0);
		}
		/* Cached, or a miss. */
		if (i % 2) {
			assert_int_equal(folio_file_sync(writing.file, NULL, 0), 0);
			assert_int_equal(folio_file_invalidate(writing.file, 0, UINT64_MAX), 0);
		}
		expect_written(&writing, len);
	}
	assert_int_equal(folio_file_read(writing.file, buf, 2 * PAGES * PAGE, 0), writing.size);
	assert_memory_equal(buf, writing.model, writing.size);
	assert_int_equal(folio_u32_load_relaxed(&writing.failures), 0);
	assert_true(user_memory_served(&writing.memory) > 0);
	user_memory_end(&writing.memory);
	assert_int_equal(folio_file_close(writing.file), 0);
	assert_int_equal(folio_cache_close(writing.cache), 0);
	close(fd);
	unlink(path);
	free(writing.model);
	free(buf);
}

static void test_write(void **state)
{
	(void)state;
	write_run(0);
}

static void test_write_with_deadlines(void **state)
{
	(void)state;
	write_run(60000);
}

/*
 * The source is in memory when the write begins, but no longer when it has the locks: it was
 * dropped while the write waited for the lock of a page, which the test holds. The thread that
 * serves a fault then needs the page that is written, and the end of the file.
 */
struct dropping {
	struct folio_file *file;
	uint64_t offset;
	folio_u32 late; /* 1: the source has been dropped */
	ssize_t written;
	struct user_memory memory;
};

static void serve_by_read(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE])
{
	struct dropping *dropping = memory->context;

	if (folio_u32_load_relaxed(&dropping->late)) {
		folio_file_read(dropping->file, to, PAGE, dropping->offset);
		folio_file_write(dropping->file, "y", 1, 9 * PAGE);
	}
	memset(to, 'a' + (int)page, PAGE);
}

static void *write_dropped(void *arg)
{
	struct dropping *dropping = arg;

	dropping->written =
		folio_file_write(dropping->file, dropping->memory.bytes, PAGE, dropping->offset);
	return NULL;
}

static void drop_source(struct dropping *dropping, uint64_t locked, uint64_t page)
{
	pthread_t thread;
	struct folio *folio;
	char buf[PAGE];

	dropping->offset = page * PAGE;
	folio_u32_store_relaxed(&dropping->late, 0);
	user_memory_forget(&dropping->memory);
	assert_int_equal(folio_file_get(dropping->file, locked, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_dropped, dropping), 0);
	wait_until(folio_u32_load_relaxed(&folio->flags) & FOLIO_WAITERS);
	folio_u32_store_relaxed(&dropping->late, 1);
	user_memory_forget(&dropping->memory);
	folio_unlock(folio);
	folio_put(folio);
	pthread_join(thread, NULL);
	user_memory_served(&dropping->memory);
	assert_int_equal(dropping->written, PAGE);
	assert_int_equal(folio_file_read(dropping->file, buf, PAGE, dropping->offset), PAGE);
	assert_int_equal(buf[0], 'a');
	assert_int_equal(buf[PAGE - 1], 'a');
}

static void test_dropped_source(void **state)
{
	struct dropping dropping = {.memory = {.pages = 1, .serve = serve_by_read}};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = FRAMES * PAGE};
	char path[] = "folio-memory-XXXXXX";
	struct folio_cache *cache;
	int fd;

	(void)state;
	dropping.memory.context = &dropping;
	if (!user_memory_begin(&dropping.memory))
		return;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &dropping.file), 0);
	assert_int_equal(folio_file_write(dropping.file, "x", 1, PAGE - 1), 1);
	/* A page that is cached; and a new one, for which the last page is locked first. */
	drop_source(&dropping, 0, 0);
	drop_source(&dropping, 0, 5);
	assert_int_equal(folio_file_close(dropping.file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	user_memory_end(&dropping.memory);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_with_deadlines),
		cmocka_unit_test(test_two_caches),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_stalled_copy),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_with_deadlines),
		cmocka_unit_test(test_dropped_source),
	};

	test_begin("user-memory");
	alarm(240);
	return cmocka_run_group_tests_name("user-memory", tests, NULL, NULL);
}
