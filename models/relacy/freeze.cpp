/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * freeze - does try_freeze exclude other threads: does the freezer have the object to itself, does
 * it see what former holders did, and does a getter after the unfreeze see what the freezer did?
 *
 * One freezer with its own reference, and three getters that read the object under a reference
 * obtained from the counter alone.
 *
 * Full search; four threads.
 */
#include "model.h"

static scenario frozen("the freezer won");
static scenario kept("a holder kept the freezer out");
static scenario after_change("a getter read what the freezer wrote");

struct freeze : rl::test_suite<freeze, 4> {
	struct folio_ref ref;
	rl::var<int> contents;
	bool freezer_inside;

	void before()
	{
		folio_ref_init_frozen(&ref);
		PLAIN_STORE(contents, 1);
		freezer_inside = false;
		folio_ref_unfreeze(&ref, 1);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			if (!folio_ref_try_freeze(&ref, 1)) {
				kept.reached();
				return;
			}
			frozen.reached();
			freezer_inside = true;
			PLAIN_STORE(contents, PLAIN_LOAD(contents) + 1);
			freezer_inside = false;
			folio_ref_unfreeze(&ref, 1);
		} else if (folio_ref_try_get(&ref)) {
			int seen = PLAIN_LOAD(contents);

			CLAIM(!freezer_inside, "a holder while the object is frozen");
			if (seen == 2)
				after_change.reached();
			CLAIM(!folio_ref_put(&ref),
				"released while the freezer holds its reference");
		}
	}

	void after()
	{
		CLAIM(folio_ref_count(&ref) == 1, "a wrong count at the end");
	}
};

int main()
{
	model m("freeze");

	m.full<struct freeze>();
	return m.result();
}
