/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * descend - what a look-up in a B-tree of three levels costs, by the way in which it reads pages.
 *
 *   descend FILE [MIB [ROUNDS]]      largest tree (1024), rounds (15); overwrites FILE
 *
 * Each look-up reads a root, an inner node and a leaf, and searches each of them. FILE is cached
 * wholly, by the library and by the kernel. The contenders are
 *
 *   mmap      a pointer into a mapping of the file: the lower bound
 *   checked   the same, with a version for each page, which is loaded before and after the search
 *   peek      folio_peek and folio_peek_valid for each level, in place
 *   pin       folio_file_get_page and folio_put for each level
 *   copy      folio_file_read of each page into a buffer
 *
 * They run in turn, each with the same keys. Prints for each size of the tree the medians over the
 * rounds: nanoseconds for a look-up, and the ratio to mmap within a round, with its quartiles.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <folio.h>

#include "../tools/folio/random.h"
#include "measure.h"

#define LEVELS     3
#define ENTRIES    510                               /* of a node */
#define PAGES_MAX  (1 + ENTRIES + ENTRIES * ENTRIES) /* of a tree of three levels */
#define ROUNDS_MAX 1001
#define ROUND_NS   2e7 /* of one contender */

/* A page of the tree. Key @key[i] and larger ones are below, or have, @value[i]. */
struct node {
	uint32_t count, unused;
	uint32_t key[ENTRIES], value[ENTRIES];
	uint64_t rest;
};

_Static_assert(sizeof(struct node) == FOLIO_PAGE_SIZE, "a node is a page");

enum contender { MMAP, CHECKED, PEEK, PIN, COPY, CONTENDERS };

static const char *const names[] = {
	[MMAP] = "mmap", [CHECKED] = "checked", [PEEK] = "peek", [PIN] = "pin", [COPY] = "copy"};

static struct folio_file *file;
static const struct folio_view *view;
static const struct node *map;
static folio_u64 *version; /* of each page of the mapping */
static uint64_t keys;      /* of the tree: 0 .. keys - 1 */

/* ---- the tree ---- */

static uint32_t value_of(uint32_t key)
{
	return (uint32_t)random_mix(key);
}

static void write_node(int fd, uint64_t page, const struct node *node)
{
	ssize_t r = pwrite(fd, node, sizeof(*node), (off_t)(page * FOLIO_PAGE_SIZE));

	check(result(r), "pwrite");
}

/* Root, inner nodes, leaves, in this order: as few inner nodes as the root's fan-out demands. */
static void make_tree(int fd, uint64_t pages)
{
	uint64_t fan = 1, inner, leaves, i, j;
	struct node node = {0};

	while (1 + fan + fan * fan < pages)
		fan++;
	leaves = pages - 1 - fan;
	inner = (leaves + fan - 1) / fan;
	node.count = (uint32_t)inner;
	for (i = 0; i < inner; i++) {
		node.key[i] = (uint32_t)(i * fan * ENTRIES);
		node.value[i] = (uint32_t)(1 + i);
	}
	write_node(fd, 0, &node);
	for (i = 0; i < inner; i++) {
		node.count = (uint32_t)(leaves - i * fan < fan ? leaves - i * fan : fan);
		for (j = 0; j < node.count; j++) {
			node.key[j] = (uint32_t)((i * fan + j) * ENTRIES);
			node.value[j] = (uint32_t)(1 + inner + i * fan + j);
		}
		write_node(fd, 1 + i, &node);
	}
	for (i = 0; i < leaves; i++) {
		node.count = ENTRIES;
		for (j = 0; j < ENTRIES; j++) {
			node.key[j] = (uint32_t)(i * ENTRIES + j);
			node.value[j] = value_of(node.key[j]);
		}
		write_node(fd, 1 + inner + i, &node);
	}
	keys = leaves * ENTRIES;
	check(result(ftruncate(fd, (off_t)((1 + inner + leaves) * FOLIO_PAGE_SIZE))), "ftruncate");
}

/* The value of the last key that is not larger than @key. */
static inline uint32_t search(const struct node *node, uint32_t key)
{
	uint32_t first = 0, count = node->count;

	while (count > 1) {
		uint32_t half = count / 2;

		first = node->key[first + half] <= key ? first + half : first;
		count -= half;
	}
	return node->value[first];
}

/*
 * The same in a page that may change: each field is read once, and none leads out of the page.
 * Whether the result is of any use shows later.
 */
static inline uint32_t search_in_place(const struct node *node, uint32_t key)
{
	uint32_t first = 0, count = FOLIO_PEEK_LOAD(&node->count);

	if (count > ENTRIES)
		count = ENTRIES;
	while (count > 1) {
		uint32_t half = count / 2;

		first = FOLIO_PEEK_LOAD(&node->key[first + half]) <= key ? first + half : first;
		count -= half;
	}
	return FOLIO_PEEK_LOAD(&node->value[first]);
}

/* ---- the contenders: each returns the key's value ---- */

static uint32_t by_mmap(uint32_t key)
{
	uint32_t page = 0, level;

	for (level = 0; level < LEVELS; level++)
		page = search(&map[page], key);
	return page;
}

static uint32_t by_checked(uint32_t key)
{
	uint32_t page = 0, level, next;
	struct folio_peek peek;

	for (level = 0; level < LEVELS; level++) {
		peek.version = &version[page];
		do {
			peek.seen = folio_u64_load_acquire(peek.version);
			next = search_in_place(&map[page], key);
		} while (!folio_peek_valid(&peek));
		page = next;
	}
	return page;
}

struct visit {
	uint32_t key, found;
};

static void visit_node(const void *node, void *context)
{
	struct visit *visit = context;

	visit->found = search_in_place(node, visit->key);
}

static uint32_t by_peek(uint32_t key)
{
	struct visit visit = {.key = key};
	uint32_t level;

	for (level = 0; level < LEVELS; level++)
		check(folio_peek_visit(file, view, visit.found, visit_node, &visit),
			"folio_peek_visit");
	return visit.found;
}

static uint32_t by_pin(uint32_t key)
{
	uint32_t page = 0, level;

	for (level = 0; level < LEVELS; level++) {
		struct folio *folio;
		void *node;

		check(folio_file_get_page(file, page, 0, &folio, &node), "folio_file_get_page");
		page = search(node, key);
		folio_put(folio);
	}
	return page;
}

static uint32_t by_copy(uint32_t key)
{
	uint32_t page = 0, level;
	struct node node;

	for (level = 0; level < LEVELS; level++) {
		check(folio_file_read(file, &node, sizeof(node), page * (uint64_t)sizeof(node)),
			"folio_file_read");
		page = search(&node, key);
	}
	return page;
}

static uint32_t (*const look_up[])(uint32_t key) = {[MMAP] = by_mmap,
	[CHECKED] = by_checked,
	[PEEK] = by_peek,
	[PIN] = by_pin,
	[COPY] = by_copy};

/* Nanoseconds for each of @count look-ups. */
static double measure(enum contender contender, uint64_t seed, uint64_t count)
{
	double begin = nanoseconds(CLOCK_MONOTONIC);
	uint64_t i;

	for (i = 0; i < count; i++) {
		uint32_t key = (uint32_t)random_below(&seed, keys);

		if (look_up[contender](key) != value_of(key)) {
			fprintf(stderr, "descend: %s: wrong value\n", names[contender]);
			exit(1);
		}
	}
	return (nanoseconds(CLOCK_MONOTONIC) - begin) / (double)count;
}

/* ---- the table ---- */

static double time_of[CONTENDERS][ROUNDS_MAX], ratio[CONTENDERS][ROUNDS_MAX];

static void run(uint64_t pages, unsigned rounds)
{
	uint64_t count[CONTENDERS];
	unsigned round, i;

	for (i = 0; i < CONTENDERS; i++)
		count[i] = 1 + (uint64_t)(ROUND_NS / measure(i, 0, 10000));
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < CONTENDERS; i++) {
			enum contender contender = (i + round) % CONTENDERS;

			time_of[contender][round] = measure(contender, round, count[contender]);
		}
		for (i = 0; i < CONTENDERS; i++)
			ratio[i][round] = time_of[i][round] / time_of[MMAP][round];
	}
	for (i = 0; i < CONTENDERS; i++) {
		sort(time_of[i], rounds);
		sort(ratio[i], rounds);
		printf("| %.2f MiB | %s | %.1f | %.2f | %.2f to %.2f |\n",
			(double)pages * FOLIO_PAGE_SIZE / 1048576, names[i], time_of[i][rounds / 2],
			ratio[i][rounds / 2], ratio[i][rounds / 4], ratio[i][rounds * 3 / 4]);
	}
	fflush(stdout);
}

/* A tree of so many pages, in the file, in the mapping and in the cache. */
static void run_tree(const char *path, uint64_t pages, unsigned rounds)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = (pages + pages / 8 + 4096) * FOLIO_PAGE_SIZE,
	};
	size_t size = (size_t)(pages * FOLIO_PAGE_SIZE);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct folio_cache *cache;
	struct node node;
	uint64_t i;

	check(result(fd), path);
	make_tree(fd, pages);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		check(-errno, "mmap");
	check(folio_cache_open(&params, &cache), "folio_cache_open");
	check(folio_file_open(cache, path, O_RDONLY, 0, &file), path);
	check(folio_file_view(file, FOLIO_VIEW_LAYOUT, &view), "folio_file_view");
	version = calloc(pages, sizeof(*version));
	if (!version)
		check(-ENOMEM, "calloc");
	/* Often enough that eviction need not hear of more reads. */
	for (i = 0; i < 4 * pages; i++)
		check(folio_file_read(file, &node, sizeof(node), i % pages * sizeof(node)), path);
	run(pages, rounds);
	check(folio_file_close(file), "folio_file_close");
	check(folio_cache_close(cache), "folio_cache_close");
	free(version);
	munmap((void *)map, size);
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 1024, kib;
	unsigned rounds = argc > 3 ? (unsigned)atoi(argv[3]) : 15;

	if (argc < 2 || argc > 4 || !mib || mib > 1024 || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: descend FILE [MIB [ROUNDS]]\n");
		return 2;
	}
	printf("| tree | way | ns | x mmap | quartiles |\n|---|---|---|---|---|\n");
	for (kib = 256; kib <= mib * 1024; kib *= 16)
		run_tree(argv[1], kib / 4 < PAGES_MAX ? kib / 4 : PAGES_MAX, rounds);
	if (kib / 16 < mib * 1024)
		run_tree(argv[1], mib * 256, rounds);
	unlink(argv[1]);
	return 0;
}
