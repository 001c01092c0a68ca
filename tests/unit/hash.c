/* SPDX-License-Identifier: BSD-2-Clause */
/* The hash table of open files, compared with a list. */
#include "alloc-fault.h"

#include "core/hash.h"

#define VALUES 3000

struct value {
	uint64_t key;
	bool listed;
};

static struct value values[VALUES];

/* How often hash_next returns @value for its key, and each other value of that key. */
static void expect_found(const struct hash *hash, const struct value *value)
{
	unsigned expected = 0, found = 0, i;
	const struct value *next;
	bool seen = false;
	uint64_t at = 0;

	for (i = 0; i < VALUES; i++)
		expected += values[i].listed && values[i].key == value->key;
	while ((next = hash_next(hash, value->key, &at))) {
		assert_true(next->listed);
		assert_int_equal(next->key, value->key);
		seen = seen || next == value;
		found++;
	}
	assert_int_equal(found, expected);
	assert_int_equal(seen, value->listed);
}

/* Keys that are adjacent, that have equal low bits, that are equal, and any. */
static uint64_t pick_key(uint64_t *random, unsigned kind)
{
	switch (kind) {
	case 0:
		return random_below(random, 2 * VALUES);
	case 1:
		return random_below(random, 2 * VALUES) << 40;
	case 2:
		return random_below(random, 10);
	default:
		return random_next(random);
	}
}

static void test_random(void **state)
{
	uint64_t random = test_seed;
	unsigned kind, i, n;

	for (kind = 0; kind < 4; kind++) {
		struct hash hash = {0};
		uint64_t listed = 0, at = 0;

		for (i = 0; i < VALUES; i++)
			values[i] = (struct value){.key = pick_key(&random, kind)};
		assert_null(hash_next(&hash, 0, &at));
		for (n = scaled(20000); n-- > 0;) {
			/* The table fills up to a third and becomes empty again. */
			struct value *value = &values[random_below(&random, VALUES / 3)];

			if (value->listed) {
				hash_remove(&hash, value->key, value);
				listed--;
			} else {
				assert_int_equal(hash_add(&hash, value->key, value), 0);
				listed++;
			}
			value->listed = !value->listed;
			assert_int_equal(hash.values, listed);
			if (n % 16 == 0)
				expect_found(&hash, &values[random_below(&random, VALUES)]);
		}
		for (i = 0; i < VALUES; i++)
			expect_found(&hash, &values[i]);
		for (i = 0; i < VALUES; i++) {
			if (values[i].listed)
				hash_remove(&hash, values[i].key, &values[i]);
			values[i].listed = false;
		}
		at = 0;
		assert_null(hash_next(&hash, values[0].key, &at));
		hash_destroy(&hash);
	}
}

/* A table that cannot grow takes values until one slot is free. */
static void test_no_memory(void **state)
{
	struct hash hash = {0};
	unsigned i, taken;

	if (!SWEEPS_ALLOCATIONS) {
		print_message("# skipped: allocations cannot be made to fail here\n");
		return;
	}
	arm(1, true);
	assert_int_equal(hash_add(&hash, 1, &values[0]), -ENOMEM);
	disarm();
	for (i = 0; i < VALUES; i++)
		values[i] = (struct value){.key = i * 7};
	assert_int_equal(hash_add(&hash, values[0].key, &values[0]), 0);
	values[0].listed = true;
	arm(1, true);
	for (taken = 1; hash_add(&hash, values[taken].key, &values[taken]) == 0; taken++)
		values[taken].listed = true;
	disarm();
	assert_int_equal(taken, hash.slots - 1);
	for (i = 0; i <= taken; i++)
		expect_found(&hash, &values[i]);
	assert_int_equal(hash_add(&hash, values[taken].key, &values[taken]), 0);
	values[taken].listed = true;
	for (i = 0; i <= taken; i++)
		expect_found(&hash, &values[i]);
	hash_destroy(&hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};

	if (alloc_begin())
		return 1;
	test_begin("hash");
	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
