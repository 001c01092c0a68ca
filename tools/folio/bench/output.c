/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/summary.h"
#include "bench/svg.h"
#include "command.h"
#include "metadata.h"

/*
 * Check the name of the picture, and create the file that becomes it. False after a complaint, with
 * the exit status in *status.
 */
static bool open_picture(struct output *output, const char *measured, int *status)
{
	struct stat old, file;
	bool exists = !stat(output->svg, &old);

	*status = STATUS_FAILED;
	if (!exists && errno != ENOENT)
		goto failed;
	if (!exists && !lstat(output->svg, &old)) {
		complain("cannot write %s: it is a symbolic link to nothing", output->svg);
		return false;
	}
	if (exists && measured && !stat(measured, &file) && file.st_dev == old.st_dev &&
		file.st_ino == old.st_ino) {
		complain("--svg %s would overwrite the file that is measured", output->svg);
		*status = STATUS_USAGE;
		return false;
	}
	if (exists && !S_ISREG(old.st_mode)) {
		complain("cannot write %s: %s", output->svg,
			S_ISDIR(old.st_mode) ? strerror(EISDIR)
					     : "it exists and is not a regular file");
		return false;
	}
	output->exists = exists;
	if (replace_open(&output->picture, output->svg, exists ? &old : NULL, 0666))
		return true;
failed:
	complain("cannot write %s: %s", output->svg, strerror(errno));
	return false;
}

int output_open(struct output *output, const char *measured)
{
	int status;

	if (output->all + output->json + output->csv > 1) {
		complain("--all, --json and --csv exclude each other");
		return STATUS_USAGE;
	}
	if (output->svg && !open_picture(output, measured, &status)) {
		output_close(output);
		return status;
	}
	if (!output_open_for_writing()) {
		output_close(output);
		return STATUS_FAILED;
	}
	return -1;
}

/* Draw the picture in the new file. False and errno. */
static bool draw(int picture, const struct report *report)
{
	int fd = dup(picture), error = 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file) {
		error = errno;
		if (fd >= 0)
			close(fd);
		errno = error;
		return false;
	}
	svg_write(report, file);
	if (fflush(file))
		error = errno;
	else if (ferror(file))
		error = EIO;
	if (fclose(file) && !error)
		error = errno;
	errno = error;
	return !error;
}

/* Write the picture in full, or leave the old one. */
static int write_picture(struct output *output, const struct report *report)
{
	struct replacement *picture = &output->picture;
	const struct original old = {.fd = -1,
		.path = picture->path,
		.name = picture->name,
		.directory = picture->directory};
	const char *reason = NULL;

	if (!draw(picture->fd, report))
		reason = strerror(errno);
	if (!reason && output->exists)
		reason = metadata_copy_access(&old, picture->fd);
	if (!reason && !replace_commit(picture))
		reason = strerror(errno);
	if (!reason)
		return STATUS_OK;
	complain("cannot write %s: %s", output->svg, reason);
	return STATUS_FAILED;
}

/* Colours only on a terminal, and not if the user has turned them off. */
static bool wants_colours(void)
{
	const char *terminal = getenv("TERM"), *off = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(off && *off) && !(terminal && !strcmp(terminal, "dumb"));
}

/* Formatted in memory first: the error of a write that stdio does itself would be lost. */
static int write_results(const struct output *output, const struct report *report)
{
	char *text = NULL;
	size_t length = 0;
	FILE *memory = open_memstream(&text, &length);
	struct iovec iov;
	bool good;

	if (memory) {
		if (output->json)
			report_json(report, memory);
		else if (output->csv)
			report_csv(report, memory);
		else if (output->all)
			report_table(report, memory);
		else
			summary_print(report, wants_colours(), memory);
	}
	if (!memory || fclose(memory)) {
		complain("out of memory for the report");
		free(text);
		return STATUS_FAILED;
	}
	iov = (struct iovec){text, length};
	good = output_all(&iov, 1);
	free(text);
	return good ? STATUS_OK : STATUS_FAILED;
}

int output_write(struct output *output, const struct report *report)
{
	int status = write_results(output, report);

	if (output->svg && write_picture(output, report))
		status = STATUS_FAILED;
	return status;
}

void output_close(struct output *output)
{
	replace_close(&output->picture);
}
