/* The stem of MMEarth: 3 x 3 convolution, norm, GELU, depthwise convolution of stride `step`, norm. The gradient computes
 * the features at full resolution once more, so that they are never in memory. */

#include "kernels.h"

#define NEAR 3
#define NEAR_TAPS (NEAR * NEAR)

typedef struct {
    Geometry map; /* channels: features that come out */
    int64_t bands, step;
    float epsilon;
    const vec *near, *bias, *gamma, *beta;               /* first convolution [tap][band][block], norm */
    const vec *deep, *deep_bias, *deep_gamma, *deep_beta; /* depthwise [tap][block], norm */
} Stem;

typedef struct {
    vec *near, *bias, *gamma, *beta, *deep, *deep_bias, *deep_gamma, *deep_beta;
} StemSums;

/* Pixels of visible patches, [y + 1][x + 1][band], zero elsewhere. */
INLINE void spread_pixels(float *map, const float *image, const int64_t *place, Stem s)
{
    const Geometry g = s.map;
    for (int64_t row = 0; row < g.rows; row++) {
        const int64_t y = place[row] / g.width, x = place[row] % g.width;
        float *to = map + ((y + 1) * (g.width + 2) + x + 1) * s.bands;
        for (int64_t band = 0; band < s.bands; band++) {
            const float *from = image + (band * g.height + y) * g.width + x;
            for (int64_t i = 0; i < g.length; i++)
                to[i * s.bands + band] = from[i];
        }
    }
}

INLINE void near_strip(vec *out, const float *map, Stem s, int64_t k, const int width)
{
    const int64_t blocks = blocks_of(s.map.channels);
    vec sum[8];
    for (int i = 0; i < width; i++)
        sum[i] = s.bias[k];
    for (int ky = 0; ky < NEAR; ky++) {
        const float *row = map + ky * (s.map.width + 2) * s.bands;
        const vec *weight = s.near + (ky * NEAR * s.bands) * blocks + k;
        for (int64_t t = 0; t < NEAR * s.bands; t++) { /* taps along x and bands lie side by side */
            const vec w = weight[t * blocks];
#pragma GCC unroll 8
            for (int i = 0; i < width; i++)
                sum[i] += row[t + i * s.bands] * w;
        }
    }
    for (int i = 0; i < width; i++)
        out[i * blocks + k] = sum[i];
}

/* First convolution at one row of pixels: out[pixel][block]. */
INLINE void near_row(vec *out, const float *map, int64_t place, Stem s)
{
    const int64_t blocks = blocks_of(s.map.channels);
    const float *from = map + (place / s.map.width * (s.map.width + 2) + place % s.map.width) * s.bands;
    for (int64_t k = 0; k < blocks; k++) {
        int64_t i = 0;
        for (; i + 8 <= s.map.length; i += 8)
            near_strip(out + i * blocks, from + i * s.bands, s, k, 8);
        for (; i < s.map.length; i++)
            near_strip(out + i * blocks, from + i * s.bands, s, k, 1);
    }
}

/* One cell that comes out, before its norm, from step x step pixels; keeps what the gradient needs, if asked. */
INLINE void stem_cell(vec *cell, vec *active, vec *slope, float *mean, float *scale, const vec *pixels, int64_t at,
                      Stem s)
{
    const int64_t blocks = blocks_of(s.map.channels);
    for (int64_t k = 0; k < blocks; k++)
        cell[k] = s.deep_bias[k];
    for (int64_t tap = 0; tap < s.step * s.step; tap++) {
        const int64_t pixel = tap / s.step * s.map.length + at * s.step + tap % s.step;
        const vec *from = pixels + pixel * blocks;
        site_moments(mean + pixel, scale + pixel, from, s.map.channels, s.epsilon);
        for (int64_t k = 0; k < blocks; k++) {
            vec density;
            const vec x = (from[k] - mean[pixel]) * scale[pixel] * s.gamma[k] + s.beta[k];
            const vec share = normal(x, &density);
            cell[k] += x * share * s.deep[tap * blocks + k];
            if (active != NULL) {
                active[tap * blocks + k] = x * share;
                slope[tap * blocks + k] = share + density;
            }
        }
    }
}

INLINE int stem_forward(void *out, const float *image, const int64_t *place, int64_t place_step, int64_t tiles, Stem s,
                        int out16)
{
    const Geometry g = s.map;
    const int64_t blocks = blocks_of(g.channels), cells = g.rows * g.length / (s.step * s.step);
    const int64_t padded = (g.height + 2) * (g.width + 2) * s.bands, group = s.step * g.length;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *map = aligned((padded + LANES) * (int64_t)sizeof(float));
        vec *pixels = aligned((group + 1) * blocks * (int64_t)sizeof(vec)), *cell = pixels + group * blocks;
        float *mean = aligned(2 * group * (int64_t)sizeof(float)), *scale = mean + group;
        if (map == NULL || pixels == NULL || mean == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < tiles; tile++) {
                const int64_t *at = place + tile * place_step;
                memset(map, 0, (size_t)padded * sizeof(float));
                spread_pixels(map, image + tile * s.bands * g.height * g.width, at, s);
                for (int64_t row = 0; row < g.rows; row += s.step) {
                    for (int64_t i = 0; i < s.step; i++)
                        near_row(pixels + i * g.length * blocks, map, at[row + i], s);
                    for (int64_t i = 0; i < g.length / s.step; i++) {
                        const int64_t site = tile * cells + row / s.step * (g.length / s.step) + i;
                        float centre, spread;
                        stem_cell(cell, NULL, NULL, mean, scale, pixels, i, s);
                        site_moments(&centre, &spread, cell, g.channels, s.epsilon);
                        for (int64_t k = 0; k < blocks; k++)
                            store_some(out, site * g.channels + k * LANES,
                                       (cell[k] - centre) * spread * s.deep_gamma[k] + s.deep_beta[k],
                                       g.channels - k * LANES, out16);
                    }
                }
            }
        }
        free(map), free(pixels), free(mean);
    }
    return failed;
}

INLINE void near_correlate(vec *sums, const float *map, const vec *gradient, int64_t length, int64_t bands,
                           int64_t blocks, const int width)
{
    vec sum[8];
#pragma GCC unroll 8
    for (int t = 0; t < width; t++)
        sum[t] = sums[t * blocks];
    for (int64_t i = 0; i < length; i++) {
        const vec given = gradient[i * blocks];
#pragma GCC unroll 8
        for (int t = 0; t < width; t++)
            sum[t] += map[i * bands + t] * given;
    }
#pragma GCC unroll 8
    for (int t = 0; t < width; t++)
        sums[t * blocks] = sum[t];
}

/* Gradient of the first convolution's weights from one row of pixels. */
INLINE void near_gradient(vec *sums, const float *map, int64_t place, const vec *gradient, Stem s)
{
    const int64_t blocks = blocks_of(s.map.channels), taps_and_bands = NEAR * s.bands;
    const float *from = map + (place / s.map.width * (s.map.width + 2) + place % s.map.width) * s.bands;
    for (int64_t k = 0; k < blocks; k++)
        for (int ky = 0; ky < NEAR; ky++) {
            const float *row = from + ky * (s.map.width + 2) * s.bands;
            vec *to = sums + ky * taps_and_bands * blocks + k;
            int64_t t = 0;
            for (; t + 8 <= taps_and_bands; t += 8)
                near_correlate(to + t * blocks, row + t, gradient + k, s.map.length, s.bands, blocks, 8);
            for (; t < taps_and_bands; t++)
                near_correlate(to + t * blocks, row + t, gradient + k, s.map.length, s.bands, blocks, 1);
        }
}

/* Gradients of everything before one cell: `gradient` of the cell's norm's output; by_pixels of the first convolution. */
INLINE void stem_cell_gradient(vec *gradient, vec *by_pixels, vec *cell, vec *active, vec *slope, float *mean,
                               float *scale, const vec *pixels, int64_t at, Stem s, StemSums sums)
{
    const int64_t blocks = blocks_of(s.map.channels);
    float centre, spread;
    stem_cell(cell, active, slope, mean, scale, pixels, at, s);
    site_moments(&centre, &spread, cell, s.map.channels, s.epsilon);
    site_gradient(gradient, cell, centre, spread, s.map.channels, s.deep_gamma, sums.deep_gamma, sums.deep_beta);
    for (int64_t k = 0; k < blocks; k++)
        sums.deep_bias[k] += gradient[k];
    for (int64_t tap = 0; tap < s.step * s.step; tap++) {
        const int64_t pixel = tap / s.step * s.map.length + at * s.step + tap % s.step;
        vec *by_pixel = by_pixels + pixel * blocks;
        for (int64_t k = 0; k < blocks; k++) {
            const int64_t j = tap * blocks + k;
            sums.deep[j] += gradient[k] * active[j];
            by_pixel[k] = gradient[k] * s.deep[j] * slope[j];
        }
        site_gradient(by_pixel, pixels + pixel * blocks, mean[pixel], scale[pixel], s.map.channels, s.gamma, sums.gamma,
                      sums.beta);
        for (int64_t k = 0; k < blocks; k++)
            sums.bias[k] += by_pixel[k];
    }
}

/* `sums` holds one part for each group: near (groups, NEAR_TAPS, bands, blocks), deep (groups, step^2, blocks), others
 * (groups, blocks). */
INLINE int stem_backward(StemSums all, const void *by_out, const float *image, const int64_t *place, int64_t place_step,
                         int64_t tiles, int64_t groups, Stem s, int out16)
{
    const Geometry g = s.map;
    const int64_t blocks = blocks_of(g.channels), cells = g.rows * g.length / (s.step * s.step);
    const int64_t padded = (g.height + 2) * (g.width + 2) * s.bands, group_size = s.step * g.length;
    const int64_t taps_deep = s.step * s.step;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *map = aligned((padded + LANES) * (int64_t)sizeof(float));
        vec *pixels = aligned((2 * group_size + 2 + 2 * taps_deep) * blocks * (int64_t)sizeof(vec));
        vec *by_pixels = pixels + group_size * blocks, *cell = by_pixels + group_size * blocks;
        vec *gradient = cell + blocks, *active = gradient + blocks, *slope = active + taps_deep * blocks;
        float *mean = aligned(2 * group_size * (int64_t)sizeof(float)), *scale = mean + group_size;
        if (map == NULL || pixels == NULL || mean == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t group = 0; group < groups; group++) {
                const int64_t one = group * blocks;
                const StemSums sums = {all.near + one * NEAR_TAPS * s.bands,
                                       all.bias + one,
                                       all.gamma + one,
                                       all.beta + one,
                                       all.deep + one * taps_deep,
                                       all.deep_bias + one,
                                       all.deep_gamma + one,
                                       all.deep_beta + one};
                for (int64_t tile = group; tile < tiles; tile += groups) {
                    const int64_t *at = place + tile * place_step;
                    memset(map, 0, (size_t)padded * sizeof(float));
                    spread_pixels(map, image + tile * s.bands * g.height * g.width, at, s);
                    for (int64_t row = 0; row < g.rows; row += s.step) {
                        for (int64_t i = 0; i < s.step; i++)
                            near_row(pixels + i * g.length * blocks, map, at[row + i], s);
                        for (int64_t i = 0; i < g.length / s.step; i++) {
                            const int64_t site = tile * cells + row / s.step * (g.length / s.step) + i;
                            for (int64_t k = 0; k < blocks; k++)
                                gradient[k] = load_some(by_out, site * g.channels + k * LANES,
                                                        g.channels - k * LANES, out16);
                            stem_cell_gradient(gradient, by_pixels, cell, active, slope, mean, scale, pixels, i, s,
                                               sums);
                        }
                        for (int64_t i = 0; i < s.step; i++)
                            near_gradient(sums.near, map, at[row + i], by_pixels + i * g.length * blocks, s);
                    }
                }
            }
        }
        free(map), free(pixels), free(mean);
    }
    return failed;
}

/* Parameters as vectors, in one piece of memory, to be freed by the caller. */
static vec *pack_stem(Stem *s, const float *near, const float *bias, const float *gamma, const float *beta,
                      const float *deep, const float *deep_bias, const float *deep_gamma, const float *deep_beta)
{
    const int64_t channels = s->map.channels, blocks = blocks_of(channels), steps = s->step * s->step;
    vec *memory = aligned((NEAR_TAPS * s->bands + steps + 6) * blocks * (int64_t)sizeof(vec));
    if (memory == NULL)
        return NULL;
    vec *wide_near = memory, *wide_deep = memory + NEAR_TAPS * s->bands * blocks, *rest = wide_deep + steps * blocks;
    memset(memory, 0, (size_t)((NEAR_TAPS * s->bands + steps + 6) * blocks) * sizeof(vec));
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t band = 0; band < s->bands; band++)
            for (int64_t tap = 0; tap < NEAR_TAPS; tap++)
                ((float *)wide_near)[(tap * s->bands + band) * blocks * LANES + c] =
                    near[(c * s->bands + band) * NEAR_TAPS + tap];
        for (int64_t tap = 0; tap < steps; tap++)
            ((float *)wide_deep)[tap * blocks * LANES + c] = deep[c * steps + tap];
    }
    const float *vectors[] = {bias, gamma, beta, deep_bias, deep_gamma, deep_beta};
    for (int i = 0; i < 6; i++)
        widen(rest + i * blocks, vectors[i], channels);
    s->near = wide_near, s->deep = wide_deep;
    s->bias = rest, s->gamma = rest + blocks, s->beta = rest + 2 * blocks;
    s->deep_bias = rest + 3 * blocks, s->deep_gamma = rest + 4 * blocks, s->deep_beta = rest + 5 * blocks;
    return memory;
}

int geopretext_stem_forward(void *out, const float *image, const int64_t *place, int64_t place_step, int64_t tiles,
                            int64_t rows, int64_t length, int64_t height, int64_t width, int64_t channels,
                            int64_t bands, int64_t step, const float *near, const float *bias, const float *gamma,
                            const float *beta, const float *deep, const float *deep_bias, const float *deep_gamma,
                            const float *deep_beta, float epsilon, int out16)
{
    Stem s = {.map = {rows, length, height, width, channels}, .bands = bands, .step = step, .epsilon = epsilon};
    vec *memory = pack_stem(&s, near, bias, gamma, beta, deep, deep_bias, deep_gamma, deep_beta);
    if (memory == NULL)
        return 1;
    const int failed = stem_forward(out, image, place, place_step, tiles, s, out16);
    free(memory);
    return failed;
}

int geopretext_stem_backward(void *by_near, void *by_bias, void *by_gamma, void *by_beta, void *by_deep,
                             void *by_deep_bias, void *by_deep_gamma, void *by_deep_beta, const void *by_out,
                             const float *image, const int64_t *place, int64_t place_step, int64_t tiles,
                             int64_t groups, int64_t rows, int64_t length, int64_t height, int64_t width,
                             int64_t channels, int64_t bands, int64_t step, const float *near, const float *bias,
                             const float *gamma, const float *beta, const float *deep, const float *deep_bias,
                             const float *deep_gamma, const float *deep_beta, float epsilon, int out16)
{
    Stem s = {.map = {rows, length, height, width, channels}, .bands = bands, .step = step, .epsilon = epsilon};
    const StemSums sums = {by_near, by_bias, by_gamma, by_beta, by_deep, by_deep_bias, by_deep_gamma, by_deep_beta};
    vec *memory = pack_stem(&s, near, bias, gamma, beta, deep, deep_bias, deep_gamma, deep_beta);
    if (memory == NULL)
        return 1;
    const int failed = stem_backward(sums, by_out, image, place, place_step, tiles, groups, s, out16);
    free(memory);
    return failed;
}
