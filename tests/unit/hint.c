/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far apart a file's hints are: by what most of its pages are in, and not changed with every page that comes and goes
 * where there are as many of the one as of the other.
 */
#include "cache-test.h"

#define PAGES ((uint8_t)FOLIO_PAGE_SHIFT)
#define RUNS  ((uint8_t)(FOLIO_PAGE_SHIFT + HINT_ORDER))

static void count(struct inode *inode, unsigned order, int64_t folios)
{
	struct folio folio = {.order = (uint8_t)order};
	int64_t pages = INT64_C(1) << order;

	for (; folios > 0; folios--)
		inode_count_locked(inode, &folio, pages);
	for (; folios < 0; folios++)
		inode_count_locked(inode, &folio, -pages);
}

static struct inode *inode_new(void)
{
	struct inode *inode = aligned_alloc(64, (sizeof(*inode) + 63) & ~(size_t)63);

	assert_non_null(inode);
	memset(inode, 0, sizeof(*inode));
	folio_u8_store_relaxed(&inode->hint_shift, PAGES);
	return inode;
}

static void test_majority(void **state)
{
	struct inode *inode = inode_new();

	(void)state;
	count(inode, 0, 10);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	count(inode, HINT_ORDER, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), RUNS);
	count(inode, HINT_ORDER - 1, 3);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	count(inode, FOLIO_ORDER_MAX, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), RUNS);
	/* Nothing is left; then what comes first decides. */
	count(inode, FOLIO_ORDER_MAX, -1);
	count(inode, HINT_ORDER, -1);
	count(inode, HINT_ORDER - 1, -3);
	count(inode, 0, -10);
	count(inode, 0, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	free(inode);
}

/* From about as many to somewhat more and somewhat fewer, again and again: one change at most. */
static void test_about_as_many(void **state)
{
	int64_t small;

	(void)state;
	for (small = 4 * 64 - 40; small <= 8 * 64 + 40; small += 10) {
		struct inode *inode = inode_new();
		uint8_t shift = PAGES;
		unsigned changes = 0, round, i;

		count(inode, HINT_ORDER, 8);
		count(inode, 0, small);
		for (round = 0; round < 10; round++) {
			for (i = 0; i < 100; i++) {
				count(inode, 0, i < 50 ? 1 : -1);
				changes += shift != folio_u8_load_relaxed(&inode->hint_shift);
				shift = folio_u8_load_relaxed(&inode->hint_shift);
			}
		}
		assert_true(changes <= 2);
		free(inode);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_majority),
		cmocka_unit_test(test_about_as_many),
	};

	test_begin("hint");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
