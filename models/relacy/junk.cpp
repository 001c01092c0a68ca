/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * junk - does the junk that failed gets leave behind stay within the frozen half of the word, and
 * does its reset never damage a live generation?
 *
 * The word has 4 bits here: frozen from 8 on, junk reset from 12 on, references refused above 4.
 * Getters try repeatedly, before, during and after a generation that another thread begins. It
 * begins with as many references as are allowed, so gets are refused there as well.
 *
 * Full search with two getters: two tries each and a generation; six tries each and none. With two
 * getters, five tries each and a generation: all executions with at most four preemptions. Random:
 * three getters, four tries each.
 */
#define FOLIO_REF_BITS 4
#include "model.h"

static scenario reset("junk past the limit");
static scenario refused("more references than are allowed");
static scenario got("a get succeeded");

template <int getters, int tries, int generations>
struct junk : rl::test_suite<junk<getters, tries, generations>, getters + generations> {
	struct folio_ref ref;
	bool live; /* known to the model only: between unfreeze and the winning CAS */
	int released;

	void before()
	{
		folio_ref_init_frozen(&ref);
		live = false;
		released = 0;
	}

	/* Checked at every switch. */
	void invariant()
	{
		uint32_t word = ref.word.debug_value();

		CLAIM(word < 1u << FOLIO_REF_BITS, "junk carried out of the word");
		/* No other thread runs between the CAS and the model's record of it. */
		CLAIM(live || word & FOLIO_REF_FROZEN, "frozen ended without unfreeze");
		CLAIM(!live || !(word & FOLIO_REF_FROZEN), "a live word turned frozen");
		if (word >= FOLIO_REF_JUNK_LIMIT)
			reset.reached();
		if (live && word > FOLIO_REF_MAX)
			refused.reached();
	}

	void put_n(uint32_t n)
	{
		if (!folio_ref_put_n(&ref, n))
			return;
		live = false;
		released++;
	}

	void thread(unsigned index)
	{
		if (index == getters) {
			/* Both the store of unfreeze and its record precede the next switch. */
			rl::preemption_disabler no_switch(rl::ctx());

			folio_ref_unfreeze(&ref, FOLIO_REF_MAX);
			live = true;
		} else {
			for (int i = 0; i < tries; i++) {
				if (!folio_ref_try_get(&ref))
					continue;
				got.reached();
				put_n(1);
			}
			return;
		}
		put_n(FOLIO_REF_MAX - 1);
		put_n(1);
	}

	void after()
	{
		CLAIM(released == generations && !live, "not released once");
		CLAIM(folio_ref_count(&ref) == 0, "a reference is left");
	}
};

int main()
{
	model m("junk");

	m.full<struct junk<2, 2, 1>>();
	m.full<struct junk<2, 6, 0>>();
	m.bound<struct junk<2, 5, 1>>(4);
	m.random<struct junk<3, 4, 1>>(200000);
	return m.result();
}
