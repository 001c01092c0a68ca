/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-ups that find a folio which they cannot use as it is. */
#include "fault-world.h"
#include "cache/thread.h"

/*
 * A folio in the tree that has fewer valid bytes than the file has by now. Neither copies, short or
 * long, nor pins return the bytes past them. (A fill between the drop of the old last page and the
 * larger size leaves such a folio.)
 */
static void test_outgrown(void **state)
{
	static const size_t lens[] = {8, 128, 300, 2 * FOLIO_PAGE_SIZE};
	struct world world;
	struct folio *folio;
	void *page;
	unsigned i, pin;

	(void)state;
	world_begin(&world, 64, 0, 2 * PAGE);
	for (i = 0; i < 2 * sizeof(lens) / sizeof(lens[0]); i++) {
		size_t len = lens[i / 2];

		pin = i % 2;
		assert_int_equal(folio_file_get_page(world.file, 0, 0, &folio, &page), 0);
		memset((char *)page + 100, 0xee, FOLIO_PAGE_SIZE - 100);
		set_valid(world.file, folio, 100);
		folio_put(folio);
		if (pin) {
			assert_int_equal(folio_file_get_page(world.file, 0, 0, &folio, &page), 0);
			/* A pin that hits may return a partial page with its first bytes only. */
			if (folio_u32_load_relaxed(&folio->valid) > 100)
				assert_true(io_fault_check(
					world.contents, 0, page, FOLIO_PAGE_SIZE, NULL, NULL));
			folio_put(folio);
		}
		expect_read(&world, len > 100 ? 0 : 96, len, 1);
	}
	world_end(&world);
}

/*
 * Present in a library whose counter checks itself (ref_debug), which takes this many references
 * for a leak.
 */
extern void (*folio_ref_on_misuse)(const struct folio_ref *ref, const char *what, const char *file,
	int line) __attribute__((weak));

static void expect_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	(void)ref;
	(void)file;
	(void)line;
	if (!strstr(what, "more references than FOLIO_REF_MAX"))
		abort();
}

/* Takes all references that there may be, but the one that the caller has. */
static void take_all(struct folio *folio)
{
	uint32_t i;

	for (i = 0; i < FOLIO_REF_MAX / FOLIO_REF_COUNT_MAX; i++)
		folio_ref_get_n(&folio->ref, FOLIO_REF_COUNT_MAX);
}

static void put_all(struct folio *folio)
{
	uint32_t i;

	for (i = 0; i < FOLIO_REF_MAX / FOLIO_REF_COUNT_MAX; i++)
		assert_false(folio_ref_put_n(&folio->ref, FOLIO_REF_COUNT_MAX));
}

/* Writes to such a page are refused as well, of a part or of all of it, and change nothing. */
static void test_write_refused(void **state)
{
	void (*on_misuse)(const struct folio_ref *, const char *, const char *, int) = NULL;
	char path[] = "folio-lookup-XXXXXX", page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio_file *file;
	struct folio *folio;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(folio_file_open(cache, path, O_RDWR, 0, &file), 0);
	memset(page, 'o', sizeof(page));
	assert_int_equal(folio_file_write(file, page, PAGE, 0), PAGE);
	assert_int_equal(folio_file_write(file, page, PAGE, 2 * PAGE), PAGE);
	assert_int_equal(folio_file_get(file, 0, 0, &folio), 0);
	if (&folio_ref_on_misuse) {
		on_misuse = folio_ref_on_misuse;
		folio_ref_on_misuse = expect_misuse;
	}
	take_all(folio);
	memset(got, 'n', sizeof(got));
	assert_int_equal(folio_file_write(file, got, PAGE, 0), -EOVERFLOW);
	assert_int_equal(folio_file_write(file, got, 10, 100), -EOVERFLOW);
	assert_int_equal(folio_file_discard(file, 0, PAGE), -EOVERFLOW);
	put_all(folio);
	if (on_misuse)
		folio_ref_on_misuse = on_misuse;
	folio_put(folio);
	assert_int_equal(folio_file_read(file, got, PAGE, 0), PAGE);
	assert_memory_equal(got, page, PAGE);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	unlink(path);
}

/* A page at the counter's limit is refused in bounded time; copies still work. */
static void test_refused(void **state)
{
	void (*on_misuse)(const struct folio_ref *, const char *, const char *, int) = NULL;
	struct world world;
	struct folio *folio, *other;

	(void)state;
	world_begin(&world, 64, 0, 2 * PAGE);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), 0);
	if (&folio_ref_on_misuse) {
		on_misuse = folio_ref_on_misuse;
		folio_ref_on_misuse = expect_misuse;
	}
	take_all(folio);
	assert_int_equal(folio_file_get(world.file, 0, 0, &other), -EOVERFLOW);
	assert_int_equal(folio_file_get(world.file, 0, FOLIO_GET_NOWAIT, &other), -EOVERFLOW);
	expect_read(&world, 0, 2 * PAGE, 1);
	put_all(folio);
	if (on_misuse)
		folio_ref_on_misuse = on_misuse;
	assert_int_equal(folio_file_get(world.file, 0, 0, &other), 0);
	folio_put(other);
	folio_put(folio);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outgrown),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_write_refused),
	};

	test_begin("lookup");
	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
