/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-ref.c - folio bench ref: ways to count references on one cache line that all threads share.
 */
#include "bench/bench-ref.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <folio/cache.h>
#include <folio/ref.h>

#include "bench/bench-base.h"
#include "bench/counters.h"
#include "bench/machine.h"
#include "bench/output.h"
#include "bench/rounds.h"
#include "bench/summarize.h"
#include "command.h"
#include "options.h"

/* Objects that a thread sets up and releases: 16 KiB of descriptors, which fit its first cache. */
#define OBJECTS 256

static const char help[] =
	"usage: folio bench ref [--threads N] [--seconds S] [--all | --json | --csv]\n"
	"                       [--svg PICTURE]\n"
	"\n"
	"Measures ways to count references. On one cache line that all threads share: get\n"
	"and put, a get that fails, the removal of what failed gets leave in the counter,\n"
	"and freezing while readers get and put. On private objects of each thread: the\n"
	"release of the last reference.\n"
	"\n"
	"  --threads N    measure with 1, 2, 4 ... N threads (default: one per processor)\n"
	"  --seconds S    approximate time for all measurements (default: 10)\n"
	"  --all          print the full tables instead of the summary\n"
	"  --json, --csv  print all results for programs\n"
	"  --svg PICTURE  also write the results as a picture\n";

/* 64 bytes each and aligned, like descriptors. */
struct object {
	struct folio_ref ref;
} __attribute__((aligned(64)));

struct counters {
	/* Shared by all threads: a live counter, and a free or frozen one. */
	struct counter_line shared;
	struct counter_line gone;
	struct counter_line *own;   /* one for each thread */
	struct counter_line *slots; /* one for each thread: its published pin */
	struct object (*objects)[OBJECTS];
};

/* The counter of folio/ref.h on the same kind of line. */
static inline struct folio_ref *ref_of(folio_u32 *word)
{
	return (struct folio_ref *)word;
}

/* ---- get and put ---- */

/* No get may fail: the counter is live. A failure ends the benchmark. */
#define GET_PUT(name, get, put)                                 \
	static uint64_t name(struct worker *worker, uint64_t n) \
	{                                                       \
		struct counters *counters = worker->context;    \
		uint64_t i;                                     \
                                                                \
		for (i = 0; i < n; i++) {                       \
			if (!get)                               \
				return 0;                       \
			put;                                    \
		}                                               \
		return n;                                       \
	}

GET_PUT(get_put_loop, loop_try_get(&counters->shared.word), classic_put(&counters->shared.word))
GET_PUT(get_put_guess, guess_try_get(&counters->shared.word), classic_put(&counters->shared.word))
GET_PUT(get_put_bit, folio_ref_try_get(ref_of(&counters->shared.word)),
	folio_ref_put(ref_of(&counters->shared.word)))

static uint64_t get_put_own(struct worker *worker, uint64_t n)
{
	struct counters *counters = worker->context;
	folio_u32 *word = &counters->own[worker->index].word;
	uint64_t i;

	for (i = 0; i < n; i++) {
		own_get(word);
		/* The compiler must not merge the pair into one store of the old value. */
		__asm__ volatile("" : : : "memory");
		own_put(word);
		__asm__ volatile("" : : : "memory");
	}
	return n;
}

/* A pin published in a slot of the thread, without a fence: the freezer would use membarrier. */
static uint64_t get_put_publish(struct worker *worker, uint64_t n)
{
	struct counters *counters = worker->context;
	folio_u32 *slot = &counters->slots[worker->index].word;
	uint64_t i;

	for (i = 0; i < n; i++) {
		folio_u32_store_relaxed(slot, 1);
		__asm__ volatile("" : : : "memory");
		/*
		 * The reader checks that the object is still live: it only reads the shared line.
		 */
		if (folio_u32_load_acquire(&counters->gone.word) == 1)
			return 0;
		folio_u32_store_release(slot, 0);
		__asm__ volatile("" : : : "memory");
	}
	return n;
}

/* ---- release of the only reference ---- */

/*
 * As in the unmapping of memory, objects are set up with one reference, which is put later. All of
 * them are set up before the first put, so that no put waits for the store to its own object.
 */
#define RELEASE(name, set_up, put)                                        \
	static uint64_t name(struct worker *worker, uint64_t n)           \
	{                                                                 \
		struct counters *counters = worker->context;              \
		struct object *object = counters->objects[worker->index]; \
		uint64_t done, released = 0, i, some;                     \
                                                                          \
		for (done = 0; done < n; done += some) {                  \
			some = n - done < OBJECTS ? n - done : OBJECTS;   \
			for (i = 0; i < some; i++)                        \
				set_up;                                   \
			for (i = 0; i < some; i++)                        \
				released += put;                          \
		}                                                         \
		return released == n ? n : 0;                             \
	}

RELEASE(release_classic, classic_unfreeze(&object[i].ref.word, 1), classic_put(&object[i].ref.word))
RELEASE(release_bit, folio_ref_unfreeze(&object[i].ref, 1), folio_ref_put(&object[i].ref))

/* ---- gets that fail ---- */

#define FAIL(name, prepare, get)                                \
	static uint64_t name(struct worker *worker, uint64_t n) \
	{                                                       \
		struct counters *counters = worker->context;    \
		uint64_t i;                                     \
                                                                \
		for (i = 0; i < n; i++) {                       \
			prepare;                                \
			if (get)                                \
				return 0;                       \
		}                                               \
		return n;                                       \
	}

FAIL(fail_loop, (void)0, loop_try_get(&counters->gone.word))
FAIL(fail_guess, (void)0, guess_try_get(&counters->gone.word))
FAIL(fail_bit, (void)0, folio_ref_try_get(ref_of(&counters->gone.word)))

/*
 * One failing get in 2^30 removes the junk that the others left in the word. To measure it, the
 * word is set to just below the limit before each get. For the other contender it is set to no
 * junk, so that both include the store.
 */
FAIL(junk_none, folio_u32_store_relaxed(&counters->gone.word, FOLIO_REF_FROZEN),
	folio_ref_try_get(ref_of(&counters->gone.word)))
FAIL(junk_reset, folio_u32_store_relaxed(&counters->gone.word, FOLIO_REF_JUNK_LIMIT - 1),
	folio_ref_try_get(ref_of(&counters->gone.word)))

/* ---- freezing under readers ---- */

/* Thread 0 freezes whenever it can, and unfreezes at once. The others get and put all the time. */
#define FREEZE(name, try_freeze, unfreeze, get, put)            \
	static uint64_t name(struct worker *worker, uint64_t n) \
	{                                                       \
		struct counters *counters = worker->context;    \
		uint64_t i, good = 0;                           \
                                                                \
		for (i = 0; i < n; i++) {                       \
			if (worker->index == 0) {               \
				if (try_freeze) {               \
					good++;                 \
					unfreeze;               \
				}                               \
			} else if (get) {                       \
				good++;                         \
				if (put)                        \
					return 0;               \
			}                                       \
		}                                               \
		worker->extra += good;                          \
		return n;                                       \
	}

FREEZE(freeze_loop, classic_try_freeze(&counters->shared.word, 1),
	classic_unfreeze(&counters->shared.word, 1), loop_try_get(&counters->shared.word),
	classic_put(&counters->shared.word))
FREEZE(freeze_guess, classic_try_freeze(&counters->shared.word, 1),
	classic_unfreeze(&counters->shared.word, 1), guess_try_get(&counters->shared.word),
	classic_put(&counters->shared.word))
FREEZE(freeze_bit, folio_ref_try_freeze(ref_of(&counters->shared.word), 1),
	folio_ref_unfreeze(ref_of(&counters->shared.word), 1),
	folio_ref_try_get(ref_of(&counters->shared.word)),
	folio_ref_put(ref_of(&counters->shared.word)))

/* ---- workloads ---- */

enum { GET, RELEASE_LAST, FAIL_GET, JUNK, FREEZE, READERS, WORKLOADS };

#define LOOP    "load + CAS loop"
#define GUESS   "CAS assuming 1"
#define BIT     "fetch-add, bit"
#define PLAIN   "sub"
#define SUB_CAS "sub + CAS, bit"
#define NO_WIPE "frozen, no junk"
#define WIPE    "junk at limit"

static const struct report_workload workloads[WORKLOADS] = {
	[GET] = {.name = "get+put", .title = "all threads on one line", .bases = {LOOP, GUESS}},
	[RELEASE_LAST] = {.name = "release",
		.title = "objects of one thread are set up with one reference, which is put",
		.bases = {PLAIN}},
	[FAIL_GET] = {.name = "failing get",
		.title = "all threads on one line that is frozen",
		.bases = {LOOP, GUESS}},
	[JUNK] = {.name = "junk",
		.title = "a store and a failing get; and one that removes junk, which happens once "
			 "in 2^30",
		.bases = {NO_WIPE}},
	[FREEZE] = {.name = "freeze",
		.title = "one thread freezes and unfreezes what the others get and put; successes "
			 "only",
		.bases = {LOOP, GUESS},
		.extra = "succeed"},
	[READERS] = {.name = "freeze readers",
		.title = "gets and puts of the others, while one thread freezes; successes only",
		.bases = {LOOP, GUESS},
		.extra = "succeed"},
};

/* Before and after each sample, the shared counter has one reference. */
static void set_live(const struct cell *cell)
{
	struct counters *counters = cell->context;

	folio_u32_store_relaxed(&counters->shared.word, 1);
	folio_u32_store_relaxed(&counters->gone.word, 0);
}

static void set_gone(const struct cell *cell)
{
	struct counters *counters = cell->context;

	folio_u32_store_relaxed(&counters->gone.word, 0);
}

static void set_frozen(const struct cell *cell)
{
	struct counters *counters = cell->context;

	folio_ref_init_frozen(ref_of(&counters->gone.word));
}

/* All references were put: a count that was lost or added is detected here. */
static bool record_live(struct report *report, const struct cell *cell, const struct sample *sample)
{
	struct counters *counters = cell->context;
	unsigned i;

	if (folio_u32_load_relaxed(&counters->shared.word) != 1)
		return false;
	for (i = 0; i < cell->threads; i++) {
		if (folio_u32_load_relaxed(&counters->own[i].word) ||
			folio_u32_load_relaxed(&counters->slots[i].word))
			return false;
	}
	report_sample(&report->workloads[cell->workload], cell->contender, cell->role,
		cell->threads, sample->rate, 0);
	return true;
}

static bool record_gone(struct report *report, const struct cell *cell, const struct sample *sample)
{
	struct counters *counters = cell->context;
	uint32_t word = folio_u32_load_relaxed(&counters->gone.word);

	if (word && (word < FOLIO_REF_FROZEN || word > FOLIO_REF_JUNK_LIMIT + cell->threads))
		return false;
	report_sample(&report->workloads[cell->workload], cell->contender, cell->role,
		cell->threads, sample->rate, 0);
	return true;
}

static bool record_freeze(
	struct report *report, const struct cell *cell, const struct sample *sample)
{
	struct counters *counters = cell->context;
	unsigned others = cell->threads - 1;

	if (folio_u32_load_relaxed(&counters->shared.word) != 1)
		return false;
	/* A failure is fast and useless: only successes count. */
	report_sample(&report->workloads[FREEZE], cell->contender, cell->role, cell->threads,
		sample->leader * sample->leader_extra, sample->leader_extra);
	if (others)
		report_sample(&report->workloads[READERS], cell->contender, cell->role,
			cell->threads, (sample->rate - sample->leader) * sample->others_extra,
			sample->others_extra);
	return true;
}

static const struct cell contenders[] = {
	{GET, LOOP, ROLE_PEER, 0, get_put_loop, NULL, set_live, record_live},
	{GET, GUESS, ROLE_PEER, 0, get_put_guess, NULL, set_live, record_live},
	{GET, BIT, ROLE_OWN, 0, get_put_bit, NULL, set_live, record_live},
	{GET, "published", ROLE_LIMIT, 0, get_put_publish, NULL, set_live, record_live},
	{GET, "own counters", ROLE_LIMIT, 0, get_put_own, NULL, set_live, record_live},
	{RELEASE_LAST, PLAIN, ROLE_PEER, 0, release_classic, NULL, NULL, NULL},
	{RELEASE_LAST, SUB_CAS, ROLE_OWN, 0, release_bit, NULL, NULL, NULL},
	{FAIL_GET, LOOP, ROLE_PEER, 0, fail_loop, NULL, set_gone, record_gone},
	{FAIL_GET, GUESS, ROLE_PEER, 0, fail_guess, NULL, set_gone, record_gone},
	{FAIL_GET, BIT, ROLE_OWN, 0, fail_bit, NULL, set_frozen, record_gone},
	{JUNK, NO_WIPE, ROLE_PEER, 0, junk_none, NULL, set_frozen, record_gone},
	{JUNK, WIPE, ROLE_OWN, 0, junk_reset, NULL, set_frozen, record_gone},
	{FREEZE, LOOP, ROLE_PEER, 0, freeze_loop, NULL, set_live, record_freeze},
	{FREEZE, GUESS, ROLE_PEER, 0, freeze_guess, NULL, set_live, record_freeze},
	{FREEZE, BIT, ROLE_OWN, 0, freeze_bit, NULL, set_live, record_freeze},
};

#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

/* The instructions that the compiler emits decide what is compared. */
static const char *atomics(void)
{
#if defined(__x86_64__)
	return "x86-64: lock xadd, lock sub, lock cmpxchg";
#elif defined(__aarch64__) && defined(__ARM_FEATURE_ATOMICS)
	return "arm64: LSE (ldadd, cas)";
#elif defined(__aarch64__)
	return "arm64: chosen at run time, LSE or load-exclusive/store-exclusive";
#else
	return "chosen by the compiler";
#endif
}

static unsigned add_cells(struct counters *counters, unsigned threads, struct cell *cells)
{
	unsigned counts[THREAD_COUNTS_MAX], count, first, last, i, found = 0;

	count = rounds_thread_counts(threads, counts);
	/* Cells of one workload and one number of threads are compared: they must be adjacent. */
	for (first = 0; first < CONTENDERS; first = last) {
		for (last = first; last < CONTENDERS; last++) {
			if (contenders[last].workload != contenders[first].workload)
				break;
		}
		for (i = 0; i < count * (last - first); i++) {
			cells[found] = contenders[first + i % (last - first)];
			cells[found].threads = counts[i / (last - first)];
			cells[found++].context = counters;
		}
	}
	return found;
}

static bool run(struct report *report, unsigned threads, double seconds)
{
	static struct cell cells[CONTENDERS * THREAD_COUNTS_MAX];
	struct counters *counters;
	struct workers *workers = NULL;
	bool good = false;
	unsigned i;

	counters = aligned_alloc(128, sizeof(*counters));
	if (counters) {
		memset(counters, 0, sizeof(*counters));
		counters->own = aligned_alloc(128, threads * sizeof(*counters->own));
		counters->slots = aligned_alloc(128, threads * sizeof(*counters->slots));
		counters->objects = aligned_alloc(128, threads * sizeof(*counters->objects));
	}
	if (!counters || !counters->own || !counters->slots || !counters->objects) {
		complain("out of memory");
		goto out;
	}
	memset(counters->own, 0, threads * sizeof(*counters->own));
	memset(counters->slots, 0, threads * sizeof(*counters->slots));
	memset(counters->objects, 0, threads * sizeof(*counters->objects));
	workers = workers_create(threads);
	if (!workers) {
		complain("cannot start the threads: %s", strerror(errno));
		goto out;
	}
	report_headline(report, "folio %s, counters; %s", FOLIO_VERSION, atomics());
	machine_report(report);
	report_text(report, "counters", "atomics", "%s", atomics());
	if (threads > workers_processors())
		report_warning(report, "There are more threads than processors: threads wait for a "
				       "processor and for each other.");
	for (i = 0; i < WORKLOADS; i++) {
		struct report_workload *workload = report_workload(report, &workloads[i]);

		workload->unit = "M/s";
		workload->axis = "millions per second";
		workload->scale = 1e6;
	}
	good = rounds_run(
		report, workers, cells, add_cells(counters, threads, cells), seconds, "bench ref");
	report->workloads[READERS].slice = report->workloads[FREEZE].slice;
	report_note(report, "published, own counters: each thread writes only its own cache line; "
			    "the limit for counters that share none.");
out:
	if (workers)
		workers_destroy(workers);
	if (counters) {
		free(counters->own);
		free(counters->slots);
		free(counters->objects);
	}
	free(counters);
	return good;
}

int bench_ref_command(int argc, char **argv)
{
	struct report report = {.title = "Reference counters",
		.command = "folio bench ref",
		.argc = argc,
		.argv = argv,
		.summarize = summarize_counters};
	struct output output = {0};
	unsigned threads = bench_threads();
	double seconds = 10;
	const struct option_spec specs[] = {
		{"--threads", OPTION_COUNT, &threads, 1, THREADS_MAX},
		{"--seconds", OPTION_SECONDS, &seconds, 0, 86400},
		{"--all", OPTION_FLAG, &output.all, 0, 0},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const struct option_set set = {"bench ref", specs, help, 0};
	int status;

	status = options_parse(&set, argc, argv, NULL);
	if (status < 0)
		status = output_open(&output, NULL);
	if (status >= 0)
		return status;
	status = STATUS_FAILED;
	if (run(&report, threads, seconds))
		status = output_write(&output, &report);
	output_close(&output);
	report_free(&report);
	return status;
}
