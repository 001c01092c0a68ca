/* SPDX-License-Identifier: BSD-2-Clause */
/* submit.c - beginning requests: what can be done at once is, and takes no request. */
#include <errno.h>

#include "base/compiler.h"
#include "cache/call.h"
#include "read/demand.h"
#include "read/hit.h"
#include "read/read.h"
#include "write/write.h"
#include "async/request.h"

static bool is_valid(const struct folio_file *file, const struct folio_queue *queue)
{
	return file && queue && file->cache == queue->cache;
}

/* Run a new request. @wait: it must not overtake others. Returns true if it has its result. */
static bool run_new(struct request *request, bool wait)
{
	if (!wait)
		return request_run(request);
	request_wait_turn(request);
	return false;
}

/* End a request that has its result, without an entry. */
static ssize_t end_at_once(struct request *request)
{
	struct folio_queue *queue = request->queue;
	ssize_t result = request->result;

	pthread_mutex_lock(&queue->lock);
	request_end(request);
	pthread_mutex_unlock(&queue->lock);
	return result;
}

/* As read_touch, but does not wait for a slot to read ahead. */
static __attribute__((noinline)) ssize_t touch(
	struct folio_file *file, struct folio *folio, size_t len, uint64_t offset)
{
	bool once = streams_once(&file->streams);

	if (heat_record(&file->cache->pool, folio, offset, len, once))
		read_ahead(file, offset >> FOLIO_PAGE_SHIFT, once, true,
			thread_enter(file->cache, file->cache_id));
	return (ssize_t)len;
}

/* ---- read ---- */

/* Copy what is cached. Returns -EAGAIN, with *done, if a page is not; else the result. */
static ssize_t read_cached(
	struct folio_file *file, char *buf, size_t len, uint64_t offset, size_t *done)
{
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	int r = call_begin(&call, file->cache, file->cache_id, true);

	if (r)
		return r;
	call.until = NULL;
	call.once = streams_once(&file->streams);
	call.cached_only = true;
	call.free_slots = true;
	read_by_tree(&op, buf, len, offset, done);
	if (op.stopped && call.error == -EAGAIN)
		return -EAGAIN;
	return op.stopped && !*done ? call.error : (ssize_t)*done;
}

/* Begin a read of which some pages are not cached. */
static __attribute__((noinline)) ssize_t read_missing(
	const struct request *given, struct folio_queue *queue)
{
	bool wait;
	struct request *request = request_begin(queue, given, &wait);

	if (!request)
		return -EAGAIN;
	return run_new(request, wait) ? end_at_once(request) : -EINPROGRESS;
}

ssize_t folio_file_read_async(struct folio_file *file, void *buf, size_t len, uint64_t offset,
	struct folio_queue *queue, uint64_t data)
{
	struct folio *cold;
	size_t done;
	ssize_t r;

	if (!is_valid(file, queue) || !read_is_valid(buf, len, offset))
		return -EINVAL;
	if (thread_hit(file->cache_id) && read_hit(file, buf, len, offset, &cold, true))
		return unlikely(cold) ? touch(file, cold, len, offset) : (ssize_t)len;
	r = read_cached(file, buf, len, offset, &done);
	if (r != -EAGAIN)
		return r;
	return read_missing(&(struct request){.file = file,
				    .kind = REQUEST_READ,
				    .data = data,
				    .buf = buf,
				    .len = len,
				    .offset = offset,
				    .done = done},
		queue);
}

/* ---- get ---- */

/*
 * Pin a page if it is cached. Returns -EAGAIN if it is not, or a fill must be awaited; or if the
 * page is to get a folio of its own first, as in get_any (read/hit.c).
 */
static int get_cached(struct folio_file *file, uint64_t index, struct folio **folio, void **page)
{
	struct pin_try pin;
	struct folio *found;

	if (!thread_enter(file->cache, file->cache_id))
		return -ESTALE;
	found = pin_begin(file, index, &pin, true);
	if (!found)
		return -EAGAIN;
	if (!pin_holds(file, found, index, &pin) || pin_may_split(file, found, &pin)) {
		folio_put(found);
		return -EAGAIN;
	}
	stats_add(thread_enter(file->cache, file->cache_id), STAT_HITS, 1);
	pin_note(file->inode);
	*folio = found;
	*page = entry_data(file, pin.entry) + pin.in_folio;
	if (unlikely(pin.version & VERSION_TOUCH))
		touch(file, found, FOLIO_PAGE_SIZE, index << FOLIO_PAGE_SHIFT);
	return 0;
}

int folio_file_get_async(struct folio_file *file, uint64_t index, struct folio_queue *queue,
	uint64_t data, struct folio **folio, void **page)
{
	struct request given = {.file = file, .kind = REQUEST_GET, .data = data}, *request;
	bool wait;
	int r;

	if (!is_valid(file, queue) || !folio || !page)
		return -EINVAL;
	r = get_cached(file, index, folio, page);
	if (r != -EAGAIN)
		return r;
	/* No file has such a page. */
	if (index > INT64_MAX >> FOLIO_PAGE_SHIFT)
		return -ENODATA;
	given.offset = index << FOLIO_PAGE_SHIFT;
	request = request_begin(queue, &given, &wait);
	if (!request)
		return -EAGAIN;
	if (!run_new(request, wait))
		return -EINPROGRESS;
	if (!request->result) {
		*folio = request->folio;
		*page = request->page;
	}
	return (int)end_at_once(request);
}

/* ---- write and sync ---- */

/*
 * Write what can be written without waiting; *done: bytes. Returns -EAGAIN if it would have waited;
 * else the result.
 */
static ssize_t write_now(
	struct folio_file *file, const char *buf, size_t len, uint64_t offset, size_t *done)
{
	struct call call;
	struct write_op op = {
		.call = &call,
		.file = file,
		.buf = buf,
		.left = len,
		.offset = offset,
	};
	int r;

	*done = 0;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	call.once = streams_once(&file->streams);
	r = write_at_once(&op);
	*done = (size_t)(op.offset - offset);
	if (r == -EAGAIN)
		return r;
	return *done ? (ssize_t)*done : r;
}

/* Begin a request for the helpers. */
static int help(const struct request *given, struct folio_queue *queue)
{
	bool wait;
	struct request *request = request_begin(queue, given, &wait);
	int r;

	if (!request)
		return -EAGAIN;
	pthread_mutex_lock(&queue->lock);
	r = helper_queue(request, &queue->jobs);
	if (r)
		request_end(request);
	pthread_mutex_unlock(&queue->lock);
	return r ? r : -EINPROGRESS;
}

ssize_t folio_file_write_async(struct folio_file *file, const void *buf, size_t len,
	uint64_t offset, struct folio_queue *queue, uint64_t data)
{
	size_t done;
	ssize_t r;

	if (!is_valid(file, queue) || (!buf && len) || len > INT64_MAX)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (offset > INT64_MAX - len)
		return -EFBIG;
	r = write_now(file, buf, len, offset, &done);
	if (r != -EAGAIN)
		return r;
	r = help(&(struct request){.file = file,
			 .kind = REQUEST_WRITE,
			 .data = data,
			 .buf = (char *)(uintptr_t)buf, /* only read */
			 .len = len,
			 .offset = offset,
			 .done = done},
		queue);
	return r != -EINPROGRESS && done ? (ssize_t)done : r;
}

int folio_file_sync_async(struct folio_file *file, const struct folio_range *range, unsigned flags,
	struct folio_queue *queue, uint64_t data)
{
	struct request given = {
		.file = file, .kind = REQUEST_SYNC, .data = data, .whole = !range, .flags = flags};

	if (!is_valid(file, queue) || flags & ~FOLIO_SYNC_DATA)
		return -EINVAL;
	if (!thread_enter(file->cache, file->cache_id))
		return -ESTALE;
	if (range)
		given.range = *range;
	return help(&given, queue);
}
