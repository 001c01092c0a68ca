/* SPDX-License-Identifier: GPL-2.0-only */
/* linux/export.h - nothing is exported here. */
#define EXPORT_SYMBOL(name) struct page
