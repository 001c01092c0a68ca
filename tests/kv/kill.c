/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kill.c - a program that changes a store is killed (SIGKILL), again and again. After each round
 * the store has all that was committed, and the changes in their order; the tree is valid.
 *     kill FOLDER [--rounds N] [--seed N]
 * The victim shares with its parent how many changes it has begun and how many are committed.
 */
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <folio.h>

#include "prefix.h"
#include "random.h"

struct shared {
	folio_u64 begun, committed;
};

static char path[4096], log_path[4104];
static struct shared *shared;

static void open_store(struct kv **kv, uint64_t round)
{
	/* A small log: many kills hit a checkpoint. Small and large budgets in turn. */
	struct kv_params params = {
		.bytes = round % 2 ? FOLIO_CACHE_BYTES_MIN : 4 << 20, .log_bytes = 200 << 10};
	int r = kv_open(path, &params, kv);

	if (r)
		errx(1, "open: %s", strerror(-r));
}

static void victim(uint64_t seed, uint64_t round, uint64_t from)
{
	uint64_t state = seed + round, number = from;
	struct kv *kv;
	int r;

	open_store(&kv, round);
	for (;;) {
		unsigned group = 1 + (unsigned)(random_next(&state) % 20);

		while (group-- > 0) {
			folio_u64_store_relaxed(&shared->begun, ++number);
			r = prefix_change(kv, seed, number);
			if (r)
				errx(1, "change %llu: %s", (unsigned long long)number,
					strerror(-r));
		}
		r = kv_commit(kv);
		if (r)
			errx(1, "commit: %s", strerror(-r));
		folio_u64_store_relaxed(&shared->committed, number);
	}
}

static void one_round(struct prefix *prefix, uint64_t round)
{
	uint64_t state = prefix->seed ^ round << 32, target;
	struct kv *kv;
	int status;
	pid_t pid;

	folio_u64_store_relaxed(&shared->begun, prefix->changes);
	folio_u64_store_relaxed(&shared->committed, prefix->changes);
	target = prefix->changes + random_next(&state) % 1500;
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		victim(prefix->seed, round, prefix->changes);
	while (folio_u64_load_relaxed(&shared->begun) < target) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			errx(1, "round %llu: the victim exited early, status %#x",
				(unsigned long long)round, status);
		sched_yield();
	}
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "round %llu: the victim exited early, status %#x",
			(unsigned long long)round, status);
	/* Every third time, the recovery is killed as well. */
	if (round % 3 == 0) {
		pid = fork();
		if (pid == 0) {
			open_store(&kv, round);
			_exit(0);
		}
		usleep((useconds_t)(random_next(&state) % 3000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	open_store(&kv, round);
	prefix_check(kv, prefix, folio_u64_load_relaxed(&shared->committed),
		folio_u64_load_relaxed(&shared->begun));
	if (kv_close(kv))
		errx(1, "close");
}

int main(int argc, char **argv)
{
	static struct prefix prefix;
	const char *given = getenv("FOLIO_SEED");
	uint64_t rounds = 200, round;
	int i;

	prefix.seed = given ? strtoull(given, NULL, 0) : random_seed();
	for (i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			prefix.seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--rounds"))
			rounds = strtoull(argv[i + 1], NULL, 0);
		else
			break;
	}
	if (argc < 2 || i != argc)
		errx(2, "usage: kill FOLDER [--rounds N] [--seed N]");
	snprintf(path, sizeof(path), "%s/kv-kill.%ld", argv[1], (long)getpid());
	snprintf(log_path, sizeof(log_path), "%s.log", path);
	printf("kill: seed %llu (FOLIO_SEED)\n", (unsigned long long)prefix.seed);
	fflush(stdout);
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	for (round = 0; round < rounds; round++) {
		alarm(120); /* a round that hangs */
		one_round(&prefix, round);
	}
	unlink(path);
	unlink(log_path);
	printf("kill: %llu rounds, %llu changes, %llu splits cut off; "
	       "nothing that was committed is lost\n",
		(unsigned long long)rounds, (unsigned long long)prefix.changes,
		(unsigned long long)prefix.unlinked);
	return 0;
}
