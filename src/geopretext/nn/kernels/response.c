/* GELU and global response norm (ConvNeXt V2, section 3.3) of the widest features of a block. */

#include "kernels.h"

INLINE void add(float *sums, int64_t c, vec value) { store(sums, c, load(sums, c, 0) + value, 0); }

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

/* share = strength / mean strength; returns 1 / mean strength. */
INLINE float shares(float *share, const float *strength, int64_t channels, float epsilon)
{
    double sum = 0;
    for (int64_t c = 0; c < channels; c++)
        sum += strength[c];
    const float inverse_mean = 1 / ((float)(sum / (double)channels) + epsilon);
    for (int64_t c = 0; c < channels; c++)
        share[c] = strength[c] * inverse_mean;
    return inverse_mean;
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

/* GELU of one vector, and its derivative. */
INLINE vec gelu(vec x, vec *slope)
{
    vec density;
    const vec share = normal(x, &density);
    *slope = share + density;
    return x * share;
}

/* by_factor = sum over sites of by_z * gelu, and sums of by_z; keeps gelu and its derivative if `kept` is not NULL. */
INLINE void factor_gradient(float *by_factor, float *by_beta, vec *kept, const void *by_z, const void *h,
                            const float *bias, int64_t sites, int64_t channels, int half)
{
    memset(by_factor, 0, (size_t)channels * sizeof(float));
    for (int64_t site = 0; site < sites; site++)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec slope;
            const vec active = gelu(load(h, site * channels + c, half) + load(bias, c, 0), &slope);
            const vec given = load(by_z, site * channels + c, half);
            add(by_factor, c, given * active);
            add(by_beta, c, given);
            if (kept != NULL) {
                *kept++ = active;
                *kept++ = slope;
            }
        }
}

/* From the gradient of the factors: that of gamma, added, and of the activations through the strengths, per unit of
 * activation. `count` tiles share one strength, with by_factor summed over them in by_share. */
INLINE void strength_gradient(float *per_active, const float *by_share, const float *share, const float *strength,
                              int64_t channels, float inverse_mean)
{
    double inner = 0;
    for (int64_t c = 0; c < channels; c++)
        inner += (double)by_share[c] * share[c];
    const float mean_inner = (float)(inner / (double)channels);
    for (int64_t c = 0; c < channels; c++)
        per_active[c] = strength[c] > 0 ? (by_share[c] - mean_inner) * inverse_mean / strength[c] : 0;
}

INLINE void response_gradient(void *by_h, float *by_bias, const vec *kept, const void *by_z, const void *h,
                              const float *bias, const float *factor, const float *per_active, int64_t sites,
                              int64_t channels, int half)
{
    for (int64_t site = 0; site < sites; site++)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec active, slope;
            if (kept != NULL) {
                active = *kept++;
                slope = *kept++;
            } else {
                active = gelu(load(h, site * channels + c, half) + load(bias, c, 0), &slope);
            }
            const vec given = load(by_z, site * channels + c, half);
            const vec result = (given * load(factor, c, 0) + active * load(per_active, c, 0)) * slope;
            store(by_h, site * channels + c, result, half);
            add(by_bias, c, result);
        }
}

/* by_bias, by_gamma, by_beta: (groups, channels), zero before. */
INLINE int response_backward(void *by_h, float *by_bias, float *by_gamma, float *by_beta, const void *by_z,
                             const void *h, const float *strength, const float *bias, const float *gamma, int64_t tiles,
                             int64_t groups, int64_t sites, int64_t channels, float epsilon, int over_batch, int half)
{
    int failed = 0;
    const size_t width = half ? 2 : 4;
    const int keep = half && !over_batch; /* beside a tile of float32 it would not fit the cache */
    float *factors = aligned((over_batch ? tiles : 1) * channels * (int64_t)sizeof(float));
    float *whole = aligned(4 * channels * (int64_t)sizeof(float));
    if (factors == NULL || whole == NULL) {
        free(factors), free(whole);
        return 1;
    }
    float *all_share = whole, *all_by_share = whole + channels, *all_per = all_by_share + channels,
          *all_factor = all_per + channels;
    if (over_batch) {
#pragma omp parallel for schedule(static)
        for (int64_t group = 0; group < groups; group++)
            for (int64_t tile = group; tile < tiles; tile += groups) {
                const size_t at = (size_t)(tile * sites * channels) * width;
                factor_gradient(factors + tile * channels, by_beta + group * channels, NULL, (const char *)by_z + at,
                                (const char *)h + at, bias, sites, channels, half);
            }
        const float inverse_mean = shares(all_share, strength, channels, epsilon);
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t tile = 0; tile < tiles; tile++)
                sum += factors[tile * channels + c];
            by_gamma[c] += (float)sum * all_share[c];
            all_by_share[c] = (float)sum * gamma[c];
            all_factor[c] = 1 + gamma[c] * all_share[c];
        }
        strength_gradient(all_per, all_by_share, all_share, strength, channels, inverse_mean);
    }
#pragma omp parallel reduction(| : failed)
    {
        float *own = aligned(4 * channels * (int64_t)sizeof(float));
        vec *kept = !keep ? NULL : aligned(2 * sites * channels * (int64_t)sizeof(float));
        if (own == NULL || (kept == NULL && keep)) {
            failed = 1;
        } else {
            float *by_factor = own, *share = own + channels, *per = share + channels, *factor = per + channels;
#pragma omp for schedule(static)
            for (int64_t group = 0; group < groups; group++)
                for (int64_t tile = group; tile < tiles; tile += groups) {
                    const size_t at = (size_t)(tile * sites * channels) * width;
                    const char *given = (const char *)by_z + at, *from = (const char *)h + at;
                    if (!over_batch) {
                        const float *mine = strength + tile * channels;
                        factor_gradient(by_factor, by_beta + group * channels, kept, given, from, bias, sites, channels,
                                        half);
                        const float inverse_mean = shares(share, mine, channels, epsilon);
                        for (int64_t c = 0; c < channels; c++) {
                            by_gamma[group * channels + c] += by_factor[c] * share[c];
                            by_factor[c] *= gamma[c];
                            factor[c] = 1 + gamma[c] * share[c];
                        }
                        strength_gradient(per, by_factor, share, mine, channels, inverse_mean);
                    }
                    response_gradient((char *)by_h + at, by_bias + group * channels, kept, given, from, bias,
                                      over_batch ? all_factor : factor, over_batch ? all_per : per, sites, channels,
                                      half);
                }
        }
        free(own), free(kept);
    }
    free(factors), free(whole);
    return failed;
}

int geopretext_response_forward(void *z, float *strength, const void *h, const float *bias, const float *gamma,
                                const float *beta, int64_t tiles, int64_t sites, int64_t channels, float epsilon,
                                int over_batch, int half)
{
    return half ? response_forward(z, strength, h, bias, gamma, beta, tiles, sites, channels, epsilon, over_batch, 1)
                : response_forward(z, strength, h, bias, gamma, beta, tiles, sites, channels, epsilon, over_batch, 0);
}

int geopretext_response_backward(void *by_h, float *by_bias, float *by_gamma, float *by_beta, const void *by_z,
                                 const void *h, const float *strength, const float *bias, const float *gamma,
                                 int64_t tiles, int64_t groups, int64_t sites, int64_t channels, float epsilon,
                                 int over_batch, int half)
{
    return half ? response_backward(by_h, by_bias, by_gamma, by_beta, by_z, h, strength, bias, gamma, tiles, groups,
                                    sites, channels, epsilon, over_batch, 1)
                : response_backward(by_h, by_bias, by_gamma, by_beta, by_z, h, strength, bias, gamma, tiles, groups,
                                    sites, channels, epsilon, over_batch, 0);
}
