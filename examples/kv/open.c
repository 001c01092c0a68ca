/* SPDX-License-Identifier: BSD-2-Clause */
/* open.c - opens a store, replays its log, closes it. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "tree.h"

/* The log goes first: write-back calls this, on any thread. */
static int before_writeback(void *log, uint64_t sequence)
{
	return log_flush(log, sequence);
}

/* ---- recovery ---- */

static int replay_image(struct kv *kv, const struct record *record)
{
	union page page = {.bytes = {0}};
	uint32_t len = record->len - (uint32_t)sizeof(*record), low;
	ssize_t n;

	memcpy(&page, record->data, sizeof(struct node));
	low = (uint32_t)sizeof(struct node) + page.node.count * 8u;
	if (low > page.node.bottom || low + NODE_BYTES - page.node.bottom != len)
		return -EBADMSG;
	memcpy(&page, record->data, low);
	memcpy(page.bytes + page.node.bottom, record->data + low, len - low);
	node_seal(&page.node, record->lsn);
	if (record->number >= folio_u64_load_relaxed(&kv->pages))
		folio_u64_store_relaxed(&kv->pages, record->number + UINT64_C(1));
	/* Without a sequence: the log has the page already. */
	n = folio_file_write(kv->file, &page, NODE_BYTES, (uint64_t)record->number * NODE_BYTES);
	return n < 0 ? (int)n : n == NODE_BYTES ? 0 : -EIO;
}

static int replay_change(struct kv *kv, const struct record *record)
{
	struct change change = {record->data, NULL, record->key_len, 0};
	struct folio *folio;
	void *page;
	int r = folio_file_get_page(kv->file, record->number, 0, &folio, &page);

	if (r)
		return r;
	if (record->kind == LOG_PUT) {
		change.value = record->data + record->key_len;
		change.value_len = (uint16_t)(record->len - sizeof(*record) - record->key_len);
	}
	r = folio_lock(folio);
	if (!r) {
		r = node_verify(page, record->number);
		if (!r) {
			node_apply(page, &change);
			node_seal(page, record->lsn);
			r = folio_mark_dirty(folio, record->lsn);
		}
		folio_unlock(folio);
	}
	folio_put(folio);
	return r;
}

/* Makes again what the log has, whatever of it is in the pages, and begins a new log. */
static int recover(struct kv *kv)
{
	union {
		struct record record;
		char bytes[LOG_RECORD_MAX];
	} next;
	union page root;
	int r;

	folio_u64_store_relaxed(&kv->pages, kv->log.pages);
	while ((r = log_next(&kv->log, &next.record)) == 1) {
		r = next.record.kind == LOG_IMAGE ? replay_image(kv, &next.record)
						  : replay_change(kv, &next.record);
		if (r)
			return r;
	}
	kv->file_pages = folio_file_size(kv->file) / NODE_BYTES;
	if (!r)
		r = folio_file_sync(kv->file, NULL, FOLIO_SYNC_DATA);
	if (!r)
		r = log_begin(&kv->log, folio_u64_load_relaxed(&kv->pages));
	if (r || folio_u64_load_relaxed(&kv->pages))
		return r;
	/* A new store: the root is an empty leaf. */
	r = grow(kv, 1);
	node_init(&root.node, NODE_ROOT, 0);
	if (!r)
		r = write_page(kv, NODE_ROOT, &root.node);
	if (!r)
		folio_u64_store_relaxed(&kv->pages, 1);
	return r;
}

/* ---- files ---- */

/* The lock of the log keeps other processes out, and its name is durable in its folder. */
static int lock_files(struct kv *kv, const char *log_path)
{
	char folder[4096];
	int fd, r;

	kv->lock_fd = open(log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (kv->lock_fd < 0)
		return -errno;
	if (flock(kv->lock_fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	snprintf(folder, sizeof(folder), "%s", log_path);
	fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fsync(fd) ? -errno : 0;
	close(fd);
	return r;
}

static int open_files(struct kv *kv, const char *path, const struct kv_params *given)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = given->bytes ? given->bytes : 64 << 20,
		.io = given->io,
		.io_context = given->io_context,
		.before_writeback = before_writeback,
		.before_writeback_context = &kv->log};
	char log_path[4096];
	int fd, r;

	if (snprintf(log_path, sizeof(log_path), "%s.log", path) >= (int)sizeof(log_path))
		return -ENAMETOOLONG;
	if (!given->io) { /* both names exist before the folder is synced */
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
		r = lock_files(kv, log_path);
		if (r)
			return r;
	}
	r = log_open(&kv->log, log_path, given->io, given->log_context);
	if (!r)
		r = folio_cache_open(&params, &kv->cache);
	if (!r)
		r = folio_file_open(kv->cache, path, O_RDWR | O_CREAT, 0644, &kv->file);
	if (!r && !kv->log.generation && folio_file_size(kv->file))
		r = -EBADMSG; /* pages, and no log: they are not to be trusted */
	if (!r) {
		folio_file_advise(kv->file, FOLIO_ADVICE_RANDOM); /* scans know what they need */
		/* Without a view, readers make calls. */
		if (folio_file_view(kv->file, FOLIO_VIEW_LAYOUT, &kv->view))
			kv->view = NULL;
	}
	return r;
}

/* Closes what is open. What has not reached the pages is in the log. */
static void release(struct kv *kv)
{
	if (kv->file)
		folio_file_abandon(kv->file);
	if (kv->cache)
		folio_cache_close(kv->cache);
	if (kv->log.tail)
		log_close(&kv->log);
	if (kv->lock_fd >= 0)
		close(kv->lock_fd);
	pthread_mutex_destroy(&kv->writer);
	free(kv);
}

int kv_open(const char *path, const struct kv_params *params, struct kv **result)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	int r;

	if (!kv)
		return -ENOMEM;
	kv->lock_fd = -1;
	kv->log_bytes = params->log_bytes ? params->log_bytes : 64 << 20;
	pthread_mutex_init(&kv->writer, NULL);
	r = open_files(kv, path, params);
	if (!r)
		r = recover(kv);
	if (r)
		release(kv);
	else
		*result = kv;
	return r;
}

int kv_close(struct kv *kv)
{
	int r = kv_commit(kv), checkpoint = kv_checkpoint(kv);

	release(kv);
	return r ? r : checkpoint;
}
