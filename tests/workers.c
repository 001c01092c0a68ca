/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.c - tests the threads of the benchmarks (tools/folio/bench/workers.h) with processors,
 * affinity, memory and time of its own: time passes only in batches, so that rates are exact.
 * Prints TAP.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- what the workers see of the machine ---- */

static struct {
	int cpus[256], cpu_count;        /* that the process may use */
	size_t kernel_bytes;             /* a smaller set is refused */
	int affinity_error;              /* of the next call that asks for the set */
	long online;                     /* what sysconf says */
	int files;                       /* that are open */
	unsigned allocations, no_memory; /* the number of the allocation that fails */
	unsigned binds, failing_binds;
	int bound[8]; /* the processor of each thread in the order of the calls; -1: all */
	uint64_t nanoseconds;
	bool stopped; /* no batch will be called any more */
} machine;

static pthread_mutex_t bind_lock = PTHREAD_MUTEX_INITIALIZER;

static int fake_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	int i;

	if (machine.affinity_error || size < machine.kernel_bytes) {
		errno = machine.affinity_error ? machine.affinity_error : EINVAL;
		return -1;
	}
	CPU_ZERO_S(size, set);
	for (i = 0; i < machine.cpu_count; i++)
		CPU_SET_S(machine.cpus[i], size, set);
	return 0;
}

static __thread int my_cpu = -1; /* any */

static int fake_setaffinity(pthread_t thread, size_t size, const cpu_set_t *set)
{
	int cpu, result = 0;

	pthread_mutex_lock(&bind_lock);
	machine.binds++;
	if (machine.failing_binds) {
		machine.failing_binds--;
		result = EINVAL;
	} else if (!pthread_equal(thread, pthread_self())) {
		result = ESRCH;
	} else if (CPU_COUNT_S(size, set) > 1) {
		my_cpu = CPU_COUNT_S(size, set) == machine.cpu_count ? -1 : -2;
	} else {
		for (cpu = 0; cpu < (int)size * 8; cpu++)
			if (CPU_ISSET_S(cpu, size, set))
				my_cpu = cpu;
	}
	pthread_mutex_unlock(&bind_lock);
	return result;
}

/* 0 and 1 share a core, and so do 2 and 9, and 4 to 6. */
static FILE *fake_fopen(const char *path, const char *mode)
{
	static char lists[][16] = {
		"0-1\n", "0-1\n", "2,9\n", "", "4-6\n", "4-6\n", "4-6\n", "", "", "2,9\n"};
	char expected[96];
	int cpu;

	for (cpu = 0; cpu < 10; cpu++) {
		snprintf(expected, sizeof(expected),
			"/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
		if (strcmp(path, expected) || !*lists[cpu])
			continue;
		machine.files++;
		return fmemopen(lists[cpu], strlen(lists[cpu]), "r");
	}
	return NULL;
}

static int fake_fclose(FILE *file)
{
	machine.files--;
	return fclose(file);
}

static void *fake_calloc(size_t count, size_t size)
{
	return ++machine.allocations == machine.no_memory ? NULL : calloc(count, size);
}

static long fake_sysconf(int name)
{
	return name == _SC_NPROCESSORS_ONLN ? machine.online : -1;
}

static int fake_clock(clockid_t clock, struct timespec *time)
{
	uint64_t now = __atomic_load_n(&machine.nanoseconds, __ATOMIC_SEQ_CST);

	*time = (struct timespec){(time_t)(now / 1000000000), (long)(now % 1000000000)};
	return 0;
}

/* Some of the sleeps are interrupted. */
static int fake_nanosleep(const struct timespec *time, struct timespec *left)
{
	static unsigned calls;
	uint64_t all = (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec,
		 part = ++calls % 3 ? all : all / 2,
		 end = __atomic_load_n(&machine.nanoseconds, __ATOMIC_SEQ_CST) + part;

	while (__atomic_load_n(&machine.nanoseconds, __ATOMIC_SEQ_CST) < end &&
		!__atomic_load_n(&machine.stopped, __ATOMIC_SEQ_CST))
		sched_yield();
	if (part == all)
		return 0;
	*left = (struct timespec){
		(time_t)((all - part) / 1000000000), (long)((all - part) % 1000000000)};
	errno = EINTR;
	return -1;
}

#define sched_getaffinity      fake_getaffinity
#define pthread_setaffinity_np fake_setaffinity
#define fopen                  fake_fopen
#define fclose                 fake_fclose
#define calloc                 fake_calloc
#define sysconf                fake_sysconf
#define clock_gettime          fake_clock
#define nanosleep              fake_nanosleep
#include "bench/workers.c"

static unsigned tests, failures;

static void check(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %u - %s\n", good ? "" : "not ", tests, name);
	fflush(stdout);
}

static void set_cpus(int count, const int *cpus)
{
	int i;

	memset(&machine, 0, sizeof(machine));
	machine.cpu_count = count;
	for (i = 0; i < count; i++)
		machine.cpus[i] = cpus ? cpus[i] : i;
}

/* ---- processors ---- */

static bool processors(void)
{
	bool good;

	set_cpus(3, NULL);
	good = workers_processors() == 3;
	/* 4096 bits: what 1024 do not suffice for. */
	machine.kernel_bytes = 512;
	good = good && workers_processors() == 3;
	machine.affinity_error = ENOSYS;
	machine.online = 5;
	good = good && workers_processors() == 5;
	machine.online = -1;
	return good && workers_processors() == 1;
}

static int cpu_of[8];

static bool note_cpu(struct worker *worker)
{
	cpu_of[worker->index] = my_cpu;
	return true;
}

static bool binds(struct workers *workers, unsigned threads, const int *expected)
{
	unsigned i;
	bool good = workers_each(workers, threads, note_cpu, NULL);

	for (i = 0; i < threads; i++) {
		printf("# thread %u of %u: %d\n", i, threads, cpu_of[i]);
		good = good && cpu_of[i] == expected[i];
	}
	return good;
}

/* One thread for each core first; if there are more threads than processors, none is bound. */
static bool binding(void)
{
	static const int cpus[] = {0, 1, 2, 3, 4, 6, 9}, any[] = {-1, -1, -1, -1, -1, -1, -1, -1};
	/* Of 4 to 6, the process may not use 5; 6 is the third thread of its core. */
	static const int sorted[] = {0, 2, 3, 4, 1, 9, 6};
	struct workers *workers;
	bool good;

	set_cpus(7, cpus);
	workers = workers_create(8);
	good = workers && !machine.files;
	good = good && binds(workers, 7, sorted) && binds(workers, 8, any);
	/* A call that fails is made again in the next run. */
	machine.failing_binds = 1;
	good = good && !binds(workers, 1, sorted) && binds(workers, 1, sorted) &&
	       binds(workers, 8, any) && binds(workers, 2, sorted);
	/* None is made if nothing changes. */
	machine.binds = 0;
	good = good && binds(workers, 2, sorted) && !machine.binds;
	workers_destroy(workers);
	set_cpus(256, NULL);
	workers = workers_create(1);
	good = good && workers && binds(workers, 1, (const int[]){0}) && machine.binds == 1;
	workers_destroy(workers);
	return good;
}

static bool no_memory(void)
{
	struct workers *workers;
	unsigned n;

	for (n = 1; n < 10; n++) {
		set_cpus(2, NULL);
		machine.no_memory = n;
		errno = 0;
		workers = workers_create(2);
		if (workers) {
			workers_destroy(workers);
			break;
		}
		if (errno != ENOMEM || machine.allocations < n)
			return false;
	}
	return n == 3 && machine.allocations == 2;
}

/* ---- rates ---- */

/* A batch costs so many nanoseconds for each operation; after so many batches, the second cost. */
static struct work {
	uint64_t cost, after, later_cost;
	uint64_t calls[8], last[8], most, failing_call;
	bool odd;
	unsigned failing;
} work_now;

static uint64_t work_batch(struct worker *worker, uint64_t n)
{
	struct work *work = worker->context;
	uint64_t call = work->calls[worker->index]++;
	uint64_t cost = call < work->after ? work->cost : work->later_cost;

	work->last[worker->index] = n;
	if (n > work->most)
		work->most = n;
	work->odd |= !n || (n & (n - 1)) || worker->threads < 1 || work != &work_now;
	__atomic_fetch_add(&machine.nanoseconds, n * cost, __ATOMIC_SEQ_CST);
	worker->extra += n * (worker->index ? 3 : 2);
	worker->position += n;
	if (worker->index == work->failing && call == work->failing_call) {
		worker->error = EDOM;
		__atomic_store_n(&machine.stopped, true, __ATOMIC_SEQ_CST);
		return 0;
	}
	return n;
}

static bool near(double a, double b)
{
	printf("# %g, %g expected\n", a, b);
	return fabs(a - b) <= 1e-6 * fabs(b);
}

static struct sample sample_with(struct workers *workers, unsigned threads, struct work work)
{
	work_now = work;
	machine.stopped = false;
	if (!work_now.after)
		work_now.after = UINT64_MAX;
	if (!work_now.failing_call)
		work_now.failing = UINT32_MAX;
	return workers_measure(workers, threads, work_batch, &work_now, 0.001, 1.25);
}

/* The rate of one thread is exact. A batch is 10 microseconds long or a little longer. */
static bool rates(void)
{
	static const struct {
		struct work work;
		double rate;
		uint64_t last, most;
	} cases[] = {
		{{.cost = 10}, 1e8, 1024, 1024},
		{{.cost = 1000}, 1e6, 16, 16},
		{{.cost = 100000}, 1e4, 1, 1},
		{{.cost = 1}, 1e9, 4096, 4096},
		/* Slower when the batch has its size, but not yet measured. */
		{{.cost = 10, .after = 15, .later_cost = 100}, 1e7, 256, 1024},
	};
	struct workers *workers;
	struct sample sample;
	bool good = true;
	unsigned i;

	set_cpus(2, NULL);
	workers = workers_create(2);
	for (i = 0; workers && i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t begin = machine.nanoseconds;

		sample = sample_with(workers, 1, cases[i].work);
		printf("# case %u: batches of %d, at most %d\n", i, (int)work_now.last[0],
			(int)work_now.most);
		good = good && near(sample.rate, cases[i].rate) &&
		       near(sample.leader, cases[i].rate) && near(sample.extra, 2) &&
		       near(sample.leader_extra, 2) && sample.others_extra == 0 && !sample.failed &&
		       work_now.last[0] == cases[i].last && work_now.most == cases[i].most &&
		       !work_now.odd && (double)sample.operations >= 1.25 * cases[i].rate &&
		       machine.nanoseconds - begin >= 1251000000;
	}
	/* Of two threads: both work, with extra counts of their own. */
	sample = sample_with(workers, 2, (struct work){.cost = 1000});
	good = good && !sample.failed && sample.leader > 0 && sample.leader < sample.rate &&
	       near(sample.leader_extra, 2) && near(sample.others_extra, 3) && sample.extra > 2 &&
	       sample.extra < 3 && work_now.calls[0] && work_now.calls[1];
	workers_destroy(workers);
	return good;
}

/* Operations before the start do not count, and the batch that it lies in counts in part. */
static bool since(void)
{
	struct slot slot = {
		.first = 100, .operations = 300, .first_start = 10, .first_end = 20, .end = 50};

	return near(rate_since(15, &slot), (50 + 300) / 35.0) &&
	       near(rate_since(20, &slot), 300 / 30.0) && near(rate_since(10, &slot), 400 / 40.0) &&
	       near(rate_since(5, &slot), 400 / 40.0);
}

static bool fails_at(struct workers *workers, unsigned threads, unsigned thread, uint64_t call)
{
	struct sample sample = sample_with(workers, threads,
		(struct work){.cost = 1000, .failing = thread, .failing_call = call});

	return sample.failed && sample.error == EDOM && sample.rate == 0;
}

static bool failed(void)
{
	struct workers *workers;
	struct sample sample;
	bool good = true;
	uint64_t call;
	unsigned thread;

	set_cpus(4, NULL);
	workers = workers_create(4);
	/* Before the measurement, each of several threads does five batches to find their size. */
	for (call = 1; workers && call < 5; call++)
		for (thread = 0; thread < 3; thread++)
			good = good && fails_at(workers, 3, thread, call);
	for (call = 5; workers && call < 3000; call *= 3)
		good = good && fails_at(workers, 1, 0, call);
	/* The next run knows nothing of it. */
	sample = sample_with(workers, 3, (struct work){.cost = 1000});
	good = good && !sample.failed && sample.rate > 0;
	workers_destroy(workers);
	return good;
}

static unsigned each_called;

static bool second_fails(struct worker *worker)
{
	__atomic_fetch_add(&each_called, 1, __ATOMIC_SEQ_CST);
	if (worker->index == 1 || worker->context != &each_called || worker->threads != 3)
		return false;
	while (!workers_failed(worker))
		sched_yield();
	return true;
}

static bool each(void)
{
	struct workers *workers;
	bool good;

	set_cpus(4, NULL);
	workers = workers_create(4);
	good = workers && !workers_each(workers, 3, second_fails, &each_called) &&
	       each_called == 3 && workers_each(workers, 4, note_cpu, NULL) &&
	       workers_get(workers, 3)->index == 3;
	workers_destroy(workers);
	return good;
}

int main(void)
{
	check(processors(), "the number of processors");
	check(binding(), "threads are bound to processors, one for each core first");
	check(no_memory(), "no memory for the processors");
	check(since(), "the rate since a moment");
	check(rates(), "rates, sizes of batches and extra counts");
	check(failed(), "a batch that fails");
	check(each(), "a call in each thread");
	printf("1..%u\n", tests);
	return failures > 0;
}
