/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include "crc.h"

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len)
{
	const unsigned char *next = bytes;
	unsigned bit;

	crc = ~crc;
	while (len-- > 0) {
		crc ^= *next++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(
	uint32_t crc, const unsigned char *next, size_t len)
{
	uint64_t sum = ~crc, word;

	for (; len >= 8; len -= 8, next += 8) {
		memcpy(&word, next, sizeof(word));
		sum = __builtin_ia32_crc32di(sum, word);
	}
	while (len-- > 0)
		sum = __builtin_ia32_crc32qi((uint32_t)sum, *next++);
	return ~(uint32_t)sum;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_instruction(crc, bytes, len);
	return crc32c_portable(crc, bytes, len);
}
#else
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	return crc32c_portable(crc, bytes, len);
}
#endif
