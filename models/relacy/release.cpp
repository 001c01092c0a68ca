/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release - does the thread that wins the compare-and-swap of a put see everything that was done
 * under the references before, even if another thread's subtraction came last, in a later
 * generation of the object?
 *
 * The race of ref.h: A puts the last reference and stalls between its subtraction and its CAS. B
 * revives the zero, uses the object, puts and releases it, gets the memory back as something else,
 * uses that and puts; A's CAS meets that second zero. A releases by the object's data, which B
 * wrote. C does the same as B.
 *
 * Full search; three threads, one object, up to three generations.
 */
#include "model.h"

static scenario stalled("a put that stalled in one generation released the next");
static scenario reused("the memory served a second generation");
static scenario reused_again("the memory served a third generation");

struct release : rl::test_suite<release, 3> {
	enum { FREE, X, Y, Z, TYPES };

	struct folio_ref ref;
	rl::var<int> type;     /* written while frozen */
	rl::var<int> contents; /* written by holders of a reference */
	struct handover pool;
	int released[TYPES]; /* known to the model only; no thread can see it */

	void before()
	{
		folio_ref_init_frozen(&ref);
		PLAIN_STORE(type, X);
		PLAIN_STORE(contents, 0);
		pool.init(NULL);
		memset(released, 0, sizeof(released));
		folio_ref_unfreeze(&ref, 1);
	}

	void put(int believed)
	{
		int t;

		if (!folio_ref_put(&ref))
			return;
		/* R2: the type that it has now, not the one that it had. */
		t = PLAIN_LOAD(type);
		CLAIM(t != FREE, "released while free");
		CLAIM(++released[t] == 1, "released twice in one generation");
		if (t != believed)
			stalled.reached();
		PLAIN_STORE(contents, PLAIN_LOAD(contents) + 1);
		PLAIN_STORE(type, FREE);
		pool.give(&ref);
	}

	void thread(unsigned index)
	{
		int next = index == 1 ? Y : Z;

		if (index == 0) {
			PLAIN_STORE(contents, 1);
			put(X);
			return;
		}
		if (folio_ref_try_get(&ref))
			put(PLAIN_LOAD(type));
		if (!pool.take())
			return;
		PLAIN_STORE(type, next);
		folio_ref_unfreeze(&ref, 1);
		PLAIN_STORE(contents, next);
		put(next);
	}

	void after()
	{
		CLAIM(released[X] == 1, "a generation without a release");
		CLAIM(folio_ref_is_frozen(&ref), "free but not frozen");
		CLAIM(pool.place.debug_value() == &ref, "the memory is lost");
		if (released[Y] || released[Z])
			reused.reached();
		if (released[Y] && released[Z])
			reused_again.reached();
	}
};

int main()
{
	model m("release");

	m.full<struct release>();
	return m.result();
}
