/* The range coder: see codecs/rans.py for what it computes. */
#include <string.h>

#include "coder.h"

#define LOW ((uint32_t)1 << 16)
#define FORGET (1 << 14)

void pemn_begin_counts(pemn_counts *counts)
{
    counts->met[0] = counts->met[1] = 1;
    counts->chance = PEMN_ONE / 2;
}

void pemn_settle(pemn_counts *counts)
{
    if (counts->chance) {
        return;
    }
    if (counts->met[0] + counts->met[1] > FORGET) {
        counts->met[0] = (counts->met[0] + 1) >> 1;
        counts->met[1] = (counts->met[1] + 1) >> 1;
    }
    uint32_t chance = (counts->met[1] << PEMN_PRECISION) / (counts->met[0] + counts->met[1]);
    counts->chance = (uint16_t)(chance < 1 ? 1 : chance > PEMN_ONE - 1 ? PEMN_ONE - 1 : chance);
}

static int read_block(pemn_pass *pass)
{
    size_t mask = pass->lanes - 1;
    for (size_t i = 0; i < pass->size; i++) {
        uint32_t *state = &pass->state[i & mask], x = *state, p = pass->chance[i];
        uint32_t slot = x & (PEMN_ONE - 1), one = slot < p;
        x = (x >> PEMN_PRECISION) * (one ? p : PEMN_ONE - p) + slot - (one ? 0 : p);
        if (x < LOW) {
            if (!pass->words_left) {
                return PEMN_OUT_OF_BYTES;
            }
            x = x << 16 | pass->words[0] | (uint32_t)pass->words[1] << 8;
            pass->words += 2;
            pass->words_left--;
        }
        *state = x;
        pass->bit[i] = (uint8_t)one;
        pass->raw[pass->place[i] / 8] |= (uint8_t)(one << pass->place[i] % 8);
    }
    return PEMN_DONE;
}

static void keep_block(pemn_pass *pass)
{
    for (size_t i = 0; i < pass->size; i++) {
        unsigned bit = (unsigned)pass->raw[pass->place[i] / 8] >> pass->place[i] % 8 & 1u;
        pass->bit[i] = (uint8_t)bit;
        pass->kept[pass->kept_count++] = (uint16_t)(bit << 15 | pass->chance[i]);
    }
    pass->sizes[pass->sizes_count++] = (uint16_t)pass->size;
}

int pemn_code_block(pemn_pass *pass)
{
    if (pass->reads) {
        return read_block(pass);
    }
    keep_block(pass);
    return PEMN_DONE;
}

void pemn_begin_reading(pemn_pass *pass, const uint8_t *stored, size_t stored_bytes)
{
    pass->reads = 1;
    for (size_t lane = 0; lane < pass->lanes; lane++) {
        for (int byte = 0; byte < 4; byte++) {
            pass->state[lane] |= (uint32_t)stored[4 * lane + (size_t)byte] << 8 * byte;
        }
    }
    pass->words = stored + 4 * pass->lanes;
    pass->words_left = (stored_bytes - 4 * pass->lanes) / 2;
}

int pemn_end_reading(const pemn_pass *pass)
{
    int left = pass->words_left != 0;
    for (size_t lane = 0; lane < pass->lanes; lane++) {
        left |= pass->state[lane] != LOW;
    }
    return left ? PEMN_LEFT_OVER : PEMN_DONE;
}

size_t pemn_write_words(pemn_pass *pass, uint8_t *stored, size_t capacity)
{
    size_t mask = pass->lanes - 1, at = capacity; /* words are written from the end */
    for (size_t lane = 0; lane < pass->lanes; lane++) {
        pass->state[lane] = LOW;
    }
    while (pass->sizes_count) {
        size_t size = pass->sizes[--pass->sizes_count];
        pass->kept_count -= size;
        for (size_t i = size; i-- > 0;) {
            uint32_t kept = pass->kept[pass->kept_count + i], p = kept & 0x7FFFu, one = kept >> 15;
            uint32_t width = one ? p : PEMN_ONE - p, *state = &pass->state[i & mask], x = *state;
            if (x >= (uint64_t)width << (32 - PEMN_PRECISION)) {
                stored[--at] = (uint8_t)(x >> 8);
                stored[--at] = (uint8_t)x;
                x >>= 16;
            }
            *state = (x / width << PEMN_PRECISION) + x % width + (one ? 0 : p);
        }
    }
    for (size_t lane = 0; lane < pass->lanes; lane++) {
        for (int byte = 0; byte < 4; byte++) {
            stored[4 * lane + (size_t)byte] = (uint8_t)(pass->state[lane] >> 8 * byte);
        }
    }
    memmove(stored + 4 * pass->lanes, stored + at, capacity - at);
    return 4 * pass->lanes + capacity - at;
}
