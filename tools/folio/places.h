/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * places.h - where in a file lines of 64 bytes are read or written: arrays made beforehand, so that no generator is measured.
 */
#ifndef FOLIO_TOOLS_PLACES_H
#define FOLIO_TOOLS_PLACES_H

#include "bench.h"
#include "random.h"

#define LINES_PER_PAGE (FOLIO_PAGE_SIZE / LINE_SIZE)
#define ZIPF_EXPONENT  0.99

struct places {
	uint32_t *uniform, *zipf;     /* numbers of lines */
	uint32_t hot[LINES_PER_PAGE]; /* the lines of one page */
	uint64_t count;               /* of uniform and of zipf, a power of two */
	uint64_t lines;               /* in the part of the file that is meant */
	uint64_t pages;
	struct zipf curve;
};

/* In the first size bytes of the file, with all threads. False after a complaint; to be freed in any case. */
bool places_make(struct bench *bench, uint64_t size, struct places *places);
void places_free(struct places *places);

/* All threads begin in different parts of the places. */
void places_spread(struct bench *bench, const struct places *places);

#endif
