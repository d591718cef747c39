/* Layer norm, then 2 x 2 sites side by side: what a convolution of stride 2 multiplies. */

#include "kernels.h"

INLINE int64_t folded(int64_t row, int64_t i, int64_t length)
{
    return ((row / 2 * (length / 2) + i / 2) * 4) + row % 2 * 2 + i % 2;
}

/* x: (rows, length, channels) -> out: (rows / 2, length / 2, 4, channels). */
INLINE int fold_forward(void *out, const void *x, int64_t rows, int64_t length, int64_t channels, const float *gamma,
                        const float *beta, float epsilon, int x16, int out16)
{
    const int64_t blocks = blocks_of(channels);
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        vec *site = aligned(3 * blocks * (int64_t)sizeof(vec)), *by = site + blocks, *plus = by + blocks;
        if (site == NULL) {
            failed = 1;
        } else {
            widen(by, gamma, channels), widen(plus, beta, channels);
#pragma omp for schedule(static)
            for (int64_t row = 0; row < rows; row++)
                for (int64_t i = 0; i < length; i++) {
                    float mean, scale;
                    for (int64_t k = 0; k < blocks; k++)
                        site[k] = load_some(x, (row * length + i) * channels + k * LANES, channels - k * LANES, x16);
                    site_moments(&mean, &scale, site, channels, epsilon);
                    for (int64_t k = 0; k < blocks; k++)
                        store_some(out, folded(row, i, length) * channels + k * LANES,
                                   (site[k] - mean) * scale * by[k] + plus[k], channels - k * LANES, out16);
                }
        }
        free(site);
    }
    return failed;
}

/* by_gamma, by_beta: (groups, blocks), zero before; each group has adjacent rows. */
INLINE int fold_backward(void *by_x, vec *by_gamma, vec *by_beta, const void *by_out, const void *x, int64_t rows,
                         int64_t length, int64_t channels, int64_t groups, const float *gamma, float epsilon, int x16,
                         int out16)
{
    const int64_t blocks = blocks_of(channels);
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        vec *site = aligned(3 * blocks * (int64_t)sizeof(vec)), *by = site + blocks, *gradient = by + blocks;
        if (site == NULL) {
            failed = 1;
        } else {
            widen(by, gamma, channels);
#pragma omp for schedule(static)
            for (int64_t group = 0; group < groups; group++)
                for (int64_t row = rows * group / groups; row < rows * (group + 1) / groups; row++)
                    for (int64_t i = 0; i < length; i++) {
                        float mean, scale;
                        const int64_t at = (row * length + i) * channels, from = folded(row, i, length) * channels;
                        for (int64_t k = 0; k < blocks; k++) {
                            site[k] = load_some(x, at + k * LANES, channels - k * LANES, x16);
                            gradient[k] = load_some(by_out, from + k * LANES, channels - k * LANES, out16);
                        }
                        site_moments(&mean, &scale, site, channels, epsilon);
                        site_gradient(gradient, site, mean, scale, channels, by, by_gamma + group * blocks,
                                      by_beta + group * blocks);
                        for (int64_t k = 0; k < blocks; k++)
                            store_some(by_x, at + k * LANES, gradient[k], channels - k * LANES, x16);
                    }
        }
        free(site);
    }
    return failed;
}

int geopretext_fold_forward(void *out, const void *x, int64_t rows, int64_t length, int64_t channels,
                            const float *gamma, const float *beta, float epsilon, int x16, int out16)
{
    return fold_forward(out, x, rows, length, channels, gamma, beta, epsilon, x16, out16);
}

int geopretext_fold_backward(void *by_x, void *by_gamma, void *by_beta, const void *by_out, const void *x, int64_t rows,
                             int64_t length, int64_t channels, int64_t groups, const float *gamma, float epsilon,
                             int x16, int out16)
{
    return fold_backward(by_x, by_gamma, by_beta, by_out, x, rows, length, channels, groups, gamma, epsilon, x16, out16);
}
