/* SPDX-License-Identifier: BSD-2-Clause */
/* bounce.c - writing copies of pages, so that their writers do not wait for the device. */
#include "write/bounce.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/pause.h"

/* Of a cache: as many as 1/64 of its pages, within these limits. */
#define FRAMES_MIN 8
#define FRAMES_MAX 64

int bounce_init(struct bounce *bounce, uint64_t pages)
{
	uint32_t i;

	bounce->count = pages / 64 > FRAMES_MAX ? FRAMES_MAX : (uint32_t)(pages / 64);
	if (bounce->count < FRAMES_MIN)
		bounce->count = FRAMES_MIN;
	bounce->memory = aligned_alloc(FOLIO_PAGE_SIZE, bounce->count * (size_t)FOLIO_PAGE_SIZE);
	bounce->free = calloc(bounce->count, sizeof(*bounce->free));
	if (!bounce->memory || !bounce->free) {
		bounce_destroy(bounce);
		return -ENOMEM;
	}
	for (i = 0; i < bounce->count; i++)
		bounce->free[bounce->free_count++] =
			bounce->memory + (size_t)(bounce->count - 1 - i) * FOLIO_PAGE_SIZE;
	return 0;
}

void bounce_destroy(struct bounce *bounce)
{
	free(bounce->memory);
	free(bounce->free);
}

/* A frame for the folio, or NULL. */
static char *frame_get(struct writeback *writeback, const struct folio *folio, bool most)
{
	struct bounce *bounce = &writeback->bounce;
	char *frame = NULL;

	/* relaxed: a hint. */
	most = most || folio_u32_load_relaxed(&folio->flags) & FOLIO_CONTENDED;
	pthread_mutex_lock(&writeback->lock);
	if (bounce->free_count > (most ? 0 : bounce->count / 2))
		frame = bounce->free[--bounce->free_count];
	pthread_mutex_unlock(&writeback->lock);
	return frame;
}

void bounce_copy(struct writeback_run *run, bool most)
{
	struct writeback *writeback = &run->inode->cache->writeback;
	uint32_t i;

	for (i = 0; i < run->count; i++) {
		struct folio *folio = run->folio[i];
		char *frame = folio->order ? NULL : frame_get(writeback, folio, most);

		if (!frame)
			continue;
		memcpy(frame, folio->data, run->iov[i].iov_len);
		run->iov[i].iov_base = frame;
		run->copies++;
		/* release: pairs with folio_lock_wait: the next writer stores after the copy. */
		folio_flags_change(folio, 0, FOLIO_COPIED);
		FOLIO_PAUSE(bounce_copied, folio);
	}
}

void bounce_put_locked(struct bounce *bounce, const struct writeback_run *run)
{
	uint32_t i;

	for (i = 0; run->copies && i < run->count; i++) {
		char *base = run->iov[i].iov_base;

		if (base >= bounce->memory &&
			base < bounce->memory + bounce->count * (size_t)FOLIO_PAGE_SIZE)
			bounce->free[bounce->free_count++] = base;
	}
}
