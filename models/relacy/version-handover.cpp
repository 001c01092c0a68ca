/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-handover - does the version keep copying readers out when one thread releases the folio
 * and another one fills it again?
 *
 * One thread erases the folio from slot A and puts the tree's reference. The put releases: the
 * version becomes odd, and the folio goes to the pool. Another thread takes it, stores it in slot B
 * and fills it. A reader requests either page.
 *
 * The fence of version_write_begin must be executed by the thread that stores the data. An odd
 * version that another thread stored before the hand-over is not enough in the language's memory
 * model. It is enough on machines where a thread passes on everything that it has seen (x86, arm64,
 * POWER).
 *
 * Full search; three threads.
 */
#include "model.h"
#include "core/version.h"

static scenario before_erase("a copy of the first generation was accepted");
static scenario after_fill("a copy of the second generation was accepted");
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
		version_write_begin(&version);
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
		version_write_begin(&version);
		folio_u64_store_relaxed(&word, B);
		version_write_end(&version, 0);
		/* The filler's reference stays: nothing reads the count from here on. */
	}

	void copy(unsigned where)
	{
		void *entry = folio_ptr_load_acquire(&slot[where]);
		uint64_t seen, data;

		if (!entry || !version_read_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot[where]) != entry)
			return;
		data = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen)) {
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
