/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * detach.c - calls that run on a separate thread, so that their caller can return at its deadline.
 */
#include "cache/detach.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/deadline.h"
#include "base/futex.h"
#include "base/spawn.h"

struct detached {
	struct folio_file *file;
	detach_run *run;
	struct detach_args args;
	int result;
	folio_u32 state; /* futex word of the caller */
};

enum { DETACHED_RUNNING, DETACHED_DONE, DETACHED_LEFT };

static void *run_detached(void *arg)
{
	struct detached *detached = arg;
	struct folio_file *file = detached->file;
	struct inode *inode = file->inode;
	struct call call = {
		.cache = file->cache,
		.shard = thread_enter(file->cache, file->cache_id),
	};
	uint32_t state = DETACHED_RUNNING;

	detached->result = detached->run(&call, file, &detached->args);
	/*
	 * release: pairs with take_turn and next_close_step (acquire). From here on the file may be
	 * closed; a wake that no thread waits for is harmless (base/futex.h).
	 */
	folio_u32_store_release(&inode->detached, 0);
	futex_wake(&inode->detached, INT_MAX);
	/*
	 * release: pairs with the load in detach_call, which then reads the result. The second of
	 * the two threads frees.
	 */
	if (folio_u32_cas_release(&detached->state, &state, DETACHED_DONE)) {
		futex_wake(&detached->state, 1);
		return NULL;
	}
	/*
	 * acquire: pairs with the caller's CAS (release) when it left: its last access comes before
	 * the free.
	 */
	folio_u32_load_acquire(&detached->state);
	free(detached);
	return NULL;
}

/*
 * Wait for the file's turn: one detached call per file at a time, so a dead device blocks at most
 * as many threads as there are files. Returns false at the deadline @until.
 */
static bool take_turn(struct inode *inode, const struct timespec *until)
{
	uint32_t free_turn = 0;

	while (!folio_u32_cas_acquire(&inode->detached, &free_turn, 1)) {
		if (!futex_wait_until(&inode->detached, 1, until))
			return false;
		free_turn = 0;
	}
	return true;
}

int detach_call(
	struct call *call, struct folio_file *file, detach_run *run, const struct detach_args *args)
{
	const struct timespec *until = call->until;
	struct inode *inode = file->inode;
	struct detached *detached;
	pthread_t thread;
	int r;

	if (!until)
		return run(call, file, args);
	if (!take_turn(inode, until))
		return -ETIMEDOUT;
	detached = malloc(sizeof(*detached));
	if (!detached) {
		r = -ENOMEM;
		goto give_turn;
	}
	detached->file = file;
	detached->run = run;
	detached->args = *args;
	folio_u32_store_relaxed(&detached->state, DETACHED_RUNNING);
	r = spawn_thread(&thread, "folio-detached", run_detached, detached);
	if (r)
		goto free_detached;
	pthread_detach(thread);
	while (folio_u32_load_acquire(&detached->state) == DETACHED_RUNNING) {
		uint32_t state = DETACHED_RUNNING;

		if (!futex_wait_until(&detached->state, DETACHED_RUNNING, until) &&
			folio_u32_cas_release(&detached->state, &state, DETACHED_LEFT))
			return -ETIMEDOUT;
	}
	r = detached->result;
	free(detached);
	return r;

free_detached:
	free(detached);
give_turn:
	folio_u32_store_release(&inode->detached, 0);
	futex_wake(&inode->detached, INT_MAX);
	return r;
}
