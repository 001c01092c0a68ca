/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - the command.
 *     kv load STORE [FILE]             reads lines "key<TAB>value", from FILE or standard input
 *     kv get STORE KEY                 prints a value; exits with 1 if there is none
 *     kv scan STORE [FROM [COUNT]]     prints lines "key<TAB>value" in order
 *     kv check STORE                   verifies the whole store
 *     kv bench FOLDER [--records N] [--seconds N] [--rounds N] [--cgroup FOLDER]
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "kv.h"

enum { GROUP = 1000 }; /* lines of a load that are committed together */

void usage(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "kv: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(2);
}

void fail(const char *what, int error)
{
	progress(NULL, 0);
	fprintf(stderr, "kv: %s: %s\n", what, strerror(-error));
	exit(1);
}

void progress(const char *what, uint64_t done)
{
	static int shown;

	if (what && isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r%s: %llu\33[K", what, (unsigned long long)done);
		shown = 1;
	} else if (!what && shown) {
		fprintf(stderr, "\r\33[K");
		shown = 0;
	}
}

/* A load makes the store; the others need one. */
static struct kv *open_store(const char *path, int make)
{
	struct kv_params params = {0};
	struct kv *kv = NULL;
	int r;

	if (!make && access(path, F_OK))
		fail(path, -errno);
	r = kv_open(path, &params, &kv);
	if (r)
		fail(path, r);
	return kv;
}

static void close_store(struct kv *kv, const char *path)
{
	int r = kv_close(kv);

	progress(NULL, 0);
	if (!r && fflush(stdout))
		r = -errno;
	if (r)
		fail(path, r);
}

/* Loads lines until one is wrong. Returns 0, an error of the store, or -EILSEQ: there is no tab. */
static int load_lines(struct kv *kv, FILE *input, uint64_t *number)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	int r = 0;

	while (!r && (len = getline(&line, &room, input)) > 0) {
		char *tab = memchr(line, '\t', (size_t)len);

		len -= line[len - 1] == '\n';
		++*number;
		r = !tab ? -EILSEQ
			 : kv_put(kv, line, (size_t)(tab - line), tab + 1,
				   (size_t)(line + len - tab - 1));
		if (!r && *number % GROUP == 0) {
			r = kv_commit(kv);
			progress("records", *number);
		}
	}
	free(line);
	return r ? r : ferror(input) ? -EIO : 0;
}

static int load(int argc, char **argv)
{
	FILE *input = argc > 1 && strcmp(argv[1], "-") ? fopen(argv[1], "r") : stdin;
	uint64_t number = 0;
	struct kv *kv;
	int r;

	if (!input)
		fail(argv[1], -errno);
	kv = open_store(argv[0], 1);
	r = load_lines(kv, input, &number);
	if (input != stdin)
		fclose(input);
	close_store(kv, argv[0]);
	if (r) {
		fprintf(stderr, "kv: line %llu: %s; the lines before it are loaded\n",
			(unsigned long long)number,
			r == -EILSEQ ? "there is no tab" : strerror(-r));
		return 1;
	}
	printf("%llu records loaded\n", (unsigned long long)number);
	return 0;
}

static int get(int argc, char **argv)
{
	struct kv *kv = open_store(argv[0], 0);
	char value[KV_VALUE_MAX];
	ssize_t len = kv_get(kv, argv[1], strlen(argv[1]), value, sizeof(value));

	(void)argc;
	if (len >= 0)
		printf("%.*s\n", (int)len, value);
	close_store(kv, argv[0]);
	if (len < 0)
		fprintf(stderr, "kv: %s: %s\n", argv[1],
			len == -ENOENT ? "there is no such key" : strerror((int)-len));
	return len < 0;
}

static int print_record(
	void *left, const void *key, size_t key_len, const void *value, size_t value_len)
{
	uint64_t *count = left;

	if (*count == 0)
		return 1;
	fwrite(key, 1, key_len, stdout);
	putchar('\t');
	fwrite(value, 1, value_len, stdout);
	putchar('\n');
	--*count;
	return ferror(stdout) ? -EIO : 0;
}

static int scan(int argc, char **argv)
{
	uint64_t count = UINT64_MAX;
	const char *from = argc > 1 ? argv[1] : "";
	struct kv *kv;
	char *end;
	int r;

	if (argc > 2) {
		count = strtoull(argv[2], &end, 10);
		if (*end || end == argv[2])
			usage("COUNT is a number, not %s.", argv[2]);
	}
	kv = open_store(argv[0], 0);
	r = kv_scan(kv, from, strlen(from), print_record, &count);
	close_store(kv, argv[0]);
	if (r < 0)
		fail(argv[0], r);
	return 0;
}

static int check(int argc, char **argv)
{
	struct kv *kv = open_store(argv[0], 0);
	struct kv_shape shape;
	const char *why;
	int r = kv_check(kv, &shape, &why);

	(void)argc;
	if (r) {
		fprintf(stderr, "kv: %s: %s\n", argv[0], r == -EBADMSG ? why : strerror(-r));
		kv_close(kv);
		return 1;
	}
	close_store(kv, argv[0]);
	printf("valid: %llu records, %llu pages, %llu levels, %llu pages without a parent's link\n",
		(unsigned long long)shape.records, (unsigned long long)shape.pages,
		(unsigned long long)shape.levels, (unsigned long long)shape.unlinked);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name, *arguments;
		int least, most;
		int (*run)(int argc, char **argv);
	} command[] = {
		{"load", "STORE [FILE]", 1, 2, load},
		{"get", "STORE KEY", 2, 2, get},
		{"scan", "STORE [FROM [COUNT]]", 1, 3, scan},
		{"check", "STORE", 1, 1, check},
		{"bench", "FOLDER [--records N] [--seconds N] [--rounds N] [--cgroup FOLDER]", 1, 9,
			command_bench},
	};
	unsigned i;

	for (i = 0; argc > 1 && i < sizeof(command) / sizeof(command[0]); i++) {
		if (strcmp(argv[1], command[i].name))
			continue;
		if (argc - 2 < command[i].least || argc - 2 > command[i].most)
			usage("Usage: kv %s %s.", command[i].name, command[i].arguments);
		return command[i].run(argc - 2, argv + 2);
	}
	usage("Usage: kv load|get|scan|check|bench STORE ...; main.c has the arguments.");
}
