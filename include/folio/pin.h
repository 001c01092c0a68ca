/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin.h - pins whose cost does not depend on the number of threads.
 *
 * folio_file_get_page pins a page by counting: all threads that pin one page write one cache line.
 * folio_file_pin pins it by publication: the thread stores the page's address in a slot of its own,
 * and whoever wants to take the page looks at all slots first. So a pin and its end are two stores
 * to a line that no other thread writes.
 *
 *	struct folio_pin pin;
 *
 *	r = folio_file_pin(file, index, 0, &pin);
 *	if (!r) {
 *		found = search(pin.page, key);
 *		folio_unpin(&pin);
 *	}
 *
 * Published pins are for pages that are cached, and for a short time. A pin is counted instead if
 * the page must be read first, or is being changed or evicted at this moment; if the thread has
 * eight published pins (FOLIO_PINS_PUBLISHED); and if there is no memory for the thread's slots.
 * Both kinds keep the page in the same way, and folio_unpin ends both. That is why there is another
 * function than folio_put: the count of a folio does not say which thread has published a pin.
 *
 * The price is paid by eviction, invalidation, truncation, the close of a file whose pages do not
 * stay, the split of a large folio, and folio_cache_pins. Once a thread of the process has pinned
 * by publication, each batch of these, of up to 32 folios for eviction and up to 64 for the others,
 * calls membarrier(2), which interrupts the processors on which the process runs for a moment, and
 * looks at 8 slots for each thread. A cache of less than 8 MiB has smaller batches, and so has a
 * file at its ceiling (folio_file_set_share). A process that never calls folio_file_pin calls no
 * membarrier. Where the kernel does not have it (before Linux 4.14, or in a sandbox that forbids it
 * at the first pin), a pin has a full fence instead. If it is forbidden later, no page can be taken
 * any more: calls that need memory fail with -ENOMEM. Files can still be invalidated, but their
 * memory stays in use until it is allowed again, or the cache is closed.
 *
 * Lifetime: folio_file_close and folio_file_invalidate leave a pinned page as it is, as they do for
 * folio_get. folio_cache_close returns -EBUSY and folio_cache_resize, if it needs the page, -EBUSY
 * or -ETIMEDOUT. A page that has left its file is free again some time after folio_unpin: when the
 * cache next evicts or drops pages, or is closed. A thread may end with a pin, which another thread
 * then ends; the slot is in use until then. In a child of fork, the pins of its parent are not
 * pins: the page is not there. folio_unpin may be called for them and does nothing else.
 *
 * Method: hazard pointers (M. Michael, IEEE TPDS 2004) with an asymmetric fence; src/core/publish.h
 * has the protocol.
 */
#ifndef FOLIO_PIN_H
#define FOLIO_PIN_H

#include <folio/file.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Published pins that a thread can have at a time; further ones are counted. */
#define FOLIO_PINS_PUBLISHED 8u

/** struct folio_pin - a pin; the program may copy it, but ends it once */
struct folio_pin {
	struct folio *folio; /* the folio that has the page, perhaps with pages around it */
	void *page;          /* the memory of the page: FOLIO_PAGE_SIZE bytes */
	folio_ptr *slot;     /* where it is published; NULL: it is counted; private */
};

/**
 * folio_file_pin - pin a page, by publication if possible
 * @file: an open file.
 * @index: number of the page in the file: offset / FOLIO_PAGE_SIZE.
 * @flags: 0 or FOLIO_GET_NOWAIT.
 * @pin: the result; unspecified after an error.
 *
 * Like folio_file_get_page: the memory stays as it is until folio_unpin, it may be changed only
 * under folio_lock, and only the bytes inside the file are valid. Any number of threads may call it
 * concurrently, for one page too. Pins of one thread may be ended in any order.
 *
 * Returns and errors: as folio_file_get_page.
 */
int folio_file_pin(struct folio_file *file, uint64_t index, unsigned flags, struct folio_pin *pin);

/**
 * folio_pin_convert - make a published pin a counted one
 * @pin: a pin of the caller.
 *
 * The slot is free again for the thread that pinned. Do this with pins that are kept for long, and
 * in a thread that has many. The result is also a pin of folio_get: it is ended by folio_unpin or
 * by folio_put of @pin->folio. Does nothing with a pin that is counted already.
 *
 * A pin may be handed to another thread, in any way that orders the two threads' accesses, such as
 * a lock or a queue. That thread reads, converts and unpins as its own. It may not have a published
 * pin moved to a slot of its own.
 *
 * Returns 0; -EINVAL if @pin is NULL; or -EOVERFLOW if the page has 2^30 references, in which case
 * @pin is unchanged.
 */
int folio_pin_convert(struct folio_pin *pin);

/**
 * folio_unpin - end a pin
 * @pin: from folio_file_pin; neither it nor a copy may be used afterwards.
 *
 * May be called on any thread. Takes no lock that a program can hold and does not block.
 */
FOLIO_INLINE_ void folio_unpin(struct folio_pin *pin)
{
	/* release: pairs with the scan of a freezer; what was read in the page was read before. */
	if (__builtin_expect(pin->slot != NULL, 1))
		folio_ptr_store_release(pin->slot, NULL);
	else
		folio_put(pin->folio);
}

/* With FOLIO_REF_DEBUG, a pin is recorded with the line of the call (pins.h). */
#if defined(FOLIO_REF_AT_PARAMETERS_) && !defined(FOLIO_LIBRARY)
static inline int folio_file_pin_at_(struct folio_file *file, uint64_t index, unsigned flags,
	struct folio_pin *pin, const char *line_file, int line)
{
	int r = folio_file_pin(file, index, flags, pin);

	if (!r)
		folio_pin_taken(pin->folio, line_file, line);
	return r;
}

static inline void folio_unpin_at_(struct folio_pin *pin, const char *file, int line)
{
	if (!pin->slot) {
		folio_put_at_(pin->folio, file, line);
		return;
	}
	folio_pin_put(pin->folio);
	folio_ptr_store_release(pin->slot, NULL);
}

#define folio_file_pin(...) folio_file_pin_at_(__VA_ARGS__, __FILE__, __LINE__)
#define folio_unpin(pin)    folio_unpin_at_(pin, __FILE__, __LINE__)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
