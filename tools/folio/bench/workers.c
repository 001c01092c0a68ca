/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/workers.h"

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
 * A batch is long enough that checking the flag costs next to nothing, and short enough to stop in
 * time. Its size is found in the unmeasured part of each run.
 */
#define BATCH_SECONDS 10e-6
#define BATCH_MAX     4096

struct slot {
	struct worker worker; /* first: workers_failed casts a worker to its slot */
	struct workers *workers;
	pthread_t thread;
	bool bound;
	/*
	 * Results of the last run: the batch in which the measurement started, and those after it.
	 */
	uint64_t first, operations;
	double first_start, first_end, end;
	bool failed;
};

struct workers {
	unsigned size;
	unsigned cpu_count;
	int *cpus;          /* in the order in which threads are bound to them */
	cpu_set_t *allowed; /* all that the process may use */
	size_t allowed_size;
	struct slot *slots;

	pthread_mutex_t lock;
	pthread_cond_t start, done;
	/* Guarded by lock. */
	uint64_t run; /* number of the current run */
	unsigned busy;
	bool quit;

	/* Written before a run starts, read by its threads. */
	unsigned threads;
	worker_batch *batch;
	bool (*work)(struct worker *worker);
	void *context;

	/* Written during a run, each on its own cache line. */
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

/* The set of processors that the process may use, and its size in bytes. NULL: no memory. */
static cpu_set_t *allowed_cpus(size_t *size)
{
	cpu_set_t *set;
	int cpus;

	/* The kernel refuses a set smaller than its own, and does not report its size. */
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

unsigned workers_processors(void)
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

/* Index of cpu among the hardware threads of its core. */
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

/* One thread per core first: threads share a core only if there are more threads than cores. */
static int order_cpus(struct workers *workers)
{
	int cpu, rank, found = 0, ranks = 0,
		       total = CPU_COUNT_S(workers->allowed_size, workers->allowed);
	int *rank_of;

	workers->cpus = calloc((size_t)total, sizeof(*workers->cpus));
	rank_of = calloc(workers->allowed_size * 8, sizeof(*rank_of));
	if (!workers->cpus || !rank_of) {
		free(rank_of);
		return -ENOMEM;
	}
	for (cpu = 0; cpu < (int)workers->allowed_size * 8; cpu++) {
		if (!CPU_ISSET_S(cpu, workers->allowed_size, workers->allowed))
			continue;
		rank_of[cpu] = sibling_rank(cpu);
		if (rank_of[cpu] > ranks)
			ranks = rank_of[cpu];
	}
	for (rank = 0; rank <= ranks; rank++) {
		for (cpu = 0; cpu < (int)workers->allowed_size * 8; cpu++) {
			if (CPU_ISSET_S(cpu, workers->allowed_size, workers->allowed) &&
				rank_of[cpu] == rank)
				workers->cpus[found++] = cpu;
		}
	}
	free(rank_of);
	workers->cpu_count = (unsigned)found;
	return 0;
}

static void bind_to_cpu(struct slot *slot, bool one_cpu)
{
	struct workers *workers = slot->workers;
	cpu_set_t *one;

	if (slot->bound == one_cpu || !workers->cpu_count)
		return;
	/* If a call fails, the binding is unchanged, and the next run tries again. */
	if (!one_cpu) {
		slot->bound = pthread_setaffinity_np(
			slot->thread, workers->allowed_size, workers->allowed);
		return;
	}
	one = CPU_ALLOC(workers->allowed_size * 8);
	if (!one)
		return;
	CPU_ZERO_S(workers->allowed_size, one);
	CPU_SET_S(workers->cpus[slot->worker.index], workers->allowed_size, one);
	slot->bound = !pthread_setaffinity_np(slot->thread, workers->allowed_size, one);
	CPU_FREE(one);
}

/*
 * A barrier: returns when all threads have called it; true in the last of them. Spins, since waking
 * a thread takes longer than what is measured.
 */
static bool barrier(const struct workers *workers, uint32_t *count)
{
	unsigned tries = 0;

	if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) == workers->threads)
		return true;
	while (__atomic_load_n(count, __ATOMIC_RELAXED) < workers->threads) {
		if (++tries > 10000)
			sched_yield();
	}
	return false;
}

/*
 * Wait until every thread has completed a batch: from then on each moment of a thread lies in one
 * of its batches, including the moment in which the measurement starts.
 */
static void ready_wait(struct workers *workers)
{
	if (!barrier(workers, &workers->ready))
		return;
	pthread_mutex_lock(&workers->lock);
	pthread_cond_signal(&workers->done);
	pthread_mutex_unlock(&workers->lock);
}

static void measure(struct slot *slot)
{
	struct workers *workers = slot->workers;
	struct worker *worker = &slot->worker;
	bool ready = false;
	uint64_t n = 1, done;
	double start, end;

	barrier(workers, &workers->arrived);
	end = seconds_now();
	for (;;) {
		start = end;
		worker->extra = 0;
		done = workers->batch(worker, n);
		if (!done)
			goto failed;
		end = seconds_now();
		/* Only with a batch of the right size: later it may get no processor to find it. */
		if (!ready && (end - start >= BATCH_SECONDS || n == BATCH_MAX)) {
			ready_wait(workers);
			ready = true;
		}
		if (__atomic_load_n(&workers->phase, __ATOMIC_RELAXED) != PHASE_WARM)
			break;
		if (end - start < BATCH_SECONDS && n < BATCH_MAX)
			n *= 2;
		else if (end - start > 4 * BATCH_SECONDS && n > 1)
			n /= 2;
	}
	/* Another thread has failed. */
	if (!ready)
		ready_wait(workers);
	/* Again: the thread may have lost its processor between reading the clock and the phase. */
	end = seconds_now();
	slot->first = done;
	slot->first_start = start;
	slot->first_end = end;
	while (__atomic_load_n(&workers->phase, __ATOMIC_RELAXED) == PHASE_MEASURE) {
		done = workers->batch(worker, n);
		if (!done)
			goto failed;
		slot->operations += done;
	}
	slot->end = slot->operations ? seconds_now() : end;
	return;
failed:
	slot->failed = true;
	__atomic_store_n(&workers->failed, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&workers->phase, PHASE_STOP, __ATOMIC_RELAXED);
	if (!ready)
		ready_wait(workers);
}

static void *work(void *argument)
{
	struct slot *slot = argument;
	struct workers *workers = slot->workers;
	uint64_t seen = 0;
	bool mine;

	for (;;) {
		pthread_mutex_lock(&workers->lock);
		while (workers->run == seen && !workers->quit)
			pthread_cond_wait(&workers->start, &workers->lock);
		seen = workers->run;
		mine = slot->worker.index < workers->threads;
		if (workers->quit) {
			pthread_mutex_unlock(&workers->lock);
			return NULL;
		}
		pthread_mutex_unlock(&workers->lock);
		if (!mine)
			continue;

		bind_to_cpu(slot, workers->threads <= workers->cpu_count);
		slot->first = slot->operations = 0;
		slot->failed = false;
		slot->worker.error = 0;
		slot->worker.threads = workers->threads;
		slot->worker.context = workers->context;
		if (workers->batch) {
			measure(slot);
		} else if (!workers->work(&slot->worker)) {
			slot->failed = true;
			__atomic_store_n(&workers->failed, 1, __ATOMIC_RELAXED);
		}

		pthread_mutex_lock(&workers->lock);
		if (--workers->busy == 0)
			pthread_cond_signal(&workers->done);
		pthread_mutex_unlock(&workers->lock);
	}
}

struct workers *workers_create(unsigned size)
{
	struct workers *workers;
	unsigned i;
	int error;

	workers = aligned_alloc(128, sizeof(*workers));
	if (!workers)
		return NULL;
	memset(workers, 0, sizeof(*workers));
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->start, NULL);
	pthread_cond_init(&workers->done, NULL);
	workers->allowed = allowed_cpus(&workers->allowed_size);
	workers->slots = aligned_alloc(128, size * sizeof(*workers->slots));
	if (!workers->slots || (workers->allowed && order_cpus(workers))) {
		errno = ENOMEM;
		goto failed;
	}
	memset(workers->slots, 0, size * sizeof(*workers->slots));
	for (i = 0; i < size; i++) {
		workers->slots[i].workers = workers;
		workers->slots[i].worker.index = i;
		error = pthread_create(&workers->slots[i].thread, NULL, work, &workers->slots[i]);
		if (error) {
			errno = error;
			goto failed;
		}
		workers->size++;
	}
	return workers;
failed:
	error = errno;
	workers_destroy(workers);
	errno = error;
	return NULL;
}

void workers_destroy(struct workers *workers)
{
	unsigned i;

	pthread_mutex_lock(&workers->lock);
	workers->quit = true;
	pthread_cond_broadcast(&workers->start);
	pthread_mutex_unlock(&workers->lock);
	for (i = 0; i < workers->size; i++)
		pthread_join(workers->slots[i].thread, NULL);
	pthread_cond_destroy(&workers->start);
	pthread_cond_destroy(&workers->done);
	pthread_mutex_destroy(&workers->lock);
	if (workers->allowed)
		CPU_FREE(workers->allowed);
	free(workers->cpus);
	free(workers->slots);
	free(workers);
}

struct worker *workers_get(struct workers *workers, unsigned index)
{
	return &workers->slots[index].worker;
}

bool workers_failed(const struct worker *worker)
{
	const struct slot *slot = (const struct slot *)worker;

	return __atomic_load_n(&slot->workers->failed, __ATOMIC_RELAXED);
}

static void begin(struct workers *workers, unsigned threads, worker_batch *batch,
	bool (*each)(struct worker *worker), void *context)
{
	pthread_mutex_lock(&workers->lock);
	workers->threads = threads;
	workers->batch = batch;
	workers->work = each;
	workers->context = context;
	workers->phase = PHASE_WARM;
	workers->arrived = 0;
	workers->ready = 0;
	workers->failed = 0;
	workers->busy = threads;
	workers->run++;
	pthread_cond_broadcast(&workers->start);
	pthread_mutex_unlock(&workers->lock);
}

static void finish(struct workers *workers)
{
	pthread_mutex_lock(&workers->lock);
	while (workers->busy)
		pthread_cond_wait(&workers->done, &workers->lock);
	pthread_mutex_unlock(&workers->lock);
}

/*
 * Operations per second from start, the moment at which the measurement started, to the end of the
 * thread's last batch. Time in which the thread waits for a processor counts. Operations before
 * start do not; of the batch that start lies in, the part after start counts, in proportion to
 * time.
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

struct sample workers_measure(struct workers *workers, unsigned threads, worker_batch *batch,
	void *context, double warm_up, double seconds)
{
	struct sample sample = {0};
	uint32_t warm = PHASE_WARM;
	uint64_t operations, extra = 0, others_extra = 0, others = 0;
	double start;
	struct slot *slot;
	unsigned i;

	begin(workers, threads, batch, NULL, context);
	pthread_mutex_lock(&workers->lock);
	while (__atomic_load_n(&workers->ready, __ATOMIC_RELAXED) < threads)
		pthread_cond_wait(&workers->done, &workers->lock);
	pthread_mutex_unlock(&workers->lock);
	sleep_seconds(warm_up);
	start = seconds_now();
	/* Not a plain store: a thread that failed has set it to PHASE_STOP. */
	if (__atomic_compare_exchange_n(&workers->phase, &warm, PHASE_MEASURE, false,
		    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		sleep_seconds(seconds);
	__atomic_store_n(&workers->phase, PHASE_STOP, __ATOMIC_RELAXED);
	finish(workers);

	for (i = 0; i < threads; i++) {
		slot = &workers->slots[i];
		if (slot->failed) {
			sample.failed = true;
			sample.error = slot->worker.error;
		}
	}
	/* The failure of one thread stops the others before they are measured. */
	if (sample.failed)
		return sample;
	for (i = 0; i < threads; i++) {
		slot = &workers->slots[i];
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

bool workers_each(struct workers *workers, unsigned threads, bool (*each)(struct worker *worker),
	void *context)
{
	begin(workers, threads, NULL, each, context);
	finish(workers);
	return !workers->failed;
}
