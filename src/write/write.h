/* SPDX-License-Identifier: BSD-2-Clause */
/* write.h - writing by copy. */
#ifndef FOLIO_SRC_WRITE_WRITE_H
#define FOLIO_SRC_WRITE_WRITE_H

#include "write/page.h"

/*
 * As folio_file_write, with valid arguments; op->offset shows how much was written. PAGE_READY: all
 * of it, or up to the limit of the file, or with keep_size up to its end; else PAGE_FAILED.
 */
enum page_verdict write_bytes(struct write_op *op);

/*
 * As write_bytes, of op->buf, but without a wait; the call has begun. Returns 0; -EAGAIN if the
 * rest would have waited; or another error.
 */
int write_at_once(struct write_op *op);

#endif
