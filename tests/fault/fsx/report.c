/* SPDX-License-Identifier: BSD-2-Clause */
/* report.c - what fsx prints when something differs or hangs. */
#include <signal.h>
#include <stdarg.h>

#include "world.h"

const char *const kind_name[] = {
#define X(name, weight) #name,
	OPERATIONS
#undef X
};

static void print_last(const struct world *w)
{
	uint64_t from = w->operation > LAST_OPERATIONS ? w->operation - LAST_OPERATIONS : 0, i;

	printf("The last operations (number, handle, range, size before, result), from %#llx on:\n",
		(unsigned long long)w->base);
	for (i = from; i < w->operation; i++) {
		const struct operation *op = &w->last[i % LAST_OPERATIONS];

		printf("  %8llu %-12s h%d  %#9llx + %#-8llx size %#9llx  %lld%s%s\n",
			(unsigned long long)op->number, kind_name[op->kind], op->handle,
			(unsigned long long)op->offset, (unsigned long long)op->len,
			(unsigned long long)op->size, (long long)op->result, op->note ? "  " : "",
			op->note ? op->note : "");
	}
}

void print_bytes(const char *what, const unsigned char *bytes, size_t len)
{
	size_t i;

	printf("  %-9s", what);
	for (i = 0; i < len && i < 24; i++)
		printf(" %02x", bytes[i]);
	printf("\n");
}

__attribute__((format(printf, 2, 3), noreturn)) void differ(
	struct world *w, const char *format, ...)
{
	va_list args;

	printf("fsx: seed %llu, operation %llu: ", (unsigned long long)w->seed,
		(unsigned long long)w->operation);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	print_last(w);
	printf("Again: fsx --seed %llu --operations %llu%s%s%s%s\n", (unsigned long long)w->seed,
		(unsigned long long)options.operations, options.no_faults ? " --no-faults" : "",
		options.no_cuts ? " --no-cuts" : "", options.path ? " --file " : "",
		options.path ? options.path : "");
	fflush(stdout);
	w->totals.differences++;
	longjmp(w->out, 1);
}

/* Demands that bytes equal the model. */
void compare(struct world *w, const char *what, const void *found, uint64_t offset, size_t len)
{
	const unsigned char *bytes = found, *right = w->model + offset;
	size_t i = 0, n = 0, k;

	if (memcmp(bytes, right, len) == 0)
		return;
	while (bytes[i] == right[i])
		i++;
	for (k = i; k < len; k++)
		n += bytes[k] != right[k];
	printf("fsx: %s at %#llx (page %llu, byte %llu of it), %zu bytes differ of the %zu from "
	       "there:\n",
		what, (unsigned long long)(offset + i), (unsigned long long)((offset + i) / PAGE),
		(unsigned long long)((offset + i) % PAGE), n, len - i);
	print_bytes("expected", right + i, len - i);
	print_bytes("found", bytes + i, len - i);
	differ(w, "%s differs at %#llx", what, (unsigned long long)(offset + i));
}

void hang(int signal)
{
	static const char text[] = "fsx: hangs\n";
	static uint64_t seen = UINT64_MAX;
	struct world *w = &world;

	(void)signal;
	/* It is slow and does not hang. */
	if (w->operation != seen) {
		seen = w->operation;
		alarm(HANG_SECONDS);
		return;
	}
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	printf("fsx: seed %llu, operation %llu: no progress for %d seconds\n",
		(unsigned long long)w->seed, (unsigned long long)w->operation, HANG_SECONDS);
	print_last(w);
	fflush(stdout);
	abort();
}
