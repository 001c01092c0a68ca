/* SPDX-License-Identifier: BSD-2-Clause */
/* read.h - reads that are not plain hits. */
#ifndef FOLIO_SRC_READ_READ_H
#define FOLIO_SRC_READ_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "read/op.h"

bool read_is_valid(const void *buf, size_t len, uint64_t offset);

/*
 * A complete read with valid arguments, through the tree. *done: bytes copied. PAGE_READY, also if
 * the read ends early with some bytes; else PAGE_FAILED, with none.
 */
enum page_verdict read_by_tree(
	struct read_op *op, char *buf, size_t len, uint64_t offset, size_t *done);

/* read_by_tree for the next buffer of a read into several, which has the same @op. */
enum page_verdict read_on(struct read_op *op, char *buf, size_t len, uint64_t offset, size_t *done);

/*
 * Get a folio with page @index, with a reference for the program. PAGE_READY; PAGE_PAST_END; or
 * PAGE_FAILED.
 */
enum page_verdict get_by_tree(struct read_op *op, uint64_t index, struct folio **result);

/* The flags of reads. */
#define READ_FLAGS (FOLIO_READ_NOWAIT | FOLIO_READ_ONCE)

/* folio_file_read_flags, if it is not a plain hit. */
ssize_t read_slow(struct folio_file *file, char *buf, size_t len, uint64_t offset, unsigned flags);

/* The rare end of a pinned hit: records the folio's heat, and may read ahead. Returns 0. */
int get_touch(struct folio_file *file, struct folio *folio, uint64_t index);

/* folio_file_get_page, if it is not a plain hit. */
int get_slow(struct folio_file *file, uint64_t index, unsigned flags, struct folio **result,
	void **page);

#endif
