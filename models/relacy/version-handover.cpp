/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-handover - does the version keep copying readers out when one thread releases the folio and another
 * one fills it anew?
 *
 * One thread erases the folio from slot A and puts the tree's reference; the put releases: the version is made odd, the
 * folio goes to the pool. Another takes it, stores it in slot B and fills it. A reader asks for either page.
 *
 * The fence of version_break belongs to the thread that stores the data: an odd version that somebody else stored before
 * he handed the folio over does not do in the language's model, although it does on machines where what a
 * thread has seen is what it passes on (x86, arm64, POWER).
 *
 * Full search; three threads.
 */
#include "model.h"
#include "version.h"

static scenario before_erase("a copy of the first life was accepted");
static scenario after_fill("a copy of the second life was accepted");
static scenario refused("a copy was refused");

struct version_handover : rl::test_suite<version_handover, 3> {
	enum { A, B };

	struct folio_ref ref;
	folio_u64 version;
	folio_u64 word;
	folio_ptr slot[2];
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		folio_u64_store_relaxed(&word, A);
		folio_ptr_store_relaxed(&slot[A], &ref);
		folio_ptr_store_relaxed(&slot[B], NULL);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	void put()
	{
		if (!folio_ref_put(&ref))
			return;
		version_break(&version);
		pool.give(&ref);
	}

	void erase()
	{
		folio_ptr_store_relaxed(&slot[A], NULL);
		put();
	}

	void fill()
	{
		if (!pool.take())
			return;
		folio_ref_unfreeze(&ref, 2);
		folio_ptr_store_release(&slot[B], &ref);
		version_break(&version);
		folio_u64_store_relaxed(&word, B);
		version_settle(&version);
		/* The filler's reference stays: nobody looks at the count any more. */
	}

	void copy(unsigned where)
	{
		void *entry = folio_ptr_load_acquire(&slot[where]);
		uint64_t seen, data;

		if (!entry || !version_load_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot[where]) != entry)
			return;
		data = folio_u64_load_relaxed(&word);
		if (!version_recheck(&version, seen)) {
			refused.reached();
			return;
		}
		CLAIM(data == where, "a copy of another page");
		if (where == A)
			before_erase.reached();
		else
			after_fill.reached();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			erase();
		else if (index == 1)
			fill();
		else
			copy(rl::rand(2));
	}
};

int main()
{
	model m("version-handover");

	m.full<struct version_handover>();
	return m.result();
}
