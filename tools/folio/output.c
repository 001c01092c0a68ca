/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output.c - where the results of a benchmark go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "command.h"
#include "svg.h"

int output_open(struct output *output)
{
	output->svg_fd = -1;
	if (output->json && output->csv) {
		complain("--json and --csv exclude each other");
		return STATUS_USAGE;
	}
	if (!output->svg)
		return -1;
	/* What the file holds is kept until there is something better. */
	output->svg_fd = open(output->svg, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (output->svg_fd < 0) {
		complain("cannot write %s: %s", output->svg, strerror(errno));
		return STATUS_FAILED;
	}
	return -1;
}

static int write_picture(struct output *output, const struct report *report)
{
	FILE *file = fdopen(output->svg_fd, "w");
	bool failed;

	if (!file) {
		complain("cannot write %s: %s", output->svg, strerror(errno));
		return STATUS_FAILED;
	}
	output->svg_fd = -1;
	/* Of a pipe or a device there is nothing to cut off. */
	failed = ftruncate(fileno(file), 0) && errno != EINVAL;
	svg_write(report, file);
	failed |= ferror(file) != 0;
	failed |= fclose(file) != 0;
	if (failed) {
		complain("cannot write %s: %s", output->svg, strerror(errno));
		return STATUS_FAILED;
	}
	return STATUS_OK;
}

int output_write(struct output *output, const struct report *report)
{
	int status;

	if (output->json)
		report_json(report, stdout);
	else if (output->csv)
		report_csv(report, stdout);
	else
		report_table(report, stdout);
	status = finish_output();
	if (output->svg && write_picture(output, report))
		status = STATUS_FAILED;
	return status;
}

void output_close(struct output *output)
{
	struct stat stat;

	if (output->svg_fd < 0)
		return;
	/* Empty: made here, for nothing. */
	if (!fstat(output->svg_fd, &stat) && S_ISREG(stat.st_mode) && stat.st_size == 0)
		unlink(output->svg);
	close(output->svg_fd);
	output->svg_fd = -1;
}
