/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/summarize.h"

#include <stdio.h>
#include <string.h>

#include "bench/text.h"

/* A contender in a workload; row is NULL if it was not measured. */
struct entry {
	const struct report_workload *workload;
	const struct report_row *row;
};

static struct entry find(
	const struct report *report, const char *workload, const char *contender, unsigned threads)
{
	struct entry entry = {.workload = report_find_workload(report, workload)};

	if (entry.workload)
		entry.row = report_find(entry.workload, contender, threads);
	return entry;
}

/* The ratio of an entry to the contender base. False if there is none (report_ratio). */
static bool find_ratio(struct entry entry, const char *base, struct spread *ratio)
{
	return entry.row && report_ratio(entry.workload, entry.row, base, ratio);
}

/* The same as text; "?" for none. */
static const char *ratio_to(struct summary *summary, struct entry entry, const char *base)
{
	struct spread ratio;

	return find_ratio(entry, base, &ratio) ? summary_ratio(summary, &ratio) : "?";
}

/* How many times as much a contender does with threads as with one thread, as text. */
static const char *scaling(struct summary *summary, struct entry entry)
{
	struct spread ratio;

	if (!entry.row || !report_scaling(entry.workload, entry.row, &ratio))
		return "?";
	return summary_ratio(summary, &ratio);
}

/* Add a bar for the ratio of entry to base, if both were measured. */
static void add_bar(struct summary_chart *chart, const char *group, const char *name,
	struct entry entry, const char *base)
{
	struct summary_bar *bar = &chart->bars[chart->bar_count];
	double rate;

	if (chart->bar_count == SUMMARY_BARS || !find_ratio(entry, base, &bar->ratio))
		return;
	chart->bar_count++;
	bar->group = group;
	snprintf(bar->name, sizeof(bar->name), "%s", name);
	bar->role = entry.row->role;
	rate = spread_of(entry.row->rate, entry.row->count).median;
	/* Of short operations people know the time, of long ones the rate. */
	if (!strcmp(entry.workload->unit, "M/s"))
		snprintf(bar->value, sizeof(bar->value), "%s ns",
			text_three_digits(report_nanoseconds(entry.row, rate)));
	else
		snprintf(bar->value, sizeof(bar->value), "%s %s",
			text_three_digits(rate / entry.workload->scale), entry.workload->unit);
}

static void claim_verified(const struct report *report, struct summary *summary)
{
	if (report->verified_bytes)
		summary_claim(summary, "CORRECT",
			"all %llu bytes equal the kernel's, read by copy and by pin",
			(unsigned long long)report->verified_bytes);
}

/* The most threads of the run. */
static unsigned most_threads(
	const struct report *report, const char *workload, const char *contender)
{
	const struct report_workload *found = report_find_workload(report, workload);

	return found ? report_most_threads(found, contender) : 0;
}

/* ---- folio bench ---- */

static const struct {
	const char *workload, *group;
} hits[] = {{"hot", "one hot page"}, {"uniform", "random"}, {"zipf", "skewed, Zipf"}};

#define HITS (sizeof(hits) / sizeof(hits[0]))

static const struct {
	const char *workload, *group, *contender, *base;
	const char *name; /* NULL: its number of threads */
} misses[] = {
	{"miss", "random 4 KiB", "folio copy", "pread direct", NULL},
	{"miss-known", "known before", "folio prefetch", "io_uring direct", "prefetch"},
	{"sequential", "in sequence", "folio copy", "pread direct", NULL},
	/* Shown only in the chart. */
	{"miss-known", "known before", "folio batch", "io_uring direct", "batch"},
};

enum { MISS_RANDOM, MISS_KNOWN, MISS_SEQUENTIAL, MISS_BATCH };

/* Compared with folio, rather than folio with it: a limit is faster. */
static void claim_limit(const struct report *report, struct summary *summary, const char *label,
	const char *contender, const char *name)
{
	const char *ratios[HITS];
	unsigned i;

	for (i = 0; i < HITS; i++)
		ratios[i] = ratio_to(
			summary, find(report, hits[i].workload, contender, 1), "folio copy");
	if (!strcmp(ratios[0], "?"))
		summary_claim(summary, label, "%s was not measured", name);
	else
		summary_claim(summary, label, "%s is %s, %s and %s times as fast as folio", name,
			ratios[0], ratios[1], ratios[2]);
}

/* With the most threads that they were measured with. */
static struct entry find_miss(const struct report *report, unsigned miss)
{
	return find(report, misses[miss].workload, misses[miss].contender,
		most_threads(report, misses[miss].workload, misses[miss].contender));
}

static const char *miss_ratio(const struct report *report, struct summary *summary, unsigned miss)
{
	return ratio_to(summary, find_miss(report, miss), misses[miss].base);
}

static void claim_misses(const struct report *report, struct summary *summary)
{
	const char *ratio = miss_ratio(report, summary, MISS_RANDOM);

	if (!report_find_workload(report, "miss"))
		summary_claim(summary, "MISSES", "not measured: the file is too small for that");
	else if (!strcmp(ratio, "?"))
		summary_claim(summary, "MISSES",
			"measured, but not compared: the file system has no direct I/O");
	else
		summary_claim(summary, "MISSES",
			"random %s, known before %s, in sequence %s times direct I/O", ratio,
			miss_ratio(report, summary, MISS_KNOWN),
			miss_ratio(report, summary, MISS_SEQUENTIAL));
}

static void chart_misses(const struct report *report, struct summary *summary)
{
	static const unsigned order[] = {MISS_RANDOM, MISS_KNOWN, MISS_BATCH, MISS_SEQUENTIAL};
	struct summary_chart *chart = summary_chart(summary, "x direct", SCALE_LINEAR);
	struct entry entry;
	char name[16];
	unsigned i;

	snprintf(chart->title, sizeof(chart->title), "uncached reads");
	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		entry = find_miss(report, order[i]);
		if (!entry.row)
			continue;
		snprintf(name, sizeof(name), "%u thread%s", entry.row->threads,
			entry.row->threads > 1 ? "s" : "");
		add_bar(chart, misses[order[i]].group,
			misses[order[i]].name ? misses[order[i]].name : name, entry,
			misses[order[i]].base);
	}
}

void summarize_reads(const struct report *report, struct summary *summary)
{
	unsigned threads = most_threads(report, "hot", "folio copy"), i;
	struct summary_chart *chart;
	const char *ratios[HITS];

	claim_verified(report, summary);
	for (i = 0; i < HITS; i++)
		ratios[i] =
			ratio_to(summary, find(report, hits[i].workload, "folio copy", 1), "pread");
	summary_claim(summary, "HITS",
		"cached 64-byte reads are %s times as fast as pread on one hot page, %s times at "
		"random offsets, %s times at skewed (Zipf) offsets",
		ratios[0], ratios[1], ratios[2]);
	claim_limit(report, summary, "LIMIT", "bare array", "a plain array");
	claim_limit(report, summary, "MMAP", "mmap", "a mapping");
	claim_misses(report, summary);
	if (threads > 1) {
		for (i = 0; i < HITS; i++)
			ratios[i] = scaling(
				summary, find(report, hits[i].workload, "folio copy", threads));
		summary_claim(summary, "THREADS",
			"%u threads read %s, %s and %s times as much as one", threads, ratios[0],
			ratios[1], ratios[2]);
	}

	chart = summary_chart(summary, "x pread", SCALE_LOGARITHMIC);
	snprintf(chart->title, sizeof(chart->title), "cached 64-byte reads, 1 thread");
	for (i = 0; i < HITS; i++) {
		add_bar(chart, hits[i].group, "folio",
			find(report, hits[i].workload, "folio copy", 1), "pread");
		if (i)
			add_bar(chart, hits[i].group, "folio, 32/call",
				find(report, hits[i].workload, "folio batch", 1), "pread");
		add_bar(chart, hits[i].group, "plain array",
			find(report, hits[i].workload, "bare array", 1), "pread");
	}
	chart_misses(report, summary);
}

/* ---- folio bench write ---- */

void summarize_writes(const struct report *report, struct summary *summary)
{
	static const char *const lines[] = {"hot", "uniform"}, *const groups[] = {
								       "one hot page", "random"};
	static const char *const synced[] = {"random", "sequential"}, *const synced_groups[] = {
									      "random 4 KiB",
									      "in sequence"};
	const struct report_fact *sync = report_find_fact(report, "file", "sync");
	unsigned threads = most_threads(report, "hot", "folio write"), i;
	struct summary_chart *chart;
	const char *ratios[4];

	claim_verified(report, summary);
	for (i = 0; i < 2; i++) {
		ratios[i] = ratio_to(summary, find(report, lines[i], "folio write", 1), "pwrite");
		ratios[2 + i] = ratio_to(summary, find(report, synced[i], "folio write+sync", 1),
			"pwrite+fdatasync");
	}
	summary_claim(summary, "CACHED",
		"64-byte overwrites are %s times as fast as pwrite in one hot page, %s times at "
		"random offsets",
		ratios[0], ratios[1]);
	summary_claim(summary, "SYNCED",
		"with a sync after every %.0f writes, %s times as fast as pwrite and fdatasync at "
		"random offsets, %s times in sequence",
		sync ? sync->number : 0, ratios[2], ratios[3]);
	for (i = 0; i < 2; i++) {
		ratios[i] = ratio_to(summary, find(report, lines[i], "mmap", 1), "folio write");
		ratios[2 + i] = scaling(summary, find(report, lines[i], "folio write", threads));
	}
	summary_claim(summary, "LIMIT",
		"stores to a mapping, which cannot return errors, are %s and %s times as fast "
		"as folio",
		ratios[0], ratios[1]);
	if (threads > 1)
		summary_claim(summary, "THREADS",
			"%u threads write %s times as much as one to the same page, %s times at "
			"random offsets",
			threads, ratios[2], ratios[3]);

	chart = summary_chart(summary, "x pwrite", SCALE_LOGARITHMIC);
	snprintf(chart->title, sizeof(chart->title), "cached 64-byte writes, 1 thread");
	for (i = 0; i < 2; i++) {
		add_bar(chart, groups[i], "folio", find(report, lines[i], "folio write", 1),
			"pwrite");
		add_bar(chart, groups[i], "folio, in place",
			find(report, lines[i], "folio in place", 1), "pwrite");
		add_bar(chart, groups[i], "mmap", find(report, lines[i], "mmap", 1), "pwrite");
	}
	chart = summary_chart(summary, "x pwrite", SCALE_LINEAR);
	snprintf(chart->title, sizeof(chart->title), "writes with syncs, 1 thread");
	for (i = 0; i < 2; i++)
		add_bar(chart, synced_groups[i], "folio",
			find(report, synced[i], "folio write+sync", 1), "pwrite+fdatasync");
}

/* ---- folio bench ref ---- */

#define LOOP "load + CAS loop"
#define BIT  "fetch-add, bit"

static void chart_counters(
	const struct report *report, struct summary *summary, unsigned threads, const char *title)
{
	static const char *const workloads[] = {"get+put", "failing get", "freeze"};
	struct summary_chart *chart = summary_chart(summary, "x loop", SCALE_LINEAR);
	unsigned i;

	snprintf(chart->title, sizeof(chart->title), "%s, %u thread%s", title, threads,
		threads > 1 ? "s" : "");
	for (i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		add_bar(chart, workloads[i], "folio, bit", find(report, workloads[i], BIT, threads),
			LOOP);
		add_bar(chart, workloads[i], "CAS assuming 1",
			find(report, workloads[i], "CAS assuming 1", threads), LOOP);
	}
}

static void claim_freeze(const struct report *report, struct summary *summary, unsigned threads)
{
	const char *freeze = ratio_to(summary, find(report, "freeze", BIT, threads), LOOP);
	const char *others = ratio_to(summary, find(report, "freeze readers", BIT, threads), LOOP);

	if (!strcmp(freeze, "?"))
		summary_claim(summary, "FREEZE",
			"not compared: in a sample, no attempt to freeze succeeded");
	else
		summary_claim(summary, "FREEZE",
			"a thread freezes %s times as often as with a CAS loop, while the others "
			"get and put %s times as often",
			freeze, others);
}

void summarize_counters(const struct report *report, struct summary *summary)
{
	unsigned threads = most_threads(report, "get+put", BIT);
	struct entry get = find(report, "get+put", BIT, 1);
	struct entry shared = find(report, "get+put", BIT, threads);
	struct entry fail = find(report, "failing get", BIT, threads);

	summary_claim(summary, "CORRECT",
		"no count was lost or added: the counters were checked after each sample");
	summary_claim(summary, "GET+PUT",
		"with the frozen bit, %s times as fast as with a CAS loop; 1 thread",
		ratio_to(summary, get, LOOP));
	if (threads > 1)
		summary_claim(summary, "SHARED", "%s times; %u threads, one counter",
			ratio_to(summary, shared, LOOP), threads);
	summary_claim(summary, "RELEASE",
		"the last put, which adds a CAS, is %s times as fast as a subtraction",
		ratio_to(summary, find(report, "release", "sub + CAS, bit", 1), "sub"));
	summary_claim(summary, "FAILING",
		"a get of a frozen object is %s times as fast as with a CAS loop, which fails "
		"without a write; %u thread%s",
		ratio_to(summary, fail, LOOP), threads, threads > 1 ? "s" : "");
	if (threads > 1)
		claim_freeze(report, summary, threads);
	summary_claim(summary, "LIMIT",
		"counters that share no cache line are %s times as fast; %u thread%s",
		ratio_to(summary, find(report, "get+put", "own counters", threads), BIT), threads,
		threads > 1 ? "s" : "");
	chart_counters(report, summary, 1, "reference counters");
	if (threads > 1)
		chart_counters(report, summary, threads, "the same");
}
