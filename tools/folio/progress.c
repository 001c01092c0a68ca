/* SPDX-License-Identifier: BSD-2-Clause */
#include "progress.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool shown;

/* Cut to the width of the terminal: if a line wrapped, only its last part would be erased. */
static void cut(char *line)
{
	struct winsize window;
	unsigned width = 0;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) || !window.ws_col)
		return;
	for (; *line; line++) {
		/* Leave the last column empty: some terminals wrap when it is written. */
		if ((*line & 0xc0) != 0x80 && ++width >= window.ws_col) {
			*line = '\0';
			return;
		}
	}
}

void progress(const char *format, ...)
{
	char line[512], *next;
	va_list args;

	if (!isatty(STDERR_FILENO))
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* A file name may contain control characters, which move the cursor. */
	for (next = line; *next; next++) {
		if ((unsigned char)*next < ' ' || *next == '\177')
			*next = '?';
	}
	cut(line);
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	shown = true;
}

void progress_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
