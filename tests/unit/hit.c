/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hit makes no system call, takes no lock and allocates nothing.
 *
 * System calls: the reading thread gives up the right to make any (strict seccomp leaves read,
 * write and exit), so the first one kills it. Locks and allocations: this program defines functions
 * of the same names, which the library links to, and counts their calls.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/cache.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTING 0 /* a sanitizer has replaced these functions already */
#else
#define COUNTING 1
#endif

#define PAGES 600
#define READS 200000

static _Thread_local bool counting;
static _Thread_local unsigned long allocations, locks;

#if COUNTING
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *aligned_alloc(size_t align, size_t size);

void *malloc(size_t size)
{
	allocations += counting;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations += counting;
	return __libc_calloc(count, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	allocations += counting;
	return __libc_memalign(align, size);
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	static int (*next)(pthread_mutex_t *);

	locks += counting;
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	return next(mutex);
}
#endif

struct job {
	struct folio_file *file;
	unsigned long allocations, locks;
	uint64_t wrong;
	bool done;
};

static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)(offset * 7 + (offset >> 12) * 13);
}

/* One round of every kind of hit. */
static void hits(struct job *job, uint64_t i)
{
	uint64_t offset = i * 4160 % (PAGES * 4096 - 64);
	unsigned char buf[64];
	struct folio_read reads[40];
	unsigned char lines[40][64];
	struct folio *folio;
	unsigned j;

	if (offset % 4096 > 4096 - 64)
		offset -= 64;
	if (folio_file_read(job->file, buf, 64, offset) != 64 || buf[63] != byte_at(offset + 63))
		job->wrong++;
	if (folio_file_read_nowait(job->file, buf, 5, offset) != 5 || buf[4] != byte_at(offset + 4))
		job->wrong++;
	for (j = 0; j < 40; j++)
		reads[j] = (struct folio_read){
			lines[j], 64, (i + j * 7) % PAGES * 4096 + (i + j) % 64 * 64, 0};
	if (folio_file_read_batch(job->file, reads, 40, 0))
		job->wrong++;
	for (j = 0; j < 40; j++)
		if (reads[j].result != 64 || lines[j][9] != byte_at(reads[j].offset + 9))
			job->wrong++;
	if (folio_file_get(job->file, offset / 4096, 0, &folio)) {
		job->wrong++;
		return;
	}
	if (*((unsigned char *)folio_page(folio, offset / 4096) + offset % 4096) != byte_at(offset))
		job->wrong++;
	folio_put(folio);
}

static void *reader(void *arg)
{
	struct job *job = arg;
	uint64_t i;

	/* The thread is attached and every page is hot: from here on there are hits only. */
	for (i = 0; i < 8 * PAGES; i++)
		hits(job, i);
	counting = true;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) {
		for (i = 0; i < READS; i++)
			hits(job, i);
		job->allocations = allocations;
		job->locks = locks;
		job->done = true;
	}
	syscall(SYS_exit, 0);
	return NULL;
}

static void hits_are_quiet(void **state)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 8 << 20};
	char path[] = "/tmp/folio-hit-XXXXXX";
	struct job job = {0};
	struct folio_cache *cache;
	unsigned char page[4096];
	pthread_t thread;
	int fd = mkstemp(path);
	unsigned i, j;

	assert_true(fd >= 0);
	for (i = 0; i < PAGES; i++) {
		for (j = 0; j < 4096; j++)
			page[j] = byte_at(i * UINT64_C(4096) + j);
		assert_int_equal(write(fd, page, 4096), 4096);
	}
	close(fd);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &job.file), 0);
	assert_int_equal(pthread_create(&thread, NULL, reader, &job), 0);
	pthread_join(thread, NULL);
	/* A system call would have killed the thread before this point. */
	assert_true(job.done);
	assert_int_equal(job.wrong, 0);
	assert_int_equal(job.allocations, 0);
	assert_int_equal(job.locks, 0);
	/*
	 * The thread ended without its destructors, so nothing is closed. The process ends with it.
	 */
	unlink(path);
}

/* The counters count. */
static void counters_count(void **state)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	void *volatile memory;

	counting = true;
	memory = malloc(10);
	free(memory);
	pthread_mutex_lock(&mutex);
	counting = false;
	pthread_mutex_unlock(&mutex);
	assert_int_equal(allocations, 1);
	assert_int_equal(locks, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_count),
		cmocka_unit_test(hits_are_quiet),
	};

	/* The work of a sanitizer would be counted, and killed. */
	if (!COUNTING) {
		puts("1..0 # SKIP a sanitizer has replaced the functions that are counted");
		return 0;
	}
	return cmocka_run_group_tests_name("hit", tests, NULL, NULL);
}
