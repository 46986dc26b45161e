/* The range coder of codecs/rans.py, bit after bit, as the predictions in context.c and matrix.c use it. */
#ifndef PEMN_CODER_H
#define PEMN_CODER_H

#include "loops.h"

enum {
    PEMN_PRECISION = 12,
    PEMN_ONE = 1 << PEMN_PRECISION,
    PEMN_LARGEST_BLOCK = 8192,
};

/* One pass over the bits of a chunk, to read or to write them. The buffers hold one block. */
typedef struct {
    uint8_t *raw;
    size_t size; /* bits of the block */
    size_t place[PEMN_LARGEST_BLOCK];
    uint16_t chance[PEMN_LARGEST_BLOCK]; /* of a one, in units of 2^-12 */
    uint8_t bit[PEMN_LARGEST_BLOCK];     /* what is found */
    size_t lanes;                        /* a power of two */
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
} pemn_pass;

/* How often a context met zeros and ones. */
typedef struct {
    uint32_t met[2];
    uint16_t chance; /* of a one, in units of 2^-12 */
} pemn_counts;

void pemn_begin_counts(pemn_counts *counts);

/* Count a bit; to be followed by pemn_settle once the block is over. Several calls of it do no harm. */
static inline void pemn_count(pemn_counts *counts, unsigned bit)
{
    counts->met[bit] += 2;
    counts->chance = 0;
}

void pemn_settle(pemn_counts *counts);

/* Read or write the block that stands in the buffers; raw and bit hold it afterwards. */
int pemn_code_block(pemn_pass *pass);

/* Take the states from what is stored; say whether nothing of it is left over. */
void pemn_begin_reading(pemn_pass *pass, const uint8_t *stored, size_t stored_bytes);
int pemn_end_reading(const pemn_pass *pass);

/* Turn the bits that a pass kept into states and words, from the last one to the first; return the bytes of both. */
size_t pemn_write_words(pemn_pass *pass, uint8_t *stored, size_t capacity);

/* The bits of a matrix; planes hold what is learned from all matrices of a chunk. */
typedef struct pemn_planes pemn_planes;
pemn_planes *pemn_new_planes(void);
int pemn_code_matrix(pemn_pass *pass, const pemn_part *part, const int8_t *signs, pemn_planes *planes);

#endif
