/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.h - the interface of a backend, which reads and writes the files of a cache.
 *
 * A backend is a table of functions. The library has two: io_uring, and a pool of threads that
 * call preadv, used where io_uring is denied. A program may supply another
 * (folio_cache_params.io); the tests do so to make reads fail, complete late or return short.
 * folio-io(7) explains how to write one. A cache hit calls none of these functions.
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

/* For folio_io_attr.wanted and folio_io_attr.fields. */
#define FOLIO_IO_ATTR_AMBIGUOUS  1u   /* other files may have the same device and inode */
#define FOLIO_IO_ATTR_HANDLE     2u   /* handle_type, handle_bytes, handle */
#define FOLIO_IO_ATTR_BTIME      4u   /* btime_sec, btime_nsec */
#define FOLIO_IO_ATTR_CTIME      8u   /* ctime_sec, ctime_nsec */
#define FOLIO_IO_ATTR_GENERATION 16u  /* generation */
#define FOLIO_IO_ATTR_ACCESS     32u  /* of a probe: the caller may open the file with its flags */
#define FOLIO_IO_ATTR_LIMIT      64u  /* limit, limit_error */
#define FOLIO_IO_ATTR_MOUNT      128u /* mount */
#define FOLIO_IO_ATTR_FRESH      256u /* only wanted: as the server has them, not from a cache */

/* The longest handle in folio_io_attr. */
#define FOLIO_IO_HANDLE_MAX      128

/**
 * struct folio_io_attr - the attributes of a file that a cache needs
 *
 * The caller of getattr sets struct_size and wanted, and the rest to 0; the function changes
 * neither. It sets the fields up to mtime_nsec, and those after struct_size only if struct_size is
 * sizeof(struct folio_io_attr): older programs have a shorter struct.
 *
 * If FOLIO_IO_ATTR_AMBIGUOUS is in fields, two files with the same device and inode are the same
 * if their handles are equal, or, where no handle is available, their birth times, sizes and
 * generations. The pages of a file may stay in the cache without an open handle only if ctime,
 * mount, and a handle or a birth time are available. folio-io(7) has the rules.
 */
struct folio_io_attr {
	uint64_t device;       /* device and inode identify the file: its handles share pages */
	uint64_t inode;        /* likewise */
	uint64_t size;         /* of the file, bytes */
	int64_t mtime_sec;     /* time of the last change of the contents: seconds */
	uint32_t mtime_nsec;   /* and nanoseconds */
	uint32_t struct_size;  /* sizeof(struct folio_io_attr) */
	uint32_t wanted;       /* FOLIO_IO_ATTR_* that the caller uses; others need not be set */
	uint32_t fields;       /* FOLIO_IO_ATTR_* that apply: the fields of these are set */
	int64_t ctime_sec;     /* time of the last change of the contents or the inode: seconds */
	int64_t btime_sec;     /* time of the file's creation: seconds */
	uint32_t ctime_nsec;   /* and nanoseconds, of ctime */
	uint32_t btime_nsec;   /* and nanoseconds, of btime */
	uint64_t generation;   /* differs between files that have had the same inode number */
	int32_t handle_type;   /* as in struct file_handle of name_to_handle_at(2) */
	uint32_t handle_bytes; /* length of handle */
	unsigned char handle[FOLIO_IO_HANDLE_MAX]; /* identifies the file in its file system */
	uint64_t limit;       /* bytes: no write past this offset succeeds, whatever is free */
	uint32_t limit_error; /* errno of such a write: ENOSPC for a device, else EFBIG */
	uint32_t reserved;    /* unused */
	/*
	 * Of the file system as it is attached now: another number, never used before, when it has
	 * been detached and its contents may be others. 0 if ctime shows also changes of that kind.
	 */
	uint64_t mount;
};

/* The most elements of iov that one request has. */
#define FOLIO_IO_IOV_MAX 64

/* For folio_io_request.op. */
#define FOLIO_IO_READ    0u
#define FOLIO_IO_WRITE   1u

/**
 * struct folio_io_request - one read or write of a contiguous range of a file
 *
 * The caller owns the request and its iov until it calls submit, and again from complete on. In
 * between, the backend may use next and cookie.
 */
struct folio_io_request {
	/* The result of the backend's open. */
	void *handle;
	/* Bytes from the start of the file, a multiple of FOLIO_PAGE_SIZE. */
	uint64_t offset;
	/*
	 * Page-aligned memory; lengths are multiples of FOLIO_PAGE_SIZE. In a write, the last
	 * element may end inside a page: then the bytes of the file past it stay as they are, and
	 * a file that ends there ends there still.
	 */
	const struct iovec *iov;
	/* 1 .. FOLIO_IO_IOV_MAX. */
	uint32_t iov_count;
	/* FOLIO_IO_READ or FOLIO_IO_WRITE. */
	uint32_t op;
	/*
	 * Called once per request, on any thread, in any order, perhaps before submit returns.
	 * result of a read: the bytes read (fewer than requested only at the end of the file; the
	 * memory past them is undefined), or a negative errno value (all of the memory is
	 * undefined). result of a write: the bytes written, which are all that were requested, or
	 * a negative errno value: then any part of the range may have been written. The function
	 * may free the request. It may run on the only thread that completes requests: it must
	 * not wait for another request, and may call no function of the backend but getattr.
	 */
	void (*complete)(struct folio_io_request *request, ssize_t result);
	/* The backend's, from submit to complete; likewise cookie. */
	struct folio_io_request *next;
	/* See next. */
	uint64_t cookie[2];
};

/* Whether a file uses direct I/O, and if not, why not. */
enum folio_direct {
	FOLIO_DIRECT_UNKNOWN,     /* the backend does not report it */
	FOLIO_DIRECT_USED,        /* it does */
	FOLIO_DIRECT_DECLINED,    /* FOLIO_CACHE_BUFFERED; or folio_file_open_fd without O_DIRECT */
	FOLIO_DIRECT_UNSUPPORTED, /* by the file system, or only for larger blocks than a page */
	/*
	 * The file is open for writing, and could not be opened a second time, which direct I/O
	 * requires: there is no /proc, or no permission.
	 */
	FOLIO_DIRECT_NO_SECOND,
	/* An aligned request failed twice with direct I/O, and then succeeded without it. */
	FOLIO_DIRECT_REFUSED,
};

/** struct folio_io_stat - what a backend reports of itself, for the statistics */
struct folio_io_stat {
	/* sizeof(struct folio_io_stat), set by the caller: a backend leaves out later fields. */
	size_t size;
	/* Name of what executes requests now; set by the caller to folio_io_ops.name. */
	const char *name;
	/* Open handles that use buffered I/O; set by the caller to 0. */
	uint64_t files_buffered;
};

/* For folio_io_extent.kind. */
#define FOLIO_IO_DATA 0u /* may have data */
#define FOLIO_IO_HOLE 1u /* no blocks; reads as zeros */
#define FOLIO_IO_ZERO 2u /* has blocks, and reads as zeros */

/** struct folio_io_extent - what a file has in a range */
struct folio_io_extent {
	uint64_t bytes;          /* not 0 */
	uint32_t kind, reserved; /* reserved: 0 */
};

/**
 * struct folio_io_ops - the table of functions of a backend
 *
 * Any thread may call any function concurrently with others, except that close comes after all
 * other calls on its handle, and destroy after all other calls. The functions return 0, a count,
 * or a negative errno value. folio-io(7) has the rules in context.
 */
struct folio_io_ops {
	/* sizeof(struct folio_io_ops). */
	size_t size;
	/* Shown in the statistics (folio_cache_stats.io), unless stat sets another name. */
	const char *name;

	/*
	 * Prepare for depth requests in flight. On entry, *context is the program's pointer
	 * (folio_cache_params.io_context); the function may replace it. Every other function gets
	 * the result.
	 */
	int (*create)(void **context, unsigned depth);
	/* Free the context. All requests have completed. */
	void (*destroy)(void *context);

	/*
	 * Open a file. flags and mode are as for open(2). Without FOLIO_IO_BUFFERED in io_flags,
	 * a backend uses direct I/O (O_DIRECT) where the file allows it and buffered I/O
	 * otherwise; with it, buffered I/O only. A failure that may not last, as -EMFILE, is
	 * returned: it is no reason for buffered I/O. -EISDIR for a directory; -EINVAL for
	 * anything else that is neither a regular file nor a block device: such a file is not
	 * opened, not even for a moment.
	 *
	 * With FOLIO_IO_PROBE in io_flags (only if features has FOLIO_IO_CAN_PROBE), the file is
	 * not opened, and the handle is used for getattr and close only; path is valid until then.
	 */
	int (*open)(void *context, const char *path, int flags, mode_t mode, unsigned io_flags,
		void **handle);
	/* Close a handle. */
	void (*close)(void *context, void *handle);
	/*
	 * Get the current attributes. A block device has one identity, whatever device node it
	 * was opened by.
	 */
	int (*getattr)(void *context, void *handle, struct folio_io_attr *attr);

	/*
	 * Read on the calling thread, as preadv(2), but return fewer bytes than requested only at
	 * the end of the file: the function itself continues short reads, and repeats interrupted
	 * ones a few times. Memory, lengths and offset are as in a request; iov_count is at most
	 * FOLIO_IO_IOV_MAX.
	 */
	ssize_t (*read)(void *context, void *handle, const struct iovec *iov, unsigned iov_count,
		uint64_t offset);

	/*
	 * Start count requests, in one system call where possible. Cannot fail: a request that
	 * cannot be started completes with a negative errno value. Does not wait for the device,
	 * but may wait for a free slot while more than depth requests are in flight: the caller
	 * holds no lock that complete takes. The backend repeats short reads and writes. The
	 * array is the caller's again when submit returns, each request when it completes.
	 */
	void (*submit)(void *context, struct folio_io_request **requests, unsigned count);

	/*
	 * The next three functions are for files opened for writing (O_RDWR) and run on the
	 * calling thread. A table has all three, or none (NULL): then no file of this backend can
	 * be opened for writing (-EROFS).
	 */

	/*
	 * Make writes durable. When it returns 0, the data of every write that completed before
	 * the call is on stable storage, with the metadata that is needed to find it: as
	 * fdatasync(2) with FOLIO_IO_DATA_ONLY in sync_flags, else as fsync(2). The size of the
	 * file is part of it in both cases; with FOLIO_IO_DATA_ONLY its times may be lost. After
	 * an error, the state of all writes since the last success is unknown.
	 */
	int (*sync)(void *context, void *handle, unsigned sync_flags);
	/*
	 * Set the size, as ftruncate(2); added bytes read as zeros. No write of the affected
	 * range is in flight; a read may be.
	 */
	int (*truncate)(void *context, void *handle, uint64_t size);
	/*
	 * Make a range read as zeros and free its blocks. The size stays the same, also if the
	 * range extends past the end of the file. offset and len are multiples of
	 * FOLIO_PAGE_SIZE. No write of the range is in flight; a read may be. -EOPNOTSUPP if the
	 * file does not support it: then nothing was changed.
	 */
	int (*punch)(void *context, void *handle, uint64_t offset, uint64_t len);

	/*
	 * A table of version 0.1 ends here. What follows is optional: NULL or 0. A program that
	 * copies one of the library's tables sets size to that of its own struct.
	 */

	/* FOLIO_IO_CAN_PROBE. */
	uint32_t features;
	/*
	 * As open, for the file that the program has open as fd; flags are O_RDONLY or O_RDWR. The
	 * handle has a duplicate of fd, but with FOLIO_IO_PROBE fd itself, which it does not close.
	 * -EBADF if fd does not allow that access. NULL: no file can be opened so.
	 */
	int (*open_fd)(void *context, int fd, int flags, unsigned io_flags, void **handle);

	/* Change the fields of stat that differ now from what its caller has set. */
	void (*stat)(void *context, struct folio_io_stat *stat);
	/* Returns how a handle reads and writes now, an enum folio_direct. */
	unsigned (*direct)(void *context, void *handle);

	/*
	 * Return the error that close would have, if it had a result: of data that the file system
	 * took in a write, and lost since (NFS, FUSE). The handle stays open. It is called before
	 * the last close of a file that was written, and may drop POSIX locks.
	 */
	int (*flush)(void *context, void *handle);

	/*
	 * What the file has from offset on: stores up to count extents, which follow each other.
	 * Returns how many; 0 if the file ends there or before. NULL: the whole file is data.
	 */
	int (*extents)(void *context, void *handle, uint64_t offset,
		struct folio_io_extent *extents, unsigned count);
	/*
	 * Reserve space, also past the end, so that later writes there do not fail for want of it.
	 * Contents and size stay. -EOPNOTSUPP if the file, opened for writing, does not support it.
	 */
	int (*allocate)(void *context, void *handle, uint64_t offset, uint64_t len);
};

#define FOLIO_IO_BUFFERED  1u /* for open and open_fd */
#define FOLIO_IO_PROBE     2u /* for open and open_fd */

#define FOLIO_IO_DATA_ONLY 1u /* for sync */

#define FOLIO_IO_CAN_PROBE 1u /* for features: open and open_fd understand FOLIO_IO_PROBE */

/** folio_io_uring - io_uring, owned by one thread. create fails where the kernel denies it. */
extern const struct folio_io_ops folio_io_uring;
/** folio_io_threads - the backend of threads that call preadv. It works everywhere. */
extern const struct folio_io_ops folio_io_threads;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
