/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture.c - options, threads, progress, report.
 *
 * The test counts violations instead of hoping for a crash. README.md in this folder lists them.
 */
#include "torture.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <folio/ref.h>

struct options options;

static const struct mode *const modes[] = {&mode_counter, &mode_tree, &mode_cache};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* ---- violations ---- */

static const char *const violation_name[VIOLATIONS] = {
	[VIOLATION_RELEASED_TWICE] = "released twice",
	[VIOLATION_RELEASED_IN_USE] = "released or frozen in use",
	[VIOLATION_RELEASED_VISIBLE] = "released while visible",
	[VIOLATION_RELEASED_AS_OTHER] = "released as something else",
	[VIOLATION_HELD_CHANGED] = "changed under a reference",
	[VIOLATION_HELD_FOREIGN] = "reference to something else",
	[VIOLATION_NOT_FROZEN] = "not frozen",
	[VIOLATION_TREE_FOREIGN] = "entry at a foreign index",
	[VIOLATION_TREE_ERASED] = "entry found after its erase",
	[VIOLATION_TREE_EARLY] = "entry found before its store",
	[VIOLATION_TREE_MISSED] = "entry missed",
	[VIOLATION_TREE_RESULT] = "wrong result of the tree",
	[VIOLATION_GARBAGE] = "garbage",
	[VIOLATION_FOREIGN_FILE] = "bytes of another file",
	[VIOLATION_FOREIGN_INDEX] = "bytes of another page",
	[VIOLATION_TORN] = "torn page",
	[VIOLATION_STALE] = "stale bytes",
	[VIOLATION_FUTURE] = "bytes of the future",
	[VIOLATION_ZERO] = "zeros, or bytes after the end",
	[VIOLATION_RESULT] = "wrong result",
	[VIOLATION_PRIVATE] = "private folio changed",
	[VIOLATION_PRIVATE_RELEASE] = "wrong release of a program's type",
	[VIOLATION_MISUSE] = "misuse of a counter",
	[VIOLATION_LEAK] = "leak",
	[VIOLATION_STUCK] = "stuck",
};

static folio_u64 violations[VIOLATIONS];
static const struct mode *mode_now;
static struct timespec mode_start;
static folio_u32 stopping;

#define VIOLATIONS_PRINTED 20

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

uint64_t violations_total(void)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < VIOLATIONS; i++)
		sum += folio_u64_load_relaxed(&violations[i]);
	return sum;
}

void violation(enum violation kind, const char *format, ...)
{
	static folio_u32 printed;
	uint32_t number = folio_u32_fetch_add_relaxed(&printed, 1);

	folio_u64_fetch_add_relaxed(&violations[kind], 1);
	if (number < VIOLATIONS_PRINTED) {
		char text[512];
		va_list list;

		va_start(list, format);
		vsnprintf(text, sizeof(text), format, list);
		va_end(list);
		if (options.serial)
			fprintf(stderr, "torture: %s, turn %lu: %s: %s\n", mode_now->name,
				(unsigned long)serial_turns(), violation_name[kind], text);
		else
			fprintf(stderr, "torture: %s, %.3f s: %s: %s\n", mode_now->name,
				seconds_since(&mode_start), violation_name[kind], text);
	} else if (number == VIOLATIONS_PRINTED) {
		fprintf(stderr, "torture: further violations are counted only\n");
	}
	/* At once: broken state may never settle, and memory may be too damaged for a report. */
	if (options.stop)
		_exit(1);
}

#ifdef FOLIO_REF_DEBUG
static void misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	/* Mode counter takes too many references on purpose and expects the refusal. */
	if (strncmp(what, "more references", strlen("more references")) == 0)
		return;
	folio_ref_print_history(ref);
	violation(VIOLATION_MISUSE, "%s:%d: counter %p: %s", file, line, (const void *)ref, what);
}
#endif

/* ---- workers ---- */

static struct worker *workers;
static folio_u32 active;
static uint64_t operations_each;

bool torture_stopping(void)
{
	return folio_u32_load_relaxed(&stopping);
}

unsigned torture_active(void)
{
	return folio_u32_load_relaxed(&active);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	unsigned bucket = value ? 64u - (unsigned)__builtin_clzll(value) : 0;
	folio_u64 *at = &histogram->bucket[bucket < BUCKETS ? bucket : BUCKETS - 1];

	folio_u64_store_relaxed(at, folio_u64_load_relaxed(at) + 1);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint64_t seed = mix64(
		options.seed ^ mix64((uint64_t)worker->number << 8 | (uint64_t)mode_now->name[0]));
	uint64_t n;

	pause_seed(~seed);
	serial_enter(worker->number);
	mode_now->begin(worker);
	/*
	 * Each operation draws its decisions from its own number. So it does the same in every run
	 * with this seed, whatever the results of earlier operations.
	 */
	for (n = 0; (operations_each == 0 || n < operations_each) && !torture_stopping(); n++) {
		worker->rng.state = seed + mix64(n);
		mode_now->operation(worker);
		folio_u64_store_relaxed(&worker->operations, n + 1);
	}
	folio_u32_fetch_sub_relaxed(&active, 1);
	mode_now->end(worker);
	serial_leave();
	return NULL;
}

static uint64_t operations_done(void)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < options.threads; i++)
		sum += folio_u64_load_relaxed(&workers[i].operations);
	return sum;
}

/* ---- progress ---- */

/* No operation at all for this long is a violation. */
#define STUCK_SECONDS 120

static bool terminal;

static void progress_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void progress_line(const char *format, ...)
{
	va_list list;

	if (!terminal)
		return;
	va_start(list, format);
	fprintf(stderr, "\r\033[K");
	vfprintf(stderr, format, list);
	va_end(list);
	fflush(stderr);
}

static void stuck(void)
{
	unsigned i;

	violation(VIOLATION_STUCK, "no operation in %d s, %u threads still at work", STUCK_SECONDS,
		torture_active());
	for (i = 0; i < options.threads; i++)
		fprintf(stderr, "torture: thread %u is in operation %lu\n", i,
			(unsigned long)folio_u64_load_relaxed(&workers[i].operations));
	fprintf(stderr, "torture: seed %#lx\n", (unsigned long)options.seed);
	/*
	 * The threads cannot be ended. A core dump, if the system writes one, shows where they are.
	 */
	abort();
}

/* Runs until the time is up, and then until all workers have ended. */
static void watch(double seconds)
{
	uint64_t done = 0;
	double since = 0, at = 0;
	struct pause_counts counts;

	while (torture_active() > 0) {
		const struct timespec tick = {.tv_nsec = 100000000};

		nanosleep(&tick, NULL);
		at = seconds_since(&mode_start);
		if (seconds > 0 && at >= seconds)
			folio_u32_store_relaxed(&stopping, 1);
		if (operations_done() != done) {
			done = operations_done();
			since = at;
		} else if (at - since > STUCK_SECONDS) {
			stuck();
		}
		pause_counts(&counts);
		progress_line("%s %.0f s  %lu operations  %lu reuse races passed, %lu won  %lu "
			      "violations",
			mode_now->name, at, (unsigned long)done, (unsigned long)counts.passed,
			(unsigned long)counts.won, (unsigned long)violations_total());
	}
	progress_line("%s", "");
}

/* ---- one mode ---- */

struct result {
	const struct mode *mode;
	double seconds;
	uint64_t operations;
	uint64_t count[COUNTS_MAX];
	uint64_t histogram[HISTOGRAMS_MAX][BUCKETS];
	struct pause_counts pauses;
	const char *more_name[COUNTS_MAX];
	uint64_t more[COUNTS_MAX];
	unsigned more_count;
};

static void collect(struct result *result)
{
	unsigned i, c, h, b;

	result->operations = operations_done();
	for (i = 0; i < options.threads; i++) {
		for (c = 0; c < COUNTS_MAX; c++)
			result->count[c] += folio_u64_load_relaxed(&workers[i].count[c]);
		for (h = 0; h < HISTOGRAMS_MAX; h++)
			for (b = 0; b < BUCKETS; b++)
				result->histogram[h][b] +=
					folio_u64_load_relaxed(&workers[i].histogram[h].bucket[b]);
	}
	pause_counts(&result->pauses);
	if (result->mode->more)
		result->more_count = result->mode->more(result->more_name, result->more);
}

static int run_mode(const struct mode *mode, double seconds, struct result *result)
{
	unsigned i;

	mode_now = mode;
	clock_gettime(CLOCK_MONOTONIC, &mode_start);
	memset(workers, 0, options.threads * sizeof(*workers));
	if (mode->open()) {
		fprintf(stderr, "torture: mode %s cannot be set up: no memory\n", mode->name);
		return -1;
	}
	folio_u32_store_relaxed(&stopping, 0);
	folio_u32_store_relaxed(&active, options.threads);
	pause_begin(mode);
	if (options.serial)
		serial_begin();
	for (i = 0; i < options.threads; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
			fprintf(stderr, "torture: thread %u cannot be started\n", i);
			exit(2);
		}
	}
	watch(seconds);
	for (i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
	mode->close();
	pause_end();
	result->mode = mode;
	result->seconds = seconds_since(&mode_start);
	collect(result);
	return 0;
}

/* ---- report ---- */

struct named {
	const char *name;
	uint64_t value;
};

#define PAUSES_NAMED 9

static unsigned pauses_named(const struct pause_counts *counts, struct named named[PAUSES_NAMED])
{
	const struct named all[] = {
		{"puts that reached zero", counts->zeros},
		{"putters stalled there", counts->stalled},
		{"reuse races passed", counts->passed},
		{"reuse races won", counts->won},
		{"reuse races lost", counts->passed - counts->won},
		{"uses passed in them", counts->uses_passed},
		{"junk resets", counts->junk_resets},
		{"waits across a reuse", counts->late},
		{"yields", counts->yields},
	};

	memcpy(named, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

/* "2-3" */
static void bucket_name(char name[48], unsigned bucket)
{
	if (bucket < 2)
		snprintf(name, 48, "%u", bucket);
	else if (bucket == BUCKETS - 1)
		snprintf(name, 48, "%lu-", 1ul << (bucket - 1));
	else
		snprintf(name, 48, "%lu-%lu", 1ul << (bucket - 1), (1ul << bucket) - 1);
}

static void print_histogram(const char *name, const uint64_t bucket[BUCKETS])
{
	static const char bar[] = "########################################";
	uint64_t most = 0;
	unsigned b, last = 0;
	char label[48];

	for (b = 0; b < BUCKETS; b++) {
		if (bucket[b] > most)
			most = bucket[b];
		if (bucket[b])
			last = b;
	}
	printf("  %s\n", name);
	for (b = 0; most && b <= last; b++) {
		bucket_name(label, b);
		/* At least one mark for a non-empty bucket. */
		printf("    %12s %14lu %.*s\n", label, (unsigned long)bucket[b],
			bucket[b] ? (int)(1 + bucket[b] * 39 / most) : 0, bar);
	}
}

static void print_result(const struct result *result)
{
	struct named pauses[PAUSES_NAMED];
	unsigned i, n;

	printf("%s: %.1f s, %lu operations, %.0f/s\n", result->mode->name, result->seconds,
		(unsigned long)result->operations, (double)result->operations / result->seconds);
	for (i = 0; result->mode->counts[i]; i++)
		printf("  %-34s %14lu\n", result->mode->counts[i], (unsigned long)result->count[i]);
	for (i = 0; i < result->more_count; i++)
		printf("  %-34s %14lu\n", result->more_name[i], (unsigned long)result->more[i]);
	n = pauses_named(&result->pauses, pauses);
	for (i = 0; result->mode->use_count && i < n; i++)
		printf("  %-34s %14lu\n", pauses[i].name, (unsigned long)pauses[i].value);
	for (i = 0; result->mode->histograms[i]; i++)
		print_histogram(result->mode->histograms[i], result->histogram[i]);
}

static void print_violations(void)
{
	unsigned i;

	printf("violations: %lu\n", (unsigned long)violations_total());
	for (i = 0; i < VIOLATIONS; i++)
		if (folio_u64_load_relaxed(&violations[i]))
			printf("  %-34s %14lu\n", violation_name[i],
				(unsigned long)folio_u64_load_relaxed(&violations[i]));
}

/* The names contain no character that JSON must escape. */
static void json_result(const struct result *result)
{
	struct named pauses[PAUSES_NAMED];
	char label[48];
	unsigned i, b, n;

	printf("\"%s\": {\"seconds\": %.3f, \"operations\": %lu", result->mode->name,
		result->seconds, (unsigned long)result->operations);
	for (i = 0; result->mode->counts[i]; i++)
		printf(", \"%s\": %lu", result->mode->counts[i], (unsigned long)result->count[i]);
	for (i = 0; i < result->more_count; i++)
		printf(", \"%s\": %lu", result->more_name[i], (unsigned long)result->more[i]);
	n = pauses_named(&result->pauses, pauses);
	for (i = 0; result->mode->use_count && i < n; i++)
		printf(", \"%s\": %lu", pauses[i].name, (unsigned long)pauses[i].value);
	printf(", \"histograms\": {");
	for (i = 0; result->mode->histograms[i]; i++) {
		printf("%s\"%s\": {", i ? ", " : "", result->mode->histograms[i]);
		for (b = 0; b < BUCKETS; b++) {
			bucket_name(label, b);
			printf("%s\"%s\": %lu", b ? ", " : "", label,
				(unsigned long)result->histogram[i][b]);
		}
		printf("}");
	}
	printf("}}");
}

static void json(const struct result *result, unsigned count)
{
	unsigned i;
	bool any = false;

	printf("{\"seed\": \"%#lx\", \"threads\": %u, \"cores\": %u, \"budget\": %lu, \"modes\": {",
		(unsigned long)options.seed, options.threads, options.cores,
		(unsigned long)options.budget);
	for (i = 0; i < count; i++) {
		if (i)
			printf(", ");
		json_result(&result[i]);
	}
	printf("}, \"violations\": {");
	for (i = 0; i < VIOLATIONS; i++) {
		if (!folio_u64_load_relaxed(&violations[i]))
			continue;
		printf("%s\"%s\": %lu", any ? ", " : "", violation_name[i],
			(unsigned long)folio_u64_load_relaxed(&violations[i]));
		any = true;
	}
	printf("}}\n");
}

/* ---- options ---- */

static void usage(FILE *to)
{
	fprintf(to,
		"usage: torture [--mode counter|tree|cache|all] [--seconds N | --operations N] "
		"[--seed N]\n"
		"               [--threads N | --oversubscribe K] [--budget PAGES] [--json] "
		"[--stop] [--serial]\n"
		"\n"
		"  --mode M          the mode to run; all: one after another (all)\n"
		"  --seconds N       duration of all modes together (10)\n"
		"  --operations N    instead: operations in each mode, all threads together\n"
		"  --seed N          seed of the threads' decisions; printed, to repeat a run\n"
		"  --threads N       number of threads\n"
		"  --oversubscribe K instead: K threads per core (2)\n"
		"  --budget PAGES    size of the cache in pages (128)\n"
		"  --json            print the report as JSON\n"
		"  --stop            exit at the first violation, without a report\n"
		"  --serial          mode counter only: one thread runs at a time, in an order\n"
		"                    drawn from the seed; with --operations runs are repeatable\n"
		"\n"
		"Exit status: 0 no violation, 1 violations, 2 wrong arguments or no memory.\n");
}

static void refuse(const char *option, const char *value) __attribute__((noreturn));

static void refuse(const char *option, const char *value)
{
	fprintf(stderr, "torture: --%s does not take '%s'\n", option, value);
	exit(2);
}

static uint64_t number(const char *option, const char *value, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || *end || end == value || *value == '-' || n < least || n > most)
		refuse(option, value);
	return n;
}

static double seconds_of(const char *value)
{
	char *end;
	double n = strtod(value, &end);

	if (*end || end == value || !(n >= 0 && n <= 1e8))
		refuse("seconds", value);
	return n;
}

static uint64_t fresh_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return mix64((uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec) & UINT32_MAX;
}

enum {
	OPTION_MODE,
	OPTION_SECONDS,
	OPTION_OPERATIONS,
	OPTION_SEED,
	OPTION_THREADS,
	OPTION_OVERSUBSCRIBE,
	OPTION_BUDGET,
	OPTION_JSON,
	OPTION_STOP,
	OPTION_SERIAL,
	OPTION_HELP
};

static const struct option option[] = {
	[OPTION_MODE] = {"mode", required_argument, NULL, 0},
	[OPTION_SECONDS] = {"seconds", required_argument, NULL, 0},
	[OPTION_OPERATIONS] = {"operations", required_argument, NULL, 0},
	[OPTION_SEED] = {"seed", required_argument, NULL, 0},
	[OPTION_THREADS] = {"threads", required_argument, NULL, 0},
	[OPTION_OVERSUBSCRIBE] = {"oversubscribe", required_argument, NULL, 0},
	[OPTION_BUDGET] = {"budget", required_argument, NULL, 0},
	[OPTION_JSON] = {"json", no_argument, NULL, 0},
	[OPTION_STOP] = {"stop", no_argument, NULL, 0},
	[OPTION_SERIAL] = {"serial", no_argument, NULL, 0},
	[OPTION_HELP] = {"help", no_argument, NULL, 0},
	{NULL, 0, NULL, 0},
};

/* Returns the requested modes, one bit each. */
static unsigned parse(int argc, char **argv)
{
	unsigned wanted = (1u << MODES) - 1, m;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	bool seconds_given = false;
	int which = 0, c;

	options.cores = cores > 0 ? (unsigned)cores : 1;
	options.threads = 2 * options.cores;
	options.budget = 128;
	options.seed = fresh_seed();
	options.seconds = 10;
	while ((c = getopt_long(argc, argv, "", option, &which)) != -1) {
		if (c == '?')
			exit(2);
		switch (which) {
		case OPTION_MODE:
			for (m = 0; m < MODES && strcmp(optarg, modes[m]->name) != 0; m++)
				continue;
			if (m < MODES)
				wanted = 1u << m;
			else if (strcmp(optarg, "all") == 0)
				wanted = (1u << MODES) - 1;
			else
				refuse("mode", optarg);
			break;
		case OPTION_SECONDS:
			options.seconds = seconds_of(optarg);
			seconds_given = true;
			break;
		case OPTION_OPERATIONS:
			options.operations = number("operations", optarg, 1, UINT64_MAX);
			break;
		case OPTION_SEED:
			options.seed = number("seed", optarg, 0, UINT64_MAX);
			break;
		case OPTION_THREADS:
			options.threads = (unsigned)number("threads", optarg, 1, WORKERS_MAX);
			break;
		case OPTION_OVERSUBSCRIBE:
			options.threads = (unsigned)number("oversubscribe", optarg, 1,
						  WORKERS_MAX / options.cores) *
					  options.cores;
			break;
		case OPTION_BUDGET:
			/* The page numbers of the largest file must fit into a label. */
			options.budget = number("budget", optarg, 64, 32767);
			break;
		case OPTION_JSON:
			options.json = true;
			break;
		case OPTION_STOP:
			options.stop = true;
			break;
		case OPTION_SERIAL:
			options.serial = true;
			break;
		case OPTION_HELP:
			usage(stdout);
			exit(0);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "torture: unexpected argument '%s'\n", argv[optind]);
		exit(2);
	}
	if (options.serial && wanted != 1) {
		fprintf(stderr, "torture: --serial needs --mode counter\n");
		exit(2);
	}
	if (options.operations && !seconds_given)
		options.seconds = 0;
	if (!options.operations && options.seconds == 0) {
		fprintf(stderr, "torture: --seconds 0 needs --operations\n");
		exit(2);
	}
	operations_each = (options.operations + options.threads - 1) / options.threads;
	return wanted;
}

int main(int argc, char **argv)
{
	unsigned wanted = parse(argc, argv), count = 0, m;
	static struct result result[MODES];

#ifdef FOLIO_REF_DEBUG
	folio_ref_on_misuse = misuse;
#endif
	terminal = isatty(STDERR_FILENO);
	workers = aligned_alloc(64, options.threads * sizeof(*workers));
	if (!workers) {
		fprintf(stderr, "torture: no memory for %u threads\n", options.threads);
		return 2;
	}
	if (!options.json) {
		printf("torture: seed %#lx, %u threads on %u cores, budget %lu pages\n",
			(unsigned long)options.seed, options.threads, options.cores,
			(unsigned long)options.budget);
		fflush(stdout);
	}
	for (m = 0; m < MODES; m++) {
		if (!(wanted >> m & 1))
			continue;
		if (run_mode(
			    modes[m], options.seconds / __builtin_popcount(wanted), &result[count]))
			return 2;
		if (!options.json) {
			print_result(&result[count]);
			fflush(stdout);
		}
		count++;
	}
	free(workers);
	if (options.json)
		json(result, count);
	else
		print_violations();
	return violations_total() ? 1 : 0;
}
