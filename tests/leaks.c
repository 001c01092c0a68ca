/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leaks.c - loaded into the folio command (LD_PRELOAD): says at its end what is left.
 *
 * That is memory which the command or the library has allocated, bytes that they have mapped, and
 * descriptors. What the C library allocates for itself does not count.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *memory);

/* ---- whose calls count ---- */

static struct {
	uintptr_t begin, end;
} code[2]; /* of the command and of the library */

static int note_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned *found = arg, i;

	(void)size;
	/* The first object is the program, and its name is empty. */
	if (*found && !strstr(info->dlpi_name, "/libfolio."))
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
			continue;
		code[*found].begin = info->dlpi_addr + part->p_vaddr;
		code[*found].end = code[*found].begin + part->p_memsz;
	}
	return ++*found == 2;
}

static bool counts(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	return (at >= code[0].begin && at < code[0].end) ||
	       (at >= code[1].begin && at < code[1].end);
}

/* ---- memory ---- */

#define SLOTS (1u << 16)

static _Atomic(void *) slot[SLOTS];
static atomic_long mapped;

static unsigned place(const void *memory)
{
	return (unsigned)((uintptr_t)memory * UINT64_C(0x9e3779b97f4a7c15) >> 48) % SLOTS;
}

static void *note(void *memory, const void *caller)
{
	unsigned i = place(memory);
	void *empty = NULL;

	if (!memory || !counts(caller))
		return memory;
	while (!atomic_compare_exchange_strong(&slot[i], &empty, memory)) {
		empty = NULL;
		i = (i + 1) % SLOTS;
	}
	return memory;
}

/* A probe does not stop at an empty slot: there may have been another address. */
static void forget(const void *memory)
{
	unsigned first = place(memory), i;

	for (i = 0; memory && i < SLOTS; i++) {
		void *found = (void *)memory;

		if (atomic_compare_exchange_strong(&slot[(first + i) % SLOTS], &found, NULL))
			return;
		if (!found && i > 256)
			return;
	}
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
	return note(__libc_malloc(size), CALLER);
}

void *calloc(size_t count, size_t size)
{
	return note(__libc_calloc(count, size), CALLER);
}

void *realloc(void *memory, size_t size)
{
	void *larger;

	forget(memory);
	larger = __libc_realloc(memory, size);
	note(larger ? larger : memory, CALLER);
	return larger;
}

void *aligned_alloc(size_t align, size_t size)
{
	return note(__libc_memalign(align, size), CALLER);
}

void free(void *memory)
{
	forget(memory);
	__libc_free(memory);
}

static size_t in_pages(size_t len)
{
	return (len + 4095) & ~(size_t)4095;
}

/* Its name is mmap64 here and in the command: meson makes offsets 64 bits wide. */
void *mmap(void *at, size_t len, int access, int flags, int fd, off_t offset)
{
	void *memory = (void *)syscall(SYS_mmap, at, len, access, flags, fd, offset);

	if (memory != MAP_FAILED && counts(CALLER))
		atomic_fetch_add(&mapped, (long)in_pages(len));
	return memory;
}

int munmap(void *memory, size_t len)
{
	int r = (int)syscall(SYS_munmap, memory, len);

	if (!r && counts(CALLER))
		atomic_fetch_sub(&mapped, (long)in_pages(len));
	return r;
}

/* ---- the beginning and the end ---- */

static unsigned descriptors;

/* Those of the standard streams do not count: the command closes its standard output. */
static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	unsigned count = 0;

	while (dir && (entry = readdir(dir)))
		count += atoi(entry->d_name) > 2;
	if (dir)
		closedir(dir);
	return count;
}

__attribute__((constructor)) static void begin(void)
{
	unsigned found = 0;

	dl_iterate_phdr(note_code, &found);
	descriptors = count_descriptors();
}

__attribute__((destructor)) static void end(void)
{
	unsigned now = count_descriptors(), allocated = 0, i;
	char text[128];
	int len;

	for (i = 0; i < SLOTS; i++)
		allocated += atomic_load(&slot[i]) != NULL;
	/* The command closes its standard output. */
	len = snprintf(text, sizeof(text), "left: %u allocations, %ld bytes, %u descriptors\n",
		allocated, atomic_load(&mapped), now > descriptors ? now - descriptors : 0);
	if (write(STDERR_FILENO, text, (size_t)len) < 0)
		_exit(99);
}
