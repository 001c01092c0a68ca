/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/text.h"

/* Width of the column of ratios to base: that of a ratio or of the heading. */
static int ratio_width(const char *base)
{
	int width = text_width(base) + 2;

	return width < 15 ? 15 : width;
}

/* The spread in percent of the median, or "-" if that is 0. */
static const char *percent(const struct spread *spread)
{
	static char text[32];
	double value = spread_percent(spread);

	snprintf(text, sizeof(text), isfinite(value) ? "%.1f%%" : "-", value);
	return text;
}

static void print_row(const struct report_workload *workload, const struct report_row *row,
	int width, bool scaling, FILE *out)
{
	struct spread rate = spread_of(row->rate, row->count), ratio;
	char text[64];
	unsigned base;

	fprintf(out, "  %7u  %-*s  %8s  %8s  %6s", row->threads, width, row->contender,
		text_three_digits(rate.median / workload->scale),
		text_three_digits(report_nanoseconds(row, rate.median)), percent(&rate));
	if (workload->extra)
		fprintf(out, "  %8.2f%%", 100 * spread_of(row->extra, row->count).median);
	if (scaling) {
		if (row->threads > 1 && report_scaling(workload, row, &ratio))
			fprintf(out, "  %7s", text_three_digits(ratio.median));
		else
			fprintf(out, "  %7s", "");
	}
	for (base = 0; base < REPORT_BASES && workload->bases[base]; base++) {
		text[0] = '\0';
		if (strcmp(row->contender, workload->bases[base]) &&
			report_ratio(workload, row, workload->bases[base], &ratio))
			snprintf(text, sizeof(text), "%s (%s)", text_three_digits(ratio.median),
				percent(&ratio));
		fprintf(out, "  %*s", ratio_width(workload->bases[base]), text);
	}
	fputc('\n', out);
}

static void print_workload(const struct report_workload *workload, FILE *out)
{
	unsigned i, base, threads, next;
	int width = 9;
	bool scaling = false;
	char heading[64];

	if (!workload->row_count)
		return;
	for (i = 0; i < workload->row_count; i++) {
		if (text_width(workload->rows[i].contender) > width)
			width = text_width(workload->rows[i].contender);
		if (workload->rows[i].threads > 1 &&
			report_find(workload, workload->rows[i].contender, 1))
			scaling = true;
	}
	fprintf(out, "\n%s: %s (%u rounds of %s ms)\n", workload->name, workload->title,
		workload->rows[0].count, text_three_digits(workload->slice * 1e3));
	fprintf(out, "  %7s  %-*s  %8s  %8s  %6s", "threads", width, "contender", workload->unit,
		"ns/op", "spread");
	if (workload->extra)
		fprintf(out, "  %9s", workload->extra);
	if (scaling)
		fprintf(out, "  %7s", "x 1 thr");
	for (base = 0; base < REPORT_BASES && workload->bases[base]; base++) {
		snprintf(heading, sizeof(heading), "x %s", workload->bases[base]);
		fprintf(out, "  %*s", ratio_width(workload->bases[base]), heading);
	}
	fputc('\n', out);
	/* By number of threads; for one number, in the order in which the rows were added. */
	for (threads = 0;; threads = next) {
		next = 0;
		for (i = 0; i < workload->row_count; i++) {
			if (workload->rows[i].threads > threads &&
				(!next || workload->rows[i].threads < next))
				next = workload->rows[i].threads;
		}
		if (!next)
			break;
		for (i = 0; i < workload->row_count; i++) {
			if (workload->rows[i].threads == next)
				print_row(workload, &workload->rows[i], width, scaling, out);
		}
	}
}

void report_table(const struct report *report, FILE *out)
{
	unsigned i;

	for (i = 0; i < report->headline_count; i++)
		fprintf(out, "%s\n", report->headlines[i]);
	if (report->verified_bytes)
		fprintf(out, "%s\n", report_verified_line(report));
	for (i = 0; i < report->workload_count; i++)
		print_workload(&report->workloads[i], out);
	fprintf(out,
		"\nMedians over rounds that measure all contenders in alternation. ns/op: in one "
		"thread. spread: distance\nbetween the quartiles, in percent of the median. "
		"x: rate divided by the rate of the named contender\nin the same round: "
		"median (spread).\n");
	for (i = 0; i < report->note_count; i++)
		fprintf(out, "%s\n", report->notes[i].text);
}
