/* The context coder of masks: the model of codecs/context.py over the range coder of codecs/rans.py, bit after bit. */
#include <stdlib.h>
#include <string.h>

#include "loops.h"

enum {
    NEIGHBOURS = 6,
    WINDOW_CONTEXTS = 729, /* 3 to the power of NEIGHBOURS */
    FLAT = WINDOW_CONTEXTS,
    ALONE,
    CONTEXTS,
    PRECISION = 12,
    ONE = 1 << PRECISION,
    FORGET = 1 << 14,
    BLOCK = 1024,
    FIRST = 32,
    LARGEST = 8192,
};
#define LOW ((uint32_t)1 << 16)

/* Rows down, columns right. */
static const int64_t neighbours[NEIGHBOURS][2] = {{0, -1}, {-1, 0}, {-1, -1}, {-1, 1}, {0, -2}, {-2, 0}};

typedef struct {
    uint32_t counts[CONTEXTS][2]; /* of zeros, of ones */
    uint16_t chance[CONTEXTS];    /* of a one, in units of 2^-12 */
} Model;

/* One pass over the bits of a chunk, to read or to write them. The buffers hold one block. */
typedef struct {
    Model model;
    uint8_t *raw;
    size_t size; /* bits of the block so far */
    size_t place[LARGEST];
    uint16_t context[LARGEST];
    uint8_t bit[LARGEST];
    size_t lanes; /* a power of two */
    uint32_t state[PEMN_MOST_LANES];
    /* A reader takes words; */
    int reads;
    const uint8_t *words;
    size_t words_left;
    /* a writer keeps each bit with its chance, and each block's size, until all are known. */
    uint16_t *kept;
    size_t kept_count;
    uint16_t *sizes;
    size_t sizes_count;
} Pass;

static void begin_counts(Model *model, size_t context)
{
    model->counts[context][0] = model->counts[context][1] = 1;
    model->chance[context] = ONE / 2;
}

static int read_block(Pass *pass)
{
    size_t mask = pass->lanes - 1;
    for (size_t i = 0; i < pass->size; i++) {
        uint32_t *state = &pass->state[i & mask], x = *state, p = pass->model.chance[pass->context[i]];
        uint32_t slot = x & (ONE - 1), one = slot < p;
        x = (x >> PRECISION) * (one ? p : ONE - p) + slot - (one ? 0 : p);
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

static void keep_block(Pass *pass)
{
    for (size_t i = 0; i < pass->size; i++) {
        unsigned bit = (unsigned)pass->raw[pass->place[i] / 8] >> pass->place[i] % 8 & 1u;
        pass->bit[i] = (uint8_t)bit;
        pass->kept[pass->kept_count++] = (uint16_t)(bit << 15 | pass->model.chance[pass->context[i]]);
    }
    pass->sizes[pass->sizes_count++] = (uint16_t)pass->size;
}

/* Code the block that stands in the buffers, and learn from it. */
static int code_block(Pass *pass)
{
    Model *model = &pass->model;
    if (pass->reads) {
        int status = read_block(pass);
        if (status != PEMN_DONE) {
            return status;
        }
    } else {
        keep_block(pass);
    }
    for (size_t i = 0; i < pass->size; i++) {
        model->counts[pass->context[i]][pass->bit[i]] += 2;
        model->chance[pass->context[i]] = 0;
    }
    for (size_t i = 0; i < pass->size; i++) {
        size_t context = pass->context[i];
        uint32_t *counts = model->counts[context];
        if (!model->chance[context]) { /* each context that was met, once */
            if (counts[0] + counts[1] > FORGET) {
                counts[0] = (counts[0] + 1) >> 1;
                counts[1] = (counts[1] + 1) >> 1;
            }
            uint32_t chance = (counts[1] << PRECISION) / (counts[0] + counts[1]);
            model->chance[context] = (uint16_t)(chance < 1 ? 1 : chance > ONE - 1 ? ONE - 1 : chance);
        }
    }
    pass->size = 0;
    return PEMN_DONE;
}

static void put(Pass *pass, size_t place, size_t context)
{
    pass->place[pass->size] = place;
    pass->context[pass->size++] = (uint16_t)context;
}

/* Few bits of each of many tensors share blocks over the borders of parts. */
static int shared_bits(Pass *pass, const pemn_part *part)
{
    for (int64_t i = 0; i < part->rows; i++) {
        put(pass, (size_t)(part->start + i), FLAT);
        if (pass->size == BLOCK) {
            int status = code_block(pass);
            if (status != PEMN_DONE) {
                return status;
            }
        }
    }
    return PEMN_DONE;
}

static int bits_alone(Pass *pass, const pemn_part *part)
{
    int64_t size = FIRST;
    begin_counts(&pass->model, ALONE);
    for (int64_t at = 0; at < part->rows; at += size, size = size < LARGEST ? 2 * size : LARGEST) {
        for (int64_t i = at; i < part->rows && i < at + size; i++) {
            put(pass, (size_t)(part->start + i), ALONE);
        }
        int status = code_block(pass);
        if (status != PEMN_DONE) {
            return status;
        }
    }
    return PEMN_DONE;
}

/* One place of all kernels at a time; weights holds the effective signs, place by place. */
static int window_place(Pass *pass, const pemn_part *part, const int8_t *signs, int8_t *weights, int64_t row,
                        int64_t column)
{
    int64_t window = part->height * part->width, place = row * part->width + column;
    for (int64_t at = 0; at < part->rows; at += BLOCK) {
        int64_t size = part->rows - at < BLOCK ? part->rows - at : BLOCK;
        int16_t context[BLOCK] = {0}, sign[BLOCK];
        for (int64_t i = 0; i < size; i++) {
            sign[i] = signs[(at + i) * window + place];
        }
        for (int n = 0; n < NEIGHBOURS; n++) {
            int64_t beside = column + neighbours[n][1], above = row + neighbours[n][0];
            if (above < 0 || beside < 0 || beside >= part->width) {
                for (int64_t i = 0; i < size; i++) {
                    context[i] = (int16_t)(3 * context[i] + 1);
                }
                continue;
            }
            const int8_t *known = weights + (above * part->width + beside) * part->rows + at;
            for (int64_t i = 0; i < size; i++) {
                context[i] = (int16_t)(3 * context[i] + 1 + known[i] * sign[i]);
            }
        }
        for (int64_t i = 0; i < size; i++) {
            put(pass, (size_t)(part->start + (at + i) * window + place), (size_t)context[i]);
        }
        int status = code_block(pass);
        if (status != PEMN_DONE) {
            return status;
        }
        for (int64_t i = 0; i < size; i++) {
            int found = part->negates ? 2 * pass->bit[i] - 1 : pass->bit[i];
            weights[place * part->rows + at + i] = (int8_t)(found * sign[i]);
        }
    }
    return PEMN_DONE;
}

static int window_bits(Pass *pass, const pemn_part *part, const int8_t *signs)
{
    int8_t *weights = malloc((size_t)(part->rows * part->height * part->width) + 1);
    int status = weights ? PEMN_DONE : PEMN_OUT_OF_MEMORY;
    for (int64_t row = 0; status == PEMN_DONE && row < part->height; row++) {
        for (int64_t column = 0; status == PEMN_DONE && column < part->width; column++) {
            status = window_place(pass, part, signs, weights, row, column);
        }
    }
    free(weights);
    return status;
}

static int code_parts(Pass *pass, const pemn_part *parts, size_t count, const int8_t *signs)
{
    for (size_t context = 0; context < CONTEXTS; context++) {
        begin_counts(&pass->model, context);
    }
    for (size_t i = 0; i < count; i++) {
        const pemn_part *part = &parts[i];
        int status = PEMN_DONE;
        if (part->kind == PEMN_SHARED) {
            status = shared_bits(pass, part);
            int ends = i + 1 == count || parts[i + 1].kind != PEMN_SHARED;
            if (status == PEMN_DONE && ends && pass->size) {
                status = code_block(pass);
            }
        } else if (part->kind == PEMN_ALONE) {
            status = bits_alone(pass, part);
        } else {
            status = window_bits(pass, part, signs);
            signs += part->rows * part->height * part->width;
        }
        if (status != PEMN_DONE) {
            return status;
        }
    }
    return PEMN_DONE;
}

int pemn_context_decode(uint8_t *raw, const pemn_part *parts, size_t count, const int8_t *signs, size_t lanes,
                        const uint8_t *stored, size_t stored_bytes)
{
    Pass *pass = calloc(1, sizeof *pass);
    if (!pass) {
        return PEMN_OUT_OF_MEMORY;
    }
    pass->raw = raw;
    pass->lanes = lanes;
    pass->reads = 1;
    for (size_t lane = 0; lane < lanes; lane++) {
        for (int byte = 0; byte < 4; byte++) {
            pass->state[lane] |= (uint32_t)stored[4 * lane + (size_t)byte] << 8 * byte;
        }
    }
    pass->words = stored + 4 * lanes;
    pass->words_left = (stored_bytes - 4 * lanes) / 2;
    int status = code_parts(pass, parts, count, signs);
    if (status == PEMN_DONE && pass->words_left) {
        status = PEMN_LEFT_OVER;
    }
    for (size_t lane = 0; lane < lanes && status == PEMN_DONE; lane++) {
        status = pass->state[lane] == LOW ? PEMN_DONE : PEMN_LEFT_OVER;
    }
    free(pass);
    return status;
}

/* Turn the bits that a pass kept into states and words, from the last one to the first; return the bytes of both. */
static size_t write_words(Pass *pass, uint8_t *stored, size_t capacity)
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
            uint32_t width = one ? p : ONE - p, *state = &pass->state[i & mask], x = *state;
            if (x >= (uint64_t)width << (32 - PRECISION)) {
                stored[--at] = (uint8_t)(x >> 8);
                stored[--at] = (uint8_t)x;
                x >>= 16;
            }
            *state = (x / width << PRECISION) + x % width + (one ? 0 : p);
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

int pemn_context_encode(uint8_t *stored, size_t capacity, size_t *stored_bytes, const uint8_t *raw,
                        const pemn_part *parts, size_t count, const int8_t *signs, size_t lanes, size_t bits)
{
    Pass *pass = calloc(1, sizeof *pass);
    uint16_t *kept = malloc((bits + 1) * sizeof *kept), *sizes = malloc((bits + 1) * sizeof *sizes);
    int status = PEMN_OUT_OF_MEMORY;
    if (pass && kept && sizes) {
        pass->raw = (uint8_t *)raw; /* a writer does not touch it */
        pass->lanes = lanes;
        pass->kept = kept;
        pass->sizes = sizes;
        status = code_parts(pass, parts, count, signs);
    }
    if (status == PEMN_DONE) {
        *stored_bytes = write_words(pass, stored, capacity);
    }
    free(sizes);
    free(kept);
    free(pass);
    return status;
}
