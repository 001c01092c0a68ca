/* SPDX-License-Identifier: BSD-2-Clause */
/* test.c - the simulations on short traces whose hits are counted by hand. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulate.h"

static unsigned failures;

static void expect(bool ok, const char *what, const char *text)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, text);
	failures++;
}

/* Each letter is a page; one that is written is a capital. */
static uint64_t hits_of(enum policy policy, const char *text, uint64_t pages)
{
	uint32_t access[64];
	struct trace trace = {.access = access, .pages = 26};

	for (; text[trace.count]; trace.count++) {
		char letter = text[trace.count];

		access[trace.count] = letter >= 'a' ? (uint32_t)(letter - 'a')
						    : (uint32_t)(letter - 'A') | TRACE_WRITE;
	}
	return simulate(policy, &trace, pages, 0).hits;
}

static void test_by_hand(void)
{
	static const struct {
		const char *text;
		uint64_t pages, hits[POLICIES]; /* LRU, CLOCK, S3-FIFO, SIEVE, ARC, OPT */
	} row[] = {
		/* All pages fit. */
		{"abcabcabc", 3, {6, 6, 6, 6, 6, 6}},
		/* A loop that is one page too long. */
		{"abcdabcdabcd", 3, {0, 0, 2, 0, 0, 6}},
		/* The second chance of CLOCK; SIEVE keeps it for longer, as the page stays. */
		{"abaca", 2, {2, 2, 1, 2, 2, 2}},
		{"abcadefa", 3, {1, 1, 1, 2, 2, 2}},
		/* ARC keeps a page that was read twice, and adapts when a ghost is read. */
		{"aabcadea", 2, {1, 2, 1, 2, 3, 3}},
		{"aabcbc", 2, {3, 2, 3, 2, 2, 3}},
		/* S3-FIFO: read three times, a page goes to the main queue; twice, by its ghost. */
		{"aaabcdefghijka", 10, {2, 3, 3, 3, 3, 3}},
		{"aabcdefghijkalmnopqrstuvwxyza", 10, {1, 3, 2, 3, 3, 3}},
		/* A page that is written is cached; only reads count. */
		{"AaAb", 2, {1, 1, 1, 1, 1, 1}},
	};
	unsigned i, policy;
	char what[64];

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		for (policy = 0; policy < POLICIES; policy++) {
			uint64_t hits = hits_of((enum policy)policy, row[i].text, row[i].pages);

			snprintf(what, sizeof(what), "%s has %u hits, not %u", policy_name[policy],
				(unsigned)hits, (unsigned)row[i].hits[policy]);
			expect(hits == row[i].hits[policy], what, row[i].text);
		}
	}
}

/* No policy has more hits than OPT; if all pages fit, each page misses once. */
static void test_bounds(void)
{
	unsigned which, policy;

	for (which = 0; which < trace_workloads(); which++) {
		struct trace trace;
		uint64_t best;

		trace_make(&trace, which, 20000, 300, which);
		expect(trace.count == 20000, "accesses", trace.name);
		best = simulate(OPT, &trace, 300, 0).hits;
		for (policy = 0; policy < POLICIES; policy++) {
			expect(simulate((enum policy)policy, &trace, 300, 0).hits <= best,
				policy_name[policy], trace.name);
			expect(simulate((enum policy)policy, &trace, trace.pages, 0).hits ==
					simulate(OPT, &trace, trace.pages, 0).hits,
				policy_name[policy], trace.name);
		}
		trace_free(&trace);
	}
}

static void test_file(void)
{
	static const char text[] = "18446744073709551615\n7\n123456789012\n7\n7";
	static const uint32_t access[] = {2, 0, 1, 0, 0};
	char path[] = "policy-XXXXXX";
	int fd = mkstemp(path);
	struct trace trace;

	if (fd < 0 || write(fd, text, sizeof(text) - 1) != sizeof(text) - 1 || close(fd)) {
		expect(false, "file", path);
		return;
	}
	trace_read(&trace, path);
	unlink(path);
	expect(trace.count == 5 && trace.pages == 3 &&
			!memcmp(trace.access, access, sizeof(access)),
		"file", text);
	trace_free(&trace);
}

int main(void)
{
	test_by_hand();
	test_bounds();
	test_file();
	return failures > 0;
}
