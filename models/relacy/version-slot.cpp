/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-slot - is every copy that a reader accepts one of the page that it requested, while the
 * folio leaves that page's slot, serves another page, and comes back?
 *
 * One folio goes from slot A to slot B and back to slot A; each time it is filled again after it
 * was stored in the slot. A reader requests A: slot, version, slot again, copy, version again. The
 * contents state their page and their generation.
 *
 * The first two generations have the flag PARTIAL and each its own number of valid bytes; the last
 * one is whole. A reader that meets the flag loads that number, as data, between the two loads of
 * the version; one that does not meet it takes the folio for whole.
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
	enum { A, B, WHOLE = 100 };

	folio_u64 version;
	folio_u64 valid;
	folio_u64 word;
	folio_ptr slot[2];

	/* Contents: generation * 2 + slot. */
	void store(unsigned where, uint64_t generation, uint64_t bytes)
	{
		version_write_begin(&version);
		folio_ptr_store_release(&slot[where], &version);
		folio_u64_store_relaxed(&word, generation * 2 + where);
		folio_u64_store_relaxed(&valid, bytes);
		version_write_end(&version, bytes < WHOLE ? VERSION_PARTIAL : 0);
	}

	/* Frozen or released: the contents do not change until the next store. */
	void erase(unsigned where)
	{
		folio_ptr_store_relaxed(&slot[where], NULL);
	}

	void before()
	{
		folio_u64_store_relaxed(&version, VERSION_CHANGING);
		folio_ptr_store_relaxed(&slot[B], NULL);
		store(A, 0, 1);
	}

	void copy_a()
	{
		void *entry = folio_ptr_load_acquire(&slot[A]);
		uint64_t seen, data, bytes = WHOLE;

		if (!entry)
			return;
		if (!version_read_whole(&version, &seen)) {
			if (seen & VERSION_CHANGING)
				return;
			bytes = folio_u64_load_relaxed(&valid);
		}
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
		CLAIM(data / 2 == seen / VERSION_STEP - 1,
			"a copy of another version than the reader began with");
		CLAIM(bytes == (data / 2 ? (uint64_t)WHOLE : 1),
			"as many valid bytes as in another version");
		if (data / 2 == 2)
			accepted_late.reached();
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			erase(A);
			store(B, 1, 2);
			erase(B);
			store(A, 2, WHOLE);
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
