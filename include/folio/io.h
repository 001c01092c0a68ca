/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.h - a backend: where the bytes of files come from, and where they go.
 *
 * A backend is a table of functions. The library has two of its own, io_uring and a pool of threads
 * that call preadv (where io_uring is denied); a program may bring another (folio_cache_params.io),
 * as the tests do to make reads fail, come late or come short.
 *
 * Nothing here is on the way of a hit.
 */
#ifndef FOLIO_IO_H
#define FOLIO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What a file is, as far as a cache needs to know. */
struct folio_io_attr {
	uint64_t
		device; /* device and inode together name the file: opened twice, it shares pages */
	uint64_t inode;
	uint64_t size;     /* bytes */
	int64_t mtime_sec; /* time of the last change of the contents */
	uint32_t mtime_nsec;
	uint32_t reserved;
};

/* The most page runs that one request scatters into. */
#define FOLIO_IO_IOV_MAX 64

/* What a request is. */
#define FOLIO_IO_READ    0u
#define FOLIO_IO_WRITE   1u

/*
 * One read or write of a contiguous range of a file. The caller owns the request and its iov
 * until complete is called; the backend owns the fields below the line from submit to complete.
 */
struct folio_io_request {
	void *handle;    /* what open gave */
	uint64_t offset; /* bytes, a multiple of FOLIO_PAGE_SIZE */
	/*
	 * Page-aligned memory, lengths multiples of FOLIO_PAGE_SIZE; of a write, the last element may end inside
	 * of a page: what the file has behind it stays as it is, and if it has nothing, it gets nothing.
	 */
	const struct iovec *iov;
	uint32_t iov_count; /* 1 .. FOLIO_IO_IOV_MAX */
	uint32_t op;        /* FOLIO_IO_READ or FOLIO_IO_WRITE */
	/*
	 * Called once per request, on any thread, perhaps before submit returns, in any order.
	 * result of a read: bytes read (fewer than asked only where the file ends; the memory behind
	 * them is undefined), or -errno (all of it is). Of a write: bytes written, all that were
	 * asked for, or -errno: any part of the range may have been written then. The request may
	 * be freed in it. It may run on the only thread that completes any: it must not wait for
	 * another request, and of the backend's functions may call getattr alone.
	 */
	void (*complete)(struct folio_io_request *request, ssize_t result);
	/* ---- */
	struct folio_io_request *next;
	uint64_t cookie[2];
};

/*
 * The table. Every function may be called from any threads beside each other, except that close
 * comes after all else on the same handle and destroy after all else. Results are 0 or a count, or
 * -errno.
 */
struct folio_io_ops {
	size_t size;      /* sizeof(struct folio_io_ops) */
	const char *name; /* told in the statistics */

	/*
	 * Start with room for depth requests in flight. *context is given to every other function:
	 * on entry the program's own pointer (folio_cache_params.io_context), replaced at will.
	 */
	int (*create)(void **context, unsigned depth);
	/* Every request has completed. */
	void (*destroy)(void *context);

	/*
	 * Open a file. flags and mode as open(2); FOLIO_IO_BUFFERED in io_flags asks for no
	 * O_DIRECT. Without it a backend uses direct I/O where the file allows and buffered I/O
	 * otherwise. -EISDIR for a directory, -EINVAL for what is neither a regular file nor a
	 * block device.
	 */
	int (*open)(void *context, const char *path, int flags, mode_t mode, unsigned io_flags,
		void **handle);
	void (*close)(void *context, void *handle);
	/* Size and times as they are now. A block device is one file by whatever node. */
	int (*getattr)(void *context, void *handle, struct folio_io_attr *attr);

	/*
	 * Read on the calling thread. As preadv, but returns fewer bytes than asked only where the
	 * file ends; interrupted and short reads are repeated inside. Memory, lengths and offset as
	 * in a request; iov_count up to FOLIO_IO_IOV_MAX.
	 */
	ssize_t (*read)(void *context, void *handle, const struct iovec *iov, unsigned iov_count,
		uint64_t offset);

	/*
	 * Start count requests, in one system call where that is possible. Cannot fail: what cannot
	 * be started completes with -errno. Does not wait for the device, but may wait for room
	 * when more than depth requests are in flight: the caller holds no lock that a complete
	 * takes. Short reads and writes are repeated inside. The array is the caller's again when it returns,
	 * the requests when they complete.
	 */
	void (*submit)(void *context, struct folio_io_request **requests, unsigned count);

	/*
	 * What follows is for files that are opened for writing (O_RDWR), on the calling thread. All three, or
	 * none (NULL): then files of this backend cannot be opened for writing (-EROFS).
	 */

	/*
	 * When it returns 0, what every write that had completed before the call wrote is on stable storage, with what
	 * is needed to find it. As fdatasync with FOLIO_IO_DATA_ONLY, else as fsync. After an error nothing is known of
	 * any write since the last success.
	 */
	int (*sync)(void *context, void *handle, unsigned sync_flags);
	/* As ftruncate: up with zeros, down. No write of the range is in flight; a read may be. */
	int (*truncate)(void *context, void *handle, uint64_t size);
	/*
	 * Make a range read as zeros and give back its blocks; the size stays, and of a range that reaches behind the
	 * end what lies there is nothing still. Offset and length are multiples of FOLIO_PAGE_SIZE, no write
	 * of it is in flight; a read may be. -EOPNOTSUPP where the file has no such thing: nothing was changed.
	 */
	int (*punch)(void *context, void *handle, uint64_t offset, uint64_t len);
};

#define FOLIO_IO_BUFFERED  1u /* of open */
#define FOLIO_IO_DATA_ONLY 1u /* of sync */

/** folio_io_uring - io_uring, owned by one thread. create fails where the system denies it. */
extern const struct folio_io_ops folio_io_uring;
/** folio_io_threads - a pool of threads that call preadv. Works everywhere. */
extern const struct folio_io_ops folio_io_threads;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
