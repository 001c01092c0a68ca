/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drop - "are the barriers between erase and decrement enough?" (Matthew Wilcox): can a look-up
 * accept a slot that was erased before the object got another identity?
 *
 * The eraser stores NULL to the slot with a relaxed store and puts the tree's reference; a holder
 * puts its own. Whichever is last releases the object, which is reused at once as something else.
 * A look-up runs concurrently: slot, get, slot again. The erase reaches the look-up by this chain:
 * the eraser's subtraction (release), the winning CAS (acquire) on the winner's thread, the
 * unfreeze (release) of the next generation, the get (acquire) before the second load of the slot.
 * The erase itself needs no order.
 *
 * Also: a look-up that begins after an erase has returned, and whose thread knows that, does not
 * find the object.
 *
 * Full search with one look-up. With two: all executions with at most four preemptions.
 */
#include "model.h"

static scenario valid("a look-up found the object and accepted it");
static scenario late("a look-up got the object and found the slot empty");
static scenario foreign("a look-up got a reference to the next generation");
static scenario after_erase("a look-up began after the erase returned");

template <int look_ups> struct drop : rl::test_suite<drop<look_ups>, 2 + look_ups> {
	enum { OURS = 1, FOREIGN };

	struct folio_ref ref;
	folio_ptr slot;
	folio_u32 erased; /* set by the eraser when it is done */
	rl::var<int> identity;

	void before()
	{
		folio_ref_init_frozen(&ref);
		PLAIN_STORE(identity, OURS);
		folio_u32_store_relaxed(&erased, 0);
		folio_ptr_store_relaxed(&slot, &ref);
		folio_ref_unfreeze(&ref, 2);
	}

	/* The next generation begins when this one ends. */
	void put()
	{
		if (!folio_ref_put(&ref))
			return;
		PLAIN_STORE(identity, FOREIGN);
		folio_ref_unfreeze(&ref, 1);
	}

	void erase_and_put()
	{
		folio_ptr_store_relaxed(&slot, NULL);
		put();
		folio_u32_store_release(&erased, 1);
	}

	void look_up()
	{
		bool over = folio_u32_load_acquire(&erased);
		void *entry = folio_ptr_load_acquire(&slot);

		if (over) {
			after_erase.reached();
			CLAIM(!entry, "found after the erase returned");
		}
		if (!entry || !folio_ref_try_get(&ref))
			return;
		if (folio_ptr_load_relaxed(&slot) == entry) {
			valid.reached();
			CLAIM(PLAIN_LOAD(identity) == OURS, "a validated holder of a foreign page");
		} else {
			late.reached();
			if (PLAIN_LOAD(identity) == FOREIGN)
				foreign.reached();
		}
		put();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			erase_and_put();
		else if (index == 1)
			put();
		else
			look_up();
	}
};

int main()
{
	model m("drop");

	m.full<struct drop<1>>();
	m.bound<struct drop<2>>(4);
	return m.result();
}
