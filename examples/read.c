/* SPDX-License-Identifier: BSD-2-Clause */
/* read.c - read a file through a cache of 64 MiB: by copy, and in place with a pin. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <folio/cache.h>

int main(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 << 20};
	struct folio_cache *cache;
	struct folio_file *file;
	struct folio *folio;
	char buf[64];
	void *page;
	int r;

	if (argc != 2 || (r = folio_cache_open(&params, &cache)))
		return 2;
	r = folio_file_open(cache, argv[1], O_RDONLY, 0, &file);
	if (r)
		return fprintf(stderr, "%s: %s\n", argv[1], strerror(-r)), 1;
	printf("read %zd bytes\n", folio_file_read(file, buf, sizeof(buf), 0)); /* a copy */
	if (!folio_file_get_page(file, 0, 0, &folio, &page)) {                  /* in place */
		printf("the first byte is %d\n", *(unsigned char *)page);
		folio_put(folio);
	}
	folio_file_close(file);
	return folio_cache_close(cache) != 0;
}
