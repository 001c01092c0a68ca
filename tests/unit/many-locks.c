/* SPDX-License-Identifier: BSD-2-Clause */
/* More locks of one thread than it has memory for. */
#include "alloc-fault.h"
#include "write-world.h"
#include "cache/thread.h"

#define MANY 40

/* More locks than a thread has memory for; they are unlocked in any order. */
static void test_many_locks(void **state)
{
	struct folio *folio[MANY];
	static struct world world;
	uint64_t seed = 1, i, k;
	unsigned n;

	(void)state;
	world_begin(&world, 128, 0);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	memset(world.model, 'a', MANY * PAGE);
	world.size = MANY * PAGE;
	for (i = 0; i < MANY; i++)
		assert_int_equal(folio_file_write(world.file, world.model, PAGE, i * PAGE), PAGE);
	for (i = 0; i < MANY; i++)
		assert_int_equal(folio_file_get(world.file, i, 0, &folio[i]), 0);
	for (n = 0; n < 4; n++) {
		for (i = 0; i < MANY; i++) {
			if (i == THREAD_LOCKS && SWEEPS_ALLOCATIONS) {
				arm(1, false);
				assert_int_equal(folio_lock(folio[i]), -ENOMEM);
				disarm();
				assert_int_equal((folio_unlock)(folio[i]), -EINVAL);
			}
			assert_int_equal(folio_lock(folio[i]), 0);
			memset(folio_page(folio[i], i), 'b' + (int)n, PAGE);
			assert_int_equal(folio_mark_dirty(folio[i], 0), 0);
		}
		/* Each one is found, wherever it is in the list. */
		for (i = 0; i < MANY; i++) {
			k = random_below(&seed, MANY);
			assert_int_equal(folio_unlock(folio[k]), 0);
			assert_int_equal((folio_unlock)(folio[k]), -EINVAL);
			if (k < MANY - 1)
				assert_int_equal((folio_lock)(folio[k]), -EDEADLK);
			assert_int_equal(folio_try_lock(folio[k]), 0);
		}
		for (i = 0; i < MANY; i++)
			assert_int_equal(folio_unlock(folio[n & 1 ? i : MANY - 1 - i]), 0);
	}
	memset(world.model, 'b' + (int)n - 1, MANY * PAGE);
	for (i = 0; i < MANY; i++)
		folio_put(folio[i]);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_locks),
	};

	if (alloc_begin())
		return 1;
	test_begin("many-locks");
	return cmocka_run_group_tests_name("many-locks", tests, NULL, NULL);
}
