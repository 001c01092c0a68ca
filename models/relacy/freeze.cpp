/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * freeze - does try_freeze exclude: has the freezer the object to itself, seeing what former holders did, and
 * does a getter after the unfreeze see what the freezer did?
 *
 * One freezer with a reference of its own, three getters who read the object, under a reference that they
 * got from nothing but the counter.
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

			CLAIM(!freezer_inside, "a holder beside the freezer");
			if (seen == 2)
				after_change.reached();
			CLAIM(!folio_ref_put(&ref),
				"released while the freezer's reference is there");
		}
	}

	void after()
	{
		CLAIM(folio_ref_count(&ref) == 1, "the count is not what is left");
	}
};

int main()
{
	model m("freeze");

	m.full<struct freeze>();
	return m.result();
}
