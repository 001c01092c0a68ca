/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-touch - other threads set and clear TOUCH in a version whenever they like. Is each change
 * of the writer still a new version, is TOUCH lost only to a thread that clears it, and does a
 * reader still accept no torn copy?
 *
 * A writer, which is alone and so takes no lock, changes two words. An evictor sets TOUCH, as when
 * it lowers the heat of a folio. A reader copies; if its version has TOUCH, it clears the flag, as
 * when the folio is hot. It does so by the version that it began with, which may be old by then.
 * The contents are the number of the change; version n * VERSION_STEP has n.
 *
 * Full search with one change; with two, all executions with at most four preemptions. Three
 * threads.
 */
#include "model.h"
#include "core/version.h"

static scenario accepted("a copy was accepted");
static scenario touched("a copy of what the writer wrote, with TOUCH, was accepted");
static scenario refused("a copy was refused");
static scenario during("TOUCH was set while the version was odd");
static scenario cleared("TOUCH was cleared");
static scenario late("TOUCH was not cleared: the version was another one by then");

template <int changes> struct version_touch : rl::test_suite<version_touch<changes>, 3> {
	folio_u64 version;
	folio_u64 word[2];
	bool is_cleared;

	void before()
	{
		folio_u64_store_relaxed(&version, 0);
		folio_u64_store_relaxed(&word[0], 0);
		folio_u64_store_relaxed(&word[1], 0);
		is_cleared = false;
	}

	void write()
	{
		for (uint64_t n = 1; n <= changes; n++) {
			version_write_begin(&version);
			folio_u64_store_relaxed(&word[0], n);
			folio_u64_store_relaxed(&word[1], n);
			version_write_end(&version, 0);
			CLAIM((version.debug_value() & ~VERSION_TOUCH) == n * VERSION_STEP,
				"a change is not one version, or it has not ended");
		}
	}

	void ask()
	{
		version_touch_set(&version);
		if (version.debug_value() & VERSION_CHANGING)
			during.reached();
	}

	void copy()
	{
		uint64_t seen, data[2];

		if (!version_read_begin(&version, &seen))
			return;
		data[0] = folio_u64_load_relaxed(&word[0]);
		data[1] = folio_u64_load_relaxed(&word[1]);
		if (!version_read_valid(&version, seen)) {
			refused.reached();
			return;
		}
		accepted.reached();
		CLAIM(data[0] == data[1], "a torn copy");
		CLAIM(data[0] == seen / VERSION_STEP,
			"a copy of another version than the reader began with");
		if (!(seen & VERSION_TOUCH))
			return;
		if (seen / VERSION_STEP)
			touched.reached();
		version_touch_clear(&version, seen);
		if (version.debug_value() & VERSION_TOUCH) {
			late.reached();
		} else {
			cleared.reached();
			is_cleared = true;
		}
	}

	void thread(unsigned index)
	{
		if (index == 0)
			write();
		else if (index == 1)
			ask();
		else
			copy();
	}

	void after()
	{
		uint64_t touch = is_cleared ? 0 : VERSION_TOUCH;

		CLAIM(folio_u64_load_relaxed(&version) == (changes * VERSION_STEP | touch),
			"a change or the flag was lost");
	}
};

int main()
{
	model m("version-touch");

	m.full<struct version_touch<1>>();
	m.bound<struct version_touch<2>>(4);
	return m.result();
}
