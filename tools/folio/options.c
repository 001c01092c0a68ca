/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const char suffixes[] = "KMGT";

const char *size_text(uint64_t bytes)
{
	static char buffers[4][32];
	static unsigned next;
	char *buffer = buffers[next++ % 4];
	int power = 0;

	while (bytes && bytes % 1024 == 0 && suffixes[power]) {
		bytes /= 1024;
		power++;
	}
	if (power)
		snprintf(buffer, sizeof(buffers[0]), "%" PRIu64 "%c", bytes, suffixes[power - 1]);
	else
		snprintf(buffer, sizeof(buffers[0]), "%" PRIu64, bytes);
	return buffer;
}

const char *size_about(uint64_t bytes)
{
	static char buffers[4][32];
	static unsigned next;
	char *buffer = buffers[next++ % 4];
	double amount = (double)bytes;
	int power = 0;

	while (amount >= 1024 && suffixes[power]) {
		amount /= 1024;
		power++;
	}
	if (power)
		snprintf(buffer, sizeof(buffers[0]), "%.4g %ciB", amount, suffixes[power - 1]);
	else
		snprintf(buffer, sizeof(buffers[0]), "%.0f bytes", amount);
	return buffer;
}

/* Digits only: strtoull would also accept blanks, signs and hexadecimal. */
static bool parse_digits(const char *text, uint64_t *value, const char **end)
{
	char *stop;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &stop, 10);
	*end = stop;
	return errno == 0;
}

static bool parse_size(const char *text, uint64_t *value)
{
	const char *end, *suffix;
	int power;

	if (!parse_digits(text, value, &end))
		return false;
	if (!*end)
		return true;
	suffix = strchr(suffixes, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end);
	if (!suffix || end[1])
		return false;
	for (power = (int)(suffix - suffixes) + 1; power > 0; power--) {
		if (__builtin_mul_overflow(*value, UINT64_C(1024), value))
			return false;
	}
	return true;
}

static bool parse_count(const char *text, uint64_t *value)
{
	const char *end;

	return parse_digits(text, value, &end) && !*end;
}

/* Digits and a point only: strtod would accept more, as strtoull does. */
static bool parse_seconds(const char *text, double *value)
{
	char *end;

	if (text[strspn(text, "0123456789.")])
		return false;
	*value = strtod(text, &end);
	return !*end && end != text && isfinite(*value);
}

/* False after a complaint. */
static bool parse_value(const struct option_spec *spec, const char *text)
{
	uint64_t number;
	double seconds;

	switch (spec->kind) {
	case OPTION_FLAG:
		return true;
	case OPTION_SIZE:
		if (!parse_size(text, &number)) {
			complain("%s takes a size such as 512M (suffixes K, M, G, T), not '%s'",
				spec->name, text);
			return false;
		}
		if (number < spec->min || number > spec->max) {
			complain("%s %s is too %s: the %s is %s", spec->name, text,
				number < spec->min ? "small" : "large",
				number < spec->min ? "minimum" : "maximum",
				size_text(number < spec->min ? spec->min : spec->max));
			return false;
		}
		*(uint64_t *)spec->value = number;
		return true;
	case OPTION_COUNT:
		if (!parse_count(text, &number) || number < spec->min || number > spec->max) {
			complain("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'",
				spec->name, spec->min, spec->max, text);
			return false;
		}
		*(unsigned *)spec->value = (unsigned)number;
		return true;
	case OPTION_SECONDS:
		if (!parse_seconds(text, &seconds) || seconds <= 0 || seconds < (double)spec->min ||
			seconds > (double)spec->max) {
			complain("%s takes a number of seconds, %s%" PRIu64 " and at most %" PRIu64
				 ", not '%s'",
				spec->name, spec->min ? "at least " : "more than ", spec->min,
				spec->max, text);
			return false;
		}
		*(double *)spec->value = seconds;
		return true;
	case OPTION_STRING:
		if (!*text) {
			complain("%s takes a name, which must not be empty", spec->name);
			return false;
		}
		*(const char **)spec->value = text;
		return true;
	}
	return false;
}

/* The option that argument names, up to its end or to a '='. */
static const struct option_spec *find_spec(const struct option_spec *specs, const char *argument)
{
	size_t len = strcspn(argument, "=");

	for (; specs->name; specs++) {
		if (strlen(specs->name) == len && !strncmp(specs->name, argument, len))
			return specs;
	}
	return NULL;
}

/* Store the value of option argv[*i]: the text after '=', or the next argument. */
static bool take_value(const struct option_spec *spec, int argc, char **argv, int *i)
{
	const char *value = strchr(argv[*i], '=');

	if (spec->kind == OPTION_FLAG) {
		if (value) {
			complain("%s takes no value", spec->name);
			return false;
		}
		*(bool *)spec->value = true;
		return true;
	}
	if (value) {
		value++;
	} else if (*i + 1 < argc) {
		value = argv[++*i];
	} else {
		complain("%s needs a value", spec->name);
		return false;
	}
	return parse_value(spec, value);
}

int options_parse(const struct option_set *set, int argc, char **argv, const char **operands)
{
	const struct option_spec *spec;
	bool options_ended = false;
	unsigned operand_count = 0;
	int i;

	for (i = 1; i < argc; i++) {
		if (options_ended || argv[i][0] != '-' || !argv[i][1]) {
			if (operand_count == set->operands_max) {
				complain("'%s' is one argument too many for %s; 'folio %s --help' "
					 "explains it",
					argv[i], set->command, set->command);
				return STATUS_USAGE;
			}
			operands[operand_count++] = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			options_ended = true;
			continue;
		}
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			fputs(set->help, stdout);
			return finish_output();
		}
		spec = find_spec(set->specs, argv[i]);
		if (!spec) {
			complain("%s has no option '%s'; 'folio %s --help' lists its options",
				set->command, argv[i], set->command);
			return STATUS_USAGE;
		}
		if (!take_value(spec, argc, argv, &i))
			return STATUS_USAGE;
	}
	return -1;
}
