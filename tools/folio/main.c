/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - the folio command: finds the subcommand and calls it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <folio/cache.h>

#include "bench/bench-ref.h"
#include "bench/bench-write.h"
#include "bench/bench.h"
#include "command.h"

static int bench_command(int argc, char **argv);
static int help_command(int argc, char **argv);

static const struct command commands[] = {
	{"bench", "verify a file through the cache, then measure reads or writes", bench_command},
	{"cat", "write a file to standard output through the cache", cat_command},
	{"cp", "copy a file through the cache, and sync the copy", cp_command},
	{"help", "explain one of these commands", help_command},
	{NULL, NULL, NULL},
};

/* folio bench NAME; any other name is that of a file. */
static const struct command benchmarks[] = {
	{"ref", "reference counters on one line", bench_ref_command},
	{"write", "writes through the cache", bench_write_command},
	{NULL, NULL, NULL},
};

/* The entry of a table, which ends with a NULL name; or NULL. */
static const struct command *find_command(const struct command *table, const char *name)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

static int bench_command(int argc, char **argv)
{
	const struct command *benchmark = argc > 1 ? find_command(benchmarks, argv[1]) : NULL;

	/* A file with such a name is given as "./ref". */
	if (benchmark)
		return benchmark->run(argc - 1, argv + 1);
	return bench_file_command(argc, argv);
}

static int print_help(void)
{
	const struct command *command;

	printf("usage: folio COMMAND [ARGUMENT...]\n"
	       "\n"
	       "Reads and writes files through a page cache inside the process, under a memory\n"
	       "budget.\n"
	       "\n"
	       "commands:\n");
	for (command = commands; command->name; command++)
		printf("  %-8s %s\n", command->name, command->summary);
	printf("\n"
	       "options:\n"
	       "  --help     print this text; 'folio COMMAND --help' explains a command\n"
	       "  --version  print the version of the command and of the library\n"
	       "\n"
	       "exit status: 0 for success, 1 for failure, 2 for wrong arguments\n");
	return finish_output();
}

static int print_version(void)
{
	/* The library is linked at run time and may have another version. */
	if (strcmp(FOLIO_VERSION, folio_version()))
		printf("folio %s (library %s)\n", FOLIO_VERSION, folio_version());
	else
		printf("folio %s\n", FOLIO_VERSION);
	return finish_output();
}

/* "folio help bench ref" means "folio bench ref --help". */
static int help_command(int argc, char **argv)
{
	const struct command *command;
	char *help_argv[4];
	int help_argc = 0;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
		return print_help();
	command = find_command(commands, argv[1]);
	if (!command) {
		complain("unknown command '%s'; 'folio --help' lists the commands", argv[1]);
		return STATUS_USAGE;
	}
	if (argc > 3 || (argc == 3 && command->run != bench_command)) {
		complain("help takes the name of one command; '%s' is one argument too many",
			argv[argc > 3 ? 3 : 2]);
		return STATUS_USAGE;
	}
	if (argc == 3 && !find_command(benchmarks, argv[2])) {
		complain("unknown command 'bench %s'; 'folio bench --help' lists the benchmarks",
			argv[2]);
		return STATUS_USAGE;
	}
	while (help_argc + 1 < argc) {
		help_argv[help_argc] = argv[help_argc + 1];
		help_argc++;
	}
	help_argv[help_argc++] = (char *)"--help";
	help_argv[help_argc] = NULL;
	return command->run(help_argc, help_argv);
}

/*
 * If a standard descriptor is closed, the next file that is opened would get its number, and
 * receive what is printed. Open /dev/null in its place, for reading where it would be written and
 * the other way round, so that using it is an error.
 */
static bool open_standard_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 &&
			open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const struct command *command;
	bool help;

	if (!open_standard_descriptors())
		return STATUS_FAILED;
	if (argc < 2) {
		complain("no command given; 'folio --help' lists the commands");
		return STATUS_USAGE;
	}
	help = !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h");
	if (help || !strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		if (argc > 2) {
			complain("%s takes no argument, but was given '%s'", argv[1], argv[2]);
			return STATUS_USAGE;
		}
		return help ? print_help() : print_version();
	}
	command = find_command(commands, argv[1]);
	if (!command) {
		complain("unknown %s '%s'; 'folio --help' lists the %s",
			argv[1][0] == '-' ? "option" : "command", argv[1],
			argv[1][0] == '-' ? "options" : "commands");
		return STATUS_USAGE;
	}
	return command->run(argc - 1, argv + 1);
}
