// SPDX-License-Identifier: GPL-2.0-only
/*
 * compare.c - does the patched kernel's counter do the same as ref.h?
 *
 *   compare [--traces N] [--seed N]
 *
 * A trace is a list of random operations on one word. Some of them begin between two accesses of
 * others, as another thread's would: between the subtraction of a put and its compare-and-swap, or
 * between the iterations of a loop. Both counters run it. Each access must be of the same kind,
 * meet the same value and leave the same one, in the same sequence. Each result must be the same,
 * and the kernel's order must be at least as strong as that of ref.h. Random numbers are drawn
 * between accesses, so both counters see the same trace as long as they make the same accesses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "access.h"
#include "worlds.h"

#define STEPS    24
#define ACCESSES 4096
#define DEPTH    3 /* nesting of operations that begin inside others */

enum event_kind { EVENT_LOAD, EVENT_STORE, EVENT_ADD, EVENT_CAS, EVENT_BEGIN, EVENT_RESULT };

struct event {
	enum event_kind kind;
	enum access_order order;
	uint32_t before, after; /* an operation and its argument; or a result and the word */
};

static struct {
	const struct world *world;
	uint64_t random;
	uint32_t word;
	int depth;
	struct event events[ACCESSES];
	int n;
} run;

static uint32_t draw(uint32_t below)
{
	run.random ^= run.random << 13;
	run.random ^= run.random >> 7;
	run.random ^= run.random << 17;
	return (run.random >> 16) % below;
}

static void note(enum event_kind kind, enum access_order order, uint32_t before, uint32_t after)
{
	if (run.n < ACCESSES)
		run.events[run.n++] = (struct event){kind, order, before, after};
}

/* Counts at and around each boundary of the value range. */
static uint32_t interesting(void)
{
	static const uint32_t border[] = {0, 1, 1u << 30, 1u << 31, 3u << 30, 0};

	if (!draw(4))
		return draw(UINT32_MAX);
	return border[draw(6)] + draw(5) - 2;
}

static uint32_t amount(void)
{
	return draw(4) ? 1 + draw(3) : 1 + draw(1u << 16);
}

enum operation {
	TRY_GET,
	GET,
	PUT,
	PUT_ALL,
	FREEZE,
	FREEZE_HERE,
	UNFREEZE,
	INIT,
	COUNT,
	IS_FROZEN,
	SET,
	OPERATIONS
};

static void operate(void)
{
	enum operation operation = draw(OPERATIONS);
	uint32_t argument = amount(), result = 0;

	/* Mostly sensible arguments, so that the word stays within valid counts. */
	if (operation == PUT_ALL || operation == FREEZE_HERE)
		argument = run.word;
	if (operation == SET)
		argument = interesting();
	note(EVENT_BEGIN, ORDER_RELAXED, operation, argument);
	switch (operation) {
	case TRY_GET:
		result = run.world->try_get(&run.word, argument);
		break;
	case GET:
		run.world->get(&run.word, argument);
		break;
	case PUT:
	case PUT_ALL:
		result = run.world->put(&run.word, argument);
		break;
	case FREEZE:
	case FREEZE_HERE:
		result = run.world->try_freeze(&run.word, argument);
		break;
	case UNFREEZE:
		run.world->unfreeze(&run.word, argument);
		break;
	case INIT:
		run.world->init_frozen(&run.word);
		break;
	case COUNT:
		result = run.world->count(&run.word);
		break;
	case IS_FROZEN:
		result = run.world->is_frozen(&run.word);
		break;
	case SET:
	case OPERATIONS:
		run.word = argument;
		break;
	}
	note(EVENT_RESULT, ORDER_RELAXED, result, run.word);
}

uint32_t access(uint32_t *word, enum access_kind kind, enum access_order order, uint32_t value,
	uint32_t expected)
{
	uint32_t before;

	if (run.depth < DEPTH && !draw(4)) {
		run.depth++;
		for (uint32_t n = 1 + draw(2); n; n--)
			operate();
		run.depth--;
	}
	before = *word;
	if (kind == ACCESS_STORE)
		*word = value;
	else if (kind == ACCESS_ADD)
		*word += value;
	else if (kind == ACCESS_CAS && before == expected)
		*word = value;
	note((enum event_kind)kind, order, before, *word);
	return before;
}

static void trace(const struct world *world, uint64_t seed)
{
	run.world = world;
	run.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	run.depth = 0;
	run.n = 0;
	run.word = interesting();
	for (int i = 0; i < STEPS; i++)
		operate();
}

static void show(const char *name, const struct event *event, int n, int i)
{
	static const char *const kinds[] = {"load", "store", "add", "CAS", "begins", "result"};
	static const char *const operations[] = {"try_get", "get", "put", "put", "freeze", "freeze",
		"unfreeze", "init_frozen", "count", "is_frozen", "set"};

	if (i >= n)
		printf("  %-10s ends\n", name);
	else if (event[i].kind == EVENT_BEGIN)
		printf("  %-10s %s(0x%x)\n", name, operations[event[i].before], event[i].after);
	else if (event[i].kind == EVENT_RESULT)
		printf("  %-10s result 0x%x, word 0x%08x\n", name, event[i].before, event[i].after);
	else
		printf("  %-10s %s 0x%08x -> 0x%08x, order %d\n", name, kinds[event[i].kind],
			event[i].before, event[i].after, event[i].order);
}

/* Returns whether the two made the same accesses. */
static bool compare(uint64_t seed, uint64_t *accesses)
{
	static struct event first[ACCESSES];
	int n, i;

	trace(&library, seed);
	n = run.n;
	memcpy(first, run.events, n * sizeof(first[0]));
	trace(&kernel, seed);
	*accesses += n;
	for (i = 0; i < n && i < run.n; i++) {
		struct event *a = &first[i], *b = &run.events[i];

		if (a->kind != b->kind || a->before != b->before || a->after != b->after ||
			(a->order & ~b->order))
			break;
	}
	if (i == n && n == run.n)
		return true;
	printf("seed %llu: they differ at access %d of %d:\n", (unsigned long long)seed, i, n);
	for (int j = i > 12 ? i - 12 : 0; j < i; j++)
		show("both", first, n, j);
	show(library.name, first, n, i);
	show(kernel.name, run.events, run.n, i);
	return false;
}

int main(int argc, char **argv)
{
	uint64_t traces = 1000000, seed = time(NULL), accesses = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--traces"))
			traces = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else
			return 2;
	}
	for (uint64_t i = 0; i < traces; i++) {
		if (!compare(seed + i, &accesses))
			return 1;
	}
	printf("%llu traces from seed %llu, %llu accesses, calls and results: the same\n",
		(unsigned long long)traces, (unsigned long long)seed, (unsigned long long)accesses);
	return 0;
}
