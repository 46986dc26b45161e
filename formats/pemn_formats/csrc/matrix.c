/* Prediction of the mask bits of a matrix: codecs/matrix.py. */
#include <stdlib.h>
#include <string.h>

#include "mixing.h"

/* Include what follows last: see loops.h. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* for vectors; at -O2 this compiler makes few */
#endif

enum {
    NEIGHBOURS = 6,
    CONTEXTS = 729, /* 3 to the power of NEIGHBOURS */
    HISTORY = 256,
    FEWEST_ROWS = 8,
    MOST_ROWS = 64,
    BIAS = 64,
    STEEP = 32000,
};

/* Rows down, columns right. */
static const int64_t neighbours[NEIGHBOURS][2] = {{0, -1}, {-1, 0}, {-1, -1}, {-1, 1}, {0, -2}, {-2, 0}};
static const int64_t first_weights[PEMN_INPUTS] = {0, 19, 6, 3, 3, 0, 64};

/* What is learned from all matrices of a chunk that hold the same plane. */
typedef struct {
    pemn_mixer mixer;
    pemn_counts counts[CONTEXTS];
} Plane;

struct pemn_planes {
    Plane plane[2];
    int16_t stretched[PEMN_ONE];
};

/* A matrix on its way; columns lie one behind the other, each with a number for every row. */
typedef struct {
    const pemn_part *part;
    int64_t columns;
    int16_t *known;
    const int8_t *signs; /* in flat order, or NULL */
    int64_t *sums;
    int32_t *places; /* of bits, in flat order; -1 for none; or NULL where they follow one another */
    pemn_counts density;
} Matrix;

/* Rows that are coded side by side. */
typedef struct {
    int64_t first, size, before, history;
    int16_t alike[MOST_ROWS][HISTORY], missed[MOST_ROWS][HISTORY];
    int64_t sums[MOST_ROWS], ones[MOST_ROWS];
    /* of the column at hand, for each bit that is coded: */
    int64_t row[MOST_ROWS], sign[MOST_ROWS];
    int32_t input[MOST_ROWS][PEMN_INPUTS];
    size_t context[MOST_ROWS];
} Group;

/* 2^28 over the root of a count. */
static int64_t over_root(int64_t count)
{
    int64_t by = pemn_root(count);
    return ((int64_t)1 << 28) / (by ? by : 1);
}

pemn_planes *pemn_new_planes(void)
{
    pemn_planes *planes = calloc(1, sizeof *planes);
    if (!planes) {
        return NULL;
    }
    for (int p = 0; p < 2; p++) {
        for (int i = 0; i < PEMN_INPUTS; i++) {
            planes->plane[p].mixer.weight[i] = first_weights[i] * PEMN_WEIGHT;
        }
        for (int i = 0; i < CONTEXTS; i++) {
            pemn_begin_counts(&planes->plane[p].counts[i]);
        }
    }
    pemn_fill_stretched(planes->stretched);
    return planes;
}

/* The sums of products of what is known of a column with two rows of a group's numbers: below 2^31 / 8. */
static void products(const int16_t *restrict known, const int16_t *restrict one, const int16_t *restrict other,
                     int64_t count, int32_t found[2])
{
    int32_t first = 0, second = 0;
    for (int64_t i = 0; i < count; i++) {
        first += (int32_t)known[i] * one[i];
        second += (int32_t)known[i] * other[i];
    }
    found[0] = first;
    found[1] = second;
}

/* Add step times what is known. No product exceeds 128, so that no sum leaves 16 bits. */
static void follow(int16_t *restrict row, const int16_t *restrict known, int64_t count, int16_t step)
{
    for (int64_t i = 0; i < count; i++) {
        int16_t sum = (int16_t)(row[i] + (int16_t)(step * known[i]));
        sum = sum > STEEP ? STEEP : sum;
        row[i] = sum < -STEEP ? -STEEP : sum;
    }
}

/* Find what is known of the columns beside one in its kernels, from a row on; NULL beyond the kernel's edge. */
static void find_neighbours(const Matrix *matrix, int64_t place, int64_t channel, int64_t row,
                            const int16_t *beside[NEIGHBOURS])
{
    const pemn_part *part = matrix->part;
    for (int n = 0; n < NEIGHBOURS; n++) {
        int64_t down = place / part->width + neighbours[n][0], right = place % part->width + neighbours[n][1];
        int inside = down >= 0 && right >= 0 && right < part->width;
        int64_t column = (down * part->width + right) * part->channels + channel;
        beside[n] = inside ? matrix->known + column * part->rows + row : NULL;
    }
}

static size_t context_of(const int16_t *const beside[NEIGHBOURS], int64_t row, int64_t sign)
{
    int64_t context = 0;
    for (int n = 0; n < NEIGHBOURS; n++) {
        int known = beside[n] ? beside[n][row] : 0;
        context = 3 * context + 1 + ((known > 0) - (known < 0)) * sign;
    }
    return (size_t)context;
}

/* Fill the pass with the bits of a column and their chances. */
static void predict(pemn_pass *pass, Matrix *matrix, Group *group, const pemn_planes *planes, const Plane *plane,
                    int64_t column)
{
    const pemn_part *part = matrix->part;
    int64_t kernel = part->height * part->width, place = column / part->channels, channel = column % part->channels;
    const int16_t *known = matrix->known + column * part->rows + group->before;
    int64_t both = over_root(group->history * column), along = over_root(column), down = over_root(group->first);
    const int16_t *beside[NEIGHBOURS];
    find_neighbours(matrix, place, channel, group->first, beside);
    pass->size = 0;
    for (int64_t row = 0; row < group->size; row++) {
        int64_t flat = (group->first + row) * matrix->columns + channel * kernel + place;
        if (matrix->places && matrix->places[flat] < 0) {
            continue;
        }
        int64_t sign = matrix->signs ? matrix->signs[flat] : 1;
        int32_t found[2];
        size_t i = pass->size++;
        products(known, group->alike[row], group->missed[row], group->history, found);
        pass->place[i] = (size_t)(matrix->places ? matrix->places[flat] : part->start + flat);
        group->row[i] = row;
        group->sign[i] = sign;
        uint16_t chance = matrix->density.chance;
        if (kernel > 1) {
            group->context[i] = context_of(beside, row, sign);
            chance = plane->counts[group->context[i]].chance;
        }
        int64_t inputs[PEMN_INPUTS] = {
            BIAS,
            sign * found[0] * both >> 26,
            sign * found[1] * both >> 27,
            sign * group->sums[row] * along >> 22,
            sign * matrix->sums[column] * down >> 22,
            group->ones[row] * along >> 22,
            planes->stretched[chance],
        };
        pass->chance[i] = pemn_mix(&plane->mixer, inputs, group->input[i]);
    }
}

static void learn(const pemn_pass *pass, Matrix *matrix, Group *group, Plane *plane, int64_t column)
{
    const pemn_part *part = matrix->part;
    int kernels = part->height * part->width > 1;
    int density = (matrix->density.chance + 256) >> 9; /* in eighths */
    int16_t *of_column = matrix->known + column * part->rows;
    pemn_mix_better(&plane->mixer, pass, group->input);
    for (size_t i = 0; i < pass->size; i++) {
        int64_t row = group->row[i];
        int surprise = 8 * pass->bit[i] - density, sign = (int)group->sign[i];
        int error = ((int)pass->bit[i] << PEMN_PRECISION) - pass->chance[i];
        int missed = ((error + 128) >> 8) * sign;
        of_column[group->first + row] = (int16_t)(surprise * sign);
        follow(group->alike[row], of_column + group->before, group->history, (int16_t)(surprise * sign));
        follow(group->missed[row], of_column + group->before, group->history, (int16_t)missed);
        group->sums[row] += surprise * sign;
        group->ones[row] += surprise;
        pemn_count(&matrix->density, pass->bit[i]);
        if (kernels) {
            pemn_count(&plane->counts[group->context[i]], pass->bit[i]);
        }
    }
    pemn_settle(&matrix->density);
    for (size_t i = 0; kernels && i < pass->size; i++) {
        pemn_settle(&plane->counts[group->context[i]]);
    }
}

static int code_groups(pemn_pass *pass, Matrix *matrix, Group *group, const pemn_planes *planes, Plane *plane)
{
    int64_t rows = matrix->part->rows;
    for (int64_t first = 0; first < rows; first += group->size) {
        int64_t size = first / 8 < FEWEST_ROWS ? FEWEST_ROWS : first / 8 > MOST_ROWS ? MOST_ROWS : first / 8;
        memset(group, 0, sizeof *group);
        group->first = first;
        group->size = size < rows - first ? size : rows - first;
        group->before = first < HISTORY ? 0 : first - HISTORY;
        group->history = first - group->before;
        for (int64_t column = 0; column < matrix->columns; column++) {
            predict(pass, matrix, group, planes, plane, column);
            if (!pass->size) {
                continue;
            }
            int status = pemn_code_block(pass);
            if (status != PEMN_DONE) {
                return status;
            }
            learn(pass, matrix, group, plane, column);
        }
        for (int64_t column = 0; column < matrix->columns; column++) {
            for (int64_t row = first; row < first + group->size; row++) {
                matrix->sums[column] += matrix->known[column * rows + row];
            }
        }
    }
    pass->size = 0;
    return PEMN_DONE;
}

/* Find the places of the bits of a plane that has them for some weights only. */
static int find_places(Matrix *matrix, const uint8_t *raw)
{
    const pemn_part *part = matrix->part;
    int64_t count = part->rows * matrix->columns, met = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t at = (size_t)(part->among + i);
        int coded = raw[at / 8] >> at % 8 & 1;
        matrix->places[i] = coded ? (int32_t)(part->start + met) : -1;
        met += coded;
    }
    return met == part->count ? PEMN_DONE : PEMN_WRONG_PLANE;
}

int pemn_code_matrix(pemn_pass *pass, const pemn_part *part, const int8_t *signs, pemn_planes *planes)
{
    int64_t columns = part->channels * part->height * part->width;
    size_t count = (size_t)(part->rows * columns);
    Matrix matrix = {.part = part, .columns = columns, .signs = signs};
    Group *group = malloc(sizeof *group);
    int status = PEMN_OUT_OF_MEMORY;
    matrix.known = calloc(count, sizeof *matrix.known);
    matrix.sums = calloc((size_t)columns, sizeof *matrix.sums);
    matrix.places = part->among < 0 ? NULL : malloc(count * sizeof *matrix.places);
    pemn_begin_counts(&matrix.density);
    if (group && matrix.known && matrix.sums && (part->among < 0 || matrix.places)) {
        status = part->among < 0 ? PEMN_DONE : find_places(&matrix, pass->raw);
    }
    if (status == PEMN_DONE) {
        status = code_groups(pass, &matrix, group, planes, &planes->plane[part->among >= 0]);
    }
    free(matrix.places);
    free(matrix.sums);
    free(matrix.known);
    free(group);
    return status;
}
