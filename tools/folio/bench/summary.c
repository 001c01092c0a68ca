/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/summary.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench/text.h"

/* The columns of a line: of a claim, and of a bar. */
#define LABEL_WIDTH 9
#define GROUP_WIDTH 13
#define NAME_WIDTH  15
#define VALUE_WIDTH 10
#define RATIO_WIDTH 8
#define TITLE_WIDTH (1 + GROUP_WIDTH + 1 + NAME_WIDTH + 1 + VALUE_WIDTH)
#define BAR_WIDTH   (SUMMARY_COLUMNS - TITLE_WIDTH - 1 - RATIO_WIDTH - 2)

/* ---- filling ---- */

void summary_claim(struct summary *summary, const char *label, const char *format, ...)
{
	struct summary_claim *claim;
	va_list args;

	if (summary->claim_count == SUMMARY_CLAIMS)
		return;
	claim = &summary->claims[summary->claim_count++];
	claim->label = label;
	va_start(args, format);
	vsnprintf(claim->text, sizeof(claim->text), format, args);
	va_end(args);
}

struct summary_chart *summary_chart(
	struct summary *summary, const char *base, enum summary_scale scale)
{
	struct summary_chart *chart = &summary->charts[summary->chart_count++];

	chart->base = base;
	chart->scale = scale;
	return chart;
}

const char *summary_ratio(struct summary *summary, const struct spread *ratio)
{
	static char buffers[8][32];
	static unsigned next;
	char *buffer = buffers[next++ % 8];
	bool wide = spread_is_wide(ratio);

	if (wide)
		summary->marked = true;
	snprintf(buffer, sizeof(buffers[0]), "%s%s", wide ? "~" : "",
		text_three_digits(ratio->median));
	return buffer;
}

/* ---- printing ---- */

#define BOLD  "\033[1m"
#define GREEN "\033[32m"
#define DIM   "\033[2m"
#define PLAIN "\033[0m"

struct printer {
	FILE *out;
	bool colours;
};

static void print_coloured(const struct printer *printer, const char *colour, const char *text)
{
	if (printer->colours && *text)
		fprintf(printer->out, "%s%s" PLAIN, colour, text);
	else
		fputs(text, printer->out);
}

/* Bytes of the first width columns of text. */
static size_t bytes_of_columns(const char *text, int width)
{
	size_t bytes = 0;

	while (text[bytes]) {
		if ((text[bytes] & 0xc0) != 0x80 && width-- == 0)
			break;
		bytes++;
	}
	return bytes;
}

/* A label, and text next to it that is broken at blanks, or within a word that is too long. */
static void print_claim(const struct printer *printer, const char *label, const char *text)
{
	const int width = SUMMARY_COLUMNS - LABEL_WIDTH;
	char clean[3 * REPORT_TEXT_MAX], *line = clean;
	size_t fits, used;

	text_clean(clean, sizeof(clean), text);
	print_coloured(printer, BOLD, label);
	fprintf(printer->out, "%*s", LABEL_WIDTH - (int)strlen(label), "");
	for (;;) {
		fits = used = bytes_of_columns(line, width);
		if (line[fits]) {
			while (used && line[used] != ' ')
				used--;
			if (!used)
				used = fits;
		}
		fprintf(printer->out, "%.*s\n", (int)used, line);
		line += used + strspn(line + used, " ");
		if (!*line)
			return;
		fprintf(printer->out, "%*s", LABEL_WIDTH, "");
	}
}

/* The ends of a chart's axis. */
struct axis {
	enum summary_scale scale;
	double low, high;
};

static struct axis axis_of(const struct summary_chart *chart)
{
	struct axis axis = {.scale = chart->scale, .low = 1, .high = 1};
	unsigned i;

	for (i = 0; i < chart->bar_count; i++) {
		axis.low = fmin(axis.low, chart->bars[i].ratio.median);
		axis.high = fmax(axis.high, chart->bars[i].ratio.median);
	}
	if (axis.scale == SCALE_LINEAR) {
		axis.low = 0;
	} else {
		axis.low = pow(10, floor(log10(axis.low)));
		axis.high = fmax(axis.high, axis.low * 10);
	}
	return axis;
}

/* Column of a ratio in the bar, 0 .. BAR_WIDTH. */
static int column_of(const struct axis *axis, double ratio)
{
	double share;

	if (axis->scale == SCALE_LINEAR)
		share = ratio / axis->high;
	else
		share = log10(ratio / axis->low) / log10(axis->high / axis->low);
	/* Also false if it is not a number. */
	if (!(share > 0))
		return 0;
	return share > 1 ? BAR_WIDTH : (int)lround(share * BAR_WIDTH);
}

/* Numbers above the bars: each begins in the last column of a bar of that ratio. */
static void format_scale(const struct axis *axis, char scale[BAR_WIDTH + 1])
{
	double value = axis->scale == SCALE_LINEAR ? 0 : axis->low;
	double step = pow(10, floor(log10(axis->high)));
	int column, length, end = 0;
	char number[32];

	memset(scale, ' ', BAR_WIDTH);
	while (value <= axis->high * 1.0001) {
		column = column_of(axis, value);
		column -= column > 0;
		length = snprintf(number, sizeof(number), "%g", value);
		if (column + length > BAR_WIDTH)
			column = BAR_WIDTH - length;
		if (column >= end) {
			memcpy(scale + column, number, (size_t)length);
			end = column + length + 1;
		}
		value = axis->scale == SCALE_LINEAR ? value + step : value * 10;
	}
	scale[BAR_WIDTH] = '\0';
	for (column = BAR_WIDTH; column > 0 && scale[column - 1] == ' '; column--)
		scale[column - 1] = '\0';
}

/* Format name, value and ratio; a long number uses the space to its left. Returns the length. */
static int format_figures(char *line, size_t size, const struct summary_bar *bar, const char *ratio)
{
	int value_width = VALUE_WIDTH, name_width = NAME_WIDTH;

	if ((int)strlen(ratio) > RATIO_WIDTH)
		value_width -= (int)strlen(ratio) - RATIO_WIDTH;
	if ((int)strlen(bar->value) > value_width)
		name_width -= (int)strlen(bar->value) - value_width;
	return snprintf(line, size, "%-*s %*s %*s", name_width > 0 ? name_width : 0, bar->name,
		value_width > 0 ? value_width : 0, bar->value, RATIO_WIDTH, ratio);
}

static void print_bar(const struct printer *printer, const struct axis *axis,
	const struct summary_bar *bar, const char *ratio)
{
	char line[BAR_WIDTH + 1], figures[128];
	int used = format_figures(figures, sizeof(figures), bar, ratio);
	/* What the figures took of the bar. */
	int extra = used - (NAME_WIDTH + 1 + VALUE_WIDTH + 1 + RATIO_WIDTH);
	int most = extra <= 0 ? BAR_WIDTH : extra < BAR_WIDTH ? BAR_WIDTH - extra : 0;
	int length = column_of(axis, bar->ratio.median), one;

	if (length > most)
		length = most;
	memset(line, bar->role == ROLE_OWN ? '#' : '=', (size_t)length);
	line[length] = '\0';
	fprintf(printer->out, "%s  ", figures);
	print_coloured(printer, bar->role == ROLE_OWN ? GREEN : DIM, line);
	one = axis->scale == SCALE_LINEAR ? column_of(axis, 1) : 0;
	if (one > length && one <= most)
		fprintf(printer->out, "%*s", one - length, "|");
	fputc('\n', printer->out);
}

static void print_chart(
	const struct printer *printer, struct summary *summary, const struct summary_chart *chart)
{
	struct axis axis = axis_of(chart);
	const char *group = "";
	char scale[BAR_WIDTH + 1];
	unsigned i;

	if (!chart->bar_count)
		return;
	format_scale(&axis, scale);
	print_coloured(printer, BOLD, chart->title);
	fprintf(printer->out, "%*s %*s  %s\n", TITLE_WIDTH - text_width(chart->title), "",
		RATIO_WIDTH, chart->base, scale);
	for (i = 0; i < chart->bar_count; i++) {
		const struct summary_bar *bar = &chart->bars[i];

		fprintf(printer->out, " %-*s ", GROUP_WIDTH,
			strcmp(bar->group, group) ? bar->group : "");
		print_bar(printer, &axis, bar, summary_ratio(summary, &bar->ratio));
		group = bar->group;
	}
}

/* What a reader must know before quoting a figure. */
static void print_warnings(
	const struct printer *printer, const struct report *report, const struct summary *summary)
{
	unsigned i;

	for (i = 0; i < report->note_count; i++) {
		if (report->notes[i].warning)
			print_claim(printer, "CAUTION", report->notes[i].text);
	}
	if (summary->marked)
		print_claim(printer, "NOISE",
			"~: quartiles more than 20 % of the median apart; do not quote these");
}

static void print_setup(const struct printer *printer, const struct report *report)
{
	unsigned i;

	for (i = 0; i < report->headline_count; i++)
		print_claim(printer, i ? "" : "SETUP", report->headlines[i]);
}

void summary_print(const struct report *report, bool colours, FILE *out)
{
	const struct printer printer = {.out = out, .colours = colours};
	struct summary summary = {.claim_count = 0};
	char *body = NULL;
	size_t length = 0;
	struct printer charts = {.out = open_memstream(&body, &length), .colours = colours};
	unsigned i;

	report->summarize(report, &summary);
	/* The charts first: they may set the mark that print_warnings explains. */
	for (i = 0; charts.out && i < summary.chart_count; i++)
		print_chart(&charts, &summary, &summary.charts[i]);
	for (i = 0; i < summary.claim_count; i++)
		print_claim(&printer, summary.claims[i].label, summary.claims[i].text);
	print_warnings(&printer, report, &summary);
	fputc('\n', out);
	if (charts.out && !fclose(charts.out))
		fputs(body, out);
	free(body);
	print_setup(&printer, report);
	print_claim(&printer, "MORE",
		"--all: full tables; --json, --csv: for programs; --svg FILE: a picture");
}
