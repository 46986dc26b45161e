/* The loops that writing and reading a file spend their time in. Each gives the bits of its namesake in numpy, which
 * stays the definition: philox.words, fills.fill_index, bit_rows.RowSelect, deposit.deposit, codecs.gap and
 * codecs.context. The last three, of training, give those of torch and numpy in pemn_compress. Nothing here knows of
 * files or of Python. Plain C11, written so that compilers make vectors of the inner loops.
 */
#ifndef PEMN_LOOPS_H
#define PEMN_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* Include this last: a system's headers may use the word otherwise. */
#if defined(_MSC_VER) && !defined(__clang__)
#define restrict __restrict /* what Microsoft's compiler calls it unless told to follow C11 */
#endif

#define PEMN_FEISTEL_ROUNDS 6

/* To be called once, before the select functions. */
void pemn_fill_rows(void);

/* Philox4x32-10 of blocks first, first + 1, ... of a stream; four words each. */
void pemn_philox(uint32_t *restrict out, size_t blocks, uint64_t first, uint64_t stream, uint64_t seed);

/* out[i] = vector[permute(first + i) mod length], in words of 4 or of 2 bytes; span from first + count to 2^62. */
void pemn_permuted(void *out, size_t count, size_t width, const void *vector, uint64_t length, uint64_t first,
                   const uint32_t keys[PEMN_FEISTEL_ROUNDS], uint64_t span);

/* out[i] = kept bit i ? values[i], its sign bit inverted where flipped bit i is set : 0. Each operand moves on by its
 * own step for eight weights; a step of 0 repeats one row. */
void pemn_select32(uint32_t *restrict out, size_t count, const uint8_t *restrict kept, size_t kept_step,
                   const uint8_t *restrict flipped, size_t flipped_step, const uint32_t *restrict values,
                   size_t values_step);
void pemn_select16(uint16_t *restrict out, size_t count, const uint8_t *restrict kept, size_t kept_step,
                   const uint8_t *restrict flipped, size_t flipped_step, const uint16_t *restrict values,
                   size_t values_step);

/* Lay the bits of packed, from bit first on, over the ones of mask. Bits beyond the end of packed count as zeros. */
void pemn_lay_out(uint8_t *restrict out, const uint8_t *restrict mask, size_t bytes, const uint8_t *restrict packed,
                  size_t packed_bytes, size_t first);

/* Set the bit behind each run of zeros in raw, which is all zeros: a byte below escape is a run, escape is so many zeros
 * and no bit. Return where the last run ends; more than bits where one goes beyond them. */
uint64_t pemn_lay_runs(uint8_t *restrict raw, uint64_t bits, const uint8_t *restrict runs, size_t count,
                       unsigned escape);

/* A part of a mask chunk, as pemn_formats.lattice has it; among is -1 where a bit stands for every weight. */
enum { PEMN_SHARED, PEMN_ALONE, PEMN_MATRIX };
typedef struct {
    int64_t kind, start, count, rows, channels, height, width, has_signs, among;
} pemn_part;

enum { PEMN_DONE, PEMN_OUT_OF_BYTES, PEMN_LEFT_OVER, PEMN_OUT_OF_MEMORY, PEMN_WRONG_PLANE };
#define PEMN_MOST_LANES 512

/* Decode into raw, which is all zeros and holds every part; signs are those of the matrices that have them, one behind
 * the other, and the number of lanes is a power of two. Stored are at least 4 * lanes bytes, an even number; no state
 * is below 2^16. */
int pemn_context_decode(uint8_t *raw, const pemn_part *parts, size_t count, const int8_t *signs, size_t lanes,
                        const uint8_t *stored, size_t stored_bytes);

/* Encode the parts, of so many bits in all; stored holds at least 4 * lanes + 2 * bits bytes. */
int pemn_context_encode(uint8_t *stored, size_t capacity, size_t *stored_bytes, const uint8_t *raw,
                        const pemn_part *parts, size_t count, const int8_t *signs, size_t lanes, size_t bits);

/* out[i] = the weight that a score chooses of a value, in float32; margin is at least 0 and not NaN. */
enum { PEMN_KEEP_ABOVE, PEMN_SIGN_ABOVE, PEMN_KEEP_BEYOND, PEMN_SIGN_BEYOND, PEMN_TERNARY_BEYOND };
void pemn_choose(uint32_t *restrict out, const uint32_t *restrict score, const uint32_t *restrict value, size_t count,
                 int rule, float margin);

/* out[i] = value[i] * grad[i] * the sign of score[i], 0 for zeros and what is no number. */
void pemn_carry(float *restrict out, const float *restrict grad, const float *restrict value,
                const float *restrict score, size_t count);

/* Bits of a float32 that exactly the `kept` largest magnitudes of all parts exceed; PEMN_NO_MARGIN where none does,
 * or where the least of them is zero or no number. At least one is kept, and no more than there are. */
#define PEMN_NO_MARGIN UINT32_MAX
typedef struct {
    const uint32_t *score;
    size_t count;
} pemn_scores;
uint32_t pemn_margin(const pemn_scores *parts, size_t number, uint64_t kept);

#endif
