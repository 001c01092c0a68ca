/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict-wait - is a caller who finds every page held by others who will let go soon never told that there is no memory,
 * and never left asleep?
 *
 * The steps of src/evict.c: who is about to hold a folio for a moment counts himself as busy before he takes the
 * reference, and after he gave it back tells progress, counts down, and wakes who waits. A caller tries to freeze
 * the one page; where it is held he waits for progress, and gives up only when nobody is busy and
 * nothing has happened since he tried.
 *
 * The busy side's fence: the caller saw the reference by a relaxed look at the counter; that the number that came before
 * the reference is seen as well is the work of that fence and of the caller's, which is seq_cst for another
 * reason: of "I wait" and "I look whether somebody waits", one has to see the other.
 *
 * Full search with one holder; with two: all executions with at most three preemptions.
 */
#include "model.h"

#include "futex.h"

static scenario waited("the caller slept");
static scenario again("the caller was told of progress and got the page");

template <int holders> struct evict_wait : rl::test_suite<evict_wait<holders>, holders + 1> {
	struct folio_ref ref;
	folio_u32 busy, progress, ended, waiters;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_ref_unfreeze(&ref, 1);
		folio_u32_store_relaxed(&busy, 0);
		folio_u32_store_relaxed(&progress, 0);
		folio_u32_store_relaxed(&ended, 0);
		folio_u32_store_relaxed(&waiters, 0);
	}

	void busy_less()
	{
		folio_u32_fetch_sub_release(&busy, 1);
		folio_fence_seq_cst();
		if (folio_u32_load_relaxed(&waiters)) {
			folio_u32_fetch_add_release(&ended, 1);
			futex_wake(&ended, INT_MAX);
		}
	}

	void hold()
	{
		folio_u32_fetch_add_relaxed(&busy, 1);
		folio_fence_release();
		if (folio_ref_try_get(&ref)) {
			CLAIM(!folio_ref_put(&ref), "released while in the tree");
			folio_u32_fetch_add_release(&progress, 1);
		}
		busy_less();
	}

	bool wait(uint32_t seen)
	{
		folio_u32_fetch_add_relaxed(&waiters, 1);
		folio_fence_seq_cst();
		for (;;) {
			uint32_t end = folio_u32_load_acquire(&ended);
			bool idle = folio_u32_load_acquire(&busy) == 0;

			if (folio_u32_load_acquire(&progress) != seen || idle)
				break;
			waited.reached();
			futex_wait(&ended, end);
		}
		folio_u32_fetch_sub_relaxed(&waiters, 1);
		return folio_u32_load_relaxed(&progress) != seen;
	}

	void allocate()
	{
		bool told = false;

		for (;;) {
			uint32_t seen = folio_u32_load_acquire(&progress);

			if (folio_ref_try_freeze(&ref, 1))
				break;
			told = wait(seen);
			CLAIM(told, "no memory, and a page was about to be let go");
		}
		if (told)
			again.reached();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			allocate();
		else
			hold();
	}
};

int main()
{
	model m("evict-wait");

	m.full<struct evict_wait<1>>();
	m.bound<struct evict_wait<2>>(3);
	return m.result();
}
