/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc-fault.h - makes allocations fail for one test program: the first, then the second, and so
 * on.
 *
 * Descriptors can be made scarce, too: allow_descriptors.
 *
 * It covers the allocations of the library and of everything that the library calls; thread
 * creation counts as one. The program defines functions of the same names, and the library is
 * linked against them. Its main calls alloc_begin first of all.
 */
#ifndef FOLIO_TESTS_ALLOC_FAULT_H
#define FOLIO_TESTS_ALLOC_FAULT_H

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "cache-test.h"

#if defined(__SANITIZE_THREAD__)
#define SWEEPS_ALLOCATIONS false /* TSan replaces them before main */
#define LEAKS_ARE_CHECKED  false
#elif defined(__SANITIZE_ADDRESS__)
#define SWEEPS_ALLOCATIONS true
#define LEAKS_ARE_CHECKED  true
#define REAL(name)         __interceptor_##name
#else
#define SWEEPS_ALLOCATIONS true
#define LEAKS_ARE_CHECKED  false
#define REAL(name)         __libc_##name
#endif

static folio_u32 armed;
static folio_u64 calls, injected;
__attribute__((unused)) static folio_u64 outstanding;
static uint64_t fail_at; /* written while not armed */
static bool fail_ever_after;
__attribute__((unused)) static _Thread_local unsigned spared;
/*
 * False while a thread starts: what is allocated for it until then belongs to the C library or to a
 * sanitizer, and those cannot handle a failure.
 */
static _Thread_local bool begun;

#if !defined(__SANITIZE_THREAD__)
static bool fails(void)
{
	uint64_t call;

	if (!folio_u32_load_acquire(&armed) || spared || !begun)
		return false;
	call = folio_u64_fetch_add_relaxed(&calls, 1) + 1;
	if (call != fail_at && !(fail_ever_after && call > fail_at))
		return false;
	folio_u64_fetch_add_relaxed(&injected, 1);
	errno = ENOMEM;
	return true;
}

static void *counted(void *memory)
{
	if (memory)
		folio_u64_fetch_add_relaxed(&outstanding, 1);
	return memory;
}

extern void *REAL(malloc)(size_t size);
extern void *REAL(calloc)(size_t count, size_t size);
extern void REAL(free)(void *memory);
#if defined(__SANITIZE_ADDRESS__)
extern void *__interceptor_aligned_alloc(size_t align, size_t size);
#define REAL_ALIGNED(align, size) __interceptor_aligned_alloc((align), (size))
#else
extern void *__libc_memalign(size_t align, size_t size);
#define REAL_ALIGNED(align, size) __libc_memalign((align), (size))
#endif

void *malloc(size_t size)
{
	return fails() ? NULL : counted(REAL(malloc)(size));
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(REAL(calloc)(count, size));
}

void *aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : counted(REAL_ALIGNED(align, size));
}

int posix_memalign(void **result, size_t align, size_t size)
{
	void *memory = fails() ? NULL : counted(REAL_ALIGNED(align, size));

	if (!memory)
		return ENOMEM;
	*result = memory;
	return 0;
}

void free(void *memory)
{
	if (memory)
		folio_u64_fetch_sub_relaxed(&outstanding, 1);
	REAL(free)(memory);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	static void *(*next)(void *, size_t, int, int, int, off_t);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "mmap");
	return fails() ? MAP_FAILED : next(address, len, protection, flags, fd, offset);
}

int mprotect(void *address, size_t len, int protection)
{
	static int (*next)(void *, size_t, int);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "mprotect");
	return fails() ? -1 : next(address, len, protection);
}

struct start {
	void *(*run)(void *);
	void *arg;
};

static void *begin(void *arg)
{
	struct start start = *(struct start *)arg;

	REAL(free)(arg);
	begun = true;
	return start.run(start.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	struct start *start;
	int error;

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
	if (fails())
		return EAGAIN;
	start = REAL(malloc)(sizeof(*start));
	if (!start)
		return EAGAIN;
	*start = (struct start){run, arg};
	error = next(thread, attr, begin, start);
	if (error)
		REAL(free)(start);
	return error;
}
#endif

static void arm(uint64_t nth, bool ever_after)
{
	fail_at = nth;
	fail_ever_after = ever_after;
	folio_u64_store_relaxed(&calls, 0);
	folio_u64_store_relaxed(&injected, 0);
	folio_u32_store_release(&armed, 1);
}

static void disarm(void)
{
	folio_u32_store_release(&armed, 0);
}

/*
 * Creates so many keys that, in each thread, the C library must allocate memory for the keys of
 * folio, which are created later.
 */
static int alloc_begin(void)
{
	pthread_key_t key;
	unsigned i;

	for (i = 0; i < 40; i++)
		if (pthread_key_create(&key, NULL))
			return -1;
	begun = true;
	return 0;
}

static inline unsigned open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/*
 * The process may open so many more descriptors than it has now; UINT_MAX ends that. There must be
 * no free number below those in use.
 */
static inline void allow_descriptors(unsigned more)
{
	static struct rlimit before;
	struct rlimit limit;
	int next;

	if (!before.rlim_cur)
		assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	if (more != UINT_MAX) {
		next = dup(0);
		assert_true(next >= 0);
		close(next);
		limit.rlim_cur = (rlim_t)next + more;
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

#endif
