/* What a step of training on a CPU asks of every score: which is the least kept, which weight it chooses, its gradient. */
#include <string.h>

#include "loops.h"

#define SIGN 0x80000000u
#define INFINITE 0x7F800000u
#define WIDE 16 /* weights at once: of loops without a fixed length few compilers make vectors */

static inline float as_float(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline uint32_t as_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

/* Comparisons of floats and of bits are those of the torch operations. What is no number is not above, not below and not
 * beyond, as in most of theirs: the backward of hardshrink takes it for beyond where too few are left for a vector. */
static inline uint32_t chosen(int rule, uint32_t score, uint32_t value, float margin)
{
    float number = as_float(score);
    uint32_t beyond = (uint32_t)(number < -margin) | (uint32_t)(number > margin);
    switch (rule) {
    case PEMN_KEEP_ABOVE:
        return value & ((uint32_t)(number <= 0) - 1);
    case PEMN_SIGN_ABOVE: /* as an integer, at most 0 exactly where the score is */
        return value ^ (((score - 1) | score) & SIGN);
    case PEMN_KEEP_BEYOND:
        return value & -beyond;
    case PEMN_SIGN_BEYOND: /* bits of magnitudes are ordered as the magnitudes are */
        return value ^ (((score & ~SIGN) - (as_bits(margin) + 1)) & SIGN);
    default:
        return (value ^ (score & SIGN)) & -beyond;
    }
}

#define CHOOSE(RULE)                                                                                                   \
    for (; at + WIDE <= count; at += WIDE) {                                                                           \
        for (size_t i = at; i < at + WIDE; i++) {                                                                      \
            out[i] = chosen(RULE, score[i], value[i], margin);                                                         \
        }                                                                                                              \
    }                                                                                                                  \
    for (; at < count; at++) {                                                                                         \
        out[at] = chosen(RULE, score[at], value[at], margin);                                                          \
    }                                                                                                                  \
    break

void pemn_choose(uint32_t *restrict out, const uint32_t *restrict score, const uint32_t *restrict value, size_t count,
                 int rule, float margin)
{
    size_t at = 0;
    switch (rule) {
    case PEMN_KEEP_ABOVE:
        CHOOSE(PEMN_KEEP_ABOVE);
    case PEMN_SIGN_ABOVE:
        CHOOSE(PEMN_SIGN_ABOVE);
    case PEMN_KEEP_BEYOND:
        CHOOSE(PEMN_KEEP_BEYOND);
    case PEMN_SIGN_BEYOND:
        CHOOSE(PEMN_SIGN_BEYOND);
    default:
        CHOOSE(PEMN_TERNARY_BEYOND);
    }
}

static inline float direction(float score)
{
    return (float)((score > 0) - (score < 0));
}

void pemn_carry(float *restrict out, const float *restrict grad, const float *restrict value,
                const float *restrict score, size_t count)
{
    size_t at = 0;
    for (; at + WIDE <= count; at += WIDE) {
        for (size_t i = at; i < at + WIDE; i++) {
            out[i] = value[i] * grad[i] * direction(score[i]);
        }
    }
    for (; at < count; at++) {
        out[at] = value[at] * grad[at] * direction(score[at]);
    }
}

/* Eleven bits at a time, then ten and ten: three looks at every score, and no memory but the counters. */
uint32_t pemn_margin(const pemn_scores *parts, size_t number, uint64_t kept)
{
    static const struct {
        unsigned shift, bits;
    } levels[3] = {{20, 11}, {10, 10}, {0, 10}};
    uint32_t prefix = 0;
    for (int level = 0; level < 3; level++) {
        uint64_t counts[2048] = {0};
        unsigned shift = levels[level].shift, bits = levels[level].bits;
        uint32_t mask = (1u << bits) - 1;
        for (size_t part = 0; part < number; part++) {
            const uint32_t *score = parts[part].score;
            for (size_t i = 0; i < parts[part].count; i++) {
                uint32_t found = (score[i] & ~SIGN) >> shift;
                if (!level || found >> bits == prefix) {
                    counts[found & mask]++;
                }
            }
        }
        uint32_t bin = mask;
        while (bin && counts[bin] < kept) {
            kept -= counts[bin--];
        }
        prefix = prefix << bits | bin;
        uint32_t least = prefix << shift;
        if (counts[bin] == kept && least && least < INFINITE) {
            return least - 1;
        }
        if (!shift) {
            return counts[bin] == kept && least == INFINITE ? least - 1 : PEMN_NO_MARGIN;
        }
    }
    return PEMN_NO_MARGIN;
}
