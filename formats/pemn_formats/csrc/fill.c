/* The generator's words, permuted fills, the choice of every weight, and the second plane of ternary masks. */
#include "loops.h"

#define LANES 16 /* blocks of the generator at once */
#define PLACES 1024 /* places of a permutation at once */

/* Row b: for each of the bits of b, lowest first, a word of ones or of zeros. */
static uint32_t rows32[256][8];
static uint16_t rows16[256][8];

void pemn_fill_rows(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            rows32[byte][bit] = (byte >> bit & 1u) ? UINT32_MAX : 0;
            rows16[byte][bit] = (byte >> bit & 1u) ? UINT16_MAX : 0;
        }
    }
}

/* Philox4x32-10 of blocks first, first + 1, ... of a stream; four words each. */
void pemn_philox(uint32_t *restrict out, size_t blocks, uint64_t first, uint64_t stream, uint64_t seed)
{
    uint32_t c[4][LANES];
    for (size_t at = 0; at < blocks; at += LANES) {
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int i = 0; i < LANES; i++) {
            uint64_t block = first + at + (uint64_t)i;
            c[0][i] = (uint32_t)block;
            c[1][i] = (uint32_t)(block >> 32);
            c[2][i] = (uint32_t)stream;
            c[3][i] = (uint32_t)(stream >> 32);
        }
        for (int round = 0; round < 10; round++) {
            for (int i = 0; i < LANES; i++) {
                uint64_t p = (uint64_t)c[0][i] * 0xD2511F53u, q = (uint64_t)c[2][i] * 0xCD9E8D57u;
                uint32_t c1 = c[1][i], c3 = c[3][i];
                c[0][i] = (uint32_t)(q >> 32) ^ c1 ^ k0;
                c[1][i] = (uint32_t)q;
                c[2][i] = (uint32_t)(p >> 32) ^ c3 ^ k1;
                c[3][i] = (uint32_t)p;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        size_t left = blocks - at < LANES ? blocks - at : LANES;
        for (size_t i = 0; i < left; i++) {
            for (size_t word = 0; word < 4; word++) {
                out[4 * (at + i) + word] = c[word][i];
            }
        }
    }
}

static uint32_t mix(uint32_t half, uint32_t key)
{
    uint32_t h = half ^ key;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

/* One pass of the Feistel network over the low 2 * half bits of each place; a half has at most 31 bits. Rounds count up
 * to whole groups of LANES, so that the loops have a known length; what lies beyond it means nothing. */
static void feistel(uint64_t place[PLACES], size_t count, const uint32_t keys[PEMN_FEISTEL_ROUNDS], int half)
{
    uint32_t mask = ((uint32_t)1 << half) - 1;
    for (size_t at = 0; at < count; at += LANES) {
        uint32_t left[LANES], right[LANES];
        for (int i = 0; i < LANES; i++) {
            left[i] = (uint32_t)(place[at + (size_t)i] >> half);
            right[i] = (uint32_t)place[at + (size_t)i] & mask;
        }
        for (int round = 0; round < PEMN_FEISTEL_ROUNDS; round++) {
            for (int i = 0; i < LANES; i++) {
                uint32_t next = left[i] ^ (mix(right[i], keys[round]) & mask);
                left[i] = right[i];
                right[i] = next;
            }
        }
        for (int i = 0; i < LANES; i++) {
            place[at + (size_t)i] = (uint64_t)left[i] << half | right[i];
        }
    }
}

/* Where the permutation of [0, span) sends places first, first + 1, ..., at most PLACES of them. */
static void permute(uint64_t place[PLACES], size_t count, uint64_t first, const uint32_t keys[PEMN_FEISTEL_ROUNDS],
                    uint64_t span, int half)
{
    uint64_t again[PLACES] = {0};
    uint16_t from[PLACES];
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        place[i] = first + i;
    }
    feistel(place, count, keys, half);
    for (size_t i = 0; i < count; i++) {
        again[left] = place[i];
        from[left] = (uint16_t)i;
        left += place[i] >= span;
    }
    while (left) {
        size_t outside = 0;
        feistel(again, left, keys, half);
        for (size_t i = 0; i < left; i++) {
            place[from[i]] = again[i];
            again[outside] = again[i];
            from[outside] = from[i];
            outside += again[i] >= span;
        }
        left = outside;
    }
}

/* out[i] = vector[permute(first + i) mod length], in words of so many bytes. */
void pemn_permuted(void *out, size_t count, size_t width, const void *vector, uint64_t length, uint64_t first,
                     const uint32_t keys[PEMN_FEISTEL_ROUNDS], uint64_t span)
{
    uint64_t place[PLACES] = {0};
    int half = 1;
    while ((uint64_t)1 << 2 * half < span) {
        half++;
    }
    for (size_t at = 0; at < count; at += PLACES) {
        size_t some = count - at < PLACES ? count - at : PLACES;
        permute(place, some, first + at, keys, span, half);
        if (span <= UINT32_MAX && length <= UINT32_MAX) { /* a division of 32 bits takes less time */
            for (size_t i = 0; i < some; i++) {
                place[i] = (uint32_t)place[i] % (uint32_t)length;
            }
        } else {
            for (size_t i = 0; i < some; i++) {
                place[i] %= length;
            }
        }
        for (size_t i = 0; i < some; i++) {
            if (width == 4) {
                ((uint32_t *)out)[at + i] = ((const uint32_t *)vector)[place[i]];
            } else {
                ((uint16_t *)out)[at + i] = ((const uint16_t *)vector)[place[i]];
            }
        }
    }
}

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define PAST_CACHE ((size_t)1 << 18) /* bytes */

/* 16 bytes of weights, written past the caches, in which so many weights would not stay. A store that goes through them
 * first reads the memory that it is about to fill: measured, that takes half as long again. */
static inline void store_past_cache(void *out, const void *keep, const void *flip, const void *value, uint32_t sign)
{
    __m128i weights = _mm_and_si128(_mm_loadu_si128((const __m128i *)flip), _mm_set1_epi32((int)sign));
    weights = _mm_xor_si128(weights, _mm_loadu_si128((const __m128i *)value));
    weights = _mm_and_si128(weights, _mm_loadu_si128((const __m128i *)keep));
    _mm_stream_si128((__m128i *)out, weights);
}

static int goes_past_cache(const void *out, size_t bytes)
{
    return bytes >= PAST_CACHE && (uintptr_t)out % 16 == 0;
}
#else
#define store_past_cache(out, keep, flip, value, sign) ((void)(keep), (void)(flip), (void)(value))
#define goes_past_cache(out, bytes) 0
#define _mm_sfence() ((void)0)
#endif

/* out[i] = kept bit i ? values[i], its sign bit inverted where flipped bit i is set : 0. Each operand moves on by its
 * own step for eight weights; a step of 0 repeats one row. */
#define DEFINE_SELECT(NAME, WORD, ROWS, SIGN, SIGNS)                                                                   \
    void NAME(WORD *restrict out, size_t count, const uint8_t *restrict kept, size_t kept_step,                        \
              const uint8_t *restrict flipped, size_t flipped_step, const WORD *restrict values, size_t values_step)   \
    {                                                                                                                  \
        size_t whole = count / 8;                                                                                      \
        if (goes_past_cache(out, count * sizeof(WORD))) {                                                              \
            for (size_t at = 0; at < whole; at++) {                                                                    \
                const WORD *keep = ROWS[kept[at * kept_step]];                                                         \
                const WORD *flip = ROWS[flipped[at * flipped_step]];                                                   \
                const WORD *value = values + at * values_step;                                                         \
                store_past_cache(out + 8 * at, keep, flip, value, SIGNS);                                              \
                if (sizeof(WORD) == 4) {                                                                               \
                    store_past_cache(out + 8 * at + 4, keep + 4, flip + 4, value + 4, SIGNS);                          \
                }                                                                                                      \
            }                                                                                                          \
            _mm_sfence();                                                                                              \
        } else {                                                                                                       \
            for (size_t at = 0; at < whole; at++) {                                                                    \
                const WORD *keep = ROWS[kept[at * kept_step]];                                                         \
                const WORD *flip = ROWS[flipped[at * flipped_step]];                                                   \
                const WORD *value = values + at * values_step;                                                         \
                for (size_t i = 0; i < 8; i++) {                                                                       \
                    out[8 * at + i] = (WORD)(keep[i] & (value[i] ^ (flip[i] & (SIGN))));                               \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        for (size_t i = 0; i < count % 8; i++) {                                                                       \
            WORD keep = ROWS[kept[whole * kept_step]][i], flip = ROWS[flipped[whole * flipped_step]][i];               \
            out[8 * whole + i] = (WORD)(keep & (values[whole * values_step + i] ^ (flip & (SIGN))));                   \
        }                                                                                                              \
    }

DEFINE_SELECT(pemn_select32, uint32_t, rows32, 0x80000000u, 0x80000000u)
DEFINE_SELECT(pemn_select16, uint16_t, rows16, 0x8000u, 0x80008000u)

/* Lay the bits of packed, from bit first on, over the ones of mask. Bits beyond the end of packed count as zeros. */
void pemn_lay_out(uint8_t *restrict out, const uint8_t *restrict mask, size_t bytes, const uint8_t *restrict packed,
                    size_t packed_bytes, size_t first)
{
    for (size_t at = 0; at < bytes; at++) {
        size_t byte = first / 8;
        unsigned window = byte < packed_bytes ? packed[byte] : 0;
        window |= byte + 1 < packed_bytes ? (unsigned)packed[byte + 1] << 8 : 0;
        window >>= first % 8;
        unsigned laid = 0;
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned one = mask[at] >> bit & 1u;
            laid |= (window & one) << bit;
            window >>= one;
            first += one;
        }
        out[at] = (uint8_t)laid;
    }
}

/* Set the bit behind each run of zeros in raw, which is all zeros: a byte below escape is a run, escape is so many zeros
 * and no bit. Return where the last run ends; more than bits where one goes beyond them. */
uint64_t pemn_lay_runs(uint8_t *restrict raw, uint64_t bits, const uint8_t *restrict runs, size_t count,
                       unsigned escape)
{
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += runs[i];
        if (runs[i] == escape) {
            continue;
        }
        if (at >= bits) {
            return at + 1;
        }
        raw[at / 8] |= (uint8_t)(1u << at % 8);
        at++;
    }
    return at;
}
