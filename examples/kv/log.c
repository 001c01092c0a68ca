/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "crc.h"
#include "log.h"

enum { LOG_MAGIC = 0x676f6c6b, LOG_START = 2 * NODE_BYTES, LOG_CACHE = 2 << 20 };

struct header {
	uint32_t crc, magic;
	uint64_t generation, base, pages;
};

/* A write is short only if an error stopped it: the next call returns that error. */
static int write_all(struct folio_file *file, const char *bytes, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = folio_file_write(file, bytes, len, offset);

		if (n < 0)
			return (int)n;
		bytes += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static uint64_t offset_of(const struct log *log, uint64_t lsn)
{
	return LOG_START + (lsn - log->base);
}

static int read_headers(struct log *log)
{
	struct header header;
	unsigned i;

	for (i = 0; i < 2; i++) {
		ssize_t n = folio_file_read(log->file, &header, sizeof(header), i * NODE_BYTES);

		if (n < 0)
			return (int)n;
		if (n != sizeof(header) || header.magic != LOG_MAGIC ||
			header.crc != crc32c(0, (char *)&header + 4, sizeof(header) - 4) ||
			header.generation <= log->generation)
			continue;
		log->generation = header.generation;
		log->base = log->end = log->durable = header.base;
		log->pages = header.pages;
	}
	return 0;
}

int log_open(struct log *log, const char *path, const struct folio_io_ops *io, void *context)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = LOG_CACHE, .io = io, .io_context = context};
	int r;

	*log = (struct log){.base = 1, .end = 1, .durable = 1, .tail_at = LOG_START};
	pthread_mutex_init(&log->lock, NULL);
	if (posix_memalign((void **)&log->tail, NODE_BYTES, LOG_TAIL))
		return -ENOMEM;
	memset(log->tail, 0, LOG_TAIL);
	r = folio_cache_open(&params, &log->cache);
	if (!r)
		r = folio_file_open(log->cache, path, O_RDWR | O_CREAT, 0644, &log->file);
	return r ? r : read_headers(log);
}

void log_close(struct log *log)
{
	/* What matters has been synced; a page that cannot be written is given up. */
	if (log->file)
		folio_file_abandon(log->file);
	if (log->cache)
		folio_cache_close(log->cache);
	free(log->tail);
	pthread_mutex_destroy(&log->lock);
}

static uint32_t checksum(const struct log *log, const struct record *record)
{
	uint32_t crc = crc32c(0, &log->generation, sizeof(log->generation));

	return crc32c(crc, (const char *)record + 4, record->len - 4);
}

/*
 * Whole pages are written, so that folio need not read them first. Bytes of the last one that are
 * durable already are written again, unchanged: sector by sector, tearing does not harm them.
 */
static int write_tail_locked(struct log *log)
{
	uint64_t used = offset_of(log, log->end) - log->tail_at;
	size_t len = (used + NODE_BYTES - 1) / NODE_BYTES * NODE_BYTES, whole;

	if (!log->error)
		log->error = write_all(log->file, log->tail, len, log->tail_at);
	if (log->error)
		return log->error;
	whole = used / NODE_BYTES * NODE_BYTES;
	memmove(log->tail, log->tail + whole, len - whole);
	memset(log->tail + (len - whole), 0, whole);
	log->tail_at += whole;
	return 0;
}

int log_append(struct log *log, struct record *record, uint32_t len)
{
	const char *bytes = (const char *)record;
	uint32_t used, part;
	int r;

	pthread_mutex_lock(&log->lock);
	r = log->error;
	record->len = len;
	record->lsn = log->end + len;
	record->crc = checksum(log, record);
	while (!r && len) {
		used = (uint32_t)(offset_of(log, log->end) - log->tail_at);
		part = len < LOG_TAIL - used ? len : LOG_TAIL - used;
		memcpy(log->tail + used, bytes, part);
		log->end += part;
		bytes += part;
		len -= part;
		if (used + part == LOG_TAIL)
			r = write_tail_locked(log);
	}
	pthread_mutex_unlock(&log->lock);
	return r;
}

int log_flush(struct log *log, uint64_t lsn)
{
	uint64_t end;
	int r;

	pthread_mutex_lock(&log->lock);
	if (lsn <= log->durable || log->error) {
		r = lsn <= log->durable ? 0 : log->error;
		pthread_mutex_unlock(&log->lock);
		return r;
	}
	end = log->end;
	r = write_tail_locked(log);
	pthread_mutex_unlock(&log->lock);
	/* Threads that come here together share one sync: that is the group commit. */
	if (!r)
		r = folio_file_sync(log->file, NULL, FOLIO_SYNC_DATA);
	pthread_mutex_lock(&log->lock);
	if (r)
		log->error = log->error ? log->error : r;
	else if (log->durable < end)
		log->durable = end;
	pthread_mutex_unlock(&log->lock);
	return r;
}

uint64_t log_end(struct log *log)
{
	uint64_t end;

	pthread_mutex_lock(&log->lock);
	end = log->end;
	pthread_mutex_unlock(&log->lock);
	return end;
}

int log_begin(struct log *log, uint64_t pages)
{
	union {
		struct header header;
		char bytes[NODE_BYTES];
	} page = {.bytes = {0}};
	int r;

	pthread_mutex_lock(&log->lock);
	r = log->error;
	page.header = (struct header){.magic = LOG_MAGIC,
		.generation = log->generation + 1,
		.base = log->end,
		.pages = pages};
	page.header.crc = crc32c(0, page.bytes + 4, sizeof(page.header) - 4);
	if (!r)
		r = write_all(
			log->file, page.bytes, NODE_BYTES, page.header.generation % 2 * NODE_BYTES);
	/* The lock is held: until the header is durable, no record may overwrite the old ones. */
	if (!r)
		r = folio_file_sync(log->file, NULL, FOLIO_SYNC_DATA);
	if (r) {
		log->error = r;
	} else {
		log->generation++;
		log->base = log->durable = log->end;
		log->pages = pages;
		log->tail_at = LOG_START;
		memset(log->tail, 0, LOG_TAIL);
	}
	pthread_mutex_unlock(&log->lock);
	return r;
}

int log_next(struct log *log, struct record *record)
{
	uint64_t offset = offset_of(log, log->end);
	ssize_t n = folio_file_read(log->file, record, sizeof(*record), offset);

	if (n < 0)
		return (int)n;
	if (n != sizeof(*record) || record->len < sizeof(*record) || record->len > LOG_RECORD_MAX ||
		record->lsn != log->end + record->len)
		return 0;
	n = folio_file_read(
		log->file, record->data, record->len - sizeof(*record), offset + sizeof(*record));
	if (n < 0)
		return (int)n;
	if (n != (ssize_t)(record->len - sizeof(*record)) || record->crc != checksum(log, record))
		return 0;
	/* Pages that recovery has changed may be written back already: log_flush reads this. */
	pthread_mutex_lock(&log->lock);
	log->end = log->durable = record->lsn;
	pthread_mutex_unlock(&log->lock);
	return 1;
}
