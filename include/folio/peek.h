/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peek.h - read cached pages in place, without a call, a pin or a copy.
 *
 * A peek returns the address of a cached page. The program reads there, and then asks whether what
 * it has read is valid:
 *
 *	const struct folio_view *view;
 *	struct folio_peek peek;
 *	const struct node *node;
 *
 *	r = folio_file_view(file, FOLIO_VIEW_LAYOUT, &view);        (once, after the open)
 *	...
 *	node = folio_peek(view, index, &peek);
 *	if (node) {
 *		found = search(node, key);
 *		if (folio_peek_valid(&peek))
 *			return found;
 *	}
 *	(else: a regular call, folio_file_read or folio_file_get_page)
 *
 * folio_peek_visit does all of that. A peek writes nothing: it counts no hit, it does not keep the
 * page in memory, and it holds up no thread. So it costs the same however many threads peek.
 *
 * Until folio_peek_valid has returned true, the page may change under the reader, and become
 * another page. It stays memory that can be read until its cache is closed. So the rules are:
 *
 *   - Survive garbage: check every offset and length that was read in the page before it is used,
 *     and bound every loop. A pointer that was read in the page must not be followed before
 *     folio_peek_valid.
 *   - Read no field twice: a value that was checked may be another one when it is read again. Read
 *     it into a variable with FOLIO_PEEK_LOAD, check the variable, and use the variable.
 *   - Write nothing to the page, and act on nothing that was read, before folio_peek_valid.
 *   - Close neither the file nor the cache between the two calls, and do not go on with a peek in a
 *     child of fork: the page is not there.
 *
 * Method: a sequence lock around an unlocked walk of the cache's tree. V. Leis et al., "The ART of
 * practical synchronization", DaMoN 2016, and "Virtual-Memory Assisted Buffer Management", SIGMOD
 * 2023, read pages in this way; H. Boehm, "Can seqlocks get along with programming language memory
 * models?", MSPC 2012, has the orders.
 */
#ifndef FOLIO_PEEK_H
#define FOLIO_PEEK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <folio/atomic.h>
#include <folio/folio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A test defines this to stop a peek between two of its loads. */
#ifndef FOLIO_PEEK_PAUSE
#define FOLIO_PEEK_PAUSE() ((void)0)
#endif

struct folio_file;

/*
 * ---- what the inline functions read ----
 *
 * A promise to programs that were compiled with this header: a library whose folio_file_view
 * accepts the same FOLIO_VIEW_LAYOUT has these structs, and these bits. Programs use the functions
 * below, and not the fields.
 */
#define FOLIO_VIEW_LAYOUT 1u

/*
 * log2 of the pages for which a directory has one slot, which tests of the library set to another
 * value; and where a node's own slots begin.
 */
#ifndef FOLIO_VIEW_SHIFT_
#define FOLIO_VIEW_SHIFT_ 6
#endif
#define FOLIO_VIEW_SLOTS_ 64

/* A slot's word: NULL; a folio's address, with the order from bit 2 on; or with one of these. */
#define FOLIO_VIEW_NODE_  1u
#define FOLIO_VIEW_TAGS_  3u

/* A version has one of these flags if the page is to be read by a call, and is 0 after a fork. */
#define FOLIO_VIEW_CALL_  UINT64_C(7)

struct folio_view_slots_ {
	uint64_t count;
	folio_ptr *slot;
};

struct folio_view_tree_ {
	folio_ptr root;
	folio_ptr slots; /* a struct folio_view_slots_ */
	folio_u64 generation;
};

/** struct folio_view - a file, for peeks; its fields belong to the library */
struct folio_view {
	struct folio_view_tree_ *tree; /* of the file */
	uintptr_t version_zero;        /* of a folio whose descriptor had the address 0 */
	uintptr_t data_zero;           /* of the same folio */
};

/** struct folio_peek - one peek, between folio_peek and folio_peek_valid */
struct folio_peek {
	folio_u64 *version; /* of the page's folio */
	uint64_t seen;      /* its value */
};

/**
 * folio_file_view - prepare for peeks
 * @file: an open file.
 * @layout: FOLIO_VIEW_LAYOUT, as the program was compiled.
 * @view: receives the view, which is valid until @file is closed, for any number of threads.
 *
 * Returns 0; -EINVAL; or -ENOTSUP if the library has another layout than the program, or if the
 * kernel cannot keep peeks from a child of fork (MADV_WIPEONFORK, before Linux 4.14). Then the
 * program makes regular calls, or is compiled again.
 */
int folio_file_view(struct folio_file *file, unsigned layout, const struct folio_view **view);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* C++: a struct has the name of the function */
/**
 * folio_peek - look at a cached page in place
 * @view: of an open file.
 * @index: page number in the file; any number.
 * @peek: for folio_peek_valid.
 *
 * Returns the address of the page, FOLIO_PAGE_SIZE bytes, for reading as described above. NULL if
 * the page is to be read by a regular call instead: it is not cached, is being read or changed, the
 * file ends in its folio, eviction wants to record a use of it (until it has been read a few times,
 * and again from time to time; always, if all its reads leave the hot set unchanged), few of the
 * file's pages are cached and they are far apart, or the process is a child of the one that opened
 * the cache.
 *
 * Never waits, and makes no call. Any number of threads may peek, concurrently with all other calls
 * on the file.
 */
FOLIO_INLINE_ const void *folio_peek(
	const struct folio_view *view, uint64_t index, struct folio_peek *peek)
{
	struct folio_view_tree_ *tree = view->tree;
	/* acquire, here and below: as in tree_walk_directory (src/core/walk.h). */
	uint64_t generation = folio_u64_load_acquire(&tree->generation), order;
	struct folio_view_slots_ *slots =
		FOLIO_CAST_(struct folio_view_slots_ *, folio_ptr_load_acquire(&tree->slots));
	uintptr_t entry, number;
	folio_ptr *slot;

	if (__builtin_expect(index >> FOLIO_VIEW_SHIFT_ >= slots->count, 0))
		return NULL;
	FOLIO_PEEK_PAUSE();
	slot = &slots->slot[index >> FOLIO_VIEW_SHIFT_];
	entry = FOLIO_CAST_(uintptr_t, folio_ptr_load_acquire(slot));
	if (entry & FOLIO_VIEW_NODE_) {
		FOLIO_PEEK_PAUSE();
		slot = FOLIO_CAST_(folio_ptr *, entry - FOLIO_VIEW_NODE_ + FOLIO_VIEW_SLOTS_) +
		       (index & ((1u << FOLIO_VIEW_SHIFT_) - 1));
		entry = FOLIO_CAST_(uintptr_t, folio_ptr_load_acquire(slot));
	}
	if (__builtin_expect(!entry || entry & FOLIO_VIEW_TAGS_, 0))
		return NULL;
	FOLIO_PEEK_PAUSE();
	number = entry / sizeof(struct folio);
	peek->version = FOLIO_CAST_(folio_u64 *, view->version_zero + number * sizeof(folio_u64));
	/* acquire: as in version_read_begin (src/core/version.h). */
	peek->seen = folio_u64_load_acquire(peek->version);
	if (__builtin_expect(peek->seen & FOLIO_VIEW_CALL_ || !peek->seen, 0))
		return NULL;
	FOLIO_PEEK_PAUSE();
	/* acquire: as in tree_still. */
	if (__builtin_expect(FOLIO_CAST_(uintptr_t, folio_ptr_load_acquire(slot)) != entry, 0) ||
		__builtin_expect(folio_u64_load_relaxed(&tree->generation) != generation, 0))
		return NULL;
	order = entry >> 2 & 15;
	number += index & ((UINT64_C(1) << order) - 1);
	return FOLIO_CAST_(const void *, view->data_zero + (number << FOLIO_PAGE_SHIFT));
}
#pragma GCC diagnostic pop

/**
 * folio_peek_valid - is all that was read since folio_peek the page, in one state?
 * @peek: from a folio_peek that has not returned NULL.
 *
 * Returns true if what the calling thread has read in the page until now is what the page had, at
 * one moment between folio_peek and this call. False: forget it, and begin again. May be asked more
 * than once; each answer is for what was read before it.
 */
FOLIO_INLINE_ bool folio_peek_valid(const struct folio_peek *peek)
{
	/* acquire: as in version_read_valid. */
	folio_fence_acquire();
	return __builtin_expect(folio_u64_load_relaxed(peek->version) == peek->seen, 1);
}

/*
 * FOLIO_PEEK_LOAD - read one field of a page that may change, once
 * @pointer: to a field of a scalar type; for example &node->key[i].
 *
 * ThreadSanitizer would report each such read, and each folio_peek_copy, as a data race. With it,
 * both read in a way that the sanitizer does not see.
 */
#ifdef __SANITIZE_THREAD__
#define FOLIO_PEEK_SANITIZED_ 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FOLIO_PEEK_SANITIZED_ 1
#endif
#endif
#ifndef FOLIO_PEEK_SANITIZED_
#define FOLIO_PEEK_LOAD(pointer) (*FOLIO_CAST_(const volatile __typeof__(*(pointer)) *, (pointer)))

/** folio_peek_copy - copy bytes of a page that may change, as memcpy(3). */
FOLIO_INLINE_ void folio_peek_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}
#else
__attribute__((no_sanitize("thread"))) FOLIO_INLINE_ void folio_peek_copy(
	void *to, const void *from, size_t len)
{
	const volatile char *source = FOLIO_CAST_(const volatile char *, from);
	volatile char *target = FOLIO_CAST_(volatile char *, to);

	while (len-- > 0)
		*target++ = *source++;
}
#define FOLIO_PEEK_LOAD(pointer)                                                         \
	__extension__({                                                                  \
		typedef __typeof__(*(pointer)) __attribute__((may_alias)) folio_loaded_; \
		char folio_bytes_[sizeof(folio_loaded_)] __attribute__((aligned(16)));   \
		folio_peek_copy(folio_bytes_, (pointer), sizeof(folio_bytes_));          \
		*FOLIO_CAST_(folio_loaded_ *, folio_bytes_);                             \
	})
#endif

/**
 * folio_peek_fn - what a program reads in a page
 * @page: FOLIO_PAGE_SIZE bytes, which may change while they are read.
 * @context: as given to folio_peek_visit; the function stores there what it has found.
 *
 * The rules at the top of this file hold for it. It may be called several times for one visit, and
 * the last call counts: it begins each time by forgetting what it has stored.
 */
typedef void folio_peek_fn(const void *page, void *context);

/**
 * folio_file_visit - call a function on a copy of a page
 * @file: an open file.
 * @index: page number in the file.
 * @visit: called once, if the result is 0.
 * @context: passed to @visit.
 *
 * The copy is consistent, as that of folio_file_read; bytes past the end of the file are zeros.
 *
 * Returns 0; -ENODATA if the page is past the end of the file; or an error of folio_file_read.
 */
int folio_file_visit(struct folio_file *file, uint64_t index, folio_peek_fn *visit, void *context);

/* Peeks of one visit before it copies. Each fails because the page was changed. */
#define FOLIO_PEEK_TRIES 4

/**
 * folio_peek_visit - call a function on a page in place, or on a copy if that is not possible
 * @file: an open file, of which @view is.
 * @view: from folio_file_view, or NULL: then as folio_file_visit.
 * @index: page number in the file.
 * @visit: called once or more; inlined if the compiler sees its definition.
 * @context: passed to @visit.
 *
 * Returns as folio_file_visit. With 0, the last call of @visit has read one state of the page.
 */
FOLIO_INLINE_ int folio_peek_visit(struct folio_file *file, const struct folio_view *view,
	uint64_t index, folio_peek_fn *visit, void *context)
{
	struct folio_peek peek;
	unsigned tries;

	for (tries = 0; view && tries < FOLIO_PEEK_TRIES; tries++) {
		const void *page = folio_peek(view, index, &peek);

		if (!page)
			break;
		visit(page, context);
		if (folio_peek_valid(&peek))
			return 0;
	}
	return folio_file_visit(file, index, visit, context);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
