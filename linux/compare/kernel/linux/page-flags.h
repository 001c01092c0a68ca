/* SPDX-License-Identifier: GPL-2.0-only */
/* linux/page-flags.h - pages have none here. */
