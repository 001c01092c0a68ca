/* SPDX-License-Identifier: BSD-2-Clause */
#include "team.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum phase { PHASE_WARM, PHASE_MEASURE, PHASE_STOP };

/*
 * A batch is long enough for the look at the flag to vanish in it and short enough to stop in time; it is
 * found in the unmeasured part of each run.
 */
#define BATCH_SECONDS 10e-6
#define BATCH_MAX     4096

struct slot {
	struct worker worker; /* first, so that a worker finds its slot */
	struct team *team;
	pthread_t thread;
	bool pinned;
	/* Results of the last run: of the batch in which it was told to measure, and of those after it. */
	uint64_t first, operations;
	double first_start, first_end, end;
	bool failed;
};

struct team {
	unsigned size;
	unsigned cpu_count;
	int *cpus;        /* in the order in which they are given out */
	cpu_set_t *whole; /* what the process may use */
	size_t whole_size;
	struct slot *slots;

	pthread_mutex_t lock;
	pthread_cond_t start, done;
	/* Guarded by lock. */
	uint64_t run; /* number of the run that is to be done */
	unsigned busy;
	bool quit;

	/* Written before a run starts, read by its workers. */
	unsigned threads;
	team_batch *batch;
	bool (*work)(struct worker *worker);
	void *context;

	/* Written in a run, each on a line that nothing else shares. */
	uint32_t phase __attribute__((aligned(128)));
	uint32_t arrived __attribute__((aligned(128)));
	uint32_t ready __attribute__((aligned(128)));
	uint32_t failed __attribute__((aligned(128)));
};

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void sleep_seconds(double seconds)
{
	struct timespec left;

	left.tv_sec = (time_t)seconds;
	left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* The set of processors that the process may use; its size in bytes in *size. NULL: no memory. */
static cpu_set_t *allowed_cpus(size_t *size)
{
	cpu_set_t *set;
	int cpus;

	/* The kernel refuses a set smaller than its own; how large that is, it does not tell. */
	for (cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		set = CPU_ALLOC(cpus);
		if (!set)
			return NULL;
		*size = CPU_ALLOC_SIZE(cpus);
		CPU_ZERO_S(*size, set);
		if (!sched_getaffinity(0, *size, set))
			return set;
		CPU_FREE(set);
		if (errno != EINVAL)
			break;
	}
	return NULL;
}

unsigned team_processors(void)
{
	size_t size;
	cpu_set_t *set = allowed_cpus(&size);
	long online;
	unsigned count;

	if (!set) {
		online = sysconf(_SC_NPROCESSORS_ONLN);
		return online < 1 ? 1 : (unsigned)online;
	}
	count = (unsigned)CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return count;
}

/* Place of cpu among the hardware threads of its core: 0 for the first. */
static int sibling_rank(int cpu)
{
	char path[96], text[256], *next = text;
	int rank = 0, first, last;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
		cpu);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	/* "0,16" or "0-1" */
	while (*next >= '0' && *next <= '9') {
		first = last = (int)strtol(next, &next, 10);
		if (*next == '-')
			last = (int)strtol(next + 1, &next, 10);
		for (; first <= last; first++)
			rank += first < cpu;
		if (*next == ',')
			next++;
	}
	return rank;
}

/* Whole cores first: threads share a core only when there are more threads than cores. */
static int order_cpus(struct team *team)
{
	int cpu, rank, found = 0, ranks = 0, total = CPU_COUNT_S(team->whole_size, team->whole);
	int *rank_of;

	team->cpus = calloc((size_t)total, sizeof(*team->cpus));
	rank_of = calloc(team->whole_size * 8, sizeof(*rank_of));
	if (!team->cpus || !rank_of) {
		free(rank_of);
		return -ENOMEM;
	}
	for (cpu = 0; cpu < (int)team->whole_size * 8; cpu++) {
		if (!CPU_ISSET_S(cpu, team->whole_size, team->whole))
			continue;
		rank_of[cpu] = sibling_rank(cpu);
		if (rank_of[cpu] > ranks)
			ranks = rank_of[cpu];
	}
	for (rank = 0; rank <= ranks; rank++) {
		for (cpu = 0; cpu < (int)team->whole_size * 8; cpu++) {
			if (CPU_ISSET_S(cpu, team->whole_size, team->whole) && rank_of[cpu] == rank)
				team->cpus[found++] = cpu;
		}
	}
	free(rank_of);
	team->cpu_count = (unsigned)found;
	return 0;
}

static void pin(struct slot *slot, bool wanted)
{
	struct team *team = slot->team;
	cpu_set_t *one;

	if (slot->pinned == wanted || !team->cpu_count)
		return;
	/* Where a call fails, the state is as it was, and the next run tries again. */
	if (!wanted) {
		slot->pinned = pthread_setaffinity_np(slot->thread, team->whole_size, team->whole);
		return;
	}
	one = CPU_ALLOC(team->whole_size * 8);
	if (!one)
		return;
	CPU_ZERO_S(team->whole_size, one);
	CPU_SET_S(team->cpus[slot->worker.index], team->whole_size, one);
	slot->pinned = !pthread_setaffinity_np(slot->thread, team->whole_size, one);
	CPU_FREE(one);
}

/*
 * Nobody goes on before all are there. Spins, since waking up takes longer than what is measured; true for the one who
 * came last.
 */
static bool gather(const struct team *team, uint32_t *there)
{
	unsigned tries = 0;

	if (__atomic_add_fetch(there, 1, __ATOMIC_RELAXED) == team->threads)
		return true;
	while (__atomic_load_n(there, __ATOMIC_RELAXED) < team->threads) {
		if (++tries > 10000)
			sched_yield();
	}
	return false;
}

/*
 * All have done batches: from then on each moment of a thread lies in one of its batches, and so does the one in which the
 * measuring begins.
 */
static void be_ready(struct team *team)
{
	if (!gather(team, &team->ready))
		return;
	pthread_mutex_lock(&team->lock);
	pthread_cond_signal(&team->done);
	pthread_mutex_unlock(&team->lock);
}

static void measure(struct slot *slot)
{
	struct team *team = slot->team;
	struct worker *worker = &slot->worker;
	bool ready = false;
	uint64_t n = 1, done;
	double start, end;

	gather(team, &team->arrived);
	end = seconds_now();
	for (;;) {
		start = end;
		worker->extra = 0;
		done = team->batch(worker, n);
		if (!done)
			goto failed;
		end = seconds_now();
		/* With a batch of the right size: later there may be no turn in which to find it. */
		if (!ready && (end - start >= BATCH_SECONDS || n == BATCH_MAX)) {
			be_ready(team);
			ready = true;
		}
		if (__atomic_load_n(&team->phase, __ATOMIC_RELAXED) != PHASE_WARM)
			break;
		if (end - start < BATCH_SECONDS && n < BATCH_MAX)
			n *= 2;
		else if (end - start > 4 * BATCH_SECONDS && n > 1)
			n /= 2;
	}
	/* Another one has failed. */
	if (!ready)
		be_ready(team);
	/* Again: between the look at the clock and the one at the phase others may have had the processor. */
	end = seconds_now();
	slot->first = done;
	slot->first_start = start;
	slot->first_end = end;
	while (__atomic_load_n(&team->phase, __ATOMIC_RELAXED) == PHASE_MEASURE) {
		done = team->batch(worker, n);
		if (!done)
			goto failed;
		slot->operations += done;
	}
	slot->end = slot->operations ? seconds_now() : end;
	return;
failed:
	slot->failed = true;
	__atomic_store_n(&team->failed, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&team->phase, PHASE_STOP, __ATOMIC_RELAXED);
	if (!ready)
		be_ready(team);
}

static void *work(void *argument)
{
	struct slot *slot = argument;
	struct team *team = slot->team;
	uint64_t seen = 0;
	bool mine;

	for (;;) {
		pthread_mutex_lock(&team->lock);
		while (team->run == seen && !team->quit)
			pthread_cond_wait(&team->start, &team->lock);
		seen = team->run;
		mine = slot->worker.index < team->threads;
		if (team->quit) {
			pthread_mutex_unlock(&team->lock);
			return NULL;
		}
		pthread_mutex_unlock(&team->lock);
		if (!mine)
			continue;

		pin(slot, team->threads <= team->cpu_count);
		slot->first = slot->operations = 0;
		slot->failed = false;
		slot->worker.error = 0;
		slot->worker.threads = team->threads;
		slot->worker.context = team->context;
		if (team->batch) {
			measure(slot);
		} else if (!team->work(&slot->worker)) {
			slot->failed = true;
			__atomic_store_n(&team->failed, 1, __ATOMIC_RELAXED);
		}

		pthread_mutex_lock(&team->lock);
		if (--team->busy == 0)
			pthread_cond_signal(&team->done);
		pthread_mutex_unlock(&team->lock);
	}
}

struct team *team_create(unsigned size)
{
	struct team *team;
	unsigned i;
	int error;

	team = aligned_alloc(128, sizeof(*team));
	if (!team)
		return NULL;
	memset(team, 0, sizeof(*team));
	pthread_mutex_init(&team->lock, NULL);
	pthread_cond_init(&team->start, NULL);
	pthread_cond_init(&team->done, NULL);
	team->whole = allowed_cpus(&team->whole_size);
	team->slots = aligned_alloc(128, size * sizeof(*team->slots));
	if (!team->slots || (team->whole && order_cpus(team))) {
		errno = ENOMEM;
		goto failed;
	}
	memset(team->slots, 0, size * sizeof(*team->slots));
	for (i = 0; i < size; i++) {
		team->slots[i].team = team;
		team->slots[i].worker.index = i;
		error = pthread_create(&team->slots[i].thread, NULL, work, &team->slots[i]);
		if (error) {
			errno = error;
			goto failed;
		}
		team->size++;
	}
	return team;
failed:
	error = errno;
	team_destroy(team);
	errno = error;
	return NULL;
}

void team_destroy(struct team *team)
{
	unsigned i;

	pthread_mutex_lock(&team->lock);
	team->quit = true;
	pthread_cond_broadcast(&team->start);
	pthread_mutex_unlock(&team->lock);
	for (i = 0; i < team->size; i++)
		pthread_join(team->slots[i].thread, NULL);
	pthread_cond_destroy(&team->start);
	pthread_cond_destroy(&team->done);
	pthread_mutex_destroy(&team->lock);
	if (team->whole)
		CPU_FREE(team->whole);
	free(team->cpus);
	free(team->slots);
	free(team);
}

struct worker *team_worker(struct team *team, unsigned index)
{
	return &team->slots[index].worker;
}

bool team_failed(const struct worker *worker)
{
	const struct slot *slot = (const struct slot *)worker;

	return __atomic_load_n(&slot->team->failed, __ATOMIC_RELAXED);
}

static void begin(struct team *team, unsigned threads, team_batch *batch,
	bool (*each)(struct worker *worker), void *context)
{
	pthread_mutex_lock(&team->lock);
	team->threads = threads;
	team->batch = batch;
	team->work = each;
	team->context = context;
	team->phase = PHASE_WARM;
	team->arrived = 0;
	team->ready = 0;
	team->failed = 0;
	team->busy = threads;
	team->run++;
	pthread_cond_broadcast(&team->start);
	pthread_mutex_unlock(&team->lock);
}

static void finish(struct team *team)
{
	pthread_mutex_lock(&team->lock);
	while (team->busy)
		pthread_cond_wait(&team->done, &team->lock);
	pthread_mutex_unlock(&team->lock);
}

/*
 * Operations a second from start, when all were told to measure, to the end of the thread's last batch. A thread that waits
 * for a processor in that time does nothing, and that counts; what it does before it hears of the start does not, but for
 * its share of the batch that start lies in.
 */
static double rate_since(double start, const struct slot *slot)
{
	double share = 1;

	if (slot->first_start < start)
		share = (slot->first_end - start) / (slot->first_end - slot->first_start);
	else
		start = slot->first_start;
	return ((double)slot->first * share + (double)slot->operations) / (slot->end - start);
}

struct sample team_measure(struct team *team, unsigned threads, team_batch *batch, void *context,
	double warm_up, double seconds)
{
	struct sample sample = {0};
	uint32_t warm = PHASE_WARM;
	uint64_t operations, extra = 0, others_extra = 0, others = 0;
	double start;
	struct slot *slot;
	unsigned i;

	begin(team, threads, batch, NULL, context);
	pthread_mutex_lock(&team->lock);
	while (__atomic_load_n(&team->ready, __ATOMIC_RELAXED) < threads)
		pthread_cond_wait(&team->done, &team->lock);
	pthread_mutex_unlock(&team->lock);
	sleep_seconds(warm_up);
	start = seconds_now();
	/* Not a plain store: a worker that failed has set it to PHASE_STOP. */
	if (__atomic_compare_exchange_n(
		    &team->phase, &warm, PHASE_MEASURE, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		sleep_seconds(seconds);
	__atomic_store_n(&team->phase, PHASE_STOP, __ATOMIC_RELAXED);
	finish(team);

	for (i = 0; i < threads; i++) {
		slot = &team->slots[i];
		if (slot->failed) {
			sample.failed = true;
			sample.error = slot->worker.error;
		}
	}
	/* Whom another one's failure has stopped was not measured. */
	if (sample.failed)
		return sample;
	for (i = 0; i < threads; i++) {
		slot = &team->slots[i];
		operations = slot->first + slot->operations;
		sample.operations += operations;
		sample.rate += rate_since(start, slot);
		extra += slot->worker.extra;
		if (i == 0) {
			sample.leader = sample.rate;
			sample.leader_extra = (double)slot->worker.extra / (double)operations;
		} else {
			others += operations;
			others_extra += slot->worker.extra;
		}
	}
	if (others)
		sample.others_extra = (double)others_extra / (double)others;
	sample.extra = (double)extra / (double)sample.operations;
	return sample;
}

bool team_each(
	struct team *team, unsigned threads, bool (*each)(struct worker *worker), void *context)
{
	begin(team, threads, NULL, each, context);
	finish(team);
	return !team->failed;
}
