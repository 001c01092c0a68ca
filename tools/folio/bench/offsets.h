/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offsets.h - where in a file 64-byte lines are read or written. The arrays are filled before
 * anything is measured, so that no measurement contains a random-number generator.
 */
#ifndef FOLIO_TOOLS_OFFSETS_H
#define FOLIO_TOOLS_OFFSETS_H

#include "bench/bench-base.h"
#include "random.h"

#define LINES_PER_PAGE (FOLIO_PAGE_SIZE / LINE_SIZE)
#define ZIPF_EXPONENT  0.99

struct offsets {
	uint32_t *uniform, *zipf;     /* line numbers: offsets in units of LINE_SIZE */
	uint32_t hot[LINES_PER_PAGE]; /* the lines of one page */
	uint64_t count;               /* entries of uniform, and of zipf; a power of two */
	uint64_t lines;               /* in the part of the file that they are taken from */
	uint64_t pages;
	struct zipf curve;
};

/*
 * Choose offsets in the first size bytes of the file, with all threads. False after a complaint.
 * Call offsets_free in either case.
 */
bool offsets_make(struct bench *bench, uint64_t size, struct offsets *offsets);
void offsets_free(struct offsets *offsets);

/* Let each thread begin in a different part of the offsets. */
void offsets_spread(struct bench *bench, const struct offsets *offsets);

#endif
