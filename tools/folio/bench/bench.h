/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - folio bench FILE, and the frame that it shares with folio bench write.
 */
#ifndef FOLIO_TOOLS_BENCH_H
#define FOLIO_TOOLS_BENCH_H

#include "bench/bench-base.h"
#include "bench/output.h"

/* A file to measure, and how to do it. */
struct bench_job {
	const char *path; /* NULL: a file that is made for this run */
	int argc;         /* the command line, for the report */
	char **argv;
	bool (*measure)(struct bench *bench); /* false after a complaint */
};

/*
 * Run a benchmark of a file from start to end: open the file and a cache for it, measure, write the
 * results, close everything. Returns the exit status.
 */
int bench_run(struct bench *bench, struct output *output, const struct bench_job *job);

/*
 * Start the workers, and the report with the facts that every run records. False after a complaint.
 */
bool bench_begin(struct bench *bench, unsigned threads);

int bench_file_command(int argc, char **argv);

#endif
