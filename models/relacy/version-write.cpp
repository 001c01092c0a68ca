/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-write - is every copy that a reader accepts complete, and of the version that it began
 * with, while other threads write the same folio under its lock?
 *
 * A write stores two words under the lock; a reader copies them in either order. The contents are
 * the number of the write, so the version determines them: version n * VERSION_STEP has n.
 *
 * Full search with one writer that writes twice. With two writers, whose versions continue each
 * other's: all executions with at most four preemptions.
 */
#include "model.h"
#include "core/version.h"

static scenario accepted("a copy was accepted");
static scenario accepted_late("a copy of what a writer wrote was accepted");
static scenario busy("a reader met an odd version");
static scenario refused("a copy was refused");

template <int writers> struct version_write : rl::test_suite<version_write<writers>, writers + 1> {
	folio_u64 version;
	folio_u64 word[2];
	struct lock lock;
	int written; /* guarded by lock */

	void before()
	{
		folio_u64_store_relaxed(&version, 0);
		folio_u64_store_relaxed(&word[0], 0);
		folio_u64_store_relaxed(&word[1], 0);
		written = 0;
	}

	void write()
	{
		lock.acquire();
		written++;
		version_write_begin(&version);
		folio_u64_store_relaxed(&word[0], written);
		folio_u64_store_relaxed(&word[1], written);
		version_write_end(&version, 0);
		lock.release();
	}

	void copy()
	{
		unsigned first = rl::rand(2);
		uint64_t seen, data[2];

		if (!version_read_begin(&version, &seen)) {
			busy.reached();
			return;
		}
		data[first] = folio_u64_load_relaxed(&word[first]);
		data[!first] = folio_u64_load_relaxed(&word[!first]);
		if (!version_read_valid(&version, seen)) {
			refused.reached();
			return;
		}
		accepted.reached();
		if (seen)
			accepted_late.reached();
		CLAIM(data[0] == data[1], "a torn copy");
		CLAIM(data[0] == seen / VERSION_STEP,
			"a copy of another version than the reader began with");
	}

	void thread(unsigned index)
	{
		if (index == writers) {
			copy();
			return;
		}
		for (int n = 0; n < 2; n += writers)
			write();
	}

	void after()
	{
		CLAIM(folio_u64_load_relaxed(&version) == 2 * VERSION_STEP,
			"two writes are not two versions");
	}
};

int main()
{
	model m("version-write");

	m.full<struct version_write<1>>();
	m.bound<struct version_write<2>>(4);
	return m.result();
}
