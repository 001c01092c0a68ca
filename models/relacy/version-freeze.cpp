/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-freeze - a freeze does not keep copying readers out. Does the version that the freezer
 * changes?
 *
 * Two threads freeze the object at its only reference, change two words and unfreeze; a third
 * copies them. The contents are the number of the change; version n * VERSION_STEP has n. A freezer
 * continues from the version of the previous one: unfreeze (release) and try_freeze (acquire) hand
 * it over.
 *
 * Full search; three threads.
 */
#include "model.h"
#include "core/version.h"

static scenario accepted("a copy was accepted");
static scenario accepted_late("a copy of what a freezer wrote was accepted");
static scenario refused("a copy was refused");
static scenario both("both froze, in sequence");

struct version_freeze : rl::test_suite<version_freeze, 3> {
	struct folio_ref ref;
	folio_u64 version;
	folio_u64 word;
	rl::var<int> changes; /* plain data under the freeze */

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		folio_u64_store_relaxed(&word, 0);
		PLAIN_STORE(changes, 0);
		folio_ref_unfreeze(&ref, 1);
	}

	void change()
	{
		if (!folio_ref_try_freeze(&ref, 1))
			return;
		PLAIN_STORE(changes, PLAIN_LOAD(changes) + 1);
		version_write_begin(&version);
		folio_u64_store_relaxed(&word, PLAIN_LOAD(changes));
		version_write_end(&version, 0);
		folio_ref_unfreeze(&ref, 1);
	}

	void copy()
	{
		uint64_t seen, data;

		if (!version_read_begin(&version, &seen))
			return;
		data = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen)) {
			refused.reached();
			return;
		}
		accepted.reached();
		if (seen)
			accepted_late.reached();
		CLAIM(data == seen / VERSION_STEP,
			"a copy of another version than the reader began with");
	}

	void thread(unsigned index)
	{
		if (index < 2)
			change();
		else
			copy();
	}

	void after()
	{
		uint64_t changed = PLAIN_LOAD(changes);

		CLAIM(folio_u64_load_relaxed(&version) == VERSION_STEP * changed,
			"a change without a version");
		if (changed == 2)
			both.reached();
	}
};

int main()
{
	model m("version-freeze");

	m.full<struct version_freeze>();
	return m.result();
}
