/* SPDX-License-Identifier: BSD-2-Clause */
/* crc.h - CRC-32C (Castagnoli), with the processor's instruction where there is one. */
#ifndef KV_CRC_H
#define KV_CRC_H

#include <stddef.h>
#include <stdint.h>

/* @crc: 0, or the result for the bytes before these. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
/* The same without the instruction, for comparison. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len);

#endif
