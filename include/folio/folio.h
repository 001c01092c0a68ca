/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.h - the folio: a run of 2^order pages with one descriptor, one counter and one version.
 *
 * Descriptors and page frames are type-stable: from folio_cache_open, or from the first use of a
 * frame, to folio_cache_close they stay mapped and writable and are never used for anything else. A
 * thread that stalled with a stale pointer can therefore always read the descriptor; the counter or
 * the version shows that it is too late.
 *
 * A reader detects in one of two ways that a folio changed:
 *
 *   ref       for readers that pin: frozen means that the folio cannot be taken (ref.h);
 *   version   for readers that copy: even while the contents are valid and do not change; odd while
 *             the folio is free, being filled, frozen, or a page inside a larger folio. A thread
 *             that freezes a folio also changes its version, because a reader that copies takes no
 *             reference and is not stopped by the freeze.
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

#ifdef __cplusplus
static_assert(
#else
_Static_assert(
#endif
	sizeof(void *) == 8,
	"folio runs on 64-bit systems only: a cache reserves addresses for its largest budget, and "
	"its descriptors and trees have 64-bit words that hold pointers");

/*
 * The descriptor: a cache line of 64 bytes, 1.6 % of a 4 KiB page. The fields belong to the
 * library; use the functions below. They are grouped by the rule for access. The version is not in
 * it, but in an array of the library: pins write the descriptor, and readers that copy do not load
 * it.
 */
struct folio {
	/* Any thread at any time. */
	struct folio_ref ref;
	folio_u32 flags; /* FOLIO_LOCKED and so on; the futex word that waiters sleep on */

	/* Set when the pool is created, never changed. */
	void *data;    /* page frame */
	uint16_t pool; /* which pool the folio belongs to */

	/* Written while the folio is frozen; stable for a thread that holds a reference. */
	uint8_t type;  /* how it is released: an index into the table of types */
	uint8_t order; /* 2^order pages */

	/* Written under the lock of the folio's container: an eviction queue or the pool. */
	folio_u8 queue;
	/* Written by the filler; refault also under the lock of the eviction queue. */
	uint8_t refault; /* whether it had been evicted recently */
	union {
		uint16_t error;  /* of a read that failed; private */
		uint16_t former; /* of a page in the tree: the shadow that it replaced; private */
	};
	uint32_t next, prev; /* neighbours, as numbers of page frames; guarded as queue is */

	/*
	 * Written while the version is odd, except that erase clears owner under the lock of the
	 * owner's tree.
	 */
	folio_ptr owner; /* the file's inode; for folio_alloc, the program's pointer */
	uint64_t index;  /* of the first page in the file, in pages */
	folio_u32 valid; /* bytes that belong to the file, then zeros; 0 until it is filled */
	folio_u32 heat;  /* use by readers, for eviction; any thread may write it at any time */
} __attribute__((aligned(64)));

/** folio_data - the memory of a pinned folio: folio_size bytes, page aligned. */
FOLIO_INLINE_ void *folio_data(const struct folio *folio)
{
	return folio->data;
}

/** folio_order - the order of a pinned folio, which has 2^order pages; see folio_size. */
FOLIO_INLINE_ unsigned folio_order(const struct folio *folio)
{
	return folio->order;
}

/** folio_size - the size of a pinned folio in bytes. */
FOLIO_INLINE_ size_t folio_size(const struct folio *folio)
{
	size_t page_size = FOLIO_PAGE_SIZE;

	return page_size << folio->order;
}

/** folio_index - the page number in the file of the first page of a pinned folio. */
FOLIO_INLINE_ uint64_t folio_index(const struct folio *folio)
{
	return folio->index;
}

/**
 * folio_page - the memory of one page of a pinned folio
 * @folio: pinned by the caller, for example with folio_file_get; of one page or more.
 * @index: page number in the file; folio_index .. folio_index + 2^order - 1.
 *
 * Returns the address of the page, FOLIO_PAGE_SIZE bytes.
 */
FOLIO_INLINE_ void *folio_page(const struct folio *folio, uint64_t index)
{
	return FOLIO_CAST_(char *, folio->data) + ((index - folio->index) << FOLIO_PAGE_SHIFT);
}

/**
 * folio_release - release a folio as its type requires; for folio_put only
 * @folio: a folio that the caller's put froze.
 */
void folio_release(struct folio *folio);

/**
 * folio_get - take another pin on a folio
 * @folio: pinned by the caller.
 */
FOLIO_INLINE_ void folio_get(struct folio *folio)
{
	folio_ref_get(&folio->ref);
}

/**
 * folio_put - release a pin
 * @folio: pinned by the caller; must not be accessed afterwards.
 *
 * The thread that puts the last reference of a folio that has left its file releases the folio;
 * this may be any thread. The release takes no lock that a program can hold and does not block.
 */
FOLIO_INLINE_ void folio_put(struct folio *folio)
{
	if (__builtin_expect(folio_ref_put(&folio->ref), 0))
		folio_release(folio);
}

/*
 * For the macros of FOLIO_REF_DEBUG, and so for folio_cache_pins (pins.h): the program took a pin
 * at this line; it is about to put one. The string is not copied.
 */
void folio_pin_taken(const struct folio *folio, const char *file, int line);
void folio_pin_put(const struct folio *folio);

#ifdef FOLIO_REF_AT_PARAMETERS_
/* A line of the program, passed by value. */
struct folio_place_ {
	const char *file;
	int line;
};

#ifdef __cplusplus
#define FOLIO_HERE_ (folio_place_{__FILE__, __LINE__})
#else
#define FOLIO_HERE_ ((struct folio_place_){__FILE__, __LINE__})
#endif

/* The library's own references are not pins of the program. */
#ifdef FOLIO_LIBRARY
#define FOLIO_PIN_TAKEN_(folio, file, line) ((void)0)
#define FOLIO_PIN_PUT_(folio)               ((void)0)
#else
#define FOLIO_PIN_TAKEN_(folio, file, line) folio_pin_taken(folio, file, line)
#define FOLIO_PIN_PUT_(folio)               folio_pin_put(folio)
#endif

/* With FOLIO_REF_DEBUG, misuse is reported with the line of the call, not with a line above. */
static inline void folio_get_at_(struct folio *folio, const char *file, int line)
{
	folio_ref_get_n_at_(&folio->ref, 1, file, line);
	FOLIO_PIN_TAKEN_(folio, file, line);
}

static inline void folio_put_at_(struct folio *folio, const char *file, int line)
{
	/* First: after the put, the folio may have a new user, which records a pin of its own. */
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
