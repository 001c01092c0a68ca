/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins.h - which folios are pinned, and their holders, for a program whose cache is full of pins.
 *
 * Every build reports which folios are pinned and how often. File, line and thread of a pin are
 * known if it was taken in code compiled with FOLIO_REF_DEBUG, whatever the library was built
 * with: there folio_file_get_page, folio_file_get, folio_file_pin, folio_unpin, folio_alloc,
 * folio_get and folio_put are macros that report to the cache. Of a published pin (pin.h) the
 * thread is known in every build. The entire program must be compiled that way: a pin taken with
 * it and put without it stays in the list.
 *
 * A cache records 4096 entries; pins of one folio, thread and line share an entry. If the list is
 * full, or if there is no memory for it (168 KiB, and 4 bytes per page frame), only the number of
 * references is known. A put does not name the pin that it ends. The cache removes the latest pin
 * of the same thread on that folio; else it assumes a pin that was not recorded; else it removes
 * the latest pin of another thread. It does the last also if the pin was taken while there was no
 * memory for the list.
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

/** struct folio_holder - pins that one thread took at one line of the program */
struct folio_holder {
	const char *file; /* as __FILE__; NULL: a published pin (pin.h), not recorded */
	int line;         /* line in it */
	pid_t thread;     /* gettid(2) of the thread that pinned; 0: it has ended */
	uint32_t count;   /* pins that are not put yet */
};

/** struct folio_pinned - a folio that is pinned, as folio_cache_pins reports it */
struct folio_pinned {
	size_t size;               /* of this struct, as the library has it */
	const struct folio *folio; /* for comparison only; it may be free by now */
	const char *type;          /* "file", "private", or the name of a user-defined type */
	void *owner;               /* as given to folio_alloc; NULL for a folio of a file */
	bool own;                  /* allocated with folio_alloc; else it is, or was, a file's */
	bool in_file;              /* false: its file has dropped it since it was pinned */
	bool dirty;                /* has changes that its file does not have yet */
	bool writeback;            /* being written back */
	uint64_t device;           /* of its file, as the backend reports it; else 0 */
	uint64_t inode;            /* likewise */
	uint64_t index;            /* of its first page in the file */
	uint32_t order;            /* 2^order pages */
	uint32_t references;       /* beyond the cache's own; published pins are among them */

	/*
	 * The threads of published pins are always known, other holders if the program is compiled
	 * with FOLIO_REF_DEBUG:
	 */

	const struct folio_holder *holder; /* the holders, the latest first */
	uint32_t holders;                  /* their number, at most FOLIO_HOLDERS_MAX */
	uint32_t unknown;                  /* references that belong to none of these holders */

	uint32_t published; /* pins that are published (pin.h) */
};

#define FOLIO_HOLDERS_MAX 16u

/** folio_pinned_fn - called for each folio by folio_cache_pins. Returns false to stop the scan. */
typedef bool folio_pinned_fn(const struct folio_pinned *pinned, void *context);

/**
 * folio_cache_pins - list the pinned folios
 * @cache: an open cache.
 * @visit: called for each, on the calling thread and without a lock: it may use the cache, and
 *         put folios. Its argument is valid until it returns. NULL: only count.
 * @context: passed to @visit.
 *
 * Reports every pin that exists during the entire call; one that begins or ends during it may be
 * reported. The cache's own references are not: one for a folio of a file, two if it is dirty.
 * A published pin (pin.h) that is converted during the call may be counted twice. Calls in flight
 * look like pins and are reported until they end. Lookups, eviction and the end of a request hold a
 * folio for a moment; a call that waits for a lock or for the device (folio_file_write,
 * folio_file_sync, folio_file_truncate) holds it while it waits. A folio with 2^30 references, for
 * which gets return -EOVERFLOW, is left out.
 *
 * Scans every descriptor: about 1 ms per GiB of folio_cache_params.bytes_max, 10 ms per GiB if
 * all of it is pinned or dirty. Other calls continue; only a thread that runs out of memory
 * because everything is pinned gets its error later: it scans again, since a folio may have
 * become free.
 *
 * Returns the number of folios reported; -EINVAL; -ESTALE.
 */
ssize_t folio_cache_pins(struct folio_cache *cache, folio_pinned_fn *visit, void *context);

/**
 * folio_cache_pins_print - print the pinned folios as text
 * @cache: an open cache.
 * @stream: the destination.
 *
 * Prints a line per folio, below it a line per known holder, and a line with the totals.
 *
 * Returns as folio_cache_pins. Check @stream with ferror(3).
 */
ssize_t folio_cache_pins_print(struct folio_cache *cache, FILE *stream);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
