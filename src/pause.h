/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pause.h - named points where the torture test widens a window; nothing in a normal build.
 *
 * A point stands between two steps of a protocol that another thread may come between: the comment says between
 * which. The torture test (tests/torture) builds the library with FOLIO_TORTURE and decides at each point
 * whether to go on, to yield, or to wait until the folio has begun another life. The counter's own points
 * are FOLIO_REF_PAUSE in ref.h.
 */
#ifndef FOLIO_SRC_PAUSE_H
#define FOLIO_SRC_PAUSE_H

#ifdef FOLIO_TORTURE
enum folio_pause {
	/* Look-up by copy (version.h). */
	FOLIO_PAUSE_copy_before_version, /* 1 and 2: the slot, the version */
	FOLIO_PAUSE_copy_before_slot,    /* 2 and 3: the version, the slot again */
	FOLIO_PAUSE_copy_before_copy,    /* 3 and 4: the slot again, the data */
	/* Look-up by pin (file.c). */
	FOLIO_PAUSE_pin_before_get,  /* 1 and 2: the slot, the get */
	FOLIO_PAUSE_pin_before_slot, /* 2 and 3: the get, the slot again */
	/* Eviction (evict.c). */
	FOLIO_PAUSE_evict_isolated, /* A and B; no lock is held */
	FOLIO_PAUSE_evict_frozen,   /* C and D; the tree's lock is held */
	FOLIO_PAUSE_evict_broken,   /* D and E; the tree's lock is held */
	FOLIO_PAUSE_evict_erased,   /* E and F */
	FOLIO_PAUSE_evict_requeued, /* the queue, the put of what was kept */
	/* Fill (fill.c). */
	FOLIO_PAUSE_fill_unfrozen, /* 2 and 3: a new life, the tree */
	FOLIO_PAUSE_fill_read,     /* 5: the contents, version even */
	FOLIO_PAUSE_fill_settled,  /* 5: version even, UPTODATE */
	FOLIO_PAUSE_fill_unlocked, /* 5: UPTODATE, the queue */
	FOLIO_PAUSE_fill_erased,   /* 5, failed: out of the tree, ERROR */
	/* Dropping pages (inode.c). */
	FOLIO_PAUSE_drop_erased,  /* out of the tree, the put of the tree's reference */
	FOLIO_PAUSE_drop_sized,   /* a smaller size, the drop of the pages */
	FOLIO_PAUSE_drop_grown,   /* the drop of the old last page, the larger size */
	FOLIO_PAUSE_drop_drained, /* the last close: no fill in flight, the drop of the pages */
	/* Writing (inode.c, file.c, write.c, writeback.c). */
	FOLIO_PAUSE_split_stored,   /* the pieces of a large folio in the tree, the queue */
	FOLIO_PAUSE_copy_measured,  /* how much of a pinned folio is good, the copy */
	FOLIO_PAUSE_write_copied,   /* 4: new bytes in a folio of the file, how many are good */
	FOLIO_PAUSE_punch_measured, /* the size, the zeros and the hole */
	FOLIO_PAUSE_collect_seen, /* a dirty folio that is not locked, its flag; the tree's lock is held */
	FOLIO_PAUSE_run_failed,     /* the error is counted, the folios dirty again */
	FOLIO_PAUSE_thread_woken,   /* is all to be written? the walk */
	FOLIO_PAUSE_throttle_waits, /* which pass to wait for, the wait; writeback's lock is held */
	/* The walk over pins (pins.c). */
	FOLIO_PAUSE_pins_owner, /* 3 and 5: the owner, the lock of his tree; in a grace section */
	FOLIO_PAUSES,
};

/* @folio: the one that the point is about; NULL where there is none. */
void folio_torture_pause(enum folio_pause point, const void *folio);

#define FOLIO_PAUSE(point, folio) folio_torture_pause(FOLIO_PAUSE_##point, folio)
#else
#define FOLIO_PAUSE(point, folio) ((void)0)
#endif

#endif
