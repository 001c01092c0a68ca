/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output.c - where the results of a benchmark go.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "command.h"
#include "svg.h"

/* What the picture's name stands for. False after a complaint; *status is how to end then. */
static bool look_at_picture(struct output *output, const char *measured, int *status)
{
	struct stat picture, file;
	mode_t mask = umask(0);
	char *name;
	bool exists;

	umask(mask);
	output->mode = 0666 & ~mask;
	*status = STATUS_FAILED;
	exists = !stat(output->svg, &picture);
	if (!exists && errno != ENOENT)
		goto failed;
	if (!exists && !lstat(output->svg, &picture)) {
		complain("cannot write %s: it is a link that leads nowhere", output->svg);
		return false;
	}
	if (exists && measured && !stat(measured, &file) && file.st_dev == picture.st_dev &&
		file.st_ino == picture.st_ino) {
		complain("--svg %s would write the picture over the file that is measured",
			output->svg);
		*status = STATUS_USAGE;
		return false;
	}
	if (exists && !S_ISREG(picture.st_mode)) {
		complain("cannot write %s: %s", output->svg,
			S_ISDIR(picture.st_mode) ? strerror(EISDIR)
						 : "it is there and is not a regular file");
		return false;
	}
	if (exists)
		output->mode = picture.st_mode & 0777;
	/* A link stays, and what it leads to is replaced. */
	output->place = exists ? realpath(output->svg, NULL) : strdup(output->svg);
	name = output->place ? strdup(output->place) : NULL;
	if (!name)
		goto failed;
	/* Written beside it, and then in its place; and only if it may be written itself. */
	if ((exists && access(output->place, W_OK)) || access(dirname(name), W_OK | X_OK)) {
		free(name);
		goto failed;
	}
	free(name);
	return true;
failed:
	complain("cannot write %s: %s", output->svg, strerror(errno));
	return false;
}

int output_open(struct output *output, const char *measured)
{
	int status;

	if (output->json && output->csv) {
		complain("--json and --csv exclude each other");
		return STATUS_USAGE;
	}
	if (output->svg && !look_at_picture(output, measured, &status)) {
		output_close(output);
		return status;
	}
	if (!output_open_for_writing()) {
		output_close(output);
		return STATUS_FAILED;
	}
	return -1;
}

/* The file that is to be the picture; its name has to be freed. -1 and errno. */
static int make_temporary(const struct output *output, char **temporary)
{
	char *name = strdup(output->place);
	int fd = -1;

	*temporary = NULL;
	if (name && asprintf(temporary, "%s/.folio-svg-XXXXXX", dirname(name)) < 0)
		*temporary = NULL;
	free(name);
	if (*temporary)
		fd = mkstemp(*temporary);
	return fd;
}

/* All of the picture, or what was there before. */
static int write_picture(const struct output *output, const struct report *report)
{
	char *temporary;
	int fd = make_temporary(output, &temporary), error = 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file) {
		error = errno;
		if (fd >= 0)
			close(fd);
	} else {
		svg_write(report, file);
		if (fflush(file) || fchmod(fd, output->mode))
			error = errno;
		else if (ferror(file))
			error = EIO;
		if (fclose(file) && !error)
			error = errno;
	}
	if (!error && rename(temporary, output->place))
		error = errno;
	if (error && fd >= 0)
		unlink(temporary);
	free(temporary);
	if (!error)
		return STATUS_OK;
	complain("cannot write %s: %s", output->svg, strerror(error));
	return STATUS_FAILED;
}

/* Made as a whole first: of what stdio writes when its buffer is full the error is lost. */
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
		else
			report_table(report, memory);
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

int output_write(const struct output *output, const struct report *report)
{
	int status = write_results(output, report);

	if (output->svg && write_picture(output, report))
		status = STATUS_FAILED;
	return status;
}

void output_close(struct output *output)
{
	free(output->place);
	output->place = NULL;
}
