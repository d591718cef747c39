/* GELU and global response norm (ConvNeXt V2, section 3.3) of the widest features of a block. */

#include "response.h"

/* Sums of squares of gelu(h + bias) over the sites of one tile; `active` receives gelu(h + bias). */
INLINE void activate(float *active, float *squares, const void *h, const float *bias, int64_t sites, int64_t channels,
                     int half)
{
    memset(squares, 0, (size_t)channels * sizeof(float));
    for (int64_t site = 0; site < sites; site++)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec ignored;
            const vec x = load(h, site * channels + c, half) + load(bias, c, 0);
            const vec a = x * normal(x, &ignored);
            if (active != NULL)
                store(active, site * channels + c, a, 0);
            add(squares, c, a * a);
        }
}

/* strength: (tiles, channels), or (1, channels) if over_batch. channels is a multiple of LANES. */
INLINE int response_forward(void *z, float *strength, const void *h, const float *bias, const float *gamma,
                            const float *beta, int64_t tiles, int64_t sites, int64_t channels, float epsilon,
                            int over_batch, int half)
{
    int failed = 0;
    const size_t width = half ? 2 : 4;
    float *squares = over_batch ? aligned(tiles * channels * (int64_t)sizeof(float)) : NULL;
    if (over_batch) {
        if (squares == NULL)
            return 1;
#pragma omp parallel for schedule(static)
        for (int64_t tile = 0; tile < tiles; tile++)
            activate(NULL, squares + tile * channels, (const char *)h + (size_t)(tile * sites * channels) * width, bias,
                     sites, channels, half);
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t tile = 0; tile < tiles; tile++)
                sum += squares[tile * channels + c];
            strength[c] = (float)sqrt(sum);
        }
        free(squares);
    }
#pragma omp parallel reduction(| : failed)
    {
        float *scratch = aligned(((half ? sites : 0) + 2) * channels * (int64_t)sizeof(float));
        float *share = scratch, *ignored = share + channels;
        if (scratch == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < tiles; tile++) {
                float *own = over_batch ? strength : strength + tile * channels;
                const char *from = (const char *)h + (size_t)(tile * sites * channels) * width;
                char *to = (char *)z + (size_t)(tile * sites * channels) * width;
                float *active = half ? scratch + 2 * channels : (float *)to;
                activate(active, over_batch ? ignored : own, from, bias, sites, channels, half);
                if (!over_batch)
                    for (int64_t c = 0; c < channels; c++)
                        own[c] = sqrtf(own[c]);
                shares(share, own, channels, epsilon);
                for (int64_t c = 0; c < channels; c++)
                    share[c] = 1 + gamma[c] * share[c];
                for (int64_t site = 0; site < sites; site++)
                    for (int64_t c = 0; c < channels; c += LANES)
                        store(to, site * channels + c,
                              load(active, site * channels + c, 0) * load(share, c, 0) + load(beta, c, 0), half);
            }
        }
        free(scratch);
    }
    return failed;
}

/* by_factor = sum over sites of by_z * gelu; and sums of by_z, added. gelu is (z - beta) / factor, which needs no
 * exponential; where a factor is too small to divide by, it is computed from h. */
INLINE void factor_gradient(float *by_factor, float *by_beta, float *given, const void *by_z, const void *z,
                            const void *h, const float *bias, const float *factor, const float *beta, int64_t sites,
                            int64_t channels, int half)
{
    memset(by_factor, 0, (size_t)channels * sizeof(float));
    memset(given, 0, (size_t)channels * sizeof(float));
    for (int64_t site = 0; site < sites; site++)
        for (int64_t c = 0; c < channels; c += LANES) {
            const vec by = load(by_z, site * channels + c, half);
            add(by_factor, c, by * load(z, site * channels + c, half));
            add(given, c, by);
        }
    for (int64_t c = 0; c < channels; c += LANES) {
        int small = 0;
        for (int64_t i = c; i < c + LANES; i++)
            small |= fabsf(factor[i]) < 0.02f;
        add(by_beta, c, load(given, c, 0));
        if (!small) {
            store(by_factor, c, (load(by_factor, c, 0) - load(beta, c, 0) * load(given, c, 0)) / load(factor, c, 0), 0);
            continue;
        }
        vec sum = {0};
        for (int64_t site = 0; site < sites; site++) {
            vec ignored;
            const vec x = load(h, site * channels + c, half) + load(bias, c, 0);
            sum += load(by_z, site * channels + c, half) * x * normal(x, &ignored);
        }
        store(by_factor, c, sum, 0);
    }
}

INLINE void response_gradient(void *by_h, float *by_bias, const void *by_z, const void *h, const float *bias,
                              const float *factor, const float *per_active, int64_t sites, int64_t channels, int half)
{
    for (int64_t site = 0; site < sites; site++)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec slope;
            const vec x = load(h, site * channels + c, half) + load(bias, c, 0);
            const vec share = normal(x, &slope);
            const vec given = load(by_z, site * channels + c, half);
            const vec by_active = given * load(factor, c, 0) + x * share * load(per_active, c, 0);
            const vec result = by_active * (share + slope);
            store(by_h, site * channels + c, result, half);
            add(by_bias, c, result);
        }
}

/* by_bias, by_gamma, by_beta: (groups, channels), to which is added. strength: (tiles, channels). */
INLINE int response_backward(void *by_h, float *by_bias, float *by_gamma, float *by_beta, const void *by_z,
                             const void *h, const void *z, const float *strength, Norm norm, int64_t tiles,
                             int64_t groups, int64_t sites, int64_t channels, int half)
{
    int failed = 0;
    const size_t tile_bytes = (size_t)(sites * channels) * (half ? 2 : 4);
#pragma omp parallel reduction(| : failed)
    {
        float *by_factor = aligned(5 * channels * (int64_t)sizeof(float)), *share = by_factor + channels;
        float *per = share + channels, *factor = per + channels, *given = factor + channels;
        if (by_factor == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t group = 0; group < groups; group++)
                for (int64_t tile = group; tile < tiles; tile += groups) {
                    const size_t at = (size_t)tile * tile_bytes;
                    const char *from = (const char *)by_z + at, *in = (const char *)h + at;
                    const float *mine = strength + tile * channels;
                    const float inverse_mean = factors_of(factor, share, mine, norm, channels);
                    factor_gradient(by_factor, by_beta + group * channels, given, from, (const char *)z + at, in,
                                    norm.bias, factor, norm.beta, sites, channels, half);
                    through_strength(per, by_gamma + group * channels, by_factor, share, mine, inverse_mean, norm,
                                     channels);
                    response_gradient((char *)by_h + at, by_bias + group * channels, from, in, norm.bias, factor, per,
                                      sites, channels, half);
                }
        }
        free(by_factor);
    }
    return failed;
}

/* The same where all tiles share one strength, (1, channels): two passes over all of them. */
INLINE int response_backward_of_batch(void *by_h, float *by_bias, float *by_gamma, float *by_beta, const void *by_z,
                                      const void *h, const void *z, const float *strength, Norm norm, int64_t tiles,
                                      int64_t groups, int64_t sites, int64_t channels, int half)
{
    const size_t tile_bytes = (size_t)(sites * channels) * (half ? 2 : 4);
    float *by_factors = aligned((2 * tiles + 4) * channels * (int64_t)sizeof(float));
    if (by_factors == NULL)
        return 1;
    float *given = by_factors + tiles * channels, *share = given + tiles * channels, *factor = share + channels;
    float *per = factor + channels, *by_factor = per + channels;
    const float inverse_mean = factors_of(factor, share, strength, norm, channels);
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t tile = group; tile < tiles; tile += groups) {
            const size_t at = (size_t)tile * tile_bytes;
            factor_gradient(by_factors + tile * channels, by_beta + group * channels, given + tile * channels,
                            (const char *)by_z + at, (const char *)z + at, (const char *)h + at, norm.bias, factor,
                            norm.beta, sites, channels, half);
        }
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0;
        for (int64_t tile = 0; tile < tiles; tile++)
            sum += by_factors[tile * channels + c];
        by_factor[c] = (float)sum;
    }
    through_strength(per, by_gamma, by_factor, share, strength, inverse_mean, norm, channels);
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t tile = group; tile < tiles; tile += groups) {
            const size_t at = (size_t)tile * tile_bytes;
            response_gradient((char *)by_h + at, by_bias + group * channels, (const char *)by_z + at,
                              (const char *)h + at, norm.bias, factor, per, sites, channels, half);
        }
    free(by_factors);
    return 0;
}

int geopretext_response_forward(void *z, float *strength, const void *h, const float *bias, const float *gamma,
                                const float *beta, int64_t tiles, int64_t sites, int64_t channels, float epsilon,
                                int over_batch, int half)
{
    return response_forward(z, strength, h, bias, gamma, beta, tiles, sites, channels, epsilon, over_batch, half);
}

int geopretext_response_backward(void *by_h, float *by_bias, float *by_gamma, float *by_beta, const void *by_z,
                                 const void *h, const void *z, const float *strength, const float *bias,
                                 const float *gamma, const float *beta, int64_t tiles, int64_t groups, int64_t sites,
                                 int64_t channels, float epsilon, int over_batch, int half)
{
    const Norm norm = {bias, gamma, beta, epsilon};
#define CALL(function)                                                                                                 \
    function(by_h, by_bias, by_gamma, by_beta, by_z, h, z, strength, norm, tiles, groups, sites, channels, half)
    return over_batch ? CALL(response_backward_of_batch) : CALL(response_backward);
#undef CALL
}
