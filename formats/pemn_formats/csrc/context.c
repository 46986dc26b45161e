/* The context coder of masks: codecs/context.py over the range coder. */
#include <stdlib.h>

#include "coder.h"

enum { BLOCK = 1024, FIRST = 32 };

typedef struct {
    pemn_pass pass;
    pemn_counts shared, alone;
} Flats;

static int code_flat(pemn_pass *pass, pemn_counts *counts)
{
    for (size_t i = 0; i < pass->size; i++) {
        pass->chance[i] = counts->chance;
    }
    int status = pemn_code_block(pass);
    if (status == PEMN_DONE) {
        for (size_t i = 0; i < pass->size; i++) {
            pemn_count(counts, pass->bit[i]);
        }
        pemn_settle(counts);
        pass->size = 0;
    }
    return status;
}

/* Few bits of each of many tensors share blocks over the borders of parts. */
static int shared_bits(Flats *flats, const pemn_part *part, int ends)
{
    pemn_pass *pass = &flats->pass;
    for (int64_t i = 0; i < part->count; i++) {
        pass->place[pass->size++] = (size_t)(part->start + i);
        if (pass->size == BLOCK) {
            int status = code_flat(pass, &flats->shared);
            if (status != PEMN_DONE) {
                return status;
            }
        }
    }
    return ends && pass->size ? code_flat(pass, &flats->shared) : PEMN_DONE;
}

static int bits_alone(Flats *flats, const pemn_part *part)
{
    pemn_pass *pass = &flats->pass;
    int64_t size = FIRST;
    pemn_begin_counts(&flats->alone);
    for (int64_t at = 0; at < part->count; at += size, size = size < PEMN_LARGEST_BLOCK ? 2 * size : size) {
        for (int64_t i = at; i < part->count && i < at + size; i++) {
            pass->place[pass->size++] = (size_t)(part->start + i);
        }
        int status = code_flat(pass, &flats->alone);
        if (status != PEMN_DONE) {
            return status;
        }
    }
    return PEMN_DONE;
}

static int code_parts(Flats *flats, const pemn_part *parts, size_t count, const int8_t *signs, pemn_planes *planes)
{
    pemn_begin_counts(&flats->shared);
    for (size_t i = 0; i < count; i++) {
        const pemn_part *part = &parts[i];
        int status;
        if (part->kind == PEMN_SHARED) {
            status = shared_bits(flats, part, i + 1 == count || parts[i + 1].kind != PEMN_SHARED);
        } else if (part->kind == PEMN_ALONE) {
            status = bits_alone(flats, part);
        } else {
            status = pemn_code_matrix(&flats->pass, part, part->has_signs ? signs : NULL, planes);
            signs += part->has_signs ? part->rows * part->channels * part->height * part->width : 0;
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
    Flats *flats = calloc(1, sizeof *flats);
    pemn_planes *planes = pemn_new_planes();
    int status = PEMN_OUT_OF_MEMORY;
    if (flats && planes) {
        flats->pass.raw = raw;
        flats->pass.lanes = lanes;
        pemn_begin_reading(&flats->pass, stored, stored_bytes);
        status = code_parts(flats, parts, count, signs, planes);
        status = status == PEMN_DONE ? pemn_end_reading(&flats->pass) : status;
    }
    free(planes);
    free(flats);
    return status;
}

int pemn_context_encode(uint8_t *stored, size_t capacity, size_t *stored_bytes, const uint8_t *raw,
                        const pemn_part *parts, size_t count, const int8_t *signs, size_t lanes, size_t bits)
{
    Flats *flats = calloc(1, sizeof *flats);
    pemn_planes *planes = pemn_new_planes();
    uint16_t *kept = malloc((bits + 1) * sizeof *kept), *sizes = malloc((bits + 1) * sizeof *sizes);
    int status = PEMN_OUT_OF_MEMORY;
    if (flats && planes && kept && sizes) {
        flats->pass.raw = (uint8_t *)raw; /* a writer does not touch it */
        flats->pass.lanes = lanes;
        flats->pass.kept = kept;
        flats->pass.sizes = sizes;
        status = code_parts(flats, parts, count, signs, planes);
    }
    if (status == PEMN_DONE) {
        *stored_bytes = pemn_write_words(&flats->pass, stored, capacity);
    }
    free(sizes);
    free(kept);
    free(planes);
    free(flats);
    return status;
}
