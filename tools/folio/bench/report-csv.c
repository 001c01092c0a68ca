/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <folio/cache.h>

#include "bench/text.h"

static void csv_string(FILE *out, const char *text)
{
	char clean[3 * REPORT_TEXT_MAX];
	const char *next;

	text_clean(clean, sizeof(clean), text);
	fputc('"', out);
	for (next = clean; *next; next++) {
		if (*next == '"')
			fputc('"', out);
		fputc(*next, out);
	}
	fputc('"', out);
}

/* Nothing for a number that does not exist. */
static void csv_number(FILE *out, double number)
{
	fputc(',', out);
	if (isfinite(number))
		fprintf(out, "%.6g", number);
}

static void csv_spread(FILE *out, const struct spread *spread)
{
	csv_number(out, spread->median);
	csv_number(out, spread->low);
	csv_number(out, spread->high);
}

/*
 * One line per row, with all facts: a line copied from the file still shows how and on which
 * machine it was measured.
 */
void report_csv(const struct report *report, FILE *out)
{
	const struct report_workload *workload;
	const struct report_row *row;
	struct spread spread;
	char line[REPORT_TEXT_MAX];
	unsigned i, r, base, fact;

	fputs("workload,contender,threads,rounds,seconds_per_sample,ops_per_second,ops_low,ops_"
	      "high,ops_min,ops_max,"
	      "ns_per_op,bytes_per_op,extra_name,extra,one_thread_ratio,one_thread_low,one_thread_"
	      "high",
		out);
	for (base = 0; base < REPORT_BASES; base++)
		fprintf(out, ",base%u,base%u_ratio,base%u_low,base%u_high", base, base, base, base);
	for (fact = 0; fact < report->fact_count; fact++)
		fprintf(out, ",%s_%s", report->facts[fact].group, report->facts[fact].name);
	fputs(",version,command\n", out);

	for (i = 0; i < report->workload_count; i++) {
		workload = &report->workloads[i];
		for (r = 0; r < workload->row_count; r++) {
			row = &workload->rows[r];
			csv_string(out, workload->name);
			fputc(',', out);
			csv_string(out, row->contender);
			fprintf(out, ",%u,%u,%.6g", row->threads, row->count, workload->slice);
			spread = spread_of(row->rate, row->count);
			csv_spread(out, &spread);
			csv_number(out, spread.min);
			csv_number(out, spread.max);
			csv_number(out, report_nanoseconds(row, spread.median));
			fprintf(out, ",%llu,", (unsigned long long)workload->bytes);
			if (workload->extra) {
				csv_string(out, workload->extra);
				csv_number(out, spread_of(row->extra, row->count).median);
			} else {
				fputc(',', out);
			}
			if (report_scaling(workload, row, &spread))
				csv_spread(out, &spread);
			else
				fputs(",,,", out);
			for (base = 0; base < REPORT_BASES; base++) {
				if (workload->bases[base] &&
					report_ratio(
						workload, row, workload->bases[base], &spread)) {
					fputc(',', out);
					csv_string(out, workload->bases[base]);
					csv_spread(out, &spread);
				} else {
					fputs(",,,,", out);
				}
			}
			for (fact = 0; fact < report->fact_count; fact++) {
				fputc(',', out);
				if (report->facts[fact].is_text)
					csv_string(out, report->facts[fact].text);
				else
					fprintf(out, "%.15g", report->facts[fact].number);
			}
			fputc(',', out);
			csv_string(out, folio_version());
			fputc(',', out);
			report_command_line(report, line, sizeof(line));
			csv_string(out, line);
			fputc('\n', out);
		}
	}
}
