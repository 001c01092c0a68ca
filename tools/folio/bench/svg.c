/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/svg.h"

#include <math.h>
#include <string.h>

#include "bench/text.h"

/* Positions and sizes in pixels. */
#define WIDTH       1040
#define BARS_LEFT   170
#define BARS_RIGHT  700 /* a bar's label follows it */
#define MARGIN      24
#define BAR_HEIGHT  13
#define BAR_STEP    15
#define ROW_GAP     9
#define GROUP_GAP   18
#define GROUP_HEAD  26
#define AXIS_HEIGHT 52
#define HEAD_HEIGHT 58
#define LINE_HEIGHT 17

static const char style[] =
	"text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; "
	"font-size: 12.5px; fill: #1f2328 }\n"
	".page { fill: #ffffff }\n"
	".title { font-size: 20px; font-weight: 600 }\n"
	".group { font-size: 14px; font-weight: 600 }\n"
	".dim { fill: #59636e }\n"
	".caution { fill: #9a6700; font-weight: 600 }\n"
	".spread { stroke: #1f2328; stroke-width: 1.2 }\n"
	".grid { stroke: #d1d9e0; stroke-width: 1 }\n"
	".own { fill: #0969da }\n"
	".peer { fill: #9aa4ae }\n"
	".limit { fill: none; stroke: #59636e; stroke-width: 1.2; stroke-dasharray: 3 2 }\n"
	".one { opacity: 0.55 }\n"
	".strong { font-weight: 600 }\n"
	".value { paint-order: stroke; stroke: #ffffff; stroke-width: 4; stroke-linejoin: round }\n"
	"@media (prefers-color-scheme: dark) {\n"
	"text { fill: #e6edf3 }\n"
	".page { fill: #0d1117 }\n"
	".dim { fill: #9198a1 }\n"
	".caution { fill: #d29922 }\n"
	".spread { stroke: #e6edf3 }\n"
	".grid { stroke: #30363d }\n"
	".own { fill: #4493f8 }\n"
	".peer { fill: #6e7681 }\n"
	".limit { stroke: #9198a1 }\n"
	".value { stroke: #0d1117 }\n"
	"}\n";

static const char *const role_class[] = {
	[ROLE_OWN] = "own", [ROLE_PEER] = "peer", [ROLE_LIMIT] = "limit"};

/* The part of a report that shares an axis: workloads with the same unit. */
struct panel {
	const char *unit, *axis;
	double low, high; /* the ends of the axis, as powers of ten; low is an integer */
};

static void text(
	FILE *out, double x, double y, const char *class, const char *anchor, const char *value)
{
	char clean[3 * REPORT_TEXT_MAX];
	const char *next;

	text_clean(clean, sizeof(clean), value);
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class,
		anchor);
	for (next = clean; *next; next++) {
		switch (*next) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		default:
			fputc(*next, out);
		}
	}
	fputs("</text>\n", out);
}

/* The rate of a row in the unit of its workload. */
static struct spread rate_of(const struct report_workload *workload, const struct report_row *row)
{
	struct spread rate = spread_of(row->rate, row->count);

	rate.median /= workload->scale;
	rate.low /= workload->scale;
	rate.high /= workload->scale;
	return rate;
}

/* True if no earlier row has the contender of this one: there, all its rows are drawn. */
static bool is_first(const struct report_workload *workload, unsigned row)
{
	unsigned i;

	for (i = 0; i < row; i++) {
		if (!strcmp(workload->rows[i].contender, workload->rows[row].contender))
			return false;
	}
	return true;
}

/* The rows of a contender with the least and the most threads. rows[1] is NULL if they are one. */
static void drawn_rows(const struct report_workload *workload, const char *contender,
	const struct report_row *rows[2])
{
	unsigned i, most = report_most_threads(workload, contender);

	rows[0] = report_find(workload, contender, most);
	for (i = 0; i < workload->row_count; i++) {
		if (!strcmp(workload->rows[i].contender, contender) &&
			workload->rows[i].threads < rows[0]->threads)
			rows[0] = &workload->rows[i];
	}
	rows[1] = rows[0]->threads == most ? NULL : report_find(workload, contender, most);
}

static bool in_panel(const struct report_workload *workload, const struct panel *panel)
{
	return workload->row_count && !strcmp(workload->unit, panel->unit);
}

static void measure_panel(const struct report *report, struct panel *panel)
{
	const struct report_workload *workload;
	double low = INFINITY, high = 0;
	struct spread rate;
	unsigned i, row;

	for (i = 0; i < report->workload_count; i++) {
		workload = &report->workloads[i];
		if (!in_panel(workload, panel))
			continue;
		panel->axis = workload->axis;
		for (row = 0; row < workload->row_count; row++) {
			rate = rate_of(workload, &workload->rows[row]);
			if (rate.low > 0)
				low = fmin(low, rate.low);
			high = fmax(high, rate.high);
		}
	}
	if (!(high > 0) || !isfinite(low))
		low = high = 1;
	panel->low = floor(log10(low * 0.8));
	panel->high = fmax(log10(high), panel->low + 1);
}

static double panel_height(const struct report *report, const struct panel *panel)
{
	const struct report_workload *workload;
	const struct report_row *rows[2];
	double height = AXIS_HEIGHT;
	unsigned i, row;

	for (i = 0; i < report->workload_count; i++) {
		workload = &report->workloads[i];
		if (!in_panel(workload, panel))
			continue;
		height += GROUP_HEAD + GROUP_GAP;
		for (row = 0; row < workload->row_count; row++) {
			if (!is_first(workload, row))
				continue;
			drawn_rows(workload, workload->rows[row].contender, rows);
			height += (rows[1] ? 2 : 1) * BAR_STEP + ROW_GAP;
		}
	}
	return height;
}

/* The x coordinate of a rate. */
static double position_of(const struct panel *panel, double rate)
{
	double share = (log10(rate) - panel->low) / (panel->high - panel->low);

	return BARS_LEFT + (share > 0 ? share : 0) * (BARS_RIGHT - BARS_LEFT);
}

static void draw_grid(const struct panel *panel, double top, double bottom, FILE *out)
{
	char label[128];
	double x;
	int power;

	for (power = (int)panel->low; power <= panel->high; power++) {
		x = position_of(panel, pow(10, power));
		fprintf(out,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n",
			x, top, x, bottom);
		if (power < 0)
			snprintf(label, sizeof(label), "%.*f", -power, pow(10, power));
		else
			snprintf(label, sizeof(label), "%.0f", pow(10, power));
		text(out, x, bottom + 15, "dim", "middle", label);
	}
	snprintf(label, sizeof(label), "%s; each grid line is ten times the one before",
		panel->axis);
	text(out, BARS_LEFT, bottom + 33, "dim", "start", label);
}

/* Next to a bar: the rate that it shows, and the time per operation or a share. */
static void draw_label(const struct report_workload *workload, const struct report_row *row,
	double x, double y, FILE *out)
{
	struct spread rate = rate_of(workload, row);
	double extra = spread_of(row->extra, row->count).median;
	char label[160];
	size_t used;

	used = (size_t)snprintf(label, sizeof(label), "%s%s %s", spread_is_wide(&rate) ? "~" : "",
		text_three_digits(rate.median), workload->unit);
	if (workload->scale == 1e6 && rate.median > 0)
		used += (size_t)snprintf(label + used, sizeof(label) - used, ", %s ns",
			text_three_digits(report_nanoseconds(row, rate.median * workload->scale)));
	/* A share of 100 % is not worth a mention. */
	if (workload->extra && extra < 0.995 && used < sizeof(label))
		snprintf(label + used, sizeof(label) - used, ", %.1f %% %s", 100 * extra,
			workload->extra);
	text(out, x + 6, y + BAR_HEIGHT - 2, row->role == ROLE_OWN ? "value strong" : "value dim",
		"start", label);
}

/* In the column at the right: the ratio to the first base, which is not that of two bars. */
static void draw_ratio(
	const struct report_workload *workload, const struct report_row *row, double y, FILE *out)
{
	struct spread ratio;
	char label[64];

	if (!workload->bases[0] || !strcmp(workload->bases[0], row->contender) ||
		!report_ratio(workload, row, workload->bases[0], &ratio))
		return;
	snprintf(label, sizeof(label), "%s%s \xc3\x97", spread_is_wide(&ratio) ? "~" : "",
		text_three_digits(ratio.median));
	text(out, WIDTH - MARGIN, y + BAR_HEIGHT - 2,
		row->role == ROLE_OWN ? "ratio strong" : "ratio dim", "end", label);
}

static void draw_bar(const struct report_workload *workload, const struct report_row *row,
	const struct panel *panel, double y, FILE *out)
{
	struct spread rate = rate_of(workload, row);
	double end = position_of(panel, rate.median), low, high;

	fprintf(out, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" class=\"%s%s\"/>\n",
		BARS_LEFT, y, end - BARS_LEFT, BAR_HEIGHT, role_class[row->role],
		row->threads < report_most_threads(workload, row->contender) ? " one" : "");
	low = position_of(panel, rate.low);
	high = position_of(panel, rate.high);
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"spread\"/>\n",
		low, y + BAR_HEIGHT / 2.0, high, y + BAR_HEIGHT / 2.0);
	draw_label(workload, row, high > end ? high : end, y, out);
	draw_ratio(workload, row, y, out);
}

static double draw_contender(const struct report_workload *workload, const char *contender,
	const struct panel *panel, double y, FILE *out)
{
	const struct report_row *rows[2];
	int i, bars;

	drawn_rows(workload, contender, rows);
	bars = rows[1] ? 2 : 1;
	text(out, BARS_LEFT - 10, y + (bars * BAR_STEP) / 2.0 + 3.5,
		rows[0]->role == ROLE_OWN ? "strong" : "name", "end", contender);
	for (i = 0; i < bars; i++) {
		draw_bar(workload, rows[i], panel, y, out);
		y += BAR_STEP;
	}
	return y + ROW_GAP;
}

static double draw_panel(
	const struct report *report, const struct panel *panel, double y, FILE *out)
{
	const struct report_workload *workload;
	char heading[2 * REPORT_TEXT_MAX];
	unsigned i, row;

	draw_grid(panel, y + GROUP_GAP, y + panel_height(report, panel) - AXIS_HEIGHT, out);
	for (i = 0; i < report->workload_count; i++) {
		workload = &report->workloads[i];
		if (!in_panel(workload, panel))
			continue;
		y += GROUP_GAP;
		/*
		 * On a background of the page's colour, so that no grid line crosses the heading.
		 */
		fprintf(out,
			"<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" class=\"page\"/>\n",
			MARGIN, y, WIDTH - 2 * MARGIN, GROUP_HEAD - 6);
		snprintf(heading, sizeof(heading), "%s: %s", workload->name, workload->title);
		text(out, MARGIN, y + 14, "group", "start", heading);
		if (workload->bases[0]) {
			snprintf(heading, sizeof(heading), "\xc3\x97 %s", workload->bases[0]);
			text(out, WIDTH - MARGIN, y + 14, "dim", "end", heading);
		}
		y += GROUP_HEAD;
		for (row = 0; row < workload->row_count; row++) {
			if (is_first(workload, row))
				y = draw_contender(
					workload, workload->rows[row].contender, panel, y, out);
		}
	}
	return y + AXIS_HEIGHT;
}

/* The meaning of the colours. */
static void draw_legend(const struct report *report, double y, FILE *out)
{
	static const char *const role_name[] = {
		[ROLE_OWN] = "folio", [ROLE_PEER] = "compared with", [ROLE_LIMIT] = "limit"};
	const struct report_row *rows[2];
	bool seen[3] = {false, false, false};
	unsigned i, row, role, threads = 1;
	double x = MARGIN;
	char label[96];

	for (i = 0; i < report->workload_count; i++) {
		for (row = 0; row < report->workloads[i].row_count; row++) {
			seen[report->workloads[i].rows[row].role] = true;
			drawn_rows(&report->workloads[i], report->workloads[i].rows[row].contender,
				rows);
			if (rows[1] && rows[1]->threads > threads)
				threads = rows[1]->threads;
		}
	}
	for (role = 0; role < 3; role++) {
		if (!seen[role])
			continue;
		fprintf(out,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"11\" class=\"%s\"/>\n",
			x, y - 10, role_class[role]);
		text(out, x + 28, y, "name", "start", role_name[role]);
		x += 28 + 8 * (double)strlen(role_name[role]) + 16;
	}
	if (threads > 1) {
		fprintf(out,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"11\" class=\"own "
			"one\"/>\n",
			x, y - 10);
		snprintf(label, sizeof(label), "pale: 1 thread, full: %u threads", threads);
		text(out, x + 28, y, "name", "start", label);
	}
	text(out, WIDTH - MARGIN, y, "strong", "end", "longer is better");
}

/*
 * Headlines, and what a reader must know before quoting a figure. Returns the y of the next line.
 */
static double draw_head(const struct report *report, double y, FILE *out)
{
	char line[REPORT_TEXT_MAX + 16];
	unsigned i;

	for (i = 0; i < report->headline_count; i++) {
		text(out, MARGIN, y, "dim", "start", report->headlines[i]);
		y += LINE_HEIGHT;
	}
	if (report->verified_bytes) {
		text(out, MARGIN, y, "dim", "start", report_verified_line(report));
		y += LINE_HEIGHT;
	}
	for (i = 0; i < report->note_count; i++) {
		if (!report->notes[i].warning)
			continue;
		snprintf(line, sizeof(line), "Caution: %s", report->notes[i].text);
		text(out, MARGIN, y, "caution", "start", line);
		y += LINE_HEIGHT;
	}
	return y;
}

static unsigned head_lines(const struct report *report)
{
	unsigned i, lines = report->headline_count + (report->verified_bytes != 0);

	for (i = 0; i < report->note_count; i++)
		lines += report->notes[i].warning;
	return lines;
}

static const char *const caption[] = {
	"Bar and label: median rate of all threads together, and the time of one operation in one "
	"thread. Line in a bar: first to third quartile.",
	"\xc3\x97: median of the ratios within a round, not the ratio of two bars. ~: the "
	"quartiles "
	"are more than 20 % of the median apart.",
};

#define CAPTION_LINES (sizeof(caption) / sizeof(caption[0]))

void svg_write(const struct report *report, FILE *out)
{
	struct panel panels[8];
	unsigned panel_count = 0, i, j;
	unsigned lines = head_lines(report) + 1 + CAPTION_LINES;
	double height = HEAD_HEIGHT + LINE_HEIGHT * lines + MARGIN;
	double y;

	memset(panels, 0, sizeof(panels));
	for (i = 0; i < report->workload_count; i++) {
		for (j = 0; j < panel_count; j++) {
			if (in_panel(&report->workloads[i], &panels[j]))
				break;
		}
		if (j < panel_count || panel_count == sizeof(panels) / sizeof(panels[0]) ||
			!report->workloads[i].row_count)
			continue;
		panels[panel_count].unit = report->workloads[i].unit;
		measure_panel(report, &panels[panel_count]);
		height += panel_height(report, &panels[panel_count++]);
	}

	fprintf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
		"height=\"%.0f\" role=\"img\">\n",
		WIDTH, height, WIDTH, height);
	fprintf(out, "<title>%s</title>\n", report->title);
	fprintf(out, "<desc>Bar chart of medians with quartiles, %u workloads.</desc>\n",
		report->workload_count);
	fprintf(out, "<style>\n%s</style>\n", style);
	fprintf(out, "<rect width=\"%d\" height=\"%.0f\" class=\"page\"/>\n", WIDTH, height);
	text(out, MARGIN, 40, "title", "start", report->title);
	y = draw_head(report, HEAD_HEIGHT + 4, out);
	draw_legend(report, y + 6, out);
	y += LINE_HEIGHT;
	for (i = 0; i < panel_count; i++)
		y = draw_panel(report, &panels[i], y, out);
	for (i = 0; i < CAPTION_LINES; i++)
		text(out, MARGIN, y + 8 + LINE_HEIGHT * i, "dim", "start", caption[i]);
	fputs("</svg>\n", out);
}
