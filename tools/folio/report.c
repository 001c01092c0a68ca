/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <folio/cache.h>

/* Characters of a file's name in a headline, which is a line of the picture. */
#define NAME_WIDTH 56

/* A report is small and made at leisure: without memory for it there is nothing to tell. */
static void *grow(void *array, unsigned count, size_t size)
{
	array = realloc(array, (count + 1) * size);
	if (!array) {
		fputs("folio: out of memory for the report\n", stderr);
		exit(1);
	}
	memset((char *)array + count * size, 0, size);
	return array;
}

static struct report_fact *add_fact(struct report *report, const char *group, const char *name)
{
	struct report_fact *fact;

	report->facts = grow(report->facts, report->fact_count, sizeof(*report->facts));
	fact = &report->facts[report->fact_count++];
	fact->group = group;
	fact->name = name;
	return fact;
}

void report_text(
	struct report *report, const char *group, const char *name, const char *format, ...)
{
	struct report_fact *fact = add_fact(report, group, name);
	va_list args;

	fact->is_text = true;
	va_start(args, format);
	vsnprintf(fact->text, sizeof(fact->text), format, args);
	va_end(args);
}

void report_number(struct report *report, const char *group, const char *name, double number)
{
	add_fact(report, group, name)->number = number;
}

void report_headline(struct report *report, const char *format, ...)
{
	va_list args;

	report->headlines =
		grow(report->headlines, report->headline_count, sizeof(*report->headlines));
	va_start(args, format);
	vsnprintf(report->headlines[report->headline_count++], REPORT_TEXT_MAX, format, args);
	va_end(args);
}

void report_note(struct report *report, const char *format, ...)
{
	va_list args;

	report->notes = grow(report->notes, report->note_count, sizeof(*report->notes));
	va_start(args, format);
	vsnprintf(report->notes[report->note_count++], REPORT_TEXT_MAX, format, args);
	va_end(args);
}

struct report_workload *report_workload(
	struct report *report, const struct report_workload *workload)
{
	report->workloads =
		grow(report->workloads, report->workload_count, sizeof(*report->workloads));
	report->workloads[report->workload_count] = *workload;
	return &report->workloads[report->workload_count++];
}

static struct report_row *find_row(
	const struct report_workload *workload, const char *contender, unsigned threads)
{
	unsigned i;

	for (i = 0; i < workload->row_count; i++) {
		if (workload->rows[i].threads == threads &&
			!strcmp(workload->rows[i].contender, contender))
			return &workload->rows[i];
	}
	return NULL;
}

const struct report_row *report_find(
	const struct report_workload *workload, const char *contender, unsigned threads)
{
	return find_row(workload, contender, threads);
}

void report_sample(struct report_workload *workload, const char *contender, enum report_role role,
	unsigned threads, double rate, double extra)
{
	struct report_row *row = find_row(workload, contender, threads);

	if (!row) {
		workload->rows = grow(workload->rows, workload->row_count, sizeof(*workload->rows));
		row = &workload->rows[workload->row_count++];
		row->contender = contender;
		row->role = role;
		row->threads = threads;
	}
	if (row->count == SAMPLES_MAX)
		return;
	row->rate[row->count] = rate;
	row->extra[row->count] = extra;
	row->count++;
}

static bool ratio_of_rows(
	const struct report_row *row, const struct report_row *base, struct spread *ratio)
{
	if (!base || base->count != row->count)
		return false;
	*ratio = spread_of_ratio(row->rate, base->rate, row->count);
	return true;
}

bool report_ratio(const struct report_workload *workload, const struct report_row *row,
	const char *base, struct spread *ratio)
{
	return ratio_of_rows(row, find_row(workload, base, row->threads), ratio);
}

bool report_scaling(
	const struct report_workload *workload, const struct report_row *row, struct spread *ratio)
{
	return ratio_of_rows(row, find_row(workload, row->contender, 1), ratio);
}

/* Nanoseconds that one thread spends on one operation. */
static double nanoseconds(const struct report_row *row, double rate)
{
	return row->threads * 1e9 / rate;
}

const char *report_three_digits(double value)
{
	static char buffers[8][32];
	static unsigned next;
	char *buffer = buffers[next++ % 8];
	int digits = 0;

	if (value != 0 && isfinite(value)) {
		digits = 2 - (int)floor(log10(fabs(value)));
		/* 9.996 is 10.0 and not 10.00. */
		if (digits >= 0 && fabs(value) * pow(10, digits) >= 999.5)
			digits--;
	}
	snprintf(buffer, sizeof(buffers[0]), "%.*f",
		digits < 0   ? 0
		: digits > 6 ? 6
			     : digits,
		value);
	return buffer;
}

/* ---- the table ---- */

/* Columns that characters take, not bytes: a file's name may hold any. */
static int text_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

/* Between the quartiles, in percent of the median. */
static double width_percent(const struct spread *spread)
{
	return 100 * (spread->high - spread->low) / spread->median;
}

/* A column of ratios to base: as wide as a ratio or its heading. */
static int ratio_width(const char *base)
{
	int width = text_width(base) + 2;

	return width < 15 ? 15 : width;
}

static void print_row(const struct report_workload *workload, const struct report_row *row,
	int width, bool scaling, FILE *out)
{
	struct spread rate = spread_of(row->rate, row->count), ratio;
	char text[64];
	unsigned base;

	fprintf(out, "  %7u  %-*s  %8s  %8s  %5.1f%%", row->threads, width, row->contender,
		report_three_digits(rate.median / workload->scale),
		report_three_digits(nanoseconds(row, rate.median)), width_percent(&rate));
	if (workload->extra)
		fprintf(out, "  %8.2f%%", 100 * spread_of(row->extra, row->count).median);
	if (scaling) {
		if (row->threads > 1 && report_scaling(workload, row, &ratio))
			fprintf(out, "  %7s", report_three_digits(ratio.median));
		else
			fprintf(out, "  %7s", "");
	}
	for (base = 0; base < REPORT_BASES && workload->bases[base]; base++) {
		text[0] = '\0';
		if (strcmp(row->contender, workload->bases[base]) &&
			report_ratio(workload, row, workload->bases[base], &ratio))
			snprintf(text, sizeof(text), "%s (%.1f%%)",
				report_three_digits(ratio.median), width_percent(&ratio));
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
		workload->rows[0].count, report_three_digits(workload->slice * 1e3));
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
	/* By threads, upwards; within that in the order in which they were added. */
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
	for (i = 0; i < report->workload_count; i++)
		print_workload(&report->workloads[i], out);
	fprintf(out, "\nMedians of rounds in which the contenders take turns. ns/op: of one "
		     "thread. spread: "
		     "between the quartiles,\nby the median. x: rate by that of the named one in "
		     "the same "
		     "round: median (spread).\n");
	for (i = 0; i < report->note_count; i++)
		fprintf(out, "%s\n", report->notes[i]);
}

/* ---- for programs ---- */

static void command_line(const struct report *report, char *line, size_t size)
{
	size_t used = (size_t)snprintf(line, size, "%s", report->command);
	int argument;

	for (argument = 1; argument < report->argc && used < size; argument++)
		used += (size_t)snprintf(line + used, size - used, " %s", report->argv[argument]);
}

/* ---- JSON ---- */

/* Bytes of the UTF-8 sequence at text; 0 when it is none that may stand in XML and JSON. */
static unsigned utf8_length(const unsigned char *text)
{
	unsigned length, i;
	uint32_t code;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] >= 0xc2 && text[0] < 0xe0)
		length = 2;
	else if (text[0] >= 0xe0 && text[0] < 0xf0)
		length = 3;
	else if (text[0] >= 0xf0 && text[0] < 0xf5)
		length = 4;
	else
		return 0;
	code = text[0] & (0x7fu >> length);
	for (i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < (length == 4 ? 0x10000u : length == 3 ? 0x800u : 0x80u) || code > 0x10ffff)
		return 0;
	if ((code >= 0xd800 && code < 0xe000) || (code & 0xfffe) == 0xfffe || code < 0xa0)
		return 0;
	return length;
}

void report_clean(char *clean, size_t size, const char *text)
{
	const unsigned char *next = (const unsigned char *)text;
	size_t used = 0;
	unsigned length;

	while (*next && used + 5 < size) {
		length = utf8_length(next);
		if (length) {
			memcpy(clean + used, next, length);
			used += length;
			next += length;
		} else {
			memcpy(clean + used, "\xef\xbf\xbd", 3);
			used += 3;
			next++;
		}
	}
	clean[used] = '\0';
}

/* Where the character number begins; a character's first byte is none of the others. */
static char *character(char *text, int number)
{
	for (; *text; text++) {
		if ((*text & 0xc0) != 0x80 && number-- == 0)
			break;
	}
	return text;
}

const char *report_name(const char *name)
{
	static const char gap[] = "\xe2\x80\xa6";
	static char clean[3 * PATH_MAX];
	char *bad, *begin, *end;
	int width;

	report_clean(clean, sizeof(clean), name);
	while ((bad = strstr(clean, "\xef\xbf\xbd"))) {
		*bad = '?';
		memmove(bad + 1, bad + 3, strlen(bad + 3) + 1);
	}
	width = text_width(clean);
	if (width > NAME_WIDTH) {
		begin = character(clean, NAME_WIDTH / 2);
		end = character(clean, width - (NAME_WIDTH - NAME_WIDTH / 2 - 1));
		memmove(begin + strlen(gap), end, strlen(end) + 1);
		memcpy(begin, gap, strlen(gap));
	}
	return clean;
}

static void json_string(FILE *out, const char *text)
{
	char clean[3 * REPORT_TEXT_MAX];
	const char *next;

	report_clean(clean, sizeof(clean), text);
	fputc('"', out);
	for (next = clean; *next; next++) {
		if (*next == '"' || *next == '\\')
			fputc('\\', out);
		fputc(*next, out);
	}
	fputc('"', out);
}

/* JSON knows no infinity; whole numbers are written as such. */
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
	json_number(out, nanoseconds(row, rate.median));
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
	command_line(report, line, sizeof(line));
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
		json_string(out, report->notes[i]);
	}
	fputs("\n  ]\n}\n", out);
}

/* ---- CSV ---- */

static void csv_string(FILE *out, const char *text)
{
	char clean[3 * REPORT_TEXT_MAX];
	const char *next;

	report_clean(clean, sizeof(clean), text);
	fputc('"', out);
	for (next = clean; *next; next++) {
		if (*next == '"')
			fputc('"', out);
		fputc(*next, out);
	}
	fputc('"', out);
}

static void csv_spread(FILE *out, const struct spread *spread)
{
	fprintf(out, ",%.6g,%.6g,%.6g", spread->median, spread->low, spread->high);
}

/*
 * One line a row, and all the facts in it: a line that is copied out of the file still says on what machine
 * and how it was measured.
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
			fprintf(out, ",%.6g,%.6g,%.6g,%llu,", spread.min, spread.max,
				nanoseconds(row, spread.median),
				(unsigned long long)workload->bytes);
			if (workload->extra) {
				csv_string(out, workload->extra);
				fprintf(out, ",%.6g", spread_of(row->extra, row->count).median);
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
			command_line(report, line, sizeof(line));
			csv_string(out, line);
			fputc('\n', out);
		}
	}
}

void report_free(struct report *report)
{
	unsigned i;

	for (i = 0; i < report->workload_count; i++)
		free(report->workloads[i].rows);
	free(report->workloads);
	free(report->facts);
	free(report->headlines);
	free(report->notes);
}
