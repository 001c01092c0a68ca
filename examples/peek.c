/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peek.c - search sorted pages of a file in place, without a copy, a pin or a call.
 *     peek FILE NUMBER
 * Makes FILE, of pages with sorted numbers, and looks for NUMBER: first among the pages by their
 * first numbers, then in one page.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <folio.h>

enum { PAGES = 1000, NUMBERS = FOLIO_PAGE_SIZE / sizeof(uint64_t) - 1 };

struct page {
	uint64_t count; /* of the numbers that are used */
	uint64_t number[NUMBERS];
};

/* One visit of a page: what to look for, and what was found. */
struct search {
	uint64_t wanted, first;
	int found;
};

/*
 * The page may change while it is searched, and become any other page: count is read once and
 * checked before it is used, the loop ends whatever the numbers are, and nothing is done with the
 * result here.
 */
static void search_page(const void *data, void *context)
{
	const struct page *page = data;
	struct search *search = context;
	uint64_t low = 0, high = FOLIO_PEEK_LOAD(&page->count);

	search->first = FOLIO_PEEK_LOAD(&page->number[0]);
	search->found = 0;
	if (high > NUMBERS)
		return;
	while (low < high) {
		uint64_t middle = (low + high) / 2, number = FOLIO_PEEK_LOAD(&page->number[middle]);

		if (number == search->wanted)
			search->found = 1;
		if (number < search->wanted)
			low = middle + 1;
		else
			high = middle;
	}
}

static int make_file(struct folio_file *file)
{
	static struct page page = {.count = NUMBERS};
	uint64_t i, k;

	for (i = 0; i < PAGES; i++) {
		for (k = 0; k < NUMBERS; k++)
			page.number[k] = 3 * (i * NUMBERS + k);
		if (folio_file_write(file, &page, sizeof(page), i * sizeof(page)) != sizeof(page))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 << 20};
	const struct folio_view *view = NULL;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t low = 0, high = PAGES;
	struct search search;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: peek FILE NUMBER\n");
		return 2;
	}
	search.wanted = strtoull(argv[2], NULL, 10);
	if (folio_cache_open(&params, &cache) ||
		folio_file_open(cache, argv[1], O_RDWR | O_CREAT, 0644, &file) || make_file(file)) {
		fprintf(stderr, "peek: %s cannot be made\n", argv[1]);
		return 1;
	}
	/* Another layout is no error: without a view, folio_peek_visit makes calls. */
	if (folio_file_view(file, FOLIO_VIEW_LAYOUT, &view))
		view = NULL;
	/* The last page whose first number is not larger. */
	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;

		r = folio_peek_visit(file, view, middle, search_page, &search);
		if (r) {
			fprintf(stderr, "peek: page %llu: %s\n", (unsigned long long)middle,
				strerror(-r));
			return 1;
		}
		if (search.first <= search.wanted)
			low = middle;
		else
			high = middle;
	}
	r = folio_peek_visit(file, view, low, search_page, &search);
	printf("%llu: %s\n", (unsigned long long)search.wanted,
		r              ? strerror(-r)
		: search.found ? "found"
			       : "not there");
	folio_file_sync(file, NULL, 0);
	folio_file_close(file);
	folio_cache_close(cache);
	return r != 0 || !search.found;
}
