/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * erase - "are the barriers between erase and decrement enough?" (Matthew Wilcox): can a look-up be content with a slot
 * that was erased before the object got another identity?
 *
 * The eraser empties the slot with a relaxed store and puts the tree's reference; a holder puts his; whoever of them
 * is last releases the object, and it is reused at once as something else. Beside them a look-up: slot,
 * get, slot again. What carries the erase to the look-up: the eraser's subtraction (release), the winning CAS
 * (acquire) on the winner's thread, the unfreeze (release) of the next life, the get (acquire) before the slot
 * is looked at again. The erase itself needs no order.
 *
 * Also: a look-up that begins after an erase returned (as that thread was told) does not find the object.
 *
 * Full search with one look-up; with two: all executions with at most four preemptions.
 */
#include "model.h"

static scenario valid("a look-up found the object and was content");
static scenario late("a look-up got the object and found the slot empty");
static scenario foreign("a look-up got a reference to the next life");
static scenario told("a look-up began after the erase returned");

template <int look_ups> struct erase : rl::test_suite<erase<look_ups>, 2 + look_ups> {
	enum { OURS = 1, FOREIGN };

	struct folio_ref ref;
	folio_ptr slot;
	folio_u32 erased; /* the eraser tells that it is done */
	rl::var<int> identity;

	void before()
	{
		folio_ref_init_frozen(&ref);
		PLAIN_STORE(identity, OURS);
		folio_u32_store_relaxed(&erased, 0);
		folio_ptr_store_relaxed(&slot, &ref);
		folio_ref_unfreeze(&ref, 2);
	}

	/* The next life begins where this one ends. */
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
			told.reached();
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
	model m("erase");

	m.full<struct erase<1>>();
	m.bound<struct erase<2>>(4);
	return m.result();
}
