/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user-memory.h - memory whose page faults a thread of the test serves, as a virtual machine
 * monitor does for the memory of its guest (userfaultfd(2)).
 */
#ifndef FOLIO_TESTS_USER_MEMORY_H
#define FOLIO_TESTS_USER_MEMORY_H

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache-test.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct user_memory {
	char *bytes;
	size_t pages;
	/* Called by the thread before it serves a fault of a page; sets the page's bytes. */
	void (*serve)(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE]);
	void *context;
	folio_u32 served; /* faults */
	folio_u32 turn;   /* of TSan, which does not see that a fault comes before its service */
	int faults, stop;
	pthread_t thread;
};

static inline bool user_memory_serve_one(struct user_memory *memory)
{
	static _Alignas(FOLIO_PAGE_SIZE) char bytes[FOLIO_PAGE_SIZE];
	struct uffdio_copy copy = {.src = (uintptr_t)bytes, .len = sizeof(bytes)};
	struct uffd_msg message;

	if (read(memory->faults, &message, sizeof(message)) != sizeof(message) ||
		message.event != UFFD_EVENT_PAGEFAULT)
		return false;
	folio_u32_load_acquire(&memory->turn);
	copy.dst = message.arg.pagefault.address & ~(uint64_t)(FOLIO_PAGE_SIZE - 1);
	memory->serve(memory, (copy.dst - (uintptr_t)memory->bytes) / FOLIO_PAGE_SIZE, bytes);
	/* It fails if the page is there already: two threads have had a fault of one page. */
	ioctl(memory->faults, UFFDIO_COPY, &copy);
	folio_u32_fetch_add_release(&memory->served, 1);
	return true;
}

static inline void *user_memory_run(void *arg)
{
	struct user_memory *memory = arg;
	struct pollfd wait[] = {{memory->faults, POLLIN, 0}, {memory->stop, POLLIN, 0}};

	while (poll(wait, 2, -1) > 0 && !wait[1].revents)
		user_memory_serve_one(memory);
	return NULL;
}

/* Returns false if the kernel does not let this process serve page faults. */
static inline bool user_memory_begin(struct user_memory *memory)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	size_t len = memory->pages * FOLIO_PAGE_SIZE;

	memory->faults =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (memory->faults < 0 || ioctl(memory->faults, UFFDIO_API, &api)) {
		print_message("# skipped: userfaultfd: %s\n", strerror(errno));
		if (memory->faults >= 0)
			close(memory->faults);
		return false;
	}
	memory->bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory->bytes, MAP_FAILED);
	/* A huge page would serve many faults at once. */
	madvise(memory->bytes, len, MADV_NOHUGEPAGE);
	range.range.start = (uintptr_t)memory->bytes;
	range.range.len = len;
	assert_int_equal(ioctl(memory->faults, UFFDIO_REGISTER, &range), 0);
	memory->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(memory->stop >= 0);
	folio_u32_store_relaxed(&memory->served, 0);
	folio_u32_store_relaxed(&memory->turn, 0);
	assert_int_equal(pthread_create(&memory->thread, NULL, user_memory_run, memory), 0);
	return true;
}

/*
 * Each page has a fault again when it is next used. The service of those faults sees what the
 * caller has stored before.
 */
static inline void user_memory_forget(struct user_memory *memory)
{
	folio_u32_fetch_add_release(&memory->turn, 1);
	assert_int_equal(madvise(memory->bytes, memory->pages * FOLIO_PAGE_SIZE, MADV_DONTNEED), 0);
}

/* The number of faults served, from whose service the caller sees all that it has stored. */
static inline uint32_t user_memory_served(struct user_memory *memory)
{
	return folio_u32_load_acquire(&memory->served);
}

static inline void user_memory_end(struct user_memory *memory)
{
	const uint64_t one = 1;

	assert_int_equal(write(memory->stop, &one, sizeof(one)), sizeof(one));
	pthread_join(memory->thread, NULL);
	close(memory->stop);
	close(memory->faults);
	munmap(memory->bytes, memory->pages * FOLIO_PAGE_SIZE);
}

#endif
