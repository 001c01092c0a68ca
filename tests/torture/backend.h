/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend.h - files for mode cache in which every byte identifies itself.
 *
 * A word of a page is base + its index in the page * an odd constant. The base is an invertible mix
 * of file, page and generation. So one complete word identifies the page, and the rest of the page
 * is checked by comparing.
 *
 * Generations belong to regions of a file, a few pages each. To change a region, a thread
 *
 *   1  increments `now`         from here on the backend's reads return the new generation
 *   2  notifies the cache       folio_file_invalidate, folio_file_revalidate, folio_file_open
 *   3  raises `done` to it      reads of the cache that begin from here on return it or a newer one
 *
 * So a reader may see generations from `done`, loaded before the call, to `now`, loaded after it.
 */
#ifndef TORTURE_BACKEND_H
#define TORTURE_BACKEND_H

#include <folio/io.h>

#include "torture.h"

#define REGION_PAGES 8u

struct file {
	/* Set once, at the beginning. */
	unsigned number;
	uint64_t pages_max;
	unsigned regions;
	bool is_resized; /* its size changes */
	folio_u64 *now, *done;
	folio_u64 *denied; /* by page: see backend_denied */

	folio_u64 size; /* bytes */
	folio_u64 mtime;
	folio_u64 resizes; /* odd while a resize is in progress */
	pthread_mutex_t resize_lock;
};

/* A file number is one byte of the contents. This one marks a program's private folios. */
#define FILE_PRIVATE 255u

/* Identifies a page. */
struct label {
	unsigned file;
	uint64_t index;      /* 16 bits */
	uint64_t generation; /* 32 bits */
};

#define INDEX_MAX 0xffffu

/* Multiplied by the index of a word in its page. */
#define WORD_STEP UINT64_C(0xa24baed4963ee407)

uint64_t label_base(struct label label);
/* False: no label makes this base. */
bool label_of(uint64_t base, struct label *label);

/* Writes @bytes bytes, from the beginning of a page. */
void label_fill(void *page, size_t bytes, struct label label);

/*
 * Returns the number of leading bytes, of the @len bytes at @offset in the page, that match the
 * label. @len: all do.
 */
size_t label_check(const void *data, size_t offset, size_t len, struct label label);

int backend_open_files(unsigned count, const uint64_t *bytes, bool errors);
void backend_close_files(void);
struct file *backend_file(unsigned number);

/* "file/<number>" */
#define BACKEND_PATH 32
void backend_path(char path[BACKEND_PATH], const struct file *file);

/* True if reads fail now and then. */
bool backend_fails(void);
/*
 * True if a read of page @index, at @generation or a later one, came short of the page although the
 * file was not shorter. The cache detects this, with one exception: a folio that was dropped during
 * the read. There the short read may as well be the effect of an end of the file that no longer
 * exists, and the folio, with zeros, goes to threads that waited for another page of it.
 */
bool backend_denied(const struct file *file, uint64_t index, uint64_t generation);
/* Open handles. */
uint64_t backend_handles(void);
uint64_t backend_failures(void);

extern const struct folio_io_ops backend_ops;

#endif
