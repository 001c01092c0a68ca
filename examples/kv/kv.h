/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kv.h - a store of keys and values in a file, on folio: a B-link tree with a log.
 *
 *	struct kv_params params = {.bytes = 64 << 20};
 *
 *	kv_open("users", &params, &kv);
 *	kv_put(kv, "ann", 3, "1971", 4);
 *	kv_commit(kv);                                  (durable from here on)
 *	n = kv_get(kv, "ann", 3, value, sizeof(value));
 *	kv_close(kv);
 *
 * The store is two files: PATH has the tree's pages, PATH.log the log. One process has it open.
 *
 * Durability. When kv_commit has returned 0, every change that returned before the call survives a
 * crash of the process and a power cut. After a crash the store has all changes up to some moment,
 * in the order in which they were made, and none after it: never the second of two changes without
 * the first. A change is one key; there are no transactions. This holds if the device keeps what
 * fdatasync(2) has confirmed, and writes each sector of 512 bytes entirely or not at all; a page of
 * the tree may be torn. A page that the device returns damaged is an error (-EBADMSG), not data.
 *
 * Threads. Any thread may make any call except kv_close. Changes take turns; readers take no lock,
 * and neither wait for a change nor hold one up. kv_get sees one state of its key, kv_scan one
 * state of each page of records. Threads that commit at the same time share syncs of the log.
 *
 * Errors are negative errno values. When the log cannot be written, the store refuses all further
 * changes with the same error, and reads go on; close it and open it again.
 */
#ifndef KV_H
#define KV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct folio_io_ops;
struct kv;

#define KV_KEY_MAX   128 /* bytes; a key has at least one */
#define KV_VALUE_MAX 768 /* bytes */

/** struct kv_params - how to open a store; a field that is 0 has its default */
struct kv_params {
	uint64_t bytes;                /* memory for pages; 64 MiB */
	uint64_t log_bytes;            /* a checkpoint follows when the log is longer; 64 MiB */
	const struct folio_io_ops *io; /* for tests: the backends of the pages and of the log, */
	void *io_context;              /* and their contexts */
	void *log_context;
};

/*
 * Opens a store, or makes it, and replays its log. -EBUSY: another process has it open. -EBADMSG:
 * it is damaged, or no store.
 */
int kv_open(const char *path, const struct kv_params *params, struct kv **kv);
/*
 * Commits, brings the pages up to date and closes. After an error the store is closed as well, and
 * the next open replays the log. No other call may be running.
 */
int kv_close(struct kv *kv);

/* Inserts or replaces. -EINVAL: a length. */
int kv_put(struct kv *kv, const void *key, size_t key_len, const void *value, size_t value_len);
/* -ENOENT: there is no such key. */
int kv_delete(struct kv *kv, const void *key, size_t key_len);
/* Makes durable all changes that have returned. */
int kv_commit(struct kv *kv);
/* Brings all pages to the device, and begins the log anew. kv_put does that in time. */
int kv_checkpoint(struct kv *kv);

/* Copies the value's first @room bytes; returns its length, or -ENOENT. */
ssize_t kv_get(struct kv *kv, const void *key, size_t key_len, void *value, size_t room);

/* Called for each record; the pointers are valid during the call. Not 0: ends the scan. */
typedef int kv_visit_fn(
	void *context, const void *key, size_t key_len, const void *value, size_t value_len);
/* Visits the records from @key on (length 0: all) in the order of memcmp(3). */
int kv_scan(struct kv *kv, const void *key, size_t key_len, kv_visit_fn *visit, void *context);

/** struct kv_shape - what kv_check has counted */
struct kv_shape {
	uint64_t records, pages, levels;
	uint64_t unlinked; /* pages that no parent has yet, after a crash: not an error */
};

/*
 * Reads the whole tree and verifies its rules. Changes wait. -EBADMSG: a rule is broken, and @why,
 * unless NULL, is which one.
 */
int kv_check(struct kv *kv, struct kv_shape *shape, const char **why);

#endif
