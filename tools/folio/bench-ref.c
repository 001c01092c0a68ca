/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-ref.c - folio bench ref: ways to count references, on one line that all threads share.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <folio/cache.h>
#include <folio/ref.h>

#include "bench.h"
#include "command.h"
#include "counters.h"
#include "machine.h"
#include "options.h"
#include "rounds.h"

#define OBJECTS \
	256 /* that a thread sets up and releases: 16 KiB of descriptors, in its nearest cache */

static const char help[] =
	"usage: folio bench ref [--threads N] [--seconds S] [--json | --csv] [--svg FILE]\n"
	"\n"
	"Measures ways to count references: on one line that all threads share, get and put, a "
	"get\n"
	"that fails, the wiping of what failed gets leave, and freezing under readers; on objects "
	"of\n"
	"each thread's own, the release of the last reference.\n"
	"\n"
	"  --threads N    measure at 1, 2, 4 ... N threads (default: one a processor)\n"
	"  --seconds S    time for the measuring, about (default: 10)\n"
	"  --json, --csv  results for programs\n"
	"  --svg FILE     results as a picture, too\n";

/* Lines as descriptors lie: 64 bytes each. */
struct object {
	struct folio_ref ref;
} __attribute__((aligned(64)));

struct counters {
	/* Shared by all; each workload has its own. */
	struct counter_line shared;
	struct counter_line gone;
	struct counter_line *own; /* one for each thread */
	struct counter_line
		*slots; /* published pins, one for each thread: here the word is the pin */
	struct object (*objects)[OBJECTS];
};

/* The counter of folio/ref.h on the same kind of line. */
static inline struct folio_ref *ref_of(folio_u32 *word)
{
	return (struct folio_ref *)word;
}

/* ---- get and put ---- */

/* A failed get would be a live count taken for a dead one: then nothing measured is right. */
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
		/* The pair is not to become one store of the old value. */
		__asm__ volatile("" : : : "memory");
		own_put(word);
		__asm__ volatile("" : : : "memory");
	}
	return n;
}

/* A pin published in a slot of the thread's own, with no fence: the freezer would pay, with membarrier. */
static uint64_t get_put_publish(struct worker *worker, uint64_t n)
{
	struct counters *counters = worker->context;
	folio_u32 *slot = &counters->slots[worker->index].word;
	uint64_t i;

	for (i = 0; i < n; i++) {
		folio_u32_store_relaxed(slot, 1);
		__asm__ volatile("" : : : "memory");
		/* The reader looks again whether the object is still there: the shared line is read only. */
		if (folio_u32_load_acquire(&counters->gone.word) == 1)
			return 0;
		folio_u32_store_release(slot, 0);
		__asm__ volatile("" : : : "memory");
	}
	return n;
}

/* ---- release of the only reference ---- */

/*
 * As unmapping memory does: objects are set up with one reference, and later put. All are set up before the
 * first is put, so that no put waits for the store of its own object.
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
 * The get that wipes the junk comes once in 2^30 failed ones. To have one each time, the word is set to just
 * below the limit first; the other contender is set to no junk at all, so that both pay for the store.
 */
FAIL(junk_none, folio_u32_store_relaxed(&counters->gone.word, FOLIO_REF_FROZEN),
	folio_ref_try_get(ref_of(&counters->gone.word)))
FAIL(junk_reset, folio_u32_store_relaxed(&counters->gone.word, FOLIO_REF_JUNK_LIMIT - 1),
	folio_ref_try_get(ref_of(&counters->gone.word)))

/* ---- freezing under readers ---- */

/* Thread 0 freezes whenever it can and lets go at once; the others get and put without a pause. */
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

enum { GET, RELEASE_LAST, FAIL_GET, JUNK, FREEZE, BESIDE, WORKLOADS };

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
		.title = "set up with one reference and put it; objects of the thread's own",
		.bases = {PLAIN}},
	[FAIL_GET] = {.name = "failing get",
		.title = "all threads on one line that is frozen",
		.bases = {LOOP, GUESS}},
	[JUNK] = {.name = "junk",
		.title = "a store and a failing get; with the wiping of junk that comes once in "
			 "2^30",
		.bases = {NO_WIPE}},
	[FREEZE] = {.name = "freeze",
		.title = "one thread freezes and lets go what the others get and put; those that "
			 "succeed",
		.bases = {LOOP, GUESS},
		.extra = "succeed"},
	[BESIDE] = {.name = "beside freeze",
		.title = "gets and puts of those others; those that succeed",
		.bases = {LOOP, GUESS},
		.extra = "succeed"},
};

/* Samples of the workload are of a counter that has one reference, before and after. */
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

/* Everything that was taken has been given back: a lost or doubled count would show here. */
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
	/* A failure is done quickly and is worth nothing: what succeeds is what counts. */
	report_sample(&report->workloads[FREEZE], cell->contender, cell->role, cell->threads,
		sample->leader * sample->leader_extra, sample->leader_extra);
	if (others)
		report_sample(&report->workloads[BESIDE], cell->contender, cell->role,
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

/* What the compiler makes of an atomic add decides what is compared. */
static const char *atomics(void)
{
#if defined(__x86_64__)
	return "x86-64: lock xadd, lock sub, lock cmpxchg";
#elif defined(__aarch64__) && defined(__ARM_FEATURE_ATOMICS)
	return "arm64: LSE (ldadd, cas)";
#elif defined(__aarch64__)
	return "arm64: chosen at run time, LSE or load-exclusive/store-exclusive";
#else
	return "compiler's choice";
#endif
}

static unsigned add_cells(struct counters *counters, unsigned threads, struct cell *cells)
{
	unsigned counts[THREAD_COUNTS_MAX], count, first, last, i, found = 0;

	count = rounds_thread_counts(threads, counts);
	/* Those of one workload and one number of threads beside each other: they are compared. */
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
	struct team *team = NULL;
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
	team = team_create(threads);
	if (!team) {
		complain("cannot start the threads: %s", strerror(errno));
		goto out;
	}
	report_headline(report, "folio %s, reference counters; %s", FOLIO_VERSION, atomics());
	machine_report(report);
	report_text(report, "counters", "atomics", "%s", atomics());
	if (threads > team_processors())
		report_note(report, "There are more threads than processors: they take turns, and "
				    "wait for each other.");
	for (i = 0; i < WORKLOADS; i++) {
		struct report_workload *workload = report_workload(report, &workloads[i]);

		workload->unit = "M/s";
		workload->axis = "millions a second";
		workload->scale = 1e6;
	}
	good = rounds_run(
		report, team, cells, add_cells(counters, threads, cells), seconds, "bench ref");
	report->workloads[BESIDE].slice = report->workloads[FREEZE].slice;
	report_note(report, "published, own counters: each thread writes a line of its own only; "
			    "what not sharing "
			    "would give.");
out:
	if (team)
		team_destroy(team);
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
		.argv = argv};
	struct output output = {0};
	unsigned threads = bench_threads();
	double seconds = 10;
	const struct option_spec specs[] = {
		{"--threads", OPTION_COUNT, &threads, 1, THREADS_MAX},
		{"--seconds", OPTION_SECONDS, &seconds, 0, 86400},
		{"--json", OPTION_FLAG, &output.json, 0, 0},
		{"--csv", OPTION_FLAG, &output.csv, 0, 0},
		{"--svg", OPTION_STRING, &output.svg, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	int status;

	status = options_parse("bench ref", specs, help, argc, argv, NULL, 0);
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
