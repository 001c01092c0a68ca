// SPDX-License-Identifier: GPL-2.0-only
/*
 * count.c - counts the instructions of a read. Under QEMU with -icount shift=N each instruction
 * takes 2^N ns of the guest's time, and so of its time stamp counter: differences are exact. The
 * shortest of many is one without an interrupt.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#include "guest.h"

#define ROUNDS 2000

static uint64_t shortest(int fd, size_t length, off_t offset)
{
	static char buffer[65536];
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = __rdtsc(), took;

		if (pread(fd, buffer, length, offset) != (ssize_t)length)
			say("folio: count: short read");
		took = __rdtsc() - begin;
		if (took < best)
			best = took;
	}
	return best;
}

static void count_reads(const char *type)
{
	static char page[65536];
	char path[64];
	int fd;

	mkdir("/mnt", 0755);
	if (mount(type, "/mnt", type, 0, "") < 0)
		say("folio: count: cannot mount %s", type);
	snprintf(path, sizeof(path), "/mnt/file");
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, page, sizeof(page)) != sizeof(page))
		say("folio: count: cannot write on %s", type);
	say("folio: count pread-64-%s %llu", type, (unsigned long long)shortest(fd, 64, 4096 + 64));
	say("folio: count pread-65536-%s %llu", type,
		(unsigned long long)shortest(fd, sizeof(page), 0));
	close(fd);
	unlink(path);
	umount("/mnt");
}

/* David Hildenbrand's question: unmapping memory that has no other references. */
static void count_unmap(void)
{
	uint64_t best = UINT64_MAX;
	const size_t length = 64 * 4096;

	for (int i = 0; i < ROUNDS / 10; i++) {
		void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		uint64_t begin = __rdtsc(), took;

		munmap(memory, length);
		took = __rdtsc() - begin;
		if (took < best)
			best = took;
	}
	say("folio: count munmap-64-pages %llu", (unsigned long long)best);
}

void count(void)
{
	uint64_t best = UINT64_MAX;
	int error;

	/* The cost of measuring itself. */
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = __rdtsc(), took = __rdtsc() - begin;

		if (took < best)
			best = took;
	}
	say("folio: count nothing %llu", (unsigned long long)best);
	count_reads("ramfs");
	count_reads("tmpfs");
	count_unmap();
	error = load_module("/count.ko");
	/* The module counts while it is being loaded, and then fails to load. */
	if (error != -11)
		say("folio: count: module: %d", error);
}
