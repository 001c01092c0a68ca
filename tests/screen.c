/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * screen.c - prints fixed results as folio bench prints its own: the same code from the report on,
 * with samples that are constants instead of measurements. For screen.py.
 *
 *   screen reads|extremes|equal|writes|counters|single [busy] [--all | --json | --csv] [--svg FILE]
 */
#include <stdio.h>
#include <string.h>

#include "bench/output.h"
#include "bench/report.h"
#include "bench/summarize.h"

#define ROUNDS 5

struct workload {
	const char *name, *title, *unit, *extra;
	double scale;
	const char *bases[REPORT_BASES];
};

struct row {
	unsigned workload;
	const char *contender;
	enum report_role role;
	unsigned threads;
	double rate; /* the median, in the unit of the workload */
	bool wide;   /* quartiles 30 % of the median apart; otherwise 2 % */
	double extra;
};

#define READ_BASES                            \
	{                                     \
		"pread", "mmap", "bare array" \
	}

static const struct workload read_workloads[] = {
	{"hot", "64-byte reads of one page", "M/s", NULL, 1e6, READ_BASES},
	{"uniform", "64-byte reads anywhere in the file", "M/s", NULL, 1e6, READ_BASES},
	{"zipf", "the same, pages chosen by Zipf's law", "M/s", NULL, 1e6, READ_BASES},
	{"miss", "4 KiB reads anywhere", "k/s", "by device", 1e3, {"pread direct"}},
	{"miss-known", "the same by one thread", "k/s", "by device", 1e3, {"io_uring direct"}},
	{"sequential", "1 MiB reads", "MiB/s", "by device", 1, {"pread direct"}},
};

static const struct row read_rows[] = {
	{0, "folio copy", ROLE_OWN, 1, 256, false, 0},
	{0, "folio pin", ROLE_OWN, 1, 64, false, 0},
	{0, "pread", ROLE_PEER, 1, 0.8, false, 0},
	{0, "mmap", ROLE_PEER, 1, 960, false, 0},
	{0, "bare array", ROLE_LIMIT, 1, 1024, false, 0},
	{0, "folio copy", ROLE_OWN, 2, 500, false, 0},
	{0, "pread", ROLE_PEER, 2, 1.5, false, 0},
	{1, "folio copy", ROLE_OWN, 1, 20, true, 0},
	{1, "folio batch", ROLE_OWN, 1, 40, false, 0},
	{1, "pread", ROLE_PEER, 1, 0.5, false, 0},
	{1, "mmap", ROLE_PEER, 1, 50, false, 0},
	{1, "bare array", ROLE_LIMIT, 1, 60, false, 0},
	{1, "folio copy", ROLE_OWN, 2, 38, true, 0},
	{2, "folio copy", ROLE_OWN, 1, 25, false, 0},
	{2, "folio batch", ROLE_OWN, 1, 50, false, 0},
	{2, "pread", ROLE_PEER, 1, 0.5, false, 0},
	{2, "mmap", ROLE_PEER, 1, 75, false, 0},
	{2, "bare array", ROLE_LIMIT, 1, 100, false, 0},
	{2, "folio copy", ROLE_OWN, 2, 49, false, 0},
	{3, "folio copy", ROLE_OWN, 32, 114, false, 0.75},
	{3, "pread direct", ROLE_PEER, 32, 120, false, 1},
	{4, "folio prefetch", ROLE_OWN, 1, 90, false, 1},
	{4, "folio batch", ROLE_OWN, 1, 80, false, 1},
	{4, "io_uring direct", ROLE_PEER, 1, 100, false, 1},
	{5, "folio copy", ROLE_OWN, 1, 1900, false, 1},
	{5, "pread direct", ROLE_PEER, 1, 1000, false, 1},
};

/* Numbers that are too long for their columns. */
static const struct row extreme_rows[] = {
	{0, "folio copy", ROLE_OWN, 1, 1e-7, true, 0},
	{0, "pread", ROLE_PEER, 1, 1, false, 0},
	{1, "folio copy", ROLE_OWN, 1, 1e5, true, 0},
	{1, "folio batch", ROLE_OWN, 1, 1e-6, true, 0},
	{1, "pread", ROLE_PEER, 1, 1e-4, false, 0},
	{2, "folio copy", ROLE_OWN, 1, 1e9, true, 0},
	{2, "pread", ROLE_PEER, 1, 1e-9, false, 0},
	{3, "folio copy", ROLE_OWN, 512, 1e-6, true, 1},
	{3, "pread direct", ROLE_PEER, 512, 120, false, 1},
	{4, "folio prefetch", ROLE_OWN, 1, 1e12, true, 1},
	{4, "folio batch", ROLE_OWN, 1, 1e20, true, 1},
	{4, "io_uring direct", ROLE_PEER, 1, 1e12, false, 1},
	{5, "folio copy", ROLE_OWN, 1, 123456, true, 1},
	{5, "pread direct", ROLE_PEER, 1, 123456, false, 1},
};

#define SYNC_BASES                 \
	{                          \
		"pwrite+fdatasync" \
	}

static const struct workload write_workloads[] = {
	{"hot", "64-byte overwrites in one page", "M/s", NULL, 1e6, {"pwrite", "mmap"}},
	{"uniform", "64-byte overwrites anywhere", "M/s", NULL, 1e6, {"pwrite", "mmap"}},
	{"random", "4 KiB writes", "k/s", NULL, 1e3, SYNC_BASES},
	{"sequential", "256 KiB writes", "k/s", NULL, 1e3, SYNC_BASES},
};

static const struct row write_rows[] = {
	{0, "folio write", ROLE_OWN, 1, 20, false, 0},
	{0, "folio in place", ROLE_OWN, 1, 24, false, 0},
	{0, "pwrite", ROLE_PEER, 1, 0.4, false, 0},
	{0, "mmap", ROLE_PEER, 1, 180, false, 0},
	{0, "folio write", ROLE_OWN, 2, 2, false, 0},
	{1, "folio write", ROLE_OWN, 1, 6, false, 0},
	{1, "folio in place", ROLE_OWN, 1, 9, false, 0},
	{1, "pwrite", ROLE_PEER, 1, 0.4, false, 0},
	{1, "mmap", ROLE_PEER, 1, 0.2, false, 0},
	{1, "folio write", ROLE_OWN, 2, 9, false, 0},
	{2, "folio write+sync", ROLE_OWN, 1, 21, false, 0},
	{2, "pwrite+fdatasync", ROLE_PEER, 1, 14, false, 0},
	{3, "folio write+sync", ROLE_OWN, 1, 4.2, false, 0},
	{3, "pwrite+fdatasync", ROLE_PEER, 1, 4, false, 0},
};

#define COUNTER_BASES                               \
	{                                           \
		"load + CAS loop", "CAS assuming 1" \
	}

static const struct workload counter_workloads[] = {
	{"get+put", "all threads on one line", "M/s", NULL, 1e6, COUNTER_BASES},
	{"release", "objects of one thread", "M/s", NULL, 1e6, {"sub"}},
	{"failing get", "all threads on one line", "M/s", NULL, 1e6, COUNTER_BASES},
	{"freeze", "one thread freezes", "M/s", "succeed", 1e6, COUNTER_BASES},
	{"freeze readers", "the others get and put", "M/s", "succeed", 1e6, COUNTER_BASES},
};

static const struct row counter_rows[] = {
	{0, "load + CAS loop", ROLE_PEER, 1, 50, false, 0},
	{0, "CAS assuming 1", ROLE_PEER, 1, 60, false, 0},
	{0, "fetch-add, bit", ROLE_OWN, 1, 55, false, 0},
	{0, "own counters", ROLE_LIMIT, 1, 900, false, 0},
	{0, "load + CAS loop", ROLE_PEER, 2, 32, false, 0},
	{0, "CAS assuming 1", ROLE_PEER, 2, 30, false, 0},
	{0, "fetch-add, bit", ROLE_OWN, 2, 40, false, 0},
	{0, "own counters", ROLE_LIMIT, 2, 1600, false, 0},
	{1, "sub", ROLE_PEER, 1, 118, false, 0},
	{1, "sub + CAS, bit", ROLE_OWN, 1, 59, false, 0},
	{2, "load + CAS loop", ROLE_PEER, 2, 2000, false, 0},
	{2, "fetch-add, bit", ROLE_OWN, 2, 80, false, 0},
	/* No attempt to freeze succeeded: there is no ratio. */
	{3, "load + CAS loop", ROLE_PEER, 2, 0, false, 0.5},
	{3, "fetch-add, bit", ROLE_OWN, 2, 0, false, 0.4},
	{4, "load + CAS loop", ROLE_PEER, 2, 8, false, 0.6},
	{4, "fetch-add, bit", ROLE_OWN, 2, 12, false, 0.7},
};

/* One thread, and equal rates: the scale of the chart has no length of its own. */
static const struct row single_rows[] = {
	{0, "load + CAS loop", ROLE_PEER, 1, 50, false, 0},
	{0, "CAS assuming 1", ROLE_PEER, 1, 50, false, 0},
	{0, "fetch-add, bit", ROLE_OWN, 1, 50, false, 0},
	{0, "own counters", ROLE_LIMIT, 1, 50, false, 0},
	{1, "sub", ROLE_PEER, 1, 50, false, 0},
	{1, "sub + CAS, bit", ROLE_OWN, 1, 50, false, 0},
	{2, "load + CAS loop", ROLE_PEER, 1, 50, false, 0},
	{2, "fetch-add, bit", ROLE_OWN, 1, 50, false, 0},
	{3, "load + CAS loop", ROLE_PEER, 1, 50, false, 1},
	{3, "fetch-add, bit", ROLE_OWN, 1, 50, false, 1},
};

/* A chart with a scale of powers of ten, of ratios that are all 1. */
static const struct row equal_rows[] = {
	{0, "folio copy", ROLE_OWN, 1, 5, false, 0},
	{0, "pread", ROLE_PEER, 1, 5, false, 0},
	{0, "bare array", ROLE_LIMIT, 1, 5, false, 0},
	{3, "folio copy", ROLE_OWN, 32, 114, false, 1},
	{3, "pread direct", ROLE_PEER, 32, 114, false, 1},
};

static const struct set {
	const char *name, *command;
	const struct workload *workloads;
	unsigned workload_count;
	const struct row *rows;
	unsigned row_count;
	void (*summarize)(const struct report *report, struct summary *summary);
} sets[] = {
#define COUNT(array) (array), sizeof(array) / sizeof((array)[0])
	{"reads", "folio bench", COUNT(read_workloads), COUNT(read_rows), summarize_reads},
	{"extremes", "folio bench", COUNT(read_workloads), COUNT(extreme_rows), summarize_reads},
	{"writes", "folio bench write", COUNT(write_workloads), COUNT(write_rows),
		summarize_writes},
	{"counters", "folio bench ref", COUNT(counter_workloads), COUNT(counter_rows),
		summarize_counters},
	{"equal", "folio bench", COUNT(read_workloads), COUNT(equal_rows), summarize_reads},
	{"single", "folio bench ref", COUNT(counter_workloads), COUNT(single_rows),
		summarize_counters},
};

static void fill(struct report *report, const struct set *set, bool busy)
{
	static const double deviation[ROUNDS] = {-2, -1, 0, 1, 2}; /* quartiles at -1 and 1 */
	unsigned i, j, round;

	report->title = "Fixed results";
	report->command = set->command;
	report->summarize = set->summarize;
	report_headline(report, "folio 0.0.0, file NAME: 1 GiB, cache 1.1 GiB, io_uring");
	/* Longer than a line, so that it is broken. */
	report_headline(report, "A processor with a name of some length, 2 virtual processors, "
				"24.0 GiB, Linux 6.1");
	if (!strcmp(set->name, "extremes"))
		report_headline(report, "file <a&b>, whose name has what a picture must escape");
	report_text(report, "machine", "cpu", "A processor");
	report_number(report, "file", "sync", 32);
	if (strcmp(set->name, "counters"))
		report_verified(report, UINT64_C(5) << 30, 2, 1.5);
	if (busy)
		report_warning(report,
			"The machine was busy before the run (load 3.25): see the spreads.");
	report_note(report, "A note that only the tables have.");
	for (i = 0; i < set->workload_count; i++) {
		struct report_workload workload = {.name = set->workloads[i].name,
			.title = set->workloads[i].title,
			.unit = set->workloads[i].unit,
			.axis = set->workloads[i].unit,
			.scale = set->workloads[i].scale,
			.bytes = 64,
			.extra = set->workloads[i].extra,
			.slice = 0.01};

		for (j = 0; j < REPORT_BASES; j++)
			workload.bases[j] = set->workloads[i].bases[j];
		report_workload(report, &workload);
	}
	for (i = 0; i < set->row_count; i++) {
		const struct row *row = &set->rows[i];
		struct report_workload *workload = &report->workloads[row->workload];

		for (round = 0; round < ROUNDS; round++)
			report_sample(workload, row->contender, row->role, row->threads,
				row->rate * workload->scale *
					(1 + deviation[round] * (row->wide ? 0.15 : 0.01)),
				row->extra);
	}
}

int main(int argc, char **argv)
{
	struct report report = {.argc = 1, .argv = argv};
	struct output output = {0};
	const struct set *set = NULL;
	bool busy = false;
	int i, status;

	for (i = 0; i < (int)(sizeof(sets) / sizeof(sets[0])) && argc > 1; i++) {
		if (!strcmp(argv[1], sets[i].name))
			set = &sets[i];
	}
	if (!set)
		return 2;
	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "busy"))
			busy = true;
		else if (!strcmp(argv[i], "--all"))
			output.all = true;
		else if (!strcmp(argv[i], "--json"))
			output.json = true;
		else if (!strcmp(argv[i], "--csv"))
			output.csv = true;
		else if (!strcmp(argv[i], "--svg") && i + 1 < argc)
			output.svg = argv[++i];
		else
			return 2;
	}
	fill(&report, set, busy);
	status = output_open(&output, NULL);
	if (status >= 0)
		return status;
	status = output_write(&output, &report);
	output_close(&output);
	report_free(&report);
	return status;
}
