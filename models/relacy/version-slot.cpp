/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-slot - is what a copying reader accepts the contents of the page that it asked for, while the folio leaves
 * that page's slot, serves another page, and comes back?
 *
 * One folio goes from slot A to slot B and to slot A again; each time it is filled anew after it was stored in the
 * slot. A reader asks for A: slot, version, slot again, copy, version again. The contents say which page and
 * which life they belong to.
 *
 * Here one thread does all the moving; version-handover has more.
 *
 * Full search; two threads, three lives.
 */
#include "model.h"
#include "version.h"

static scenario accepted("a copy was accepted");
static scenario accepted_late("a copy of the last life was accepted");
static scenario elsewhere("the slot was empty or the folio had left it");
static scenario refused("a copy was refused");

struct version_slot : rl::test_suite<version_slot, 2> {
	enum { A, B };

	folio_u64 version;
	folio_u64 word;
	folio_ptr slot[2];

	void store(unsigned where, uint64_t contents)
	{
		version_break(&version);
		folio_ptr_store_release(&slot[where], &version);
		folio_u64_store_relaxed(&word, contents);
		version_settle(&version);
	}

	/* Frozen or released: the contents stay what they are until somebody stores. */
	void erase(unsigned where)
	{
		folio_ptr_store_relaxed(&slot[where], NULL);
	}

	/* Contents: life * 2 + slot. */
	void before()
	{
		folio_u64_store_relaxed(&version, 1);
		folio_ptr_store_relaxed(&slot[B], NULL);
		store(A, 0 + A);
	}

	void copy_a()
	{
		void *entry = folio_ptr_load_acquire(&slot[A]);
		uint64_t seen, data;

		if (!entry)
			return;
		if (!version_load_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot[A]) != entry) {
			elsewhere.reached();
			return;
		}
		data = folio_u64_load_relaxed(&word);
		if (!version_recheck(&version, seen)) {
			refused.reached();
			return;
		}
		accepted.reached();
		CLAIM((data & 1) == A, "a copy of another page");
		CLAIM(data / 2 == seen / 2 - 1,
			"a copy of another version than the reader began with");
		if (data / 2 == 2)
			accepted_late.reached();
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			erase(A);
			store(B, 2 + B);
			erase(B);
			store(A, 4 + A);
		} else {
			copy_a();
		}
	}
};

int main()
{
	model m("version-slot");

	m.full<struct version_slot>();
	return m.result();
}
