/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench-base.h"

#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t round_to_huge_pages(size_t size)
{
	return (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

void *huge_alloc(size_t size)
{
	char *memory, *aligned;

	size = round_to_huge_pages(size);
	memory = mmap(
		NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	/* One huge page more was mapped than is needed: unmap the parts outside the alignment. */
	aligned = (char *)round_to_huge_pages((size_t)memory);
	if (aligned > memory)
		munmap(memory, (size_t)(aligned - memory));
	if (aligned < memory + HUGE_PAGE)
		munmap(aligned + size, (size_t)(memory + HUGE_PAGE - aligned));
	madvise(aligned, size, MADV_HUGEPAGE);
	return aligned;
}

void huge_free(void *memory, size_t size)
{
	munmap(memory, round_to_huge_pages(size));
}

unsigned bench_threads(void)
{
	return workers_processors() < THREADS_MAX ? workers_processors() : THREADS_MAX;
}

struct folio_cache_stats bench_stats(const struct bench *bench)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	folio_cache_stats(bench->cache, &stats);
	return stats;
}
