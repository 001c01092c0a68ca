/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounce.h - writing copies of pages, so that their writers do not wait for the device.
 *
 * A folio in write-back must not change, so a thread that wants to change it waits. For a folio of
 * one page, run_fill (write/writeback.c) copies the page to a bounce frame, if one is free. Then it
 * sets FOLIO_COPIED: the folio may be locked, changed and become dirty again while the copy is
 * written. Until that write has ended, no run takes the folio (collect): two writes of one page are
 * never in flight at the same time.
 *
 * The frames are allocated when the cache is opened; write-back without a free one writes from the
 * page itself. The second half of them is for contended pages: those for which a thread has waited
 * in write-back, or that became dirty again in the course of one (FOLIO_CONTENDED).
 */
#ifndef FOLIO_SRC_WRITE_BOUNCE_H
#define FOLIO_SRC_WRITE_BOUNCE_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/* Allocate the frames of a cache of @pages page frames. 0 or -ENOMEM. */
int bounce_init(struct bounce *bounce, uint64_t pages);
void bounce_destroy(struct bounce *bounce);

/*
 * Copy the pages of a run that was just collected, as far as there are frames. @most: use all
 * frames, for any page. The caller holds no lock.
 */
void bounce_copy(struct writeback_run *run, bool most);

/* Return the frames of a run that has ended. writeback->lock is held. */
void bounce_put_locked(struct bounce *bounce, const struct writeback_run *run);

#endif
