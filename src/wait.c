/* SPDX-License-Identifier: BSD-2-Clause */
/* wait.c - calls that are waited for until a point of time, and then left to go on by themselves. */
#include <errno.h>
#include <stdlib.h>

#include "cache.h"
#include "io.h"

struct late {
	struct folio_file *file;
	int (*run)(
		struct folio_file *file, const struct late_args *args, struct stats_shard *shard);
	struct late_args args;
	int result;
	folio_u32 state; /* futex word of the caller */
};

enum { LATE_RUNNING, LATE_DONE, LATE_LEFT };

static void *run(void *arg)
{
	struct late *late = arg;
	struct folio_file *file = late->file;
	struct inode *inode = file->inode;
	struct stats_shard *shard = thread_enter(file->cache, file->cache_id);
	uint32_t state = LATE_RUNNING;

	late->result = shard ? late->run(file, &late->args, shard) : -ENOMEM;
	/* release: pairs with take_turn and close_in_time. From here on the file may be closed; a wake for nobody harms nobody. */
	folio_u32_store_release(&inode->late, 0);
	futex_wake(&inode->late, INT_MAX);
	/* release: pairs with the load in late_call, the result. Who comes second frees. */
	if (folio_u32_cas_release(&late->state, &state, LATE_DONE)) {
		futex_wake(&late->state, 1);
		return NULL;
	}
	/* acquire: pairs with his leaving; what he did with it comes before it is freed. */
	folio_u32_load_acquire(&late->state);
	free(late);
	return NULL;
}

/* One call of a file at a time: threads that a dead device keeps are no more than files. */
static bool take_turn(struct inode *inode, const struct timespec *until)
{
	uint32_t free_turn = 0;

	while (!folio_u32_cas_acquire(&inode->late, &free_turn, 1)) {
		if (!futex_wait_until(&inode->late, 1, until))
			return false;
		free_turn = 0;
	}
	return true;
}

int late_call(struct folio_file *file,
	int (*call)(
		struct folio_file *file, const struct late_args *args, struct stats_shard *shard),
	const struct late_args *args, const struct timespec *until, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	struct late *late;
	pthread_t thread;
	int r;

	if (!until)
		return call(file, args, shard);
	if (!take_turn(inode, until))
		return -ETIMEDOUT;
	late = malloc(sizeof(*late));
	if (!late) {
		r = -ENOMEM;
		goto give_turn;
	}
	*late = (struct late){.file = file, .run = call, .args = *args};
	folio_u32_store_relaxed(&late->state, LATE_RUNNING);
	r = io_thread_start(&thread, "folio-late", run, late);
	if (r)
		goto free_late;
	pthread_detach(thread);
	while (folio_u32_load_acquire(&late->state) == LATE_RUNNING) {
		uint32_t state = LATE_RUNNING;

		if (!futex_wait_until(&late->state, LATE_RUNNING, until) &&
			folio_u32_cas_release(&late->state, &state, LATE_LEFT))
			return -ETIMEDOUT;
	}
	r = late->result;
	free(late);
	return r;

free_late:
	free(late);
give_turn:
	folio_u32_store_release(&inode->late, 0);
	futex_wake(&inode->late, INT_MAX);
	return r;
}

bool room_take(struct folio_cache *cache, bool wait, const struct timespec *until)
{
	uint32_t room;

	if (!cache->timeout_ms)
		return true;
	room = folio_u32_load_relaxed(&cache->room);
	for (;;) {
		if (room) {
			if (folio_u32_cas_relaxed(&cache->room, &room, room - 1))
				return true;
		} else if (!wait || !futex_wait_until(&cache->room, 0, until)) {
			/* The wake may have been for somebody who waits still. */
			if (wait && folio_u32_load_relaxed(&cache->room))
				futex_wake(&cache->room, 1);
			return false;
		} else {
			room = folio_u32_load_relaxed(&cache->room);
		}
	}
}

void room_give(struct folio_cache *cache)
{
	if (!cache->timeout_ms)
		return;
	folio_u32_fetch_add_relaxed(&cache->room, 1);
	futex_wake(&cache->room, 1);
}
