/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pause.h - named points at which the torture test widens a race window; empty in a normal build.
 *
 * A point lies between two steps of a protocol that another thread may interleave; its comment
 * names the two steps. The torture test (tests/torture) builds the library with FOLIO_TORTURE and
 * decides at each point whether to continue, to yield, or to wait until the folio has been put to
 * another use. The points of the reference count itself are FOLIO_REF_PAUSE in ref.h.
 */
#ifndef FOLIO_SRC_BASE_PAUSE_H
#define FOLIO_SRC_BASE_PAUSE_H

#ifdef FOLIO_TORTURE
enum folio_pause {
	/* Look-up by copy (core/version.h). */
	FOLIO_PAUSE_copy_before_version, /* 1 and 2: the slot, the version */
	FOLIO_PAUSE_copy_before_slot,    /* 2 and 3: the version, the slot again */
	FOLIO_PAUSE_copy_before_copy,    /* 3 and 4: the slot again, the data */
	/* Look-up by pin (read/lookup.h, read/hit.c). */
	FOLIO_PAUSE_pin_before_get,  /* 1 and 2: the slot, the get */
	FOLIO_PAUSE_pin_before_slot, /* 2 and 3: the get, the slot again */
	/* Published pins (core/publish.h). */
	FOLIO_PAUSE_pin_seen,        /* S1 and S3: the version, the publication */
	FOLIO_PAUSE_pin_published,   /* S3 and S5: the publication, the second look */
	FOLIO_PAUSE_pin_looked,      /* S5: the two loads of the second look */
	FOLIO_PAUSE_publish_barrier, /* H3 and H4: the barrier, the scan */
	FOLIO_PAUSE_publish_scanned, /* H4 and H5: the scan, the freeze */
	/* Eviction (evict/evict.c). */
	FOLIO_PAUSE_evict_isolated, /* A and B; no lock is held */
	FOLIO_PAUSE_evict_frozen,   /* C and D; the tree's lock is held */
	FOLIO_PAUSE_evict_broken,   /* D and E; the tree's lock is held */
	FOLIO_PAUSE_evict_erased,   /* E and F */
	FOLIO_PAUSE_evict_requeued, /* queueing again, the put of a folio that stays */
	/* Fill (read/fill.c, read/finish.c). */
	FOLIO_PAUSE_fill_unfrozen, /* 2 and 3: unfreeze, the store in the tree */
	FOLIO_PAUSE_fill_read,     /* 5: the contents, version even */
	FOLIO_PAUSE_fill_settled,  /* 5: version even, UPTODATE */
	FOLIO_PAUSE_fill_unlocked, /* 5: UPTODATE, the queue */
	FOLIO_PAUSE_fill_erased,   /* 5, failed: erase from the tree, ERROR */
	/* Watches of a folio's flags (core/watch.c). */
	FOLIO_PAUSE_watch_insert, /* 2 and 3: in the list, the flag; the bucket's lock is held */
	FOLIO_PAUSE_watch_call,   /* A and B: the end, the lock of the bucket */
	/* Requests of a completion queue (async/run.c). */
	FOLIO_PAUSE_async_stepped, /* attached to a folio, WAITING */
	/* Dropping pages (cache/drop.c, cache/revalidate.c, cache/inode.c). */
	FOLIO_PAUSE_drop_erased,  /* erase from the tree, the put of the tree's reference */
	FOLIO_PAUSE_drop_sized,   /* the store of a smaller size, the drop of the pages */
	FOLIO_PAUSE_drop_grown,   /* the drop of the old last page, the store of the larger size */
	FOLIO_PAUSE_drop_drained, /* last close: no fill in flight, the drop of the pages */
	/* Splitting (cache/split.c) and copying from a pinned folio (read/read.c). */
	FOLIO_PAUSE_split_erased,  /* a large folio erased, its pieces not stored; tree lock held */
	FOLIO_PAUSE_split_stored,  /* the pieces of a large folio stored in the tree, the queue */
	FOLIO_PAUSE_split_found,   /* the page found again after a split, its flags (read/read.c) */
	FOLIO_PAUSE_copy_measured, /* the number of valid bytes in a pinned folio, the copy */
	/* Writing (write/, cache/dirty.c). */
	FOLIO_PAUSE_write_copied,   /* 4: new bytes copied into a folio, its valid byte count */
	FOLIO_PAUSE_punch_measured, /* reading the size, the zeros and the hole */
	FOLIO_PAUSE_log_looked,     /* some dirty folios looked at, the others */
	FOLIO_PAUSE_log_called,     /* before_writeback has returned, its threads are told */
	FOLIO_PAUSE_log_written,    /* the log is written, the collection of folios */
	FOLIO_PAUSE_collect_seen,   /* an unlocked dirty folio found, its flags; tree lock held */
	FOLIO_PAUSE_run_collected,  /* dirty folios taken for a run, its request */
	FOLIO_PAUSE_bounce_copied,  /* the folio may change, the write of its copy */
	FOLIO_PAUSE_run_failed,     /* the error counted, the folios dirty again */
	FOLIO_PAUSE_thread_woken,   /* deciding whether to write all, the walk */
	FOLIO_PAUSE_sync_ended,     /* the flush and the device's sync, the report of errors */
	FOLIO_PAUSE_error_found,    /* an error to report, the count; writeback lock held */
	/* Closing (api/open.c). */
	FOLIO_PAUSE_close_checked, /* a detached call running? pages dirty? files_lock held */
	/* The walk over pins, and the table of pins (api/pins.c). */
	FOLIO_PAUSE_pins_owner, /* 3 and 5: the owner, the lock of its tree */
	FOLIO_PAUSE_pins_made,  /* the table set up, its publication */
	FOLIO_PAUSE_pins_noted, /* the table of pins read for a folio, the put of its reference */
	/* A thread of which its creator waits for the start (evict/evictor.c, io/uring.c). */
	FOLIO_PAUSE_thread_started, /* the thread runs and is set up, its creator is told */
	/* Walks of a range (core/walk.c). */
	FOLIO_PAUSE_walk_done, /* a node was read, the check that none has left the tree */
	/* Every wait for another thread (base/futex.h, base/deadline.h, io/uring.c). */
	FOLIO_PAUSE_futex_sleep, /* the check of a word, the sleep */
	FOLIO_PAUSE_futex_woken, /* the end of the sleep, the next check */
	FOLIO_PAUSE_futex_wake,  /* the store to a word, the wake */
	FOLIO_PAUSE_cond_sleep,  /* the check of a condition, the sleep; its lock is held */
	FOLIO_PAUSE_ring_sleep,  /* 1 and 2 of io/uring.c: asleep is set, the wait in the ring */
	FOLIO_PAUSE_ring_wake,   /* B and C of io/uring.c: asleep is cleared, the eventfd */
	FOLIO_PAUSES,
};

/*
 * @object: what the point is about. A folio; for a wait its futex word or condition variable; or
 * NULL.
 */
void folio_torture_pause(enum folio_pause point, const void *object);

#define FOLIO_PAUSE(point, object) folio_torture_pause(FOLIO_PAUSE_##point, object)
#else
#define FOLIO_PAUSE(point, object) ((void)0)
#endif

#endif
