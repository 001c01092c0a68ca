/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-slot - is every copy that a reader accepts one of the page that it requested, while the
 * folio leaves that page's slot, serves another page, and comes back?
 *
 * One folio goes from slot A to slot B and back to slot A; each time it is filled again after it
 * was stored in the slot. A reader requests A: slot, version, slot again, copy, version again. The
 * contents state their page and their generation.
 *
 * Here one thread does all the moving; version-handover has more.
 *
 * Full search; two threads, three generations.
 */
#include "model.h"
#include "core/version.h"

static scenario accepted("a copy was accepted");
static scenario accepted_late("a copy of the last generation was accepted");
static scenario elsewhere("the slot was empty or the folio had left it");
static scenario refused("a copy was refused");

struct version_slot : rl::test_suite<version_slot, 2> {
	enum { A, B };

	folio_u64 version;
	folio_u64 word;
	folio_ptr slot[2];

	void store(unsigned where, uint64_t contents)
	{
		version_write_begin(&version);
		folio_ptr_store_release(&slot[where], &version);
		folio_u64_store_relaxed(&word, contents);
		version_write_end(&version);
	}

	/* Frozen or released: the contents do not change until the next store. */
	void erase(unsigned where)
	{
		folio_ptr_store_relaxed(&slot[where], NULL);
	}

	/* Contents: generation * 2 + slot. */
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
		if (!version_read_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot[A]) != entry) {
			elsewhere.reached();
			return;
		}
		data = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen)) {
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
