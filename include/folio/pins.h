/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins.h - who holds what: for a program that finds its cache full of pins.
 *
 * Which folios are pinned, and how often, every build says. By whom, down to file, line and thread, is known of pins that were
 * taken where FOLIO_REF_DEBUG is defined: there folio_file_get_page, folio_file_get, folio_alloc, folio_get and
 * folio_put are macros that tell the cache, whatever the library was built with. All of the program has to be
 * compiled so, else a pin that is taken here and put there stays in the list. A cache remembers 4096 of them, those of one folio,
 * thread and line counted once; of what comes when it is full, or when there is no memory for the list (168 KiB, and 4
 * bytes for each page frame), only the number of references is known. A put does not say which pin it gives back: the latest
 * of its thread on that folio is taken out of the list, or else one of which nothing is known, or else the latest of another
 * thread; the last also where the pin was taken while there was no memory for the list. Included by cache.h.
 */
#ifndef FOLIO_PINS_H
#define FOLIO_PINS_H

#include <stdio.h>
#include <sys/types.h>

#include <folio/cache.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Pins that one thread took at one place of the program. */
struct folio_holder {
	const char *file;
	int line;
	pid_t thread;   /* gettid(2) */
	uint32_t count; /* how many, not put yet */
};

/* A folio that somebody holds. */
struct folio_pinned {
	size_t size;               /* of this struct, as the library has it */
	const struct folio *folio; /* to compare with; it may be gone */
	const char *type;          /* "file", "private", or the name of a type of the program's */
	void *owner;               /* what folio_alloc was given; NULL for a file's */
	bool own;                  /* taken with folio_alloc; else it is, or was, a file's */
	bool in_file;              /* not so: its file has dropped it since it was pinned */
	bool dirty;
	bool writeback;      /* on its way to the file */
	uint64_t device;     /* of the file that it is in, as the backend says; else 0 */
	uint64_t inode;      /* likewise */
	uint64_t index;      /* of its first page in the file */
	uint32_t order;      /* 2^order pages */
	uint32_t references; /* beyond the cache's own */

	/* What is known of them, if the program is compiled with FOLIO_REF_DEBUG; the latest first. */
	const struct folio_holder *holder;
	uint32_t holders; /* at most FOLIO_HOLDERS_MAX */
	uint32_t unknown; /* of the references, those that are in none of these */
};

#define FOLIO_HOLDERS_MAX 16u

/** folio_pinned_fn - told of a folio by folio_cache_pins. Returns false to hear of no more. */
typedef bool folio_pinned_fn(const struct folio_pinned *pinned, void *context);

/**
 * folio_cache_pins - which folios are pinned.
 * @cache: an open cache.
 * @tell: called for each, on the calling thread, with no lock held: it may use the cache, and put. NULL: only count.
 * @context: given to @tell.
 *
 * A pin that was there before the call and is there after it is told. One that comes or goes meanwhile may be. Not told
 * are the references of the cache, which every folio of a file has one of, and a dirty one two. Those of calls in flight
 * cannot be told from pins: a look-up, an evictor, the end of a read or a write hold a folio for a moment each, a call that
 * waits for somebody's lock or for the device (folio_file_write, folio_file_sync, folio_file_truncate) as long as it waits; they are
 * counted, also where there is no pin, and are gone when the call has ended. A folio with 2^30 references, to which gets say
 * -EOVERFLOW, is left out.
 *
 * Looks at every descriptor: about a millisecond for each GiB of folio_cache_params.bytes_max, ten where all of it is pinned or
 * dirty. Beside it everything goes on, but that who is out of memory because all is pinned hears of it later: a folio that
 * was looked at may have become free, so he looks again. What @tell is given is its own until it returns.
 *
 * Returns the number of folios that were told; -EINVAL; -ENOMEM when the thread cannot be made known; -ESTALE.
 */
ssize_t folio_cache_pins(struct folio_cache *cache, folio_pinned_fn *tell, void *context);

/**
 * folio_cache_pins_print - which folios are pinned, as text.
 * @cache: an open cache.
 * @stream: where to.
 *
 * A line for each folio, below it one for each holder that is known, and a line with the sums.
 *
 * Returns as folio_cache_pins; whether @stream took it, ferror says.
 */
ssize_t folio_cache_pins_print(struct folio_cache *cache, FILE *stream);

#if defined(FOLIO_REF_AT_PARAMETERS_) && !defined(FOLIO_LIBRARY)
static inline int folio_file_get_page_at_(struct folio_file *file, uint64_t index, unsigned flags,
	struct folio **folio, void **page, const char *source, int line)
{
	int r = folio_file_get_page(file, index, flags, folio, page);

	if (!r)
		folio_pin_taken(*folio, source, line);
	return r;
}

static inline int folio_file_get_at_(struct folio_file *file, uint64_t index, unsigned flags,
	struct folio **folio, const char *source, int line)
{
	void *page;

	return folio_file_get_page_at_(file, index, flags, folio, &page, source, line);
}

static inline int folio_alloc_at_(struct folio_cache *cache, unsigned order, unsigned type,
	void *owner, struct folio **folio, const char *source, int line)
{
	int r = folio_alloc(cache, order, type, owner, folio);

	if (!r)
		folio_pin_taken(*folio, source, line);
	return r;
}

#define folio_file_get_page(...) folio_file_get_page_at_(__VA_ARGS__, __FILE__, __LINE__)
#define folio_file_get(...)      folio_file_get_at_(__VA_ARGS__, __FILE__, __LINE__)
#define folio_alloc(...)         folio_alloc_at_(__VA_ARGS__, __FILE__, __LINE__)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
