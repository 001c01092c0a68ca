/* SPDX-License-Identifier: BSD-2-Clause */
/* copy.h - copies from memory that may change while it is copied. */
#ifndef FOLIO_SRC_READ_COPY_H
#define FOLIO_SRC_READ_COPY_H

#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#ifdef SANITIZE_THREAD
/*
 * The one known race: the frame may be overwritten while it is copied. Then the version has
 * changed, and the copy is discarded. Copies byte by byte through volatile, so that the sanitizer's
 * memcpy is not called.
 */
__attribute__((noinline, unused, no_sanitize("thread"))) static void copy_out(
	void *to, const void *from, size_t len)
{
	volatile const char *source = from;
	volatile char *target = to;

	while (len-- > 0)
		*target++ = *source++;
}

#define copy_short copy_out
#else
struct block16 {
	uint64_t word[2];
};

#define COPY_BLOCK(type, to, from)                               \
	do {                                                     \
		type block;                                      \
		__builtin_memcpy(&block, (from), sizeof(block)); \
		__builtin_memcpy((to), &block, sizeof(block));   \
	} while (0)

/*
 * A copy from memory that may change during it; the version check discards such a copy. Short
 * copies are made inline, by blocks that overlap in the middle: a call would cost as much as the
 * copy, and without a call a hit is a leaf function.
 */
static inline __attribute__((always_inline)) void copy_short(char *to, const char *from, size_t len)
{
	if (len > 32) {
		if (unlikely(len > 64)) {
			COPY_BLOCK(struct block16, to + 32, from + 32);
			COPY_BLOCK(struct block16, to + 48, from + 48);
			COPY_BLOCK(struct block16, to + len - 64, from + len - 64);
			COPY_BLOCK(struct block16, to + len - 48, from + len - 48);
		}
		COPY_BLOCK(struct block16, to, from);
		COPY_BLOCK(struct block16, to + 16, from + 16);
		COPY_BLOCK(struct block16, to + len - 32, from + len - 32);
		COPY_BLOCK(struct block16, to + len - 16, from + len - 16);
	} else if (len >= 16) {
		COPY_BLOCK(struct block16, to, from);
		COPY_BLOCK(struct block16, to + len - 16, from + len - 16);
	} else if (len >= 8) {
		COPY_BLOCK(uint64_t, to, from);
		COPY_BLOCK(uint64_t, to + len - 8, from + len - 8);
	} else if (len >= 4) {
		COPY_BLOCK(uint32_t, to, from);
		COPY_BLOCK(uint32_t, to + len - 4, from + len - 4);
	} else {
		to[0] = from[0];
		to[len / 2] = from[len / 2];
		to[len - 1] = from[len - 1];
	}
}

static inline void copy_out(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}
#endif

#endif
