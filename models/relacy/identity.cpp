/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * identity - does a getter of a new generation see the object as it was set up for it, and does
 * nothing of it change while the getter holds its reference?
 *
 * Three late getters know the memory but not what it is used for. One thread begins a generation,
 * uses the object and puts. Whichever thread puts last releases it.
 *
 * Full search; four threads, one generation.
 */
#include "model.h"

static scenario met("a getter met the new generation");
static scenario refused("a getter met the frozen word");
static scenario last("a getter released it");

struct identity : rl::test_suite<identity, 4> {
	enum { FREE, X };

	struct folio_ref ref;
	rl::var<int> type;
	int released;

	void before()
	{
		folio_ref_init_frozen(&ref);
		PLAIN_STORE(type, FREE);
		released = 0;
	}

	void put()
	{
		if (!folio_ref_put(&ref))
			return;
		CLAIM(PLAIN_LOAD(type) == X, "released while free");
		PLAIN_STORE(type, FREE);
		released++;
		if (rl::thread_index())
			last.reached();
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			PLAIN_STORE(type, X);
			folio_ref_unfreeze(&ref, 1);
			CLAIM(PLAIN_LOAD(type) == X, "released from under its first holder");
			put();
		} else if (folio_ref_try_get(&ref)) {
			CLAIM(PLAIN_LOAD(type) == X, "a getter holds a free object");
			met.reached();
			put();
		} else {
			refused.reached();
		}
	}

	void after()
	{
		CLAIM(released == 1, "not released once");
	}
};

int main()
{
	model m("identity");

	m.full<struct identity>();
	return m.result();
}
