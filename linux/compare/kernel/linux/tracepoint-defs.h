/* SPDX-License-Identifier: GPL-2.0-only */
/* linux/tracepoint-defs.h - nothing is traced here. */
#define DECLARE_TRACEPOINT(name) struct page
