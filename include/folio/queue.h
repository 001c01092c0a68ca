/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.h - completion queues: reads, pins, writes and syncs that wait without a thread.
 *
 * A call that can be served at once returns its result, and leaves nothing in the queue: no entry,
 * no wake-up. Otherwise it returns -EINPROGRESS, and folio_queue_reap returns its entry later. The
 * descriptor of the queue is readable while folio_queue_reap has something to do; a program waits
 * for it with epoll, libuv or io_uring's poll, next to its sockets. Then one thread serves any
 * number of reads (examples/epoll-server.c).
 *
 *	folio_queue_open(cache, &params, &queue);
 *	n = folio_file_read_async(file, buf, len, offset, queue, data);
 *	if (n >= 0)
 *		...the bytes are there...
 *	else if (n == -EINPROGRESS)
 *		...folio_queue_reap returns an entry with this data...
 *
 * No bytes are copied but by the thread that begins a read, and by those that reap: the buffers
 * are touched by no other thread of the library, except those of writes.
 *
 * Any thread may call these functions at any time, also several on one queue; only
 * folio_queue_close excludes other calls on its queue. Each returns -ESTALE in a child after fork:
 * the child has a copy of the descriptor, and should close it without reading it.
 */
#ifndef FOLIO_QUEUE_H
#define FOLIO_QUEUE_H

#include <errno.h>

#include <folio/write.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A completion queue. */
struct folio_queue;

/* Threads of one queue that run writes and syncs, at most. */
#define FOLIO_QUEUE_HELPERS  4u
/* Requests that one queue may have, at most. */
#define FOLIO_QUEUE_REQUESTS 65536u

/** struct folio_queue_params - parameters of folio_queue_open; unused fields must be 0 */
struct folio_queue_params {
	size_t size;       /* sizeof(struct folio_queue_params) */
	uint32_t requests; /* that the queue may have at a time; those not reaped count. 0: 1024 */
	uint32_t flags;    /* must be 0 */
};

/** struct folio_queue_entry - a request that has ended */
struct folio_queue_entry {
	uint64_t data;       /* of the call that began it */
	ssize_t result;      /* what the call without _async would have returned */
	struct folio *folio; /* of folio_file_get_async, if result is 0: pinned; else NULL */
	void *page;          /* likewise: the page's memory */
};

/**
 * folio_queue_open - open a completion queue
 * @cache: the cache whose files it is for.
 * @params: how many requests it may have; NULL: the defaults.
 * @queue: the result.
 *
 * All memory that requests need is allocated here, about 240 bytes for each. Threads: none for
 * reads and pins, unless memory is short. Up to FOLIO_QUEUE_HELPERS threads (folio-queue) begin
 * when they are first needed, and end with the queue. They run writes and syncs that are not
 * served at once, and reads that must wait for memory, or are overtaken by other calls too often.
 * If folio_cache_params.timeout_ms is set, one more thread (folio-timer) watches the deadlines.
 *
 * Returns 0; -EINVAL for a wrong @params; -ENOMEM; -ESTALE; or the error of eventfd(2).
 */
int folio_queue_open(struct folio_cache *cache, const struct folio_queue_params *params,
	struct folio_queue **queue);

/**
 * folio_queue_close - cancel what is in flight, and close a completion queue
 * @queue: the queue; no other call uses it.
 *
 * Waits for what has begun on a thread of the queue: as long as it takes, or, with
 * folio_cache_params.timeout_ms, at most about that time. Entries that were not reaped are
 * dropped, and the pages put that they have pinned. When the call has returned, no buffer of the
 * program is used.
 *
 * Returns 0; -EINVAL; -ESTALE.
 */
int folio_queue_close(struct folio_queue *queue);

/**
 * folio_queue_fd - the descriptor that tells when to call folio_queue_reap
 * @queue: the queue.
 *
 * An eventfd(2), to wait for with poll(2), epoll(7) or io_uring's poll, as readable. The program
 * neither reads nor writes it: folio_queue_reap resets it. It is readable while an entry is there,
 * and also if a request can only go on: then folio_queue_reap returns fewer entries, or none.
 *
 * Returns the descriptor, which is closed with the queue; -EINVAL; -ESTALE.
 */
int folio_queue_fd(struct folio_queue *queue);

/**
 * folio_queue_reap - continue requests, and take those that have ended
 * @queue: the queue.
 * @entries: the result: @max entries.
 * @max: 1 or more. If more have ended, the descriptor stays readable.
 * @timeout_ms: how long to wait for the first entry, in milliseconds. 0: not at all; -1: without a
 *              limit.
 *
 * Copies into the buffers of reads; the thread may have a folio locked (folio_lock). Entries are in
 * no order.
 *
 * Returns the number of entries; 0 after the time, or without a wait also if requests were only
 * continued. Errors: -EINVAL; -ESTALE; -EINTR if a signal handler ran during the wait.
 */
int folio_queue_reap(
	struct folio_queue *queue, struct folio_queue_entry *entries, unsigned max, int timeout_ms);

/**
 * folio_queue_cancel - end requests early
 * @queue: the queue.
 * @data: of the requests, all that have it.
 *
 * Such a request ends with the result -ECANCELED, unless it ends by itself before that is noticed.
 * Its entry must be reaped; until then its buffer may be used. What a thread of the queue runs
 * already ends by itself. A cancelled write may have written a part. Pages whose reading has begun
 * are read.
 *
 * Returns the number of requests that were asked to end; -EINVAL; -ESTALE.
 */
int folio_queue_cancel(struct folio_queue *queue, uint64_t data);

/**
 * folio_file_read_async - copy bytes out of a file, or have it done
 * @file: an open file, which stays open until the request has been reaped.
 * @buf: the destination; belongs to the request until it has been reaped.
 * @len: bytes to read.
 * @offset: bytes from the start of the file.
 * @queue: a queue of the same cache.
 * @data: comes back in the entry.
 *
 * Like folio_file_read. If all of it is cached, the call copies it, without a lock of the queue.
 * Otherwise it starts to read the first pages that are missing, and does not wait for them. If
 * io_depth requests are in flight already, the read waits in the queue for its turn; so does every
 * one that comes after it. If memory is short, a thread of the queue waits for it.
 *
 * Returns the number of bytes copied, if the read is complete; -EINPROGRESS: there will be an
 * entry. Else there will be none: -EAGAIN if the queue has as many requests as it may have (reap
 * some; @buf may have changed); -EINVAL, also for a queue of another cache; and the errors of
 * folio_file_read, which an entry may have as well. With folio_cache_params.timeout_ms an entry
 * has -ETIMEDOUT when that time has passed since the call. -ENOMEM also if memory is short, and
 * there is no thread to wait for it.
 */
ssize_t folio_file_read_async(struct folio_file *file, void *buf, size_t len, uint64_t offset,
	struct folio_queue *queue, uint64_t data);

/**
 * folio_file_get_async - pin a page, or have it done
 * @file: an open file, which stays open until the request has been reaped.
 * @index: number of the page in the file.
 * @queue: a queue of the same cache.
 * @data: comes back in the entry.
 * @folio: the result, if 0 is returned: the folio that holds the page.
 * @page: likewise: the page's memory.
 *
 * Like folio_file_get_page, and waits as folio_file_read_async does. A page in an entry is pinned:
 * folio_put it.
 *
 * Returns 0: the page was cached, and is pinned; -EINPROGRESS: there will be an entry. Else there
 * will be none: -EAGAIN if the queue has as many requests as it may have; -EINVAL; and the errors
 * of folio_file_get_page, which an entry may have as well; -ETIMEDOUT and -ENOMEM as for
 * folio_file_read_async.
 */
int folio_file_get_async(struct folio_file *file, uint64_t index, struct folio_queue *queue,
	uint64_t data, struct folio **folio, void **page);

/**
 * folio_file_write_async - copy bytes into a file, or have it done
 * @file: a file opened with O_RDWR, which stays open until the request has been reaped.
 * @buf: the source; belongs to the request until it has been reaped, and may be read by a thread
 *       of the queue.
 * @len: bytes to write.
 * @offset: bytes from the start of the file.
 * @queue: a queue of the same cache.
 * @data: comes back in the entry.
 *
 * Like folio_file_write. Writes what it can without waiting for the device, a lock or the limit of
 * dirty pages; what is left is written by a thread of the queue. Two requests for the same bytes
 * have no order, unless the first one has been reaped before the second one is begun.
 *
 * Returns the number of bytes written, if that is all that there will be; -EINPROGRESS: there will
 * be an entry, which counts all bytes of the request. Else there will be none: -EAGAIN if the queue
 * has as many requests as it may have, and nothing was written; -ENOMEM if no thread can be
 * started; -EINVAL; and the errors of folio_file_write, which an entry may have as well.
 */
ssize_t folio_file_write_async(struct folio_file *file, const void *buf, size_t len,
	uint64_t offset, struct folio_queue *queue, uint64_t data);

/**
 * folio_file_sync_async - have the data written so far made durable
 * @file: an open file, which stays open until the request has been reaped.
 * @range: pages that this range touches are synced; NULL: all pages.
 * @flags: 0 or FOLIO_SYNC_DATA.
 * @queue: a queue of the same cache.
 * @data: comes back in the entry.
 *
 * Like folio_file_sync, on a thread of the queue. It covers what was written before this call, and
 * by requests that were reaped before it.
 *
 * Returns -EINPROGRESS: there will be an entry, with what folio_file_sync returns. Else there will
 * be none: -EAGAIN if the queue has as many requests as it may have; -ENOMEM if no thread can be
 * started; -EINVAL; -ESTALE.
 */
int folio_file_sync_async(struct folio_file *file, const struct folio_range *range, unsigned flags,
	struct folio_queue *queue, uint64_t data);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
