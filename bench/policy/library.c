/* SPDX-License-Identifier: BSD-2-Clause */
/* library.c - a trace through the library, on a device that costs nothing. */
#include "library.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <folio.h>

#include "../null-device.h"

static void check(ssize_t r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "policy: %s: %s\n", what, strerror((int)-r));
	exit(2);
}

struct hits library_hits(const struct trace *trace, uint64_t pages, uint64_t skip)
{
	struct null_device device = {.bytes = (uint64_t)TRACE_WRITE * FOLIO_PAGE_SIZE};
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * FOLIO_PAGE_SIZE,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.io = &null_device_ops,
		.io_context = &device,
	};
	static char page[FOLIO_PAGE_SIZE];
	struct folio_cache *cache;
	struct folio_file *file;
	struct hits hits = {0, 0};
	uint64_t i;

	check(folio_cache_open(&params, &cache), "cache");
	check(folio_file_open(cache, "", O_RDWR, 0, &file), "file");
	for (i = 0; i < trace->count; i++) {
		uint32_t access = trace->access[i];
		uint64_t offset = (uint64_t)(access & ~TRACE_WRITE) * FOLIO_PAGE_SIZE;
		uint64_t before = device.reads;

		if (access & TRACE_WRITE) {
			check(folio_file_write(file, page, sizeof(page), offset), "write");
			continue;
		}
		check(folio_file_read(file, page, sizeof(page), offset), "read");
		if (i >= skip) {
			hits.reads++;
			hits.hits += device.reads == before;
		}
	}
	check(folio_file_close(file), "close");
	check(folio_cache_close(cache), "close");
	return hits;
}
