/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reaper - threads put the last references of folios of a user-defined type. Does the reaper, which
 * sleeps if there is none, release each once, with what was stored before the put? Does a thread
 * that waits for the reaper continue, and does the reaper end?
 *
 * This is src/cache/release.c itself, with a pool that only notes what it gets. A thread releases a
 * folio, waits until all are released, and has the reaper end. Another one releases a folio, too.
 *
 * All executions with a bounded number of preemptions.
 */
#include "model.h"

#include "futex.h"

#include "core/folio.h"

static scenario drained("a thread has waited for the reaper");
static scenario two("the reaper took two folios at a time");

/* The parts of the library that the source uses. */
#define FOLIO_SRC_CACHE_RELEASE_H
#define FOLIO_SRC_CACHE_CALL_H
#define FOLIO_SRC_CACHE_TABLE_H
#define FOLIO_SRC_BASE_SPAWN_H
#define POOL_NONE UINT32_MAX
#define FOLIOS    2

struct folio_cache;

struct type {
	const char *name;
	void (*release)(struct folio_cache *cache, struct folio *folio);
	void (*program_release)(struct folio *folio, void *context);
	void *context;
};

struct pool {
	struct folio folio[FOLIOS];
	unsigned freed[FOLIOS];
};

struct folio_cache {
	uint64_t id;
	struct pool pool;
	folio_u64 pages_private;
	pthread_mutex_t types_lock;
	struct type type[FOLIO_TYPES];
	folio_u32 types_count;
	pthread_t reaper;
	bool reaper_running;
	folio_ptr reaper_list;
	folio_u32 reaper_wakeup, reaper_stop, reaper_queued, reaper_done;
};

struct call {
	int error;
};

static int call_begin(struct call *, struct folio_cache *, uint64_t, bool)
{
	return 0;
}

static struct folio_cache *cache_in_process(const struct folio *)
{
	return NULL;
}

static int spawn_thread(pthread_t *, const char *, void *(*)(void *), void *)
{
	return 0;
}

static uint32_t pool_page(const struct pool *pool, const void *folio)
{
	return (uint32_t)((const struct folio *)folio - pool->folio);
}

static struct folio *pool_folio(struct pool *pool, uint32_t page)
{
	return &pool->folio[page];
}

/* Of folio_release, which the model does not call: it has no cache of the process. */
static void pool_change_begin(const struct pool *, const struct folio *)
{
}

static void pool_free(struct pool *pool, struct folio *folio)
{
	CLAIM(!pool->freed[pool_page(pool, folio)]++, "released twice");
}

#define unlikely(x) (x)

/* The model starts the reaper, and joins it. */
#undef pthread_join
#define pthread_join(thread, result) ((void)0)

#include <folio/type.h>

#include "cache/release.c"

template <int folios> struct reap_all : rl::test_suite<reap_all<folios>, folios + 1> {
	struct folio_cache cache;
	rl::var<int> contents[FOLIOS], released[FOLIOS];
	folio_u32 other; /* 1: the other thread has released its folio */

	static void program_release(struct folio *folio, void *context)
	{
		reap_all *self = (reap_all *)context;
		uint32_t page = pool_page(&self->cache.pool, folio);

		CLAIM(PLAIN_LOAD(self->contents[page]) == 1, "released with old contents");
		PLAIN_STORE(self->released[page], 1);
		if (folio->next != POOL_NONE)
			two.reached();
	}

	void before()
	{
		folio_u32_store_relaxed(&other, folios == 1);
		folio_u64_store_relaxed(&cache.pages_private, folios);
		folio_ptr_store_relaxed(&cache.reaper_list, NULL);
		folio_u32_store_relaxed(&cache.reaper_wakeup, 0);
		folio_u32_store_relaxed(&cache.reaper_stop, 0);
		folio_u32_store_relaxed(&cache.reaper_queued, 0);
		folio_u32_store_relaxed(&cache.reaper_done, 0);
		cache.reaper_running = true;
		cache.type[FOLIO_TYPE_PROGRAM] = {"own", release_program, program_release, this};
		pthread_mutex_init(&cache.types_lock, NULL);
		for (int i = 0; i < FOLIOS; i++) {
			cache.pool.folio[i].type = FOLIO_TYPE_PROGRAM;
			cache.pool.folio[i].order = 0;
			cache.pool.freed[i] = 0;
			PLAIN_STORE(contents[i], 0);
			PLAIN_STORE(released[i], 0);
		}
	}

	void put_last(unsigned i)
	{
		PLAIN_STORE(contents[i], 1);
		release_program(&cache, &cache.pool.folio[i]);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			reaper(&cache);
			return;
		}
		put_last(index - 1);
		if (index == 2) {
			folio_u32_store_release(&other, 1);
			futex_wake(&other, 1);
			return;
		}
		while (!folio_u32_load_acquire(&other))
			futex_wait(&other, 0);
		if (cache.reaper_done.debug_value() != folios)
			drained.reached();
		folio_reaper_drain(&cache);
		for (int i = 0; i < folios; i++)
			CLAIM(PLAIN_LOAD(released[i]), "continued before a folio is released");
		folio_types_destroy(&cache);
	}
};

int main()
{
	model m("reaper");

	m.bound<struct reap_all<1>>(4);
	m.bound<struct reap_all<2>>(2);
	return m.result();
}
