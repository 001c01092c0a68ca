/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h - the results of a benchmark. Summary, tables, JSON, CSV and picture are all made from
 * it.
 *
 * A report is a list of workloads. Each workload has rows: one contender with one number of
 * threads, and one sample per round. Figures are computed from the samples when they are printed:
 * medians, quartiles, and ratios, which are the median over the rounds of the quotient within a
 * round.
 */
#ifndef FOLIO_TOOLS_REPORT_H
#define FOLIO_TOOLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/spread.h"

#define REPORT_BASES    4
#define REPORT_TEXT_MAX 512

struct summary;

/* What a contender is in the comparison. */
enum report_role {
	ROLE_OWN,   /* folio */
	ROLE_PEER,  /* what folio is compared with */
	ROLE_LIMIT, /* an upper bound for all contenders */
};

struct report_row {
	const char *contender;
	enum report_role role;
	unsigned threads;
	unsigned count;            /* of samples */
	double rate[SAMPLES_MAX];  /* operations per second */
	double extra[SAMPLES_MAX]; /* a share, if the workload names one */
};

struct report_workload {
	/* Set by the caller; static strings. */
	const char *name;                /* one word */
	const char *title;               /* what is done, for people */
	const char *unit;                /* in tables and pictures: "M/s" */
	const char *axis;                /* the same in words: "millions of reads per second" */
	double scale;                    /* rate / scale is the rate in that unit */
	uint64_t bytes;                  /* read per operation; 0: it reads none */
	const char *bases[REPORT_BASES]; /* contenders that the others are compared with */
	const char *extra;               /* name of the share in the rows' extra, or NULL */
	/* Filled by rounds.c and report_sample. */
	double slice; /* seconds per sample */
	struct report_row *rows;
	unsigned row_count;
};

/* A fact about machine, file or cache: "machine" "cpu" ... */
struct report_fact {
	const char *group, *name;
	bool is_text;
	double number;
	char text[REPORT_TEXT_MAX];
};

struct report_note {
	bool warning; /* also shown in the summary and in the picture */
	char text[REPORT_TEXT_MAX];
};

struct report {
	const char *title;   /* of the picture */
	const char *command; /* the command line: these words, then argv[1] ... */
	int argc;
	char **argv;
	/* Fills the summary from the report. */
	void (*summarize)(const struct report *report, struct summary *summary);

	uint64_t verified_bytes; /* 0: nothing was verified */
	unsigned verified_threads;
	double verified_seconds;
	struct report_workload *workloads;
	unsigned workload_count;
	struct report_fact *facts;
	unsigned fact_count;
	char (*headlines)[REPORT_TEXT_MAX]; /* above the tables and the picture */
	unsigned headline_count;
	struct report_note *notes; /* below them */
	unsigned note_count;
};

/* Add a fact. The facts of a group are added one after another. group and name are static. */
void report_text(struct report *report, const char *group, const char *name, const char *format,
	...) __attribute__((format(printf, 4, 5)));
void report_number(struct report *report, const char *group, const char *name, double number);

void report_headline(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_note(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_warning(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Record that so many bytes were compared with the kernel's and are equal. */
void report_verified(struct report *report, uint64_t bytes, unsigned threads, double seconds);

/* That as a sentence, for tables and pictures; "" if nothing was verified. In a static buffer. */
const char *report_verified_line(const struct report *report);

/* Add a workload. The result is valid until the next one is added. */
struct report_workload *report_workload(
	struct report *report, const struct report_workload *workload);

/* Add the sample of a round to the row of workload, contender and threads; creates the row. */
void report_sample(struct report_workload *workload, const char *contender, enum report_role role,
	unsigned threads, double rate, double extra);

/* NULL if there is none. */
const struct report_fact *report_find_fact(
	const struct report *report, const char *group, const char *name);
const struct report_workload *report_find_workload(const struct report *report, const char *name);
const struct report_row *report_find(
	const struct report_workload *workload, const char *contender, unsigned threads);

/* The most threads that contender was measured with; 0 if it was not. */
unsigned report_most_threads(const struct report_workload *workload, const char *contender);

/*
 * report_ratio: the quotients of the rates of row and of the contender base with the same number of
 * threads, round by round. report_scaling: of row and of the same contender's row with one thread.
 * False if there is no such row, or if its rate was 0 in a round.
 */
bool report_ratio(const struct report_workload *workload, const struct report_row *row,
	const char *base, struct spread *ratio);
bool report_scaling(
	const struct report_workload *workload, const struct report_row *row, struct spread *ratio);

/* Nanoseconds that one thread takes for one operation, if all threads of row together do rate. */
double report_nanoseconds(const struct report_row *row, double rate);

/* The command line that made the report, cut to size. */
void report_command_line(const struct report *report, char *line, size_t size);

/* Everything, for people and for programs. */
void report_table(const struct report *report, FILE *out);
void report_json(const struct report *report, FILE *out);
void report_csv(const struct report *report, FILE *out);

void report_free(struct report *report);

#endif
