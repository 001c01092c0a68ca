/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * large-pages.h - the program's calls about memory, as a kernel with pages of 64 KiB does them: it
 * refuses an address inside a page, and rounds a length up to pages. Such kernels run on arm64 and
 * POWER. Include it in one source of a test, which then calls large_pages_begin.
 */
#ifndef FOLIO_TESTS_LARGE_PAGES_H
#define FOLIO_TESTS_LARGE_PAGES_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/pool.h"

#define LARGE_PAGE ((size_t)65536)

static bool large_pages;
static unsigned large_refused; /* calls with an address inside a page */

/* ThreadSanitizer must see these calls itself. */
#if !defined(__SANITIZE_THREAD__)
#define LARGE_PAGES_WORK true

static bool large_address(const void *address)
{
	if (!large_pages || !((uintptr_t)address & (LARGE_PAGE - 1)))
		return true;
	large_refused++;
	errno = EINVAL;
	return false;
}

static size_t large_length(size_t length)
{
	return large_pages ? (length + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1) : length;
}

int madvise(void *address, size_t length, int advice)
{
	if (!large_address(address))
		return -1;
	return (int)syscall(SYS_madvise, address, large_length(length), advice);
}

int mprotect(void *address, size_t length, int access)
{
	if (!large_address(address))
		return -1;
	return (int)syscall(SYS_mprotect, address, large_length(length), access);
}

int munmap(void *address, size_t length)
{
	if (!large_address(address))
		return -1;
	return (int)syscall(SYS_munmap, address, large_length(length));
}

void *mmap(void *address, size_t length, int access, int flags, int fd, off_t offset)
{
	size_t extra = large_pages ? LARGE_PAGE : 0, before;
	char *map = (char *)syscall(
		SYS_mmap, address, large_length(length) + extra, access, flags, fd, offset);

	if (map == MAP_FAILED || !extra)
		return map;
	/* The rest of the page before it and of the page after it is not the caller's. */
	before = -(uintptr_t)map & (LARGE_PAGE - 1);
	if (before)
		syscall(SYS_munmap, map, before);
	if (before < extra)
		syscall(SYS_munmap, map + before + large_length(length), extra - before);
	return map + before;
}

#else
#define LARGE_PAGES_WORK false
#endif

static inline void large_pages_begin(void)
{
	pool_kernel_page = LARGE_PAGE;
	large_refused = 0;
	large_pages = true;
}

static inline void large_pages_end(void)
{
	large_pages = false;
	pool_kernel_page = 0;
}

#endif
