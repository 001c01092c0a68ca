/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-unique - is an even version never used for a second generation?
 *
 * A reader that stalls through complete generations of a folio relies on it. A thread that makes
 * the version odd, and even again, only increments the value that it finds. The counter's orders
 * must ensure that it finds the last value, not one of an earlier generation: the releaser may be a
 * put that stalled through a generation (ref.h).
 *
 * One thread puts the last reference; two others revive it, put, and take the memory for a second
 * and a third generation as it becomes free, each filled once.
 *
 * Full search; three threads, three generations.
 */
#include "model.h"
#include "core/version.h"

static scenario stalled("a put that stalled released a later generation");
static scenario third("the memory served a third generation");

struct version_unique : rl::test_suite<version_unique, 3> {
	struct folio_ref ref;
	folio_u64 version;
	struct handover pool;
	int generation;
	uint64_t highest; /* even version so far */

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		pool.init(NULL);
		generation = 1;
		highest = 0;
		folio_ref_unfreeze(&ref, 1);
	}

	void put(int believed)
	{
		if (!folio_ref_put(&ref))
			return;
		if (generation != believed)
			stalled.reached();
		version_write_begin(&version);
		CLAIM(version.debug_value() == (highest | VERSION_CHANGING),
			"the releaser knows an old version");
		pool.give(&ref);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			put(1);
			return;
		}
		if (folio_ref_try_get(&ref))
			put(generation);
		if (!pool.take())
			return;
		generation++;
		if (generation == 3)
			third.reached();
		version_write_begin(&version);
		folio_ref_unfreeze(&ref, 1);
		version_write_end(&version, 0);
		CLAIM(version.debug_value() == highest + VERSION_STEP,
			"two generations with one version");
		highest += VERSION_STEP;
		put(generation);
	}
};

int main()
{
	model m("version-unique");

	m.full<struct version_unique>();
	return m.result();
}
