/* SPDX-License-Identifier: BSD-2-Clause */
/* simulate.c - LRU, CLOCK, S3-FIFO, SIEVE, ARC and OPT. */
#include "simulate.h"

#include <stdbool.h>
#include <stdlib.h>

#include "memory.h"

const char *const policy_name[POLICIES] = {"LRU", "CLOCK", "S3-FIFO", "SIEVE", "ARC", "OPT"};

/*
 * Each policy has up to four lists. A page is in one of them, or in none. The end of a list is a
 * node of its own: node[pages + list].
 */
#define LISTS 4
#define NONE  LISTS

struct node {
	uint32_t prev, next; /* towards the head, towards the tail */
	uint8_t list;
	uint8_t heat;
};

struct cache {
	struct node *node;
	uint64_t most; /* pages that the cache has */
	uint64_t length[LISTS];
	uint32_t end[LISTS];
	uint32_t hand;   /* of SIEVE */
	uint64_t target; /* of ARC: pages of the list RECENT */
};

static uint32_t tail(const struct cache *cache, unsigned list)
{
	return cache->node[cache->end[list]].prev;
}

static void take(struct cache *cache, uint32_t page)
{
	struct node *node = &cache->node[page];

	cache->node[node->prev].next = node->next;
	cache->node[node->next].prev = node->prev;
	cache->length[node->list]--;
	node->list = NONE;
}

/* Move a page to the head of a list. */
static void push(struct cache *cache, uint32_t page, unsigned list)
{
	struct node *node = &cache->node[page], *end = &cache->node[cache->end[list]];

	if (node->list != NONE)
		take(cache, page);
	node->list = (uint8_t)list;
	node->prev = cache->end[list];
	node->next = end->next;
	cache->node[end->next].prev = page;
	end->next = page;
	cache->length[list]++;
}

/* ---- LRU ---- */

static bool lru(struct cache *cache, uint32_t page)
{
	bool hit = cache->node[page].list == 0;

	if (!hit && cache->length[0] == cache->most)
		take(cache, tail(cache, 0));
	push(cache, page, 0);
	return hit;
}

/* ---- CLOCK: FIFO in which a page that was read again gets a second chance ---- */

static bool second_chance(struct cache *cache, uint32_t page)
{
	if (cache->node[page].list == 0) {
		cache->node[page].heat = 1;
		return true;
	}
	while (cache->length[0] == cache->most) {
		uint32_t old = tail(cache, 0);

		if (cache->node[old].heat)
			push(cache, old, 0);
		else
			take(cache, old);
		cache->node[old].heat = 0;
	}
	push(cache, page, 0);
	return false;
}

/* ---- S3-FIFO (Yang et al., SOSP 2023, algorithm 1) ---- */

enum { SMALL, MAIN, GHOST };

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t small_most(const struct cache *cache)
{
	return larger(cache->most / 10, 1);
}

static void evict_main(struct cache *cache)
{
	for (;;) {
		uint32_t old = tail(cache, MAIN);

		if (!cache->node[old].heat) {
			take(cache, old);
			return;
		}
		cache->node[old].heat--;
		push(cache, old, MAIN);
	}
}

/* As many ghosts as the main queue may have pages. */
static void remember(struct cache *cache, uint32_t page)
{
	push(cache, page, GHOST);
	if (cache->length[GHOST] > cache->most - small_most(cache))
		take(cache, tail(cache, GHOST));
}

static void evict_small(struct cache *cache)
{
	while (cache->length[SMALL]) {
		uint32_t old = tail(cache, SMALL);

		if (cache->node[old].heat <= 1) {
			remember(cache, old);
			return;
		}
		cache->node[old].heat = 0;
		push(cache, old, MAIN);
	}
}

static bool s3_fifo(struct cache *cache, uint32_t page)
{
	struct node *node = &cache->node[page];

	if (node->list == SMALL || node->list == MAIN) {
		node->heat += node->heat < 3;
		return true;
	}
	while (cache->length[SMALL] + cache->length[MAIN] >= cache->most) {
		if (cache->length[SMALL] >= small_most(cache) || !cache->length[MAIN])
			evict_small(cache);
		else
			evict_main(cache);
	}
	node->heat = 0;
	push(cache, page, node->list == GHOST ? MAIN : SMALL);
	return false;
}

/* ---- SIEVE (Zhang et al., NSDI 2024) ---- */

static bool sieve(struct cache *cache, uint32_t page)
{
	uint32_t end = cache->end[0], old;

	if (cache->node[page].list == 0) {
		cache->node[page].heat = 1;
		return true;
	}
	if (cache->length[0] == cache->most) {
		/* The hand moves towards the head, and from there to the tail. */
		for (old = cache->hand; old == end || cache->node[old].heat;
			old = cache->node[old].prev) {
			if (old != end)
				cache->node[old].heat = 0;
		}
		cache->hand = cache->node[old].prev;
		take(cache, old);
	}
	push(cache, page, 0);
	return false;
}

/* ---- ARC (Megiddo and Modha, FAST 2003, figure 4) ---- */

enum { RECENT, FREQUENT, RECENT_GHOST, FREQUENT_GHOST };

static void arc_replace(struct cache *cache, bool frequent_ghost)
{
	uint64_t recent = cache->length[RECENT];

	if (recent && (recent > cache->target || (frequent_ghost && recent == cache->target)))
		push(cache, tail(cache, RECENT), RECENT_GHOST);
	else
		push(cache, tail(cache, FREQUENT), FREQUENT_GHOST);
}

static void arc_adapt(struct cache *cache, unsigned list)
{
	uint64_t *length = cache->length, step;

	if (list == RECENT_GHOST) {
		step = larger(1, length[FREQUENT_GHOST] / length[RECENT_GHOST]);
		cache->target += step;
		if (cache->target > cache->most)
			cache->target = cache->most;
	} else {
		step = larger(1, length[RECENT_GHOST] / length[FREQUENT_GHOST]);
		cache->target = cache->target > step ? cache->target - step : 0;
	}
}

static bool arc(struct cache *cache, uint32_t page)
{
	uint64_t *length = cache->length, first = length[RECENT] + length[RECENT_GHOST];
	uint64_t all = first + length[FREQUENT] + length[FREQUENT_GHOST];
	unsigned list = cache->node[page].list;

	if (list == RECENT || list == FREQUENT) {
		push(cache, page, FREQUENT);
		return true;
	}
	if (list == RECENT_GHOST || list == FREQUENT_GHOST) {
		arc_adapt(cache, list);
		arc_replace(cache, list == FREQUENT_GHOST);
		push(cache, page, FREQUENT);
		return false;
	}
	if (first == cache->most && length[RECENT] == cache->most) {
		take(cache, tail(cache, RECENT));
	} else if (all >= cache->most) {
		if (first == cache->most)
			take(cache, tail(cache, RECENT_GHOST));
		else if (all == 2 * cache->most)
			take(cache, tail(cache, FREQUENT_GHOST));
		arc_replace(cache, false);
	}
	push(cache, page, RECENT);
	return false;
}

/* ---- OPT (Belady 1966): the page leaves whose next access comes last ---- */

/*
 * The set of the times at which cached pages are accessed next. The last of them is found by a tree
 * of bits: a bit of a level is set if a word of the level below has a bit.
 */
#define LEVELS 6

struct times {
	uint64_t *word[LEVELS];
};

static void times_set(struct times *times, uint64_t time)
{
	unsigned level;

	for (level = 0; level < LEVELS; level++, time /= 64)
		times->word[level][time / 64] |= UINT64_C(1) << time % 64;
}

static void times_clear(struct times *times, uint64_t time)
{
	unsigned level;

	for (level = 0; level < LEVELS; level++, time /= 64) {
		times->word[level][time / 64] &= ~(UINT64_C(1) << time % 64);
		if (times->word[level][time / 64])
			break;
	}
}

static uint64_t times_last(const struct times *times)
{
	uint64_t index = 0;
	unsigned level;

	for (level = LEVELS; level-- > 0;)
		index = index * 64 + 63 - (unsigned)__builtin_clzll(times->word[level][index]);
	return index;
}

/*
 * @next[time]: when the page of that access is accessed next. If it is not: a time past the end of
 * the trace, different for each.
 */
static uint64_t *next_times(const struct trace *trace)
{
	uint64_t *next = memory_array(trace->count, sizeof(*next));
	uint64_t *seen = memory_array(trace->pages, sizeof(*seen)), time;

	for (time = trace->count; time-- > 0;) {
		uint32_t page = trace->access[time] & ~TRACE_WRITE;

		next[time] = seen[page] ? seen[page] : trace->count + time;
		seen[page] = time;
	}
	free(seen);
	return next;
}

static struct hits optimal(const struct trace *trace, uint64_t pages, uint64_t skip)
{
	uint64_t *next = next_times(trace), time, cached = 0, words = 2 * trace->count / 64 + 1;
	struct times times;
	struct hits hits = {0, 0};
	unsigned level;

	for (level = 0; level < LEVELS; level++, words = words / 64 + 1)
		times.word[level] = memory_array(words, sizeof(uint64_t));
	for (time = 0; time < trace->count; time++) {
		bool hit = times.word[0][time / 64] >> time % 64 & 1;

		if (hit) {
			times_clear(&times, time);
		} else if (cached == pages) {
			times_clear(&times, times_last(&times));
		} else {
			cached++;
		}
		times_set(&times, next[time]);
		if (time >= skip && !(trace->access[time] & TRACE_WRITE)) {
			hits.reads++;
			hits.hits += hit;
		}
	}
	for (level = 0; level < LEVELS; level++)
		free(times.word[level]);
	free(next);
	return hits;
}

/* ---- all of them ---- */

static bool (*const access_page[OPT])(struct cache *cache, uint32_t page) = {
	lru, second_chance, s3_fifo, sieve, arc};

struct hits simulate(enum policy policy, const struct trace *trace, uint64_t pages, uint64_t skip)
{
	struct cache cache = {.most = pages};
	struct hits hits = {0, 0};
	uint64_t i;

	if (policy == OPT)
		return optimal(trace, pages, skip);
	cache.node = memory_array(trace->pages + LISTS, sizeof(*cache.node));
	for (i = 0; i < trace->pages; i++)
		cache.node[i].list = NONE;
	for (i = 0; i < LISTS; i++) {
		uint32_t end = cache.end[i] = (uint32_t)(trace->pages + i);

		cache.node[end] = (struct node){end, end, NONE, 0};
	}
	cache.hand = cache.end[0];
	for (i = 0; i < trace->count; i++) {
		uint32_t access = trace->access[i];
		bool hit = access_page[policy](&cache, access & ~TRACE_WRITE);

		if (i >= skip && !(access & TRACE_WRITE)) {
			hits.reads++;
			hits.hits += hit;
		}
	}
	free(cache.node);
	return hits;
}
