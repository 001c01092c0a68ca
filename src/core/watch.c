/* SPDX-License-Identifier: BSD-2-Clause */
/* watch.c - the table of watches. */
#include "core/watch.h"

#include <pthread.h>

#include "base/pause.h"
#include "core/folio.h"

#define BUCKET_BITS 7
#define BUCKETS     (1u << BUCKET_BITS)

static struct bucket {
	_Alignas(64) pthread_mutex_t lock;
	struct watch *first; /* guarded by lock */
} buckets[BUCKETS] = {[0 ... BUCKETS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static struct bucket *bucket_of(const struct folio *folio)
{
	uint64_t number = (uintptr_t)folio / sizeof(*folio);

	return &buckets[number * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BUCKET_BITS)];
}

/* The lock of the bucket is held. */
static void take_out(struct watch *watch)
{
	*watch->link = watch->next;
	if (watch->next)
		watch->next->link = watch->link;
	watch->link = NULL;
}

/* Does the state last for which a watch is attached? */
static bool lasts(uint32_t flags, bool to_lock)
{
	return to_lock ? !folio_may_lock(flags) : flags & FOLIO_LOCKED;
}

bool watch_attach(struct watch *watch, struct folio *folio, bool to_lock)
{
	struct bucket *bucket = bucket_of(folio);
	uint32_t flags;
	bool attached = false;

	watch->folio = folio;
	pthread_mutex_lock(&bucket->lock);
	watch->next = bucket->first;
	watch->link = &bucket->first;
	if (watch->next)
		watch->next->link = &watch->next;
	bucket->first = watch;
	FOLIO_PAUSE(watch_insert, folio);
	/*
	 * relaxed: the order of the two CASes on this word decides, and the lock of the bucket
	 * orders the list. Whoever finds that the state has ended looks at the folio again.
	 */
	flags = folio_u32_load_relaxed(&folio->flags);
	while (!attached && lasts(flags, to_lock))
		attached = folio_u32_cas_relaxed(&folio->flags, &flags, flags | FOLIO_WATCHED);
	if (!attached)
		take_out(watch);
	pthread_mutex_unlock(&bucket->lock);
	return attached;
}

void watch_detach(struct watch *watch)
{
	struct bucket *bucket;

	if (!watch->folio)
		return;
	bucket = bucket_of(watch->folio);
	pthread_mutex_lock(&bucket->lock);
	if (watch->link)
		take_out(watch);
	pthread_mutex_unlock(&bucket->lock);
}

void watch_call(struct folio *folio, uint32_t flags)
{
	struct bucket *bucket = bucket_of(folio);
	struct watch *watch, *next;

	FOLIO_PAUSE(watch_call, folio);
	pthread_mutex_lock(&bucket->lock);
	for (watch = bucket->first; watch; watch = next) {
		next = watch->next;
		if (watch->folio != folio)
			continue;
		take_out(watch);
		watch->ended(watch, flags);
	}
	pthread_mutex_unlock(&bucket->lock);
}

void watch_forked(void)
{
	unsigned i;

	for (i = 0; i < BUCKETS; i++) {
		pthread_mutex_init(&buckets[i].lock, NULL);
		buckets[i].first = NULL;
	}
}
