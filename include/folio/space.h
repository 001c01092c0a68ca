/* SPDX-License-Identifier: BSD-2-Clause */
/* space.h - where a file has data, and space for what will be written. */
#ifndef FOLIO_SPACE_H
#define FOLIO_SPACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_file;

/**
 * folio_file_seek - find the next data or the next hole
 * @file: an open file.
 * @offset: bytes from the start of the file: where to begin.
 * @whence: SEEK_DATA or SEEK_HOLE (unistd.h, with _GNU_SOURCE).
 *
 * As lseek(2) with these values, but a file has no position, and what is only in the cache counts:
 * a dirty page is data. A hole reads as zeros; data may be zeros, too. The end of the file counts
 * as a hole. If the backend cannot tell (folio_io_ops.extents), the whole file is data.
 *
 * With other threads that write, truncate or punch, the result is that of some order of the calls,
 * for each page. The call reads no page. It waits for system calls on the calling thread, which
 * timeout_ms does not bound. For a file that was opened by a descriptor it moves the position that
 * the program shares, and restores it before it returns.
 *
 * Returns an offset, @offset or larger; -ENXIO if @offset is at the end of the file or past it, and
 * with SEEK_DATA if no data follows; -EINVAL; -ESTALE; or an error of the backend.
 */
int64_t folio_file_seek(struct folio_file *file, uint64_t offset, int whence);

/* For folio_file_allocate. */
#define FOLIO_ALLOCATE_KEEP_SIZE 1u /* the file does not become longer */

/**
 * folio_file_allocate - reserve space for what will be written
 * @file: a file opened with O_RDWR.
 * @offset: bytes from the start of the file.
 * @len: bytes, not 0.
 * @flags: 0 or FOLIO_ALLOCATE_KEEP_SIZE.
 *
 * A write is taken by the cache, and a full disk shows only when the page is written back. After
 * this call has returned 0, write-back in the range does not fail for want of space, as far as
 * fallocate(2) promises that for the file system. Contents stay; bytes that are added read as
 * zeros. Without FOLIO_ALLOCATE_KEEP_SIZE a file that ends before the range gets its end as its
 * size, as by folio_file_truncate: never shorter, also if other threads append.
 *
 * A truncation or a hole gives the space back. A block device has all its space.
 *
 * Returns 0; -EOPNOTSUPP if the file or the backend cannot reserve space; -ENOSPC; -EFBIG, -EBADF,
 * -EINVAL, -EDEADLK (folio_lock), -ENOMEM, -ESTALE, -ETIMEDOUT as folio_file_truncate; or another
 * error of the backend. After an error some space may be reserved; the size is as before.
 */
int folio_file_allocate(struct folio_file *file, uint64_t offset, uint64_t len, unsigned flags);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
