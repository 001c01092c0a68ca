/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hello.c - the program of the README: writes to a file through a cache, syncs it, reads it back,
 * and reports every error.
 *     cc hello.c $(pkg-config --cflags --libs folio) && ./a.out
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <folio.h>

/* A negative result is an errno value: report it with the call, and exit. */
#define CHECK(call)                          \
	do {                                 \
		long r_ = (call);            \
		if (r_ < 0) {                \
			errno = (int)-r_;    \
			err(1, "%s", #call); \
		}                            \
	} while (0)

int main(void)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 << 20};
	struct folio_cache *cache;
	struct folio_file *file;
	char text[6] = "";

	CHECK(folio_cache_open(&params, &cache));
	CHECK(folio_file_open(cache, "hello.db", O_RDWR | O_CREAT, 0644, &file));
	CHECK(folio_file_write(file, "hello", 5, 4096));     /* into the cache */
	CHECK(folio_file_sync(file, NULL, FOLIO_SYNC_DATA)); /* onto the device */
	CHECK(folio_file_read(file, text, 5, 4096));         /* a hit: no system call */
	printf("%s, in a file of %llu bytes\n", text, (unsigned long long)folio_file_size(file));
	CHECK(folio_file_close(file));
	CHECK(folio_cache_close(cache));
	return 0;
}
