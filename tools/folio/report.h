/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h - what a benchmark found, as a table for people, JSON, CSV or a picture.
 *
 * A report is a list of workloads, each with rows: one contender at one number of threads, with one sample
 * a round. Everything that is shown is computed from the samples when it is shown: medians, quartiles,
 * and ratios as the median over the rounds of the quotient within the round.
 */
#ifndef FOLIO_TOOLS_REPORT_H
#define FOLIO_TOOLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "spread.h"

#define REPORT_BASES    4
#define REPORT_TEXT_MAX 512

/* What a contender is, for the picture. */
enum report_role {
	ROLE_OWN,   /* this project's */
	ROLE_PEER,  /* what it is compared with */
	ROLE_LIMIT, /* what no contender can beat */
};

struct report_row {
	const char *contender;
	enum report_role role;
	unsigned threads;
	unsigned count;            /* of samples */
	double rate[SAMPLES_MAX];  /* operations a second */
	double extra[SAMPLES_MAX]; /* shares, where the workload names one */
};

struct report_workload {
	/* Set by the caller, static. */
	const char *name;                /* a word */
	const char *title;               /* what is done, for people */
	const char *unit;                /* of the table and the picture: "M/s" */
	const char *axis;                /* the same in words: "millions of reads a second" */
	double scale;                    /* rate in that unit: rate / scale */
	uint64_t bytes;                  /* that an operation reads; 0: it reads none */
	const char *bases[REPORT_BASES]; /* contenders that the others are measured against */
	const char *extra;               /* name of the share in the rows' extra, or NULL */
	/* Filled by rounds.c and report_sample. */
	double slice; /* seconds that a sample takes */
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

struct report {
	const char *title;   /* of the picture */
	const char *command; /* the command line: these words, then argv[1] ... */
	int argc;
	char **argv;

	struct report_workload *workloads;
	unsigned workload_count;
	struct report_fact *facts;
	unsigned fact_count;
	char (*headlines)[REPORT_TEXT_MAX]; /* above the table and the picture */
	unsigned headline_count;
	char (*notes)[REPORT_TEXT_MAX]; /* below them */
	unsigned note_count;
};

/* Facts of a group are added one after another. group and name are static. */
void report_text(struct report *report, const char *group, const char *name, const char *format,
	...) __attribute__((format(printf, 4, 5)));
void report_number(struct report *report, const char *group, const char *name, double number);
void report_headline(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_note(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Add a workload; the result is good until the next one is added. */
struct report_workload *report_workload(
	struct report *report, const struct report_workload *workload);

/* Add samples of a round to the row of workload, contender and threads, which is made where it is not there. */
void report_sample(struct report_workload *workload, const char *contender, enum report_role role,
	unsigned threads, double rate, double extra);

/* NULL when there is none. */
const struct report_row *report_find(
	const struct report_workload *workload, const char *contender, unsigned threads);

/*
 * Quotients of the rates of row and of the contender base, round by round, at the same number of threads;
 * threads of 1 asks for the same contender's row at one thread instead. False when there is no such row.
 */
bool report_ratio(const struct report_workload *workload, const struct report_row *row,
	const char *base, struct spread *ratio);
bool report_scaling(
	const struct report_workload *workload, const struct report_row *row, struct spread *ratio);

void report_table(const struct report *report, FILE *out);
void report_json(const struct report *report, FILE *out);
void report_csv(const struct report *report, FILE *out);

void report_free(struct report *report);

/* Copy of text that is valid UTF-8 without control characters, for JSON and XML; bad bytes become U+FFFD. */
void report_clean(char *clean, size_t size, const char *text);

/* A file's name for people: of bytes that cannot be shown '?', and of a long one its ends. In a static buffer. */
const char *report_name(const char *name);

/* A rate or a time with three digits: "0.82", "17.3", "291". */
const char *report_three_digits(double value);

#endif
