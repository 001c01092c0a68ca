/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-unique - is an even version never used for a second life?
 *
 * A reader that stalls through whole lives of a folio relies on it. Whoever makes the version odd and even
 * again only adds to what it finds there; that it finds the last value, and not one of an earlier life,
 * is what the counter's orders have to provide: the releaser may be a put that stalled through a life (ref.h).
 *
 * One thread puts the last reference; two others revive it, put, and take the memory for a second and a third life
 * as it becomes free, each filled once.
 *
 * Full search; three threads, three lives.
 */
#include "model.h"
#include "version.h"

static scenario stalled("a put that stalled released a later life");
static scenario third("the memory served a third life");

struct version_unique : rl::test_suite<version_unique, 3> {
	struct folio_ref ref;
	folio_u64 version;
	struct handover pool;
	int life;
	uint64_t highest; /* even version so far */

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		pool.init(NULL);
		life = 1;
		highest = 0;
		folio_ref_unfreeze(&ref, 1);
	}

	void put(int believed)
	{
		if (!folio_ref_put(&ref))
			return;
		if (life != believed)
			stalled.reached();
		version_break(&version);
		CLAIM(version.debug_value() == highest + 1, "the releaser knows an old version");
		pool.give(&ref);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			put(1);
			return;
		}
		if (folio_ref_try_get(&ref))
			put(life);
		if (!pool.take())
			return;
		life++;
		if (life == 3)
			third.reached();
		version_break(&version);
		folio_ref_unfreeze(&ref, 1);
		version_settle(&version);
		CLAIM(version.debug_value() == highest + 2, "two lives with one version");
		highest += 2;
		put(life);
	}
};

int main()
{
	model m("version-unique");

	m.full<struct version_unique>();
	return m.result();
}
