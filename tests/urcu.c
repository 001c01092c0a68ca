/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that uses liburcu-memb itself: the library neither registers threads with it nor needs
 * it. Threads register with liburcu and unregister before, between and after calls on a cache whose
 * pages and tree nodes come and go, and the program's own grace periods end.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <folio.h>
#include <urcu/urcu-memb.h>

#define EXPECT(condition)                                                       \
	do {                                                                    \
		if (!(condition)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			exit(1);                                                \
		}                                                               \
	} while (0)

#define THREADS 4
#define PAGES   2048u
#define APART   ((uint64_t)64 * FOLIO_PAGE_SIZE) /* pages so far apart have nodes of their own */

static struct folio_cache *cache;
static struct folio_file *file;

/* Longer than a hit by the hint: goes by the tree. Evicts, so that nodes leave it. */
static void use_cache(unsigned *page, unsigned calls)
{
	char buf[200];
	uint64_t number;

	while (calls--) {
		*page = *page * 1103515245u + 12345u;
		number = *page >> 8 & (PAGES - 1);
		EXPECT(folio_file_read(file, buf, sizeof(buf), number * APART) == sizeof(buf));
		EXPECT(memcmp(buf, &number, sizeof(number)) == 0);
	}
}

static void *registers_first(void *arg)
{
	unsigned page = 1, round;

	(void)arg;
	for (round = 0; round < 20; round++) {
		urcu_memb_register_thread();
		use_cache(&page, 50);
		urcu_memb_unregister_thread();
		use_cache(&page, 200);
	}
	return NULL;
}

static void *registers_later(void *arg)
{
	unsigned page = 2, round;

	(void)arg;
	for (round = 0; round < 20; round++) {
		use_cache(&page, 200);
		urcu_memb_register_thread();
		urcu_memb_read_lock();
		use_cache(&page, 50);
		urcu_memb_read_unlock();
		urcu_memb_synchronize_rcu();
		urcu_memb_unregister_thread();
	}
	return NULL;
}

int main(void)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = FOLIO_CACHE_BYTES_MIN};
	char path[] = "urcu-XXXXXX";
	pthread_t thread[THREADS];
	uint64_t i;
	int fd = mkstemp(path);

	alarm(120); /* a grace period that does not end */
	EXPECT(fd >= 0);
	for (i = 0; i < PAGES; i++)
		EXPECT(pwrite(fd, &i, sizeof(i), (off_t)(i * APART)) == sizeof(i));
	EXPECT(ftruncate(fd, (off_t)(PAGES * APART)) == 0);
	EXPECT(folio_cache_open(&params, &cache) == 0);
	EXPECT(folio_file_open(cache, path, O_RDONLY, 0, &file) == 0);
	unlink(path);
	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_create(&thread[i], NULL, i % 2 ? registers_later : registers_first,
			       NULL) == 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	urcu_memb_synchronize_rcu();
	EXPECT(folio_file_close(file) == 0);
	EXPECT(folio_cache_close(cache) == 0);
	close(fd);
	return 0;
}
