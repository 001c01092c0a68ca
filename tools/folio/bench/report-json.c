/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <folio/cache.h>

#include "bench/text.h"

static void json_string(FILE *out, const char *text)
{
	char clean[3 * REPORT_TEXT_MAX];
	const char *next;

	text_clean(clean, sizeof(clean), text);
	fputc('"', out);
	for (next = clean; *next; next++) {
		if (*next == '"' || *next == '\\')
			fputc('\\', out);
		fputc(*next, out);
	}
	fputc('"', out);
}

/* JSON has no infinity. Integers are printed without a fraction. */
static void json_number(FILE *out, double number)
{
	if (!isfinite(number))
		fputs("null", out);
	else if (number == floor(number) && fabs(number) < 1e15)
		fprintf(out, "%.0f", number);
	else
		fprintf(out, "%.6g", number);
}

static void json_spread(FILE *out, const struct spread *spread)
{
	fputs("{\"median\": ", out);
	json_number(out, spread->median);
	fputs(", \"low\": ", out);
	json_number(out, spread->low);
	fputs(", \"high\": ", out);
	json_number(out, spread->high);
	fputs(", \"min\": ", out);
	json_number(out, spread->min);
	fputs(", \"max\": ", out);
	json_number(out, spread->max);
	fputc('}', out);
}

static void json_samples(FILE *out, const double *samples, unsigned count)
{
	unsigned i;

	fputc('[', out);
	for (i = 0; i < count; i++) {
		if (i)
			fputs(", ", out);
		json_number(out, samples[i]);
	}
	fputc(']', out);
}

static void json_row(
	const struct report_workload *workload, const struct report_row *row, FILE *out)
{
	struct spread rate = spread_of(row->rate, row->count), spread;
	const char *separator = "";
	unsigned base;

	fputs("    {\"workload\": ", out);
	json_string(out, workload->name);
	fputs(", \"contender\": ", out);
	json_string(out, row->contender);
	fprintf(out, ", \"threads\": %u, \"rounds\": %u, \"seconds_per_sample\": ", row->threads,
		row->count);
	json_number(out, workload->slice);
	fputs(",\n     \"ops_per_second\": ", out);
	json_spread(out, &rate);
	fputs(",\n     \"ns_per_op\": ", out);
	json_number(out, report_nanoseconds(row, rate.median));
	if (workload->bytes) {
		fputs(", \"bytes_per_op\": ", out);
		json_number(out, (double)workload->bytes);
	}
	if (workload->extra) {
		spread = spread_of(row->extra, row->count);
		fputs(", ", out);
		json_string(out, workload->extra);
		fputs(": ", out);
		json_spread(out, &spread);
	}
	if (report_scaling(workload, row, &spread)) {
		fputs(",\n     \"ratio_to_one_thread\": ", out);
		json_spread(out, &spread);
	}
	fputs(",\n     \"ratio_to\": {", out);
	for (base = 0; base < REPORT_BASES && workload->bases[base]; base++) {
		if (!report_ratio(workload, row, workload->bases[base], &spread))
			continue;
		fputs(separator, out);
		json_string(out, workload->bases[base]);
		fputs(": ", out);
		json_spread(out, &spread);
		separator = ",\n                  ";
	}
	fputs("},\n     \"samples\": ", out);
	json_samples(out, row->rate, row->count);
	fputc('}', out);
}

static void json_facts(const struct report *report, FILE *out)
{
	const char *group = NULL;
	unsigned i;

	for (i = 0; i < report->fact_count; i++) {
		if (!group || strcmp(group, report->facts[i].group)) {
			fputs(group ? "},\n  " : "  ", out);
			group = report->facts[i].group;
			json_string(out, group);
			fputs(": {", out);
		} else {
			fputs(", ", out);
		}
		json_string(out, report->facts[i].name);
		fputs(": ", out);
		if (report->facts[i].is_text)
			json_string(out, report->facts[i].text);
		else
			json_number(out, report->facts[i].number);
	}
	if (group)
		fputs("},\n", out);
}

void report_json(const struct report *report, FILE *out)
{
	const struct report_workload *workload;
	const char *separator = "";
	char line[REPORT_TEXT_MAX];
	unsigned i, row;

	fputs("{\n  \"version\": ", out);
	json_string(out, folio_version());
	report_command_line(report, line, sizeof(line));
	fputs(",\n  \"command\": ", out);
	json_string(out, line);
	fputs(",\n", out);
	json_facts(report, out);
	fputs("  \"results\": [\n", out);
	for (i = 0; i < report->workload_count; i++) {
		workload = &report->workloads[i];
		for (row = 0; row < workload->row_count; row++) {
			fputs(separator, out);
			json_row(workload, &workload->rows[row], out);
			separator = ",\n";
		}
	}
	fputs("\n  ],\n  \"notes\": [", out);
	for (i = 0; i < report->note_count; i++) {
		fputs(i ? ",\n    " : "\n    ", out);
		json_string(out, report->notes[i].text);
	}
	fputs("\n  ]\n}\n", out);
}
