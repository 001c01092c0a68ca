/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * detach - a call with a deadline runs on a separate thread, which may outlive its caller. Does the
 * caller get the result or leave, is what they share freed once and used by neither after that, and
 * does a close see what the call did?
 *
 * This is src/cache/detach.c itself. One thread calls with a deadline. Another one is started by it
 * and runs the call. A third one closes the file when the call has ended.
 *
 * Full search with two threads. With three: all executions with a bounded number of preemptions.
 */
#include "model.h"

#include "futex.h"

static scenario in_time("a caller got the result");
static scenario left("a caller left at its deadline");
static scenario closed("a close found that a call runs");

/* The parts of the library that the source uses. */
#define FOLIO_SRC_CACHE_CALL_H
#define FOLIO_SRC_BASE_SPAWN_H

struct stats_shard;
struct inode {
	folio_u32 detached;
};

struct folio_cache {
	uint64_t id;
};

struct folio_file {
	struct inode *inode;
	struct folio_cache *cache;
	uint64_t cache_id;
};

struct call {
	struct folio_cache *cache;
	struct stats_shard *shard;
	const struct timespec *until;
};

static struct stats_shard *thread_enter(struct folio_cache *, uint64_t)
{
	return NULL;
}

static int spawn_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);
static void *model_malloc(size_t size);
static void model_free(void *memory);

#define pthread_detach(thread) ((void)(thread))
#define malloc(size)           model_malloc(size)
#define free(memory)           model_free(memory)

#include "cache/detach.c"

#undef malloc
#undef free

static char memory[sizeof(struct detached)] __attribute__((aligned(64)));
static unsigned allocated, freed;

static void *model_malloc(size_t)
{
	CLAIM(!allocated++, "the model has too little memory");
	return ::new (memory) struct detached();
}

static void model_free(void *detached)
{
	freed++;
	((struct detached *)detached)->~detached();
	freed_from = (const char *)detached;
	freed_to = freed_from + sizeof(struct detached);
}

/* What the second thread is to run. */
static struct {
	folio_u32 *word; /* 1: it was started */
	void *(*run)(void *);
	void *arg;
} spawned;

static int spawn_thread(pthread_t *, const char *, void *(*run)(void *), void *arg)
{
	spawned.run = run;
	spawned.arg = arg;
	folio_u32_store_release(spawned.word, 1);
	futex_wake(spawned.word, 1);
	return 0;
}

/* @third: a third thread closes the file. */
template <bool third> struct detach : rl::test_suite<detach<third>, 2 + third> {
	struct folio_cache cache;
	struct inode inode;
	struct folio_file file;
	folio_u32 word;
	rl::var<int> done;

	static int run(struct call *, struct folio_file *file, const struct detach_args *args)
	{
		rl::var<int> *done = (rl::var<int> *)(uintptr_t)args->first;

		PLAIN_STORE(*done, PLAIN_LOAD(*done) + 1);
		return 7;
	}

	void before()
	{
		clock_begin();
		cache.id = 1;
		file.inode = &inode;
		file.cache = &cache;
		folio_u32_store_relaxed(&inode.detached, 0);
		folio_u32_store_relaxed(&word, 0);
		PLAIN_STORE(done, 0);
		spawned.word = &word;
		allocated = freed = 0;
		freed_from = freed_to = NULL;
	}

	void caller()
	{
		struct timespec until = deadline_in(1000);
		struct call call = {&cache, NULL, &until};
		struct detach_args args = {(uint64_t)(uintptr_t)&done, 0, 0};
		int r = detach_call(&call, &file, run, &args);

		if (r == 7) {
			in_time.reached();
			CLAIM(PLAIN_LOAD(done) == 1, "the result without the call");
			return;
		}
		CLAIM(r == -ETIMEDOUT, "a wrong result");
		left.reached();
	}

	void runner()
	{
		while (!folio_u32_load_acquire(&word))
			futex_wait(&word, 0);
		spawned.run(spawned.arg);
	}

	/* As CLOSE_AWAIT_DETACHED in api/open.c. */
	void close()
	{
		if (!folio_u32_load_acquire(&inode.detached))
			return;
		closed.reached();
		while (folio_u32_load_acquire(&inode.detached))
			futex_wait_until(&inode.detached, 1, NULL);
		CLAIM(PLAIN_LOAD(done) == 1, "closed before the call has ended");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			caller();
		else if (index == 1)
			runner();
		else
			close();
	}

	void after()
	{
		CLAIM(allocated == freed, "not freed once");
		CLAIM(!inode.detached.debug_value(), "the turn is not returned");
	}
};

int main()
{
	model m("detach");

	m.full<struct detach<false>>();
	m.bound<struct detach<true>>(3);
	return m.result();
}
