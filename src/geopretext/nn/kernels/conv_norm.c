/* Depthwise 7 x 7 convolution at the sites of visible patches or a whole map, and layer norm over features. What is no
 * site counts as zero: each tile is spread on a padded map, 16 features at a time. */

#include "kernels.h"

#define KERNEL 7
#define HALO 3
#define TAPS (KERNEL * KERNEL)

INLINE int64_t padded_width(Geometry g) { return g.width + KERNEL - 1; }
INLINE int64_t padded_cells(Geometry g) { return (g.height + KERNEL - 1) * padded_width(g); }

/* Where a row begins in the padded map, less the halo: the upper left tap of its first cell. */
INLINE int64_t corner(Geometry g, int64_t place) { return place / g.width * padded_width(g) + place % g.width; }

/* One block of channels of all sites into a padded map; what is no site stays as it was (zero). */
INLINE void spread(vec *map, const void *x, const int64_t *place, Geometry g, int64_t block, int half)
{
    const int64_t count = g.channels - block * LANES;
    for (int64_t row = 0; row < g.rows; row++) {
        vec *to = map + corner(g, place[row]) + HALO * padded_width(g) + HALO;
        for (int64_t i = 0; i < g.length; i++)
            to[i] = load_some(x, (row * g.length + i) * g.channels + block * LANES, count, half);
    }
}

/* `width` adjacent outputs, with taps in `direction` 1, or -1 for the gradient. */
INLINE void taps(vec *out, const vec *map, int64_t stride, const vec *weight, int direction, const int width)
{
    vec sum[8];
    for (int i = 0; i < width; i++)
        sum[i] = out[i];
    for (int ky = 0; ky < KERNEL; ky++) {
        const vec *row = map + ky * stride;
#pragma GCC unroll 7
        for (int kx = 0; kx < KERNEL; kx++) {
            const vec w = weight[direction > 0 ? ky * KERNEL + kx : TAPS - 1 - (ky * KERNEL + kx)];
#pragma GCC unroll 8
            for (int i = 0; i < width; i++)
                sum[i] += row[i + kx] * w;
        }
    }
    for (int i = 0; i < width; i++)
        out[i] = sum[i];
}

/* (rows, length) sites of one block: out += convolution of the map. */
INLINE void convolve(vec *out, const vec *map, const int64_t *place, Geometry g, const vec *weight, int direction)
{
    const int64_t stride = padded_width(g);
    for (int64_t row = 0; row < g.rows; row++) {
        const vec *from = map + corner(g, place[row]);
        vec *to = out + row * g.length;
        int64_t i = 0;
        for (; i + 8 <= g.length; i += 8)
            taps(to + i, from + i, stride, weight, direction, 8);
        for (; i + 4 <= g.length; i += 4)
            taps(to + i, from + i, stride, weight, direction, 4);
        for (; i + 2 <= g.length; i += 2)
            taps(to + i, from + i, stride, weight, direction, 2);
        for (; i < g.length; i++)
            taps(to + i, from + i, stride, weight, direction, 1);
    }
}

INLINE void correlate_row(vec *sum, const vec *map, const vec *gradient, const int width)
{
#pragma GCC unroll 8
    for (int i = 0; i < width; i++)
#pragma GCC unroll 7
        for (int kx = 0; kx < KERNEL; kx++)
            sum[kx] += map[i + kx] * gradient[i];
}

/* Gradient of the weights: sums[TAPS] += map correlated with the gradient of the output. */
INLINE void correlate(vec *sums, const vec *map, const int64_t *place, Geometry g, const vec *gradient)
{
    const int64_t stride = padded_width(g);
    for (int ky = 0; ky < KERNEL; ky++) {
        vec sum[KERNEL];
        for (int kx = 0; kx < KERNEL; kx++)
            sum[kx] = sums[ky * KERNEL + kx];
        for (int64_t row = 0; row < g.rows; row++) {
            const vec *from = map + corner(g, place[row]) + ky * stride;
            const vec *other = gradient + row * g.length;
            int64_t i = 0;
            for (; i + 8 <= g.length; i += 8)
                correlate_row(sum, from + i, other + i, 8);
            for (; i < g.length; i++)
                correlate_row(sum, from + i, other + i, 1);
        }
        for (int kx = 0; kx < KERNEL; kx++)
            sums[ky * KERNEL + kx] = sum[kx];
    }
}

/* Mean and 1 / deviation of each site over its channels; out holds the channels in blocks of all sites. */
INLINE void moments(float *mean, float *scale, const vec *values, int64_t sites, int64_t channels, float epsilon)
{
    const int64_t blocks = blocks_of(channels);
    for (int64_t site = 0; site < sites; site++) {
        vec sum = {0}, squares = {0};
        for (int64_t k = 0; k < blocks; k++)
            sum += values[k * sites + site];
        const float centre = total(sum) / (float)channels;
        for (int64_t k = 0; k < blocks; k++) {
            const vec off = only_first(values[k * sites + site] - centre, channels - k * LANES);
            squares += off * off;
        }
        mean[site] = centre;
        scale[site] = 1 / sqrtf(total(squares) / (float)channels + epsilon);
    }
}

/* (channels, TAPS) weights -> [block][TAPS] vectors, zero beyond the last channel. */
static vec *pack_weight(const float *weight, int64_t channels)
{
    const int64_t blocks = blocks_of(channels);
    vec *packed = aligned(blocks * TAPS * (int64_t)sizeof(vec));
    if (packed == NULL)
        return NULL;
    memset(packed, 0, (size_t)(blocks * TAPS) * sizeof(vec));
    for (int64_t c = 0; c < channels; c++)
        for (int tap = 0; tap < TAPS; tap++)
            ((float *)packed)[(c / LANES * TAPS + tap) * LANES + c % LANES] = weight[c * TAPS + tap];
    return packed;
}

INLINE void convolve_tile(vec *out, vec *map, const void *x, const int64_t *place, Geometry g, const vec *weight,
                          const float *bias, int half)
{
    const int64_t sites = g.rows * g.length;
    for (int64_t k = 0; k < blocks_of(g.channels); k++) {
        const vec start = load_some(bias, k * LANES, g.channels - k * LANES, 0);
        for (int64_t site = 0; site < sites; site++)
            out[k * sites + site] = start;
        spread(map, x, place, g, k, half);
        convolve(out + k * sites, map, place, g, weight + k * TAPS, 1);
    }
}

INLINE int conv_norm_forward(void *out, const void *x, const int64_t *place, int64_t place_step, int64_t tiles,
                             Geometry g, const float *weight, const float *bias, const float *gamma, const float *beta,
                             float epsilon, int x16, int out16)
{
    const int64_t sites = g.rows * g.length, blocks = blocks_of(g.channels);
    vec *packed = pack_weight(weight, g.channels);
    int failed = packed == NULL;
#pragma omp parallel reduction(| : failed)
    {
        vec *map = aligned(padded_cells(g) * (int64_t)sizeof(vec));
        vec *values = aligned(blocks * sites * (int64_t)sizeof(vec));
        float *mean = aligned(2 * sites * (int64_t)sizeof(float));
        if (packed == NULL || map == NULL || values == NULL || mean == NULL) {
            failed = 1;
        } else {
            float *scale = mean + sites;
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < tiles; tile++) {
                const char *from = (const char *)x + tile * sites * g.channels * (x16 ? 2 : 4);
                memset(map, 0, (size_t)padded_cells(g) * sizeof(vec));
                convolve_tile(values, map, from, place + tile * place_step, g, packed, bias, x16);
                moments(mean, scale, values, sites, g.channels, epsilon);
                for (int64_t k = 0; k < blocks; k++) {
                    const int64_t count = g.channels - k * LANES;
                    const vec by = load_some(gamma, k * LANES, count, 0), plus = load_some(beta, k * LANES, count, 0);
                    for (int64_t site = 0; site < sites; site++) {
                        const vec value = (values[k * sites + site] - mean[site]) * scale[site] * by + plus;
                        store_some(out, (tile * sites + site) * g.channels + k * LANES, value, count, out16);
                    }
                }
            }
        }
        free(map), free(values), free(mean);
    }
    free(packed);
    return failed;
}

/* Gradient through the layer norm, in place: `gradient` of the output becomes that of the convolution. */
INLINE void norm_backward(vec *gradient, const vec *values, const float *mean, const float *scale, int64_t sites,
                          int64_t channels, const float *gamma, vec *by_gamma, vec *by_beta, vec *by_bias)
{
    const int64_t blocks = blocks_of(channels);
    for (int64_t site = 0; site < sites; site++) {
        vec sum = {0}, product = {0};
        for (int64_t k = 0; k < blocks; k++) {
            const vec normal = (values[k * sites + site] - mean[site]) * scale[site];
            const vec given = gradient[k * sites + site];
            const vec scaled = given * load_some(gamma, k * LANES, channels - k * LANES, 0);
            by_gamma[k] += given * normal;
            by_beta[k] += given;
            sum += scaled;
            product += scaled * normal;
            gradient[k * sites + site] = scaled;
        }
        const float mean_sum = total(sum) / (float)channels, mean_product = total(product) / (float)channels;
        for (int64_t k = 0; k < blocks; k++) {
            const vec normal = (values[k * sites + site] - mean[site]) * scale[site];
            vec *at = gradient + k * sites + site;
            *at = (*at - mean_sum - normal * mean_product) * scale[site];
            by_bias[k] += *at;
        }
    }
}

/* Parts of sums, one for each group: weight (groups, blocks, TAPS, LANES), others (groups, blocks, LANES). */
INLINE int conv_norm_backward(void *by_x, vec *by_weight, vec *by_bias, vec *by_gamma, vec *by_beta, const void *by_out,
                              const void *x, const int64_t *place, int64_t place_step, int64_t tiles, int64_t groups,
                              Geometry g, const float *weight, const float *bias, const float *gamma, float epsilon,
                              int x16, int out16)
{
    const int64_t sites = g.rows * g.length, blocks = blocks_of(g.channels);
    vec *packed = pack_weight(weight, g.channels);
    int failed = packed == NULL;
#pragma omp parallel reduction(| : failed)
    {
        vec *map = aligned(padded_cells(g) * (int64_t)sizeof(vec));
        vec *values = aligned(blocks * sites * (int64_t)sizeof(vec));
        vec *gradient = aligned(blocks * sites * (int64_t)sizeof(vec));
        float *mean = aligned(2 * sites * (int64_t)sizeof(float));
        if (packed == NULL || map == NULL || values == NULL || gradient == NULL || mean == NULL) {
            failed = 1;
        } else {
            float *scale = mean + sites;
#pragma omp for schedule(static)
            for (int64_t group = 0; group < groups; group++)
                for (int64_t tile = group; tile < tiles; tile += groups) {
                    const char *from = (const char *)x + tile * sites * g.channels * (x16 ? 2 : 4);
                    const int64_t *at = place + tile * place_step;
                    memset(map, 0, (size_t)padded_cells(g) * sizeof(vec));
                    convolve_tile(values, map, from, at, g, packed, bias, x16);
                    moments(mean, scale, values, sites, g.channels, epsilon);
                    for (int64_t k = 0; k < blocks; k++)
                        for (int64_t site = 0; site < sites; site++)
                            gradient[k * sites + site] =
                                load_some(by_out, (tile * sites + site) * g.channels + k * LANES,
                                          g.channels - k * LANES, out16);
                    norm_backward(gradient, values, mean, scale, sites, g.channels, gamma, by_gamma + group * blocks,
                                  by_beta + group * blocks, by_bias + group * blocks);
                    for (int64_t k = 0; k < blocks; k++) {
                        vec *one = gradient + k * sites, *result = values; /* whose numbers have been used */
                        spread(map, from, at, g, k, x16);
                        correlate(by_weight + (group * blocks + k) * TAPS, map, at, g, one);
                        for (int64_t row = 0; row < g.rows; row++)
                            memcpy(map + corner(g, at[row]) + HALO * padded_width(g) + HALO, one + row * g.length,
                                   (size_t)g.length * sizeof(vec));
                        memset(result, 0, (size_t)sites * sizeof(vec));
                        convolve(result, map, at, g, packed + k * TAPS, -1);
                        for (int64_t site = 0; site < sites; site++)
                            store_some(by_x, (tile * sites + site) * g.channels + k * LANES, result[site],
                                       g.channels - k * LANES, x16);
                    }
                }
        }
        free(map), free(values), free(gradient), free(mean);
    }
    free(packed);
    return failed;
}

int geopretext_conv_norm_forward(void *out, const void *x, const int64_t *place, int64_t place_step, int64_t tiles,
                                 int64_t rows, int64_t length, int64_t height, int64_t width, int64_t channels,
                                 const float *weight, const float *bias, const float *gamma, const float *beta,
                                 float epsilon, int x16, int out16)
{
    const Geometry g = {rows, length, height, width, channels};
    return conv_norm_forward(out, x, place, place_step, tiles, g, weight, bias, gamma, beta, epsilon, x16, out16);
}

int geopretext_conv_norm_backward(void *by_x, void *by_weight, void *by_bias, void *by_gamma, void *by_beta,
                                  const void *by_out, const void *x, const int64_t *place, int64_t place_step,
                                  int64_t tiles, int64_t groups, int64_t rows, int64_t length, int64_t height,
                                  int64_t width, int64_t channels, const float *weight, const float *bias,
                                  const float *gamma, float epsilon, int x16, int out16)
{
    const Geometry g = {rows, length, height, width, channels};
    return conv_norm_backward(by_x, by_weight, by_bias, by_gamma, by_beta, by_out, x, place, place_step, tiles, groups,
                              g, weight, bias, gamma, epsilon, x16, out16);
}
