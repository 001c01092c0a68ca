/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.h - the folio: a run of 2^order pages with one descriptor, one counter and one version.
 *
 * Descriptors and page frames are type-stable: from folio_cache_open to folio_cache_close they stay
 * mapped and writable and are never anything else, so a thread that stalled with a stale pointer can
 * always look at a descriptor and finds out by the counter or the version that it is too late.
 *
 * Two things tell a reader that a folio changed under it:
 *
 *   ref       for those who pin: frozen means "not yours" (ref.h);
 *   version   for those who only copy: even while the contents are good and stay as they are, odd
 *             while the folio is free, being filled, frozen, or a page inside a larger folio. Whoever
 *             freezes also changes the version, since a copying reader takes no reference and is not
 *             kept out by the freeze.
 */
#ifndef FOLIO_FOLIO_H
#define FOLIO_FOLIO_H

#include <folio/ref.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define FOLIO_PAGE_SHIFT 12
#define FOLIO_PAGE_SIZE  4096u
/* The largest folio is 2^9 pages: 2 MiB. */
#define FOLIO_ORDER_MAX  9

/*
 * The descriptor: 64 bytes, 1.6 % of a 4 KiB page. The fields belong to the library; use the
 * functions below. Grouped by who may touch them.
 *
 * Descriptors begin in the middle of a cache line: what who pins writes (the first half) and what a reader looks at
 * (the second) lie in different lines, so that pins of a page and reads of it do not take each other's line away.
 */
struct folio {
	/* Any thread at any time. */
	struct folio_ref ref;
	folio_u32 flags; /* FOLIO_LOCKED and so on; futex word of those who wait */

	/* Set at creation of the pool, never changed. */
	void *data;    /* page frame */
	uint16_t pool; /* which pool the folio belongs to */

	/* Written while the folio is frozen; stable for those who hold a reference. */
	uint8_t type;  /* how it is released: an index into the table of types */
	uint8_t order; /* 2^order pages */

	/* Written under the lock of the room that the folio is in: a queue of evict, or the pool. */
	folio_u8 queue;
	/* Written by the filler. */
	uint8_t refault;     /* it had been evicted not long ago */
	uint16_t error;      /* errno of the read that failed */
	uint32_t next, prev; /* neighbours, as numbers of page frames; guarded as queue is */

	/*
	 * The second half, of which a hit may read all, without a reference: version is written by the holder of the
	 * frozen state or of the lock only, the rest while the version is odd, but for owner, which erase clears under
	 * the lock of the owner's tree.
	 */
	folio_u64 version;
	folio_ptr owner; /* the file's inode; for a program's own types, what the program says */
	uint64_t index;  /* of the first page in the file, in pages */
	folio_u32 valid; /* bytes that are the file's, the rest is zeros; 0 until it is filled */
	folio_u32 heat;  /* what readers tell eviction; written by anybody at any time */
};

/** folio_data - the memory of a folio that the caller has pinned: folio_size bytes, page aligned. */
static inline void *folio_data(const struct folio *folio)
{
	return folio->data;
}

/** folio_order - the folio has 2^order pages. For a folio that the caller has pinned. */
static inline unsigned folio_order(const struct folio *folio)
{
	return folio->order;
}

/** folio_size - bytes of a folio that the caller has pinned. */
static inline size_t folio_size(const struct folio *folio)
{
	return (size_t)FOLIO_PAGE_SIZE << folio->order;
}

/** folio_index - number in its file, in pages, of the first page of a pinned folio. */
static inline uint64_t folio_index(const struct folio *folio)
{
	return folio->index;
}

/**
 * folio_page - the memory of one page of a file.
 * @folio: pinned by folio_file_get, or larger.
 * @index: page number in the file; folio_index .. folio_index + 2^order - 1.
 */
static inline void *folio_page(const struct folio *folio, uint64_t index)
{
	return (char *)folio->data + ((index - folio->index) << FOLIO_PAGE_SHIFT);
}

/**
 * folio_release - release a folio by its own type. For folio_put only.
 * @folio: a folio that the caller's put froze.
 */
void folio_release(struct folio *folio);

/**
 * folio_get - another pin on a folio.
 * @folio: pinned by the caller.
 */
static inline void folio_get(struct folio *folio)
{
	folio_ref_get(&folio->ref);
}

/**
 * folio_put - give a pin back.
 * @folio: pinned by the caller; not to be touched afterwards.
 *
 * Whoever gives back the last reference of a folio that has left its file releases it; this may be any
 * thread. It takes no lock that a program can hold and does not block.
 */
static inline void folio_put(struct folio *folio)
{
	if (__builtin_expect(folio_ref_put(&folio->ref), 0))
		folio_release(folio);
}

/*
 * Of a program that is compiled with FOLIO_REF_DEBUG, for the macros that replace its calls: it took a pin there, it is
 * about to give one back. For folio_cache_pins (pins.h). The string is not copied.
 */
void folio_pin_taken(const struct folio *folio, const char *file, int line);
void folio_pin_put(const struct folio *folio);

#ifdef FOLIO_REF_AT_PARAMETERS_
/* The library's own references are no pins of a program. */
#ifdef FOLIO_LIBRARY
#define FOLIO_PIN_TAKEN_(folio, file, line) ((void)0)
#define FOLIO_PIN_PUT_(folio)               ((void)0)
#else
#define FOLIO_PIN_TAKEN_(folio, file, line) folio_pin_taken(folio, file, line)
#define FOLIO_PIN_PUT_(folio)               folio_pin_put(folio)
#endif

/* With FOLIO_REF_DEBUG misuse is reported with the line of the call, not with one of the lines above. */
static inline void folio_get_at_(struct folio *folio, const char *file, int line)
{
	folio_ref_get_n_at_(&folio->ref, 1, file, line);
	FOLIO_PIN_TAKEN_(folio, file, line);
}

static inline void folio_put_at_(struct folio *folio, const char *file, int line)
{
	/* First: afterwards the folio may be another's, who tells of a pin of his. */
	FOLIO_PIN_PUT_(folio);
	if (__builtin_expect(folio_ref_put_n_at_(&folio->ref, 1, file, line), 0))
		folio_release(folio);
}

#define folio_get(folio) folio_get_at_(folio, __FILE__, __LINE__)
#define folio_put(folio) folio_put_at_(folio, __FILE__, __LINE__)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
