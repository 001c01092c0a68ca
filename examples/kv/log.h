/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - the log: what has changed in pages since the last checkpoint.
 *
 * A file of folio's in a small cache of its own, since the pages' cache calls log_flush before it
 * writes a page, and that must not wait for the same cache.
 *
 *	page 0, page 1   headers: the one with the larger generation counts
 *	page 2 ...       the records of that generation
 *
 * A log sequence number (LSN) counts all bytes of records since the store was made; a record has
 * that of its end. A record's checksum includes the generation, and the log ends at the first
 * record that is not whole. So a checkpoint need not erase anything: it writes a header, with a new
 * generation and the LSN at which it begins (the base), to the page of the older one.
 *
 * Torn pages. Write-back is not atomic: after a power cut, a page may be half old and half new, and
 * no change can be applied to that. So the first change of a page in each generation is logged as
 * an image of the whole page. Replay begins with the image and needs nothing of the page itself.
 */
#ifndef KV_LOG_H
#define KV_LOG_H

#include <pthread.h>

#include "node.h"

enum log_kind {
	LOG_IMAGE = 1, /* a page, without its free bytes */
	LOG_PUT,
	LOG_DELETE,
};

struct record {
	uint32_t crc;    /* CRC-32C of the generation and the bytes that follow */
	uint32_t len;    /* bytes with this header */
	uint64_t lsn;    /* of the end */
	uint32_t number; /* of the page */
	uint16_t kind;
	uint16_t key_len;
	unsigned char data[];
};

enum { LOG_RECORD_MAX = sizeof(struct record) + NODE_BYTES, LOG_TAIL = 16 * NODE_BYTES };

struct log {
	pthread_mutex_t lock;
	struct folio_cache *cache;
	struct folio_file *file;
	uint64_t generation, base; /* of the header in use */
	uint64_t pages;            /* how many the tree had at the base */
	uint64_t end, durable;     /* LSNs */
	int error;                 /* not 0: the log failed, for good */
	/* The last bytes, from a page of the log on; all before them are in the file. */
	uint64_t tail_at; /* offset in the file */
	char *tail;       /* LOG_TAIL bytes, zeros from the end on */
};

/* Opens the file, or makes it, and reads the header. generation 0: there is none. */
int log_open(struct log *log, const char *path, const struct folio_io_ops *io, void *context);
/* Without a flush. */
void log_close(struct log *log);

/* Appends a record of @len bytes, whose kind, number, key_len and data are set. Sets its lsn. */
int log_append(struct log *log, struct record *record, uint32_t len);
/* Returns when the records up to @lsn are durable. Any number of threads share syncs. */
int log_flush(struct log *log, uint64_t lsn);
/* The LSN of the last record. */
uint64_t log_end(struct log *log);
/* Begins a new generation. The caller has made durable all pages, and nothing is appended. */
int log_begin(struct log *log, uint64_t pages);

/* Reads the record that begins at log->end, and moves it. Returns 1, or 0: the log ends there. */
int log_next(struct log *log, struct record *record);

#endif
