/* Predictions mixed into one: codecs/mixing.py. Small functions that every bit needs several of, so inline. */
#ifndef PEMN_MIXING_H
#define PEMN_MIXING_H

#include <math.h>

#include "coder.h"

enum {
    PEMN_INPUTS = 7,
    PEMN_LARGEST_ODDS = 2047,
    PEMN_WEIGHT = 1024, /* a 64th of a weight of 1 */
    PEMN_MOST_WEIGHT = 1 << 22,
    PEMN_RATE = 3 << 10,
    PEMN_SLOW = 1 << 20,
};

typedef struct {
    int64_t weight[PEMN_INPUTS], moved[PEMN_INPUTS];
} pemn_mixer;

static inline int64_t pemn_within(int64_t value, int64_t most)
{
    return value < -most ? -most : value > most ? most : value;
}

/* The square root, rounded down. */
static inline int64_t pemn_root(int64_t value)
{
    int64_t found = (int64_t)sqrt((double)value);
    while (found * found > value) {
        found--;
    }
    while ((found + 1) * (found + 1) <= value) {
        found++;
    }
    return found;
}

static inline int32_t pemn_squash(int64_t odds)
{
    static const int32_t knots[33] = {1,    2,    4,    6,    10,   17,   27,   45,   74,   120,  194,
                                      311,  488,  747,  1102, 1546, 2048, 2550, 2994, 3349, 3608, 3785,
                                      3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095};
    int64_t shifted = odds + 2048, at = shifted >> 7, into = shifted & 127;
    int64_t chance = ((128 - into) * knots[at] + into * knots[at + 1] + 64) >> 7;
    return (int32_t)(chance < 1 ? 1 : chance > PEMN_ONE - 1 ? PEMN_ONE - 1 : chance);
}

/* The least logarithm of odds for every chance. */
static inline void pemn_fill_stretched(int16_t stretched[PEMN_ONE])
{
    int64_t odds = -PEMN_LARGEST_ODDS;
    for (int32_t chance = 0; chance < PEMN_ONE; chance++) {
        while (odds < PEMN_LARGEST_ODDS && pemn_squash(odds) < chance) {
            odds++;
        }
        stretched[chance] = (int16_t)odds;
    }
}

/* Bring the inputs within bounds and return the probability of a one. */
static inline uint16_t pemn_mix(const pemn_mixer *mixer, const int64_t inputs[PEMN_INPUTS], int32_t kept[PEMN_INPUTS])
{
    int64_t mixed = 0;
    for (int k = 0; k < PEMN_INPUTS; k++) {
        kept[k] = (int32_t)pemn_within(inputs[k], PEMN_LARGEST_ODDS);
        mixed += mixer->weight[k] * kept[k];
    }
    return (uint16_t)pemn_squash(pemn_within(mixed >> 16, PEMN_LARGEST_ODDS));
}

/* Take a step along the sum over the bits of the pass's block, whose inputs are given. */
static inline void pemn_mix_better(pemn_mixer *mixer, const pemn_pass *pass, int32_t kept[][PEMN_INPUTS])
{
    for (int k = 0; k < PEMN_INPUTS; k++) {
        int64_t sum = 0;
        for (size_t i = 0; i < pass->size; i++) {
            sum += (int64_t)kept[i][k] * (((int32_t)pass->bit[i] << PEMN_PRECISION) - pass->chance[i]);
        }
        int64_t step = sum >> 8, size = step < 0 ? -step : step;
        mixer->moved[k] += step * step >> 8;
        size = size * PEMN_RATE / pemn_root(16 * mixer->moved[k] + PEMN_SLOW);
        mixer->weight[k] = pemn_within(mixer->weight[k] + (step > 0 ? size : -size), PEMN_MOST_WEIGHT);
    }
}

#endif
