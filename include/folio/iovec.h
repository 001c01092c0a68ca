/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iovec.h - read and write a range of a file that is in several buffers of the program.
 *
 * Any thread may call these functions at any time, as it may read and write. The deadline of the
 * cache (folio_cache_params.timeout_ms) bounds the entire call.
 */
#ifndef FOLIO_IOVEC_H
#define FOLIO_IOVEC_H

#include <sys/uio.h>

#include <folio/write.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * folio_file_readv - copy bytes out of a file to several buffers
 * @file: an open file.
 * @iov: @count buffers, filled in order; one of no bytes is passed over, and may be NULL.
 * @count: how many; at most IOV_MAX (1024), or 0.
 * @offset: bytes from the start of the file.
 * @flags: 0, or FOLIO_READ_NOWAIT and FOLIO_READ_ONCE (folio_file_read_flags).
 *
 * Like folio_file_read_flags, of the range that begins at @offset and has the length of all
 * buffers together. Each page is copied as it was at one moment of the call, also if it belongs to
 * several buffers. If the file is truncated during the call, the call ends at a size that the file
 * had, as folio_file_read. For ranges that are not adjacent, use folio_file_read_batch.
 *
 * Returns the number of bytes copied, as preadv(2): fewer than the buffers have only at the end of
 * the file or, after some bytes, because of an error; 0 at the end of the file. Errors: -EINVAL
 * (@count above IOV_MAX, @offset and the length of the buffers together above 2^63 - 1, another
 * flag); otherwise as folio_file_read_flags.
 */
ssize_t folio_file_readv(struct folio_file *file, const struct iovec *iov, unsigned count,
	uint64_t offset, unsigned flags);

/**
 * folio_file_writev - copy bytes of several buffers into a file
 * @file: a file opened with O_RDWR.
 * @iov: @count buffers, written in order; one of no bytes is passed over, and may be NULL.
 * @count: how many; at most IOV_MAX (1024), or 0.
 * @offset: bytes from the start of the file. If it is past the end, the gap reads as zeros.
 * @flags: 0 or FOLIO_WRITE_ONCE (folio_file_write_flags).
 *
 * Like folio_file_write_flags, of the range that begins at @offset and has the length of all
 * buffers together. A reader that copies sees each page as it was before the call or after it,
 * also if its bytes are in several buffers. Bytes that are written after a concurrent truncation
 * make the file longer again, as those of folio_file_write.
 *
 * Returns the number of bytes written, as pwritev(2): fewer than the buffers have only if an error
 * occurred after some of them, or at the limit of the file. Errors: -EINVAL (@count above IOV_MAX,
 * the length of the buffers above 2^63 - 1, another flag); -EFBIG also if @offset and that length
 * together are; otherwise as folio_file_write.
 */
ssize_t folio_file_writev(struct folio_file *file, const struct iovec *iov, unsigned count,
	uint64_t offset, unsigned flags);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
