/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tree.h - an open store, for the files that share the work: tree.c changes, read.c reads, open.c
 * opens and recovers, check.c verifies.
 */
#ifndef KV_TREE_H
#define KV_TREE_H

#include "log.h"

struct kv {
	struct folio_cache *cache;
	struct folio_file *file;
	const struct folio_view *view; /* NULL: read by calls */
	struct log log;
	uint64_t log_bytes;
	int lock_fd;     /* -1, or the file whose lock keeps others out */
	folio_u64 pages; /* of the tree; the file may have more */

	pthread_mutex_t writer; /* the rest belongs to the thread that has it */
	uint64_t file_pages;
	int error; /* a change failed half-way: no more changes */
};

/*
 * Reads a page without a lock, in place if it is cached, and verifies it if it comes through a
 * call. @visit may be called several times, and the last call counts (folio_peek_fn).
 */
int read_page(struct kv *kv, uint32_t number, folio_peek_fn *visit, void *context);
/* A page's copy, always verified. */
int copy_page(struct kv *kv, uint32_t number, union page *page);

/* Puts a page into the file: @node, logged as an image. The caller has the writer's lock. */
int write_page(struct kv *kv, uint32_t number, struct node *node);
/* Makes the file long enough for a page. */
int grow(struct kv *kv, uint64_t pages);

#endif
