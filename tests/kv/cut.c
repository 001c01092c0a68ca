/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cut.c - the power of a store's devices fails, again and again; recoveries are cut as well.
 *     cut [--cuts N] [--seed N]
 * Pages and log are on a simulated device each (tests/fault/sim.h), which tears writes between
 * sectors and loses or keeps any of those that were not synced. One of the two fails at a random
 * request, so that all moments of a change, a commit, a checkpoint and a recovery have their turn;
 * the other one follows when the store has noticed.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <folio.h>

#include "prefix.h"
#include "random.h"
#include "sim.h"

static struct sim *pages, *log_device;
static struct prefix prefix;
static uint64_t begun, committed, state;

static int open_store(uint64_t round, struct kv **kv)
{
	struct kv_params params = {.bytes = round % 2 ? FOLIO_CACHE_BYTES_MIN : 4 << 20,
		.log_bytes = round % 3 ? 100 << 10 : 1 << 20,
		.io = &sim_ops,
		.io_context = pages,
		.log_context = log_device};

	return kv_open("kv", &params, kv);
}

/* Changes until the power fails, or for some time. */
static void change(struct kv *kv)
{
	uint64_t changes = 200 + random_next(&state) % 1500;

	while (changes-- > 0) {
		if (prefix_change(kv, prefix.seed, ++begun))
			return;
		if (random_next(&state) % 16 == 0) {
			if (kv_commit(kv))
				return;
			committed = begun;
		}
	}
}

static void power_returns(void)
{
	sim_cut(pages);
	sim_cut(log_device);
	sim_restore(pages);
	sim_restore(log_device);
}

/* Opens the store on devices of which one fails, and makes changes if @changes. */
static void cut(uint64_t round, bool changes)
{
	struct sim *first = random_next(&state) % 2 ? pages : log_device;
	struct kv *kv;
	int r;

	sim_cut_at(first, 1 + random_next(&state) % (random_next(&state) % 4 ? 400 : 20));
	r = open_store(round, &kv);
	if (!r) {
		if (changes)
			change(kv);
		sim_cut(first);
		sim_cut(first == pages ? log_device : pages);
		kv_close(kv);
	} else if (!sim_is_cut(first)) {
		errx(1, "seed %llu, cut %llu: open: %s", (unsigned long long)prefix.seed,
			(unsigned long long)round, strerror(-r));
	}
	power_returns();
}

static void one_round(uint64_t round)
{
	struct kv *kv;
	int r;

	cut(round, true);
	if (round % 3 == 0) /* the recovery is cut, too */
		cut(round, false);
	r = open_store(round, &kv);
	if (r)
		errx(1, "seed %llu, cut %llu: open after a cut: %s",
			(unsigned long long)prefix.seed, (unsigned long long)round, strerror(-r));
	prefix_check(kv, &prefix, committed, begun);
	committed = begun = prefix.changes;
	r = kv_close(kv);
	if (r)
		errx(1, "close: %s", strerror(-r));
}

int main(int argc, char **argv)
{
	const char *given = getenv("FOLIO_SEED");
	uint64_t cuts = 1000, round;
	int i;

	prefix.seed = given ? strtoull(given, NULL, 0) : random_seed();
	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			prefix.seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--cuts"))
			cuts = strtoull(argv[i + 1], NULL, 0);
		else
			break;
	}
	if (i != argc)
		errx(2, "usage: cut [--cuts N] [--seed N]");
	printf("cut: seed %llu (FOLIO_SEED)\n", (unsigned long long)prefix.seed);
	fflush(stdout);
	state = prefix.seed;
	pages = sim_new(prefix.seed, SIM_THREAD);
	log_device = sim_new(prefix.seed + 1, SIM_THREAD);
	for (round = 1; round <= cuts; round++) {
		alarm(60); /* a round that hangs */
		one_round(round);
	}
	sim_free(pages);
	sim_free(log_device);
	printf("cut: %llu rounds, %llu changes, %llu splits cut off; "
	       "nothing that was committed is lost\n",
		(unsigned long long)cuts, (unsigned long long)prefix.changes,
		(unsigned long long)prefix.unlinked);
	return 0;
}
