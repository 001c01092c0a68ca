/* SPDX-License-Identifier: BSD-2-Clause */
/* Shares: who may have how much of what. */
#include "cache-test.h"

#include "core/share.h"

#define WHOLE    1000

/* A parent, which has all, and its children. */
#define CHILDREN 8

struct family {
	struct share all, child[CHILDREN];
};

static void family_init(struct family *family)
{
	unsigned i;

	share_init(&family->all, NULL);
	for (i = 0; i < CHILDREN; i++)
		share_init(&family->child[i], &family->all);
}

/* The limit of a child, or of a child's child, in period @period. */
static uint64_t limit(const struct share *share, uint64_t whole, uint64_t period)
{
	return share_limit(share, SHARE_PAGES, whole, period);
}

/* Takes as much as the limit allows, one at a time. Returns how much. */
static uint64_t take_all(struct share *share, uint64_t period)
{
	uint64_t taken = 0;

	while (share_has(share, SHARE_PAGES) < limit(share, WHOLE, period)) {
		share_take(share, SHARE_PAGES, 1);
		taken++;
	}
	return taken;
}

/* One that has never written anything gets three quarters; if it has, seven eighths. */
static void test_alone(void **state)
{
	struct family family;
	struct share grandchild;

	(void)state;
	family_init(&family);
	share_init(&grandchild, &family.child[0]);
	assert_int_equal(take_all(&family.child[0], 0), 750);
	share_give(&family.child[0], SHARE_PAGES, 750);
	share_wrote(&grandchild, 100, 0);
	assert_int_equal(limit(&family.child[0], WHOLE, 0), WHOLE - WHOLE / 8);
	/* Both counts have halved. */
	assert_int_equal(limit(&grandchild, 800, 1), 700);
	share_take(&grandchild, SHARE_PAGES, 10);
	assert_int_equal(share_has(&family.all, SHARE_PAGES), 10);
	share_give(&grandchild, SHARE_PAGES, 10);
	assert_int_equal(share_has(&family.child[0], SHARE_PAGES), 0);
}

/* Runs are shared in the same way, and do not count as pages. */
static void test_resources(void **state)
{
	struct family family;

	(void)state;
	family_init(&family);
	share_take(&family.child[0], SHARE_RUNS, 3);
	assert_int_equal(share_has(&family.all, SHARE_RUNS), 3);
	assert_int_equal(share_has(&family.all, SHARE_PAGES), 0);
	assert_int_equal(share_limit(&family.child[0], SHARE_RUNS, 64, 0), 48);
	assert_int_equal(share_limit(&family.child[1], SHARE_RUNS, 64, 0), 45);
	/* The last one can be taken. */
	assert_int_equal(share_limit(&family.child[1], SHARE_RUNS, 4, 0), 1);
	assert_int_equal(share_limit(&family.child[1], SHARE_RUNS, 3, 0), 0);
}

/* Shares that fill up one after the other, and write nothing: each leaves most to the next. */
static void test_stuck(void **state)
{
	struct family family;
	uint64_t space = WHOLE, taken;
	unsigned i;

	(void)state;
	family_init(&family);
	for (i = 0; i < CHILDREN; i++) {
		taken = take_all(&family.child[i], 0);
		assert_true(taken > 0);
		assert_true(taken <= (i ? space / 4 + 1 : 750));
		space -= taken;
	}
	assert_true(space > WHOLE / 50);
}

/* The faster one may have more; when the other one has become faster, less. */
static void test_speed(void **state)
{
	struct share *slow, *fast;
	struct family family;
	uint64_t period;

	(void)state;
	family_init(&family);
	slow = &family.child[0];
	fast = &family.child[1];
	/* First it is alone, and has what it may have. */
	share_wrote(slow, 100, 0);
	assert_int_equal(take_all(slow, 0), 875);
	/* Nothing comes back, but the other one has a part of what is free. */
	assert_int_equal(limit(fast, WHOLE, 0), 32);
	for (period = 0; period < 10; period++) {
		uint64_t before = limit(slow, WHOLE, period);

		share_wrote(fast, 100, period);
		share_wrote(slow, 1, period);
		assert_true(limit(slow, WHOLE, period) <= before);
	}
	assert_in_range(limit(slow, WHOLE, 9), 8, 40);
	assert_int_equal(limit(fast, WHOLE, 9), 125);
	share_give(slow, SHARE_PAGES, 865);
	assert_in_range(limit(fast, WHOLE, 9), 840, 875);
	/* It is idle from here on. */
	share_wrote(fast, 1, 100);
	assert_int_equal(limit(fast, WHOLE, 100), 875);
}

/* What each has never exceeds the whole, and none is kept from what is free. */
static void test_random(void **state)
{
	uint64_t random = test_seed, period = 0, whole = WHOLE, written = 0;
	struct family family;
	unsigned step;

	(void)state;
	family_init(&family);
	for (step = 0; step < scaled(200000); step++) {
		struct share *share = &family.child[random_below(&random, CHILDREN)];
		uint64_t has = share_has(share, SHARE_PAGES), most = limit(share, whole, period);
		uint64_t used = share_has(&family.all, SHARE_PAGES), n;

		assert_true(most <= has + (whole > used ? whole - used : 0));
		assert_true(has || used >= whole || most > 0);
		switch (random_below(&random, 6)) {
		case 0:
			if (random_below(&random, 100))
				break;
			/* resized */
			whole = 8 + random_below(&random, WHOLE);
			break;
		default:
			if (most > has)
				share_take(
					share, SHARE_PAGES, 1 + random_below(&random, most - has));
			assert_true(share_has(&family.all, SHARE_PAGES) <=
				    (used > whole ? used : whole));
			break;
		case 1:
		case 2:
			if (!has)
				break;
			n = 1 + random_below(&random, has);
			share_give(share, SHARE_PAGES, n);
			if (random_below(&random, 4) == 0)
				break;
			share_wrote(share, n, period);
			written += n;
			if (written > whole) {
				written = 0;
				period++;
			}
			break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_stuck),
		cmocka_unit_test(test_speed),
		cmocka_unit_test(test_random),
	};

	test_begin("share");
	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
