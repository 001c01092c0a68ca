/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A report is small. Without memory for it the command has nothing to print. */
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

static void add_note(struct report *report, bool warning, const char *format, va_list args)
{
	struct report_note *note;

	report->notes = grow(report->notes, report->note_count, sizeof(*report->notes));
	note = &report->notes[report->note_count++];
	note->warning = warning;
	vsnprintf(note->text, sizeof(note->text), format, args);
}

void report_note(struct report *report, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_note(report, false, format, args);
	va_end(args);
}

void report_warning(struct report *report, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_note(report, true, format, args);
	va_end(args);
}

void report_verified(struct report *report, uint64_t bytes, unsigned threads, double seconds)
{
	report->verified_bytes = bytes;
	report->verified_threads = threads;
	report->verified_seconds = seconds;
}

const char *report_verified_line(const struct report *report)
{
	static char line[128];

	line[0] = '\0';
	if (report->verified_bytes)
		snprintf(line, sizeof(line),
			"Verified: all %llu bytes, by copy and by pin, %u thread%s, %.1f s.",
			(unsigned long long)report->verified_bytes, report->verified_threads,
			report->verified_threads > 1 ? "s" : "", report->verified_seconds);
	return line;
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

const struct report_fact *report_find_fact(
	const struct report *report, const char *group, const char *name)
{
	unsigned i;

	for (i = 0; i < report->fact_count; i++) {
		if (!strcmp(report->facts[i].group, group) && !strcmp(report->facts[i].name, name))
			return &report->facts[i];
	}
	return NULL;
}

const struct report_workload *report_find_workload(const struct report *report, const char *name)
{
	unsigned i;

	for (i = 0; i < report->workload_count; i++) {
		if (!strcmp(report->workloads[i].name, name))
			return &report->workloads[i];
	}
	return NULL;
}

unsigned report_most_threads(const struct report_workload *workload, const char *contender)
{
	unsigned i, most = 0;

	for (i = 0; i < workload->row_count; i++) {
		if (!strcmp(workload->rows[i].contender, contender) &&
			workload->rows[i].threads > most)
			most = workload->rows[i].threads;
	}
	return most;
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
	unsigned i;

	if (!base || base->count != row->count)
		return false;
	for (i = 0; i < base->count; i++)
		if (!(base->rate[i] > 0))
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

double report_nanoseconds(const struct report_row *row, double rate)
{
	return row->threads * 1e9 / rate;
}

void report_command_line(const struct report *report, char *line, size_t size)
{
	size_t used = (size_t)snprintf(line, size, "%s", report->command);
	int argument;

	for (argument = 1; argument < report->argc && used < size; argument++)
		used += (size_t)snprintf(line + used, size - used, " %s", report->argv[argument]);
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
