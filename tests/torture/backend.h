/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend.h - files for mode cache, whose every byte says what it is.
 *
 * A word of a page is base + place * an odd constant, where base is a mix of file, page and generation that can be
 * undone: one whole word of a page tells where all of it belongs, and checking the rest is a compare.
 *
 * Generations belong to regions of a file, a few pages each. Who changes a region
 *
 *   1  counts `now` up          reads of the backend give the new generation from here on
 *   2  tells the cache          folio_file_invalidate, folio_file_revalidate, folio_file_open
 *   3  raises `done` to it      reads of the cache that begin from here on give it, or a newer one
 *
 * So what a reader may see is at least `done` as he loaded it before the call, and at most `now` as he loads it after.
 */
#ifndef TORTURE_BACKEND_H
#define TORTURE_BACKEND_H

#include <folio/io.h>

#include "torture.h"

#define REGION_PAGES 8u

struct file {
	/* Set at the beginning. */
	unsigned number;
	uint64_t pages_max;
	unsigned regions;
	bool breathes; /* its size changes */
	folio_u64 *now, *done;
	folio_u64 *denied; /* by page: see backend_denied */

	folio_u64 size; /* bytes */
	folio_u64 mtime;
	folio_u64 resizes; /* odd while one is on its way */
	pthread_mutex_t resize_lock;
};

/* File numbers are bytes of the contents; this one marks a program's own folios. */
#define FILE_PRIVATE 255u

/* What a page is. */
struct label {
	unsigned file;
	uint64_t index;      /* 16 bits */
	uint64_t generation; /* 32 bits */
};

#define INDEX_MAX 0xffffu

/* Multiplied by the place of a word in its page. */
#define PLACE     UINT64_C(0xa24baed4963ee407)

uint64_t label_base(struct label label);
/* False: no label makes this base. */
bool label_of(uint64_t base, struct label *label);

/* Fill @bytes bytes from the beginning of a page. */
void label_fill(void *page, size_t bytes, struct label label);

/* The first of @len bytes, @offset bytes from the beginning of the page, that is not as the label says; @len: none. */
size_t label_check(const void *data, size_t offset, size_t len, struct label label);

int backend_open_files(unsigned count, const uint64_t *bytes, bool errors);
void backend_close_files(void);
struct file *backend_file(unsigned number);

/* "file/<number>" */
#define BACKEND_PATH 32
void backend_path(char path[BACKEND_PATH], const struct file *file);

/* Are reads made to fail now and then? */
bool backend_fails(void);
/*
 * Did a read of page @index of @generation or a later one come short of it without the file being shorter? The cache
 * finds that out, but for a folio that was dropped while it was read: that may as well have been cut off by an end of
 * the file that is none any more, and it goes, with zeros, to those who waited for another page of it.
 */
bool backend_denied(const struct file *file, uint64_t index, uint64_t generation);
/* Handles that are open. */
uint64_t backend_handles(void);
uint64_t backend_failures(void);

extern const struct folio_io_ops backend_ops;

#endif
