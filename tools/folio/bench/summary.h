/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * summary.h - the first screen: what a report shows, in words and a few bars, in 80 columns.
 *
 * A summary consists of claims, one or two lines of text with a label, and of charts. summarize.h
 * fills it from a report; summary_print prints it. The text is the same on terminals of every
 * width, in pipes and in files; only the colours depend on where it goes.
 */
#ifndef FOLIO_TOOLS_SUMMARY_H
#define FOLIO_TOOLS_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>

#include "bench/report.h"

#define SUMMARY_COLUMNS 80 /* no line is longer */
#define SUMMARY_CLAIMS  12
#define SUMMARY_CHARTS  4
#define SUMMARY_BARS    16

struct summary_claim {
	const char *label; /* one word of capitals */
	char text[REPORT_TEXT_MAX];
};

struct summary_bar {
	const char *group; /* of bars; printed at the first of them */
	char name[16];
	enum report_role role;
	char value[32]; /* with its unit */
	struct spread ratio;
};

enum summary_scale {
	SCALE_LOGARITHMIC,
	SCALE_LINEAR, /* from 0, with a mark at 1 */
};

struct summary_chart {
	char title[64];
	const char *base; /* heading of the ratios: "x pread" */
	enum summary_scale scale;
	struct summary_bar bars[SUMMARY_BARS];
	unsigned bar_count;
};

struct summary {
	struct summary_claim claims[SUMMARY_CLAIMS];
	unsigned claim_count;
	struct summary_chart charts[SUMMARY_CHARTS];
	unsigned chart_count;
	bool marked; /* a ratio was printed with ~ */
};

void summary_claim(struct summary *summary, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Add a chart. It has no bars yet; a chart without bars is not printed. */
struct summary_chart *summary_chart(
	struct summary *summary, const char *base, enum summary_scale scale);

/*
 * A ratio as text with three digits, and with "~" in front if its quartiles are more than 20 % of
 * the median apart. In one of a few static buffers.
 */
const char *summary_ratio(struct summary *summary, const struct spread *ratio);

/* Print what report->summarize makes of the report. */
void summary_print(const struct report *report, bool colours, FILE *out);

#endif
