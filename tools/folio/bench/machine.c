/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/workers.h"

/* The first line of a small file of /proc or /sys, without its newline. False if there is none. */
static bool first_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool found;

	if (!file)
		return false;
	found = fgets(line, (int)size, file);
	fclose(file);
	if (found)
		line[strcspn(line, "\n")] = '\0';
	return found;
}

/* The value of the first line "key : value" or "key: value" of a file. False if there is none. */
static bool find_value(const char *path, const char *key, char *value, size_t size)
{
	char line[4096], *colon;
	bool found = false;
	size_t len;
	FILE *file = fopen(path, "re");

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		colon = strchr(line, ':');
		if (!colon)
			continue;
		len = strcspn(line, "\t :");
		/* A key may contain a blank: "model name". */
		if (strncmp(line, key, strlen(key)) || strlen(key) < len ||
			strspn(line + strlen(key), "\t ") != (size_t)(colon - line) - strlen(key))
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(value, size, "%s", colon);
		found = true;
	}
	fclose(file);
	return found;
}

uint64_t machine_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t machine_memory_available(void)
{
	char value[64];

	if (!find_value("/proc/meminfo", "MemAvailable", value, sizeof(value)))
		return (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	return strtoull(value, NULL, 10) * 1024;
}

static void cpu_name(char *name, size_t size)
{
	char implementer[32], part[32];

	if (find_value("/proc/cpuinfo", "model name", name, size))
		return;
	/* arm64 has numbers only. */
	if (find_value("/proc/cpuinfo", "CPU implementer", implementer, sizeof(implementer)) &&
		find_value("/proc/cpuinfo", "CPU part", part, sizeof(part)))
		snprintf(name, size, "implementer %s part %s", implementer, part);
	else
		snprintf(name, size, "unknown");
}

void machine_report(struct report *report)
{
	char cpu[256], line[4096], *choice;
	struct utsname kernel;
	double load;
	bool guest;

	cpu_name(cpu, sizeof(cpu));
	uname(&kernel);
	report_text(report, "machine", "cpu", "%s", cpu);
	report_text(report, "machine", "architecture", "%s", kernel.machine);
	report_number(report, "machine", "processors", workers_processors());
	report_text(report, "machine", "kernel", "%s %s", kernel.sysname, kernel.release);
	report_number(report, "machine", "page_size", (double)sysconf(_SC_PAGESIZE));
	report_number(report, "machine", "memory_bytes", (double)machine_memory());
	guest = find_value("/proc/cpuinfo", "flags", line, sizeof(line)) &&
		strstr(line, " hypervisor");
	report_number(report, "machine", "virtual", guest);
	if (first_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line))) {
		/* "always [madvise] never": the current choice is in brackets. */
		choice = strchr(line, '[');
		if (choice && strchr(choice, ']')) {
			*strchr(choice, ']') = '\0';
			report_text(report, "machine", "huge_pages", "%s", choice + 1);
		}
	}
	if (first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", line, sizeof(line)))
		report_text(report, "machine", "governor", "%s", line);
	load = first_line("/proc/loadavg", line, sizeof(line)) ? strtod(line, NULL) : 0;
	report_number(report, "machine", "load", load);
	report_headline(report, "%s, %u%s processors, %.1f GiB, %s %s", cpu, workers_processors(),
		guest ? " virtual" : "", (double)machine_memory() / 0x1p30, kernel.sysname,
		kernel.release);
	/* Other work takes part of the processors and caches that are measured. */
	if (load > 0.5)
		report_warning(report,
			"The machine was busy before the run (load %.2f): see the spreads.", load);
}
