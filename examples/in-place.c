/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * in-place.c - change pages of a file in the cache's memory: pin, lock, change, mark, unlock, put.
 *     in-place FILE
 * Two threads add to counters that are stored in the file. Each change has a number in a log; the
 * cache calls flush_log before it writes a page, so the log is always ahead of the file.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <folio.h>

enum { PAGES = 16, THREADS = 2, CHANGES = 10000 };
enum { COUNTERS = PAGES * FOLIO_PAGE_SIZE / sizeof(uint64_t) };

static struct folio_file *file;

/* Stands for the log of a storage engine: how many records it has, and how many are flushed. */
static struct {
	pthread_mutex_t lock;
	uint64_t end, flushed;
} journal = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t append_to_log(void)
{
	uint64_t sequence;

	pthread_mutex_lock(&journal.lock);
	sequence = ++journal.end;
	pthread_mutex_unlock(&journal.lock);
	return sequence;
}

/* Write-back calls this, on any thread, with the largest number of the pages it will write. */
static int flush_log(void *context, uint64_t sequence)
{
	(void)context;
	pthread_mutex_lock(&journal.lock);
	if (journal.flushed < sequence)
		journal.flushed = sequence;
	pthread_mutex_unlock(&journal.lock);
	return 0; /* after an error, the pages would not be written */
}

static int add(uint64_t counter, uint64_t amount)
{
	uint64_t offset = counter * sizeof(uint64_t);
	struct folio *folio;
	void *page;
	int r;

	r = folio_file_get_page(file, offset / FOLIO_PAGE_SIZE, 0, &folio, &page);
	if (r)
		return r;
	r = folio_lock(folio); /* further ones in ascending order (folio/lock.h) */
	if (!r) {
		*(uint64_t *)((char *)page + offset % FOLIO_PAGE_SIZE) += amount;
		r = folio_mark_dirty(folio, append_to_log());
		folio_unlock(folio);
	}
	folio_put(folio);
	return r;
}

static void *worker(void *result)
{
	uint64_t i;

	for (i = 0; i < CHANGES && !*(int *)result; i++)
		*(int *)result = add(i * 37 % COUNTERS, 1);
	return NULL;
}

/* A reader that copies needs no lock: it sees a page before a change or after it. */
static uint64_t sum(void)
{
	uint64_t page[FOLIO_PAGE_SIZE / sizeof(uint64_t)], total = 0, i, k;

	for (i = 0; i < PAGES; i++) {
		if (folio_file_read(file, page, sizeof(page), i * sizeof(page)) != sizeof(page))
			return 0;
		for (k = 0; k < FOLIO_PAGE_SIZE / sizeof(uint64_t); k++)
			total += page[k];
	}
	return total;
}

int main(int argc, char **argv)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 1 << 20, .before_writeback = flush_log};
	int results[THREADS] = {0}, r;
	pthread_t threads[THREADS];
	struct folio_cache *cache;
	uint64_t total;
	unsigned i;

	if (argc != 2)
		return fprintf(stderr, "usage: in-place FILE\n"), 2;
	r = folio_cache_open(&params, &cache);
	if (r)
		return fprintf(stderr, "cache: %s\n", strerror(-r)), 1;
	r = folio_file_open(cache, argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644, &file);
	if (!r)
		r = folio_file_truncate(file, PAGES * FOLIO_PAGE_SIZE); /* all counters are 0 */
	if (r)
		return fprintf(stderr, "%s: %s\n", argv[1], strerror(-r)), 1;
	for (i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, worker, &results[i]))
			return fprintf(stderr, "no thread\n"), 1;
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		r = r ? r : results[i];
	}
	if (!r)
		r = folio_file_sync(file, NULL, 0);
	total = sum();
	printf("%llu changes in the file, %llu of %llu log records flushed before them\n",
		(unsigned long long)total, (unsigned long long)journal.flushed,
		(unsigned long long)journal.end);
	if (!r)
		r = folio_file_close(file);
	if (!r)
		r = folio_cache_close(cache);
	if (r)
		return fprintf(stderr, "%s: %s\n", argv[1], strerror(-r)), 1;
	return total != THREADS * CHANGES || journal.flushed != journal.end;
}
