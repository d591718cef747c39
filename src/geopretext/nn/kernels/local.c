/* GELU and response norm whose strengths are over squares of blocks of cells (see nn/local_norm.py); forward only.
 *
 * Two passes over the features, in place: the first applies GELU, the second multiplies. Between them lie sums over
 * blocks, which are few.
 */

#include "kernels.h"

typedef struct {
    int64_t height, width, channels, block, span;
} Squares;

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many squares there are along `cells` cells. */
INLINE int64_t along(int64_t cells, Squares s)
{
    const int64_t free = cells / s.block - s.span;
    return free > 0 ? free + 1 : 1;
}

/* The square before the middle of a cell, and the share of the next one. */
INLINE int64_t place(float *share, int64_t cell, int64_t cells, Squares s)
{
    const int64_t last = along(cells, s) - 1;
    float begin = ((float)cell + 0.5f) / (float)s.block - (float)s.span * 0.5f;
    begin = begin < 0 ? 0 : begin > (float)last ? (float)last : begin;
    int64_t first = (int64_t)begin;
    first = first < last ? first : last > 0 ? last - 1 : 0;
    *share = begin - (float)first;
    return first;
}

/* GELU of (h + bias) in one row of blocks, in place, and its sums of squares in each block. */
INLINE void activate(void *h, float *sums, int64_t first_row, const float *bias, Squares s, int half)
{
    memset(sums, 0, (size_t)(s.width / s.block * s.channels) * sizeof(float));
    for (int64_t row = first_row; row < first_row + s.block; row++)
        for (int64_t column = 0; column < s.width; column++) {
            float *sum = sums + column / s.block * s.channels;
            const int64_t at = (row * s.width + column) * s.channels;
            for (int64_t c = 0; c < s.channels; c += LANES) {
                vec ignored;
                const vec x = load(h, at + c, half) + load(bias, c, 0);
                const vec active = x * normal(x, &ignored);
                store(h, at + c, active, half);
                store(sum, c, load(sum, c, 0) + active * active, 0);
            }
        }
}

/* Factors of one row of squares. sums: of its first row of blocks; upright: as long as one. */
INLINE void factors(float *factor, float *upright, const float *sums, const float *gamma, float epsilon, Squares s)
{
    const int64_t columns = s.width / s.block, length = columns * s.channels;
    memcpy(upright, sums, (size_t)length * sizeof(float));
    for (int64_t row = 1; row < least(s.span, s.height / s.block); row++)
        for (int64_t i = 0; i < length; i += LANES)
            store(upright, i, load(upright, i, 0) + load(sums, row * length + i, 0), 0);
    for (int64_t first = 0; first < along(s.width, s); first++, factor += s.channels) {
        for (int64_t c = 0; c < s.channels; c += LANES) {
            vec sum = {0};
            for (int64_t column = first; column < first + least(s.span, columns); column++)
                sum += load(upright, column * s.channels + c, 0);
            store(factor, c, sum, 0);
        }
        for (int64_t c = 0; c < s.channels; c++)
            factor[c] = sqrtf(factor[c]);
        vec strengths = {0};
        for (int64_t c = 0; c < s.channels; c += LANES)
            strengths += load(factor, c, 0);
        const float inverse_mean = 1 / (total(strengths) / (float)s.channels + epsilon);
        for (int64_t c = 0; c < s.channels; c += LANES)
            store(factor, c, 1.0f + load(gamma, c, 0) * load(factor, c, 0) * inverse_mean, 0);
    }
}

/* One row of cells. factor: of all squares; mine: as long as a row of squares, for those between two rows of them. */
INLINE void apply(void *h, float *mine, const float *factor, int64_t row, const float *beta, Squares s, int half)
{
    float down;
    const int64_t length = along(s.width, s) * s.channels;
    const float *above = factor + place(&down, row, s.height, s) * length;
    for (int64_t i = 0; i < length; i += LANES) {
        const vec one = load(above, i, 0);
        store(mine, i, down > 0 ? one + (load(above, length + i, 0) - one) * down : one, 0);
    }
    for (int64_t column = 0; column < s.width; column++) {
        float across;
        const float *left = mine + place(&across, column, s.width, s) * s.channels;
        const float *right = across > 0 ? left + s.channels : left;
        const int64_t at = (row * s.width + column) * s.channels;
        for (int64_t c = 0; c < s.channels; c += LANES) {
            const vec one = load(left, c, 0);
            const vec both = one + (load(right, c, 0) - one) * across;
            store(h, at + c, load(h, at + c, half) * both + load(beta, c, 0), half);
        }
    }
}

INLINE int local_response(void *h, const float *bias, const float *gamma, const float *beta,
                          int64_t tiles, Squares s, float epsilon, int half)
{
    const int64_t rows = s.height / s.block, squares = along(s.height, s);
    const int64_t length = s.width / s.block * s.channels, squares_length = along(s.width, s) * s.channels;
    const size_t tile_bytes = (size_t)(s.height * s.width * s.channels) * (half ? 2 : 4);
    float *sums = aligned(rows * length * (int64_t)sizeof(float));
    float *factor = aligned(squares * squares_length * (int64_t)sizeof(float));
    int failed = 0;
    if (sums == NULL || factor == NULL) {
        free(sums);
        free(factor);
        return 1;
    }
#pragma omp parallel reduction(| : failed)
    {
        float *scratch = aligned(length * (int64_t)sizeof(float));
        failed = scratch == NULL;
        for (int64_t tile = 0; tile < tiles; tile++) {
            char *mine = (char *)h + (size_t)tile * tile_bytes;
#pragma omp for schedule(static)
            for (int64_t row = 0; row < rows; row++)
                if (!failed)
                    activate(mine, sums + row * length, row * s.block, bias, s, half);
#pragma omp for schedule(static)
            for (int64_t row = 0; row < squares; row++)
                if (!failed)
                    factors(factor + row * squares_length, scratch, sums + row * length, gamma, epsilon, s);
#pragma omp for schedule(static)
            for (int64_t row = 0; row < s.height; row++)
                if (!failed)
                    apply(mine, scratch, factor, row, beta, s, half);
        }
        free(scratch);
    }
    free(sums);
    free(factor);
    return failed;
}

/* h, in place: (tiles, height, width, channels); channels is a multiple of LANES, height and width are multiples of block. */
int geopretext_local_response_forward(void *h, const float *bias, const float *gamma, const float *beta,
                                      int64_t tiles, int64_t height, int64_t width, int64_t channels, int64_t block,
                                      int64_t span, float epsilon, int half)
{
    const Squares s = {height, width, channels, block, span};
    return local_response(h, bias, gamma, beta, tiles, s, epsilon, half);
}
