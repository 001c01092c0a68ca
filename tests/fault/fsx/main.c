/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - fsx, a file exerciser in the manner of fsx (Apple, NeXT): random operations on one file
 * through the cache, each compared with a model in plain memory.
 *
 * A seed decides the world (sizes, budget, which operations are likely, which thread runs the I/O,
 * whether calls or the power fail) and the sequence of operations. The cache runs on the
 * simulator (sim.h), or with --file on a real file, which is then compared with what the kernel
 * reads.
 *
 * What is demanded:
 *   reads       copies and pins equal the model; a pin of a page that is not written keeps its
 *               contents
 *   a failure   only where one was injected; it changed nothing, or wrote a prefix
 *   sync        on 0 the file equals the model, and still does after a power cut; an error of
 *               write-back is reported once through each handle, and only if one occurred
 *   close       of the last handle, on 0: the file equals the model
 *   power cut   each sector has contents that it had since the last sync, and the file a size that
 *               it had since
 *   the log     before_writeback was called with a page's sequence number before the page is
 *               written
 *   I/O         the contract of the backend's table (sim_complaint)
 */
#include <signal.h>
#include <sys/wait.h>

#include "world.h"

struct options options = {.operations = 50000, .seeds = 1, .jobs = 1};

static void usage(const char *what, const char *which)
{
	fprintf(stderr, "fsx: %s%s\n", what, which);
	exit(2);
}

static uint64_t number(const char *name, const char *value, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	if (!value)
		usage("a number is missing after ", name);
	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || end == value || *end || *value == '-' || n < min || n > max)
		usage("a number is wrong after ", name);
	return n;
}

static void parse(int argc, char **argv)
{
	const char *seed = getenv("FOLIO_SEED");
	int i;

	options.seed = seed ? strtoull(seed, NULL, 0)
			    : (uint64_t)time(NULL) * 1000003 % 1000000000 + (uint64_t)getpid();
	for (i = 1; i < argc; i++) {
		const char *name = argv[i], *value = argv[i + 1];

		if (strcmp(name, "--seed") == 0) {
			options.seed = number(name, value, 0, UINT64_MAX);
			i++;
		} else if (strcmp(name, "--operations") == 0) {
			options.operations = number(name, value, 1, UINT64_MAX);
			i++;
		} else if (strcmp(name, "--seeds") == 0) {
			options.seeds = number(name, value, 1, UINT32_MAX);
			i++;
		} else if (strcmp(name, "--jobs") == 0) {
			options.jobs = number(name, value, 1, 256);
			i++;
		} else if (strcmp(name, "--budget") == 0) {
			options.budget = number(name, value, 64, UINT64_C(1) << 20);
			i++;
		} else if (strcmp(name, "--file") == 0) {
			if (!value)
				usage("a path is missing after ", name);
			options.path = value;
			i++;
		} else if (strcmp(name, "--json") == 0) {
			options.json = true;
		} else if (strcmp(name, "--no-faults") == 0) {
			options.no_faults = true;
		} else if (strcmp(name, "--no-cuts") == 0) {
			options.no_cuts = true;
		} else if (strcmp(name, "--go-on") == 0) {
			options.go_on = true;
		} else if (strcmp(name, "--trace") == 0) {
			options.trace = true;
		} else if (strcmp(name, "--help") == 0) {
			printf("fsx [--seed N] [--seeds N] [--operations N] [--jobs N] [--budget "
			       "PAGES] [--file PATH]\n    [--no-faults] [--no-cuts] [--go-on] "
			       "[--trace] [--json]\n");
			exit(0);
		} else {
			usage("unknown argument ", name);
		}
	}
	if (options.path && options.jobs > 1)
		usage("with --file there can be one job only", "");
}

static void print(const struct totals *totals, double seconds)
{
	unsigned i;

	if (!options.json) {
		printf("fsx: seeds %llu..%llu: %llu operations, %.1f s, %llu bytes read, %llu "
		       "written, %llu writes, %llu evictions,\n     %llu power cuts, %llu calls "
		       "failed of %llu failures, %llu abandoned; %llu differences\n",
			(unsigned long long)options.seed,
			(unsigned long long)(options.seed + options.seeds - 1),
			(unsigned long long)totals->operations, seconds,
			(unsigned long long)totals->bytes_read,
			(unsigned long long)totals->bytes_written,
			(unsigned long long)totals->writes, (unsigned long long)totals->evictions,
			(unsigned long long)totals->cuts, (unsigned long long)totals->failed_calls,
			(unsigned long long)totals->injected, (unsigned long long)totals->abandoned,
			(unsigned long long)totals->differences);
		return;
	}
	printf("{\"seed\": %llu, \"seeds\": %llu, \"operations\": %llu, \"seconds\": %.3f, "
	       "\"bytes_read\": %llu, \"bytes_written\": %llu, \"writes\": %llu, \"evictions\": "
	       "%llu, \"cuts\": %llu, \"failed_calls\": %llu, \"injected\": %llu, \"abandoned\": "
	       "%llu, \"differences\": %llu, \"kinds\": {",
		(unsigned long long)options.seed, (unsigned long long)totals->seeds,
		(unsigned long long)totals->operations, seconds,
		(unsigned long long)totals->bytes_read, (unsigned long long)totals->bytes_written,
		(unsigned long long)totals->writes, (unsigned long long)totals->evictions,
		(unsigned long long)totals->cuts, (unsigned long long)totals->failed_calls,
		(unsigned long long)totals->injected, (unsigned long long)totals->abandoned,
		(unsigned long long)totals->differences);
	for (i = 0; i < KINDS; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", kind_name[i],
			(unsigned long long)totals->count[i]);
	printf("}}\n");
}

int main(int argc, char **argv)
{
	struct timespec begin, end;
	struct totals totals = {0}, part;
	int pipes[256][2], status;
	bool good = true;
	uint64_t job;
	size_t i;

	parse(argc, argv);
	if (options.jobs > options.seeds)
		options.jobs = options.seeds;
	if (!options.json)
		printf("fsx: seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	signal(SIGALRM, hang);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (options.jobs == 1) {
		good = run_seeds(0, &totals);
	} else {
		for (job = 0; job < options.jobs; job++) {
			if (pipe(pipes[job]) < 0) {
				perror("fsx: pipe");
				return 3;
			}
			if (fork() == 0) {
				good = run_seeds(job, &totals);
				if (write(pipes[job][1], &totals, sizeof(totals)) < 0)
					perror("fsx: pipe");
				fflush(stdout);
				_exit(good ? 0 : 1);
			}
			close(pipes[job][1]);
		}
		for (job = 0; job < options.jobs; job++) {
			if (read(pipes[job][0], &part, sizeof(part)) != sizeof(part))
				memset(&part, 0, sizeof(part));
			for (i = 0; i < sizeof(part) / sizeof(uint64_t); i++)
				((uint64_t *)&totals)[i] += ((uint64_t *)&part)[i];
		}
		while (wait(&status) > 0)
			good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	print(&totals,
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	return good ? 0 : 1;
}
