/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - kv bench: this store, SQLite and LMDB with the same keys and the same memory.
 *
 * Each engine has its own folder, filled once with records in random order. Each measurement is a
 * process of its own, which opens the store, warms up, and works for some seconds. The engines take
 * turns, and the output has medians over the rounds.
 *
 * SQLite and LMDB use the kernel's page cache, too, and RSS does not show that. With --cgroup, the
 * processes with little memory join that memory cgroup (made by the user, version 1 or 2) and set
 * its limit, so that all memory counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "command.h"

enum { ENGINES_MAX = 3, ROUNDS_MAX = 25, GROUP = 100, LOAD_GROUP = 10000 };
enum { OVERHEAD = 24 << 20 }; /* of a cgroup: the program, its buffers, kernel memory */

static const struct engine *const engines[] = {
	&engine_kv,
#ifdef HAVE_SQLITE
	&engine_sqlite,
#endif
#ifdef HAVE_LMDB
	&engine_lmdb,
#endif
};
enum { ENGINES = sizeof(engines) / sizeof(engines[0]) };

/* What one process reports. */
static struct result {
	double rate;
	uint64_t resident; /* bytes at the end */
	uint64_t inserted; /* records in the store, for the next round */
} * result;

static struct {
	const char *folder, *cgroup;
	uint64_t records;
	double seconds;
	unsigned rounds;
} options = {.records = 1000000, .seconds = 5, .rounds = 3};

void engine_failed(const char *engine, const char *what)
{
	fprintf(stderr, "kv: %s: %s\n", engine, what);
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A bijection: all keys differ, and are in random order (splitmix64). */
static void make_key(unsigned char *key, uint64_t number)
{
	uint64_t z = (number + 1) * 0x9e3779b97f4a7c15u;
	unsigned i;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	for (i = 0; i < BENCH_KEY; i++)
		key[i] = (unsigned char)(z >> (56 - 8 * i));
}

static void engine_folder(char *path, size_t room, const struct engine *engine)
{
	snprintf(path, room, "%s/%s", options.folder, engine->name);
}

static void put_group(const struct engine *engine, void *store, uint64_t first, unsigned count)
{
	static unsigned char keys[LOAD_GROUP * BENCH_KEY], values[LOAD_GROUP * BENCH_VALUE];
	unsigned i;

	for (i = 0; i < count; i++) {
		make_key(keys + i * BENCH_KEY, first + i);
		memset(values + i * BENCH_VALUE, (int)((first + i) & 0xff), BENCH_VALUE);
	}
	engine->put(store, keys, values, count);
}

/* ---- what a process measures; each returns operations per second ---- */

struct reading {
	const struct engine *engine;
	void *store;
	const char *folder;
	uint64_t memory, seed, count;
	double until;
};

static void *read_randomly(void *context)
{
	struct reading *reading = context;
	void *reader = reading->engine->reader(reading->store, reading->folder, reading->memory);
	uint64_t state = reading->seed, number;
	unsigned char key[BENCH_KEY];

	do {
		unsigned i;

		for (i = 0; i < 64; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			number = (state >> 32) % options.records;
			make_key(key, number);
			if (reading->engine->get(reader, key) != (number & 0xff))
				engine_failed(reading->engine->name, "a wrong value");
		}
		reading->count += 64;
	} while (now() < reading->until);
	reading->engine->reader_close(reader);
	return NULL;
}

static double measure_reads(const struct engine *engine, void *store, const char *folder,
	uint64_t memory, unsigned round)
{
	struct reading reading[2] = {{0}};
	pthread_t thread[2];
	double begin;
	unsigned pass, i;

	for (pass = 0;; pass++) { /* the first one warms up */
		begin = now();
		for (i = 0; i < 2; i++) {
			reading[i] = (struct reading){engine, store, folder, memory,
				round * 16u + pass * 4u + i, 0, begin + options.seconds};
			if (pthread_create(&thread[i], NULL, read_randomly, &reading[i]))
				engine_failed(engine->name, "no thread");
		}
		for (i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		if (pass == 1)
			break;
	}
	return (double)(reading[0].count + reading[1].count) / (now() - begin);
}

static double measure_inserts(const struct engine *engine, void *store)
{
	double begin = now(), end;
	uint64_t count = 0;

	do {
		put_group(engine, store, result->inserted + count, GROUP);
		count += GROUP;
		end = now();
	} while (end < begin + options.seconds);
	result->inserted += count;
	return (double)count / (end - begin);
}

/* ---- processes ---- */

static uint64_t resident(void)
{
	unsigned long long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file) {
		if (fscanf(file, "%*u %llu", &pages) != 1)
			pages = 0;
		fclose(file);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool write_text(const char *folder, const char *name, unsigned long long number)
{
	char path[4200], text[32];
	int fd, len = snprintf(text, sizeof(text), "%llu", number);
	bool done;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, (size_t)len) == len;
	close(fd);
	return done;
}

/* Puts this process into the memory cgroup, with a limit. */
static void join_cgroup(uint64_t bytes)
{
	if (!write_text(options.cgroup, "memory.max", bytes) &&
		!write_text(options.cgroup, "memory.limit_in_bytes", bytes))
		fail(options.cgroup, -errno);
	if (!write_text(options.cgroup, "cgroup.procs", (unsigned long long)getpid()))
		fail(options.cgroup, -errno);
}

/* The files leave the kernel's cache, so that the next process pays for what it caches. */
static void drop_files(const char *folder)
{
	static const char *const names[] = {"kv", "kv.log", "sqlite", "sqlite-wal", "data.mdb"};
	char path[4300];
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

enum task { LOAD, READS, INSERTS };

static void work(
	const struct engine *engine, enum task task, uint64_t memory, bool limited, unsigned round)
{
	char folder[4096];
	uint64_t done;
	void *store;

	engine_folder(folder, sizeof(folder), engine);
	if (limited && options.cgroup)
		join_cgroup(memory + OVERHEAD);
	store = engine->open(folder, memory);
	if (task == LOAD) {
		for (done = 0; done < options.records; done += LOAD_GROUP) {
			put_group(engine, store, done, LOAD_GROUP);
			progress(engine->name, done);
		}
		progress(NULL, 0);
		result->inserted = options.records;
	} else if (task == READS) {
		result->rate = measure_reads(engine, store, folder, memory, round);
	} else {
		result->rate = measure_inserts(engine, store);
	}
	result->resident = resident();
	engine->close(store);
}

static struct result in_process(const struct engine *engine, enum task task, uint64_t memory,
	bool limited, unsigned round, uint64_t *inserted)
{
	char folder[4096];
	pid_t pid;
	int status;

	engine_folder(folder, sizeof(folder), engine);
	drop_files(folder);
	*result = (struct result){.inserted = *inserted};
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		fail("fork", -errno);
	if (pid == 0) {
		work(engine, task, memory, limited, round);
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		engine_failed(engine->name, "the process that measures it failed");
	*inserted = result->inserted;
	return *result;
}

static int by_rate(const void *a, const void *b)
{
	double x = ((const struct result *)a)->rate, y = ((const struct result *)b)->rate;

	return (x > y) - (x < y);
}

/* One table: a line for each engine, with the median of its rounds. */
static void compare(
	const char *title, enum task task, uint64_t memory, bool limited, uint64_t *inserted)
{
	static struct result results[ENGINES][ROUNDS_MAX];
	unsigned middle = options.rounds / 2, round, i;

	for (round = 0; round < options.rounds; round++) {
		for (i = 0; i < ENGINES; i++) {
			progress(title, round);
			results[i][round] =
				in_process(engines[i], task, memory, limited, round, &inserted[i]);
		}
	}
	progress(NULL, 0);
	printf("%s, cache of %.1f MiB%s\n", title, (double)memory / (1 << 20),
		!limited         ? ""
		: options.cgroup ? ", in a memory cgroup"
				 : ", no cgroup");
	for (i = 0; i < ENGINES; i++) {
		qsort(results[i], options.rounds, sizeof(results[i][0]), by_rate);
		printf("  %-8s %10.0f per second (%.0f to %.0f), RSS %.1f MiB\n", engines[i]->name,
			results[i][middle].rate, results[i][0].rate,
			results[i][options.rounds - 1].rate,
			(double)results[i][middle].resident / (1 << 20));
	}
}

static void parse(int argc, char **argv)
{
	int i;

	options.folder = argv[0];
	for (i = 1; i + 1 < argc; i += 2) {
		char *end;
		unsigned long long number = strtoull(argv[i + 1], &end, 10);

		if (!strcmp(argv[i], "--cgroup")) {
			options.cgroup = argv[i + 1];
			continue;
		}
		if (*end || end == argv[i + 1] || number == 0)
			usage("%s needs a number above 0, not %s.", argv[i], argv[i + 1]);
		if (!strcmp(argv[i], "--records"))
			options.records = (number + LOAD_GROUP - 1) / LOAD_GROUP * LOAD_GROUP;
		else if (!strcmp(argv[i], "--seconds"))
			options.seconds = (double)number;
		else if (!strcmp(argv[i], "--rounds") && number <= ROUNDS_MAX)
			options.rounds = (unsigned)number;
		else
			usage("%s %s is no option of kv bench.", argv[i], argv[i + 1]);
	}
	if (i != argc)
		usage("%s needs a number.", argv[i]);
}

int command_bench(int argc, char **argv)
{
	uint64_t inserted[ENGINES_MAX] = {0}, data, small;
	char folder[4096];
	unsigned i;

	parse(argc, argv);
	result = mmap(
		NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		fail("memory", -errno);
#ifndef HAVE_SQLITE
	printf("without SQLite: sqlite3 was not there when kv was built\n");
#endif
#ifndef HAVE_LMDB
	printf("without LMDB: lmdb was not there when kv was built\n");
#endif
	data = options.records * BENCH_RECORD;
	small = data / 16 < 1 << 20 ? 1 << 20 : data / 16;
	for (i = 0; i < ENGINES; i++) {
		engine_folder(folder, sizeof(folder), engines[i]);
		if (mkdir(folder, 0755))
			fail(folder, -errno);
		in_process(engines[i], LOAD, 4 * data, false, 0, &inserted[i]);
	}
	printf("%llu records of %d bytes, in random order\n", (unsigned long long)options.records,
		BENCH_RECORD);
	compare("random reads, 2 threads", READS, 4 * data, false, inserted);
	compare("random reads, 2 threads", READS, small, true, inserted);
	compare("random inserts, durable in groups of 100", INSERTS, small, true, inserted);
	return 0;
}
