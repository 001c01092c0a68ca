/* SPDX-License-Identifier: BSD-2-Clause */
/* pin.c - pins by publication: steps S1 to S6 of core/publish.h. */
#include <folio/pin.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pause.h"
#include "cache/publish.h"
#include "cache/thread.h"
#include "core/heat.h"
#include "read/demand.h"
#include "read/lookup.h"
#include "read/read.h"

_Static_assert(FOLIO_PINS_PUBLISHED == PUBLISH_SLOTS, "the number in the documentation");

/*
 * Publish a pin of page @index in @slot, which is free. Returns false if the page is not cached, or
 * a thread changes or holds it: then the slot is free again.
 */
static inline __attribute__((always_inline)) bool pin_publish(
	struct folio_file *file, uint64_t index, folio_ptr *slot, struct pin_try *pin, bool root)
{
	struct folio *folio;
	folio_u64 *version;

	pin->entry = hit_walk(&file->inode->tree, index, &pin->place, root);
	if (unlikely(!entry_is_folio(pin->entry)))
		return false;
	folio = entry_folio(pin->entry);
	version = entry_version(file, pin->entry);
	if (unlikely(!publish_begin(version, &pin->version)))
		return false;
	FOLIO_PAUSE(pin_seen, folio);
	slot_publish(slot, folio);
	publish_fence(publish_mine.fence);
	FOLIO_PAUSE(pin_published, folio);
	pin->in_folio = (index << FOLIO_PAGE_SHIFT) & (entry_bytes(pin->entry) - 1);
	if (unlikely(pin->version & VERSION_PARTIAL)) {
		bool valid = pin->in_folio < folio_u32_load_relaxed(&folio->valid);

		/* As in version_read_valid: valid is that of the version, if it is the same. */
		folio_fence_acquire();
		if (!valid)
			goto off;
	}
	if (unlikely(!tree_still(&file->inode->tree, &pin->place, pin->entry)))
		goto off;
	FOLIO_PAUSE(pin_looked, folio);
	if (likely(publish_same(version, pin->version)))
		return true;
off:
	slot_clear(slot);
	return false;
}

/* The rest of a pin that is published. */
static inline __attribute__((always_inline)) int pin_done(struct folio_file *file, uint64_t index,
	const struct pin_try *seen, folio_ptr *slot, struct folio_pin *pin)
{
	stats_add(thread_last.shard, STAT_HITS, 1);
	pin_note(file->inode);
	pin->folio = entry_folio(seen->entry);
	pin->page = entry_data(file, seen->entry) + seen->in_folio;
	pin->slot = slot;
	if (unlikely(seen->version & VERSION_TOUCH))
		return get_touch(file, pin->folio, index);
	return 0;
}

/* As folio_file_pin, from the root of the tree; for a thread that has no slots yet; or by count. */
static __attribute__((noinline)) int pin_slow(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio_pin *pin)
{
	struct pin_try seen;
	folio_ptr *slot;

	if (!thread_enter(file->cache, file->cache_id))
		return -ESTALE;
	slot = publish_slot_attach();
	if (slot && pin_publish(file, index, slot, &seen, true))
		return pin_done(file, index, &seen, slot, pin);
	pin->slot = NULL;
	return folio_file_get_page(file, index, flags, &pin->folio, &pin->page);
}

int folio_file_pin(struct folio_file *file, uint64_t index, unsigned flags, struct folio_pin *pin)
{
	struct pin_try seen;
	folio_ptr *slot;

	if (unlikely(!file || !pin || flags & ~FOLIO_GET_NOWAIT))
		return -EINVAL;
	if (unlikely(!thread_hit(file->cache_id)))
		return pin_slow(file, index, flags, pin);
	slot = publish_slot();
	if (unlikely(!slot) || unlikely(!pin_publish(file, index, slot, &seen, false)))
		return pin_slow(file, index, flags, pin);
	return pin_done(file, index, &seen, slot, pin);
}

int folio_pin_convert(struct folio_pin *pin)
{
	if (!pin)
		return -EINVAL;
	if (!pin->slot)
		return 0;
	/*
	 * Never refused as frozen: a folio with a published pin is not frozen. acquire is more than
	 * is needed. First the count, then the slot: in between, the folio would have neither.
	 */
	if (!folio_ref_try_get(&pin->folio->ref))
		return -EOVERFLOW;
	slot_clear(pin->slot);
	pin->slot = NULL;
	return 0;
}
