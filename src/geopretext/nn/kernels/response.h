/* Global response norm (ConvNeXt V2, section 3.3) of one tile's strengths: what its kernels share. */

#ifndef GEOPRETEXT_RESPONSE_H
#define GEOPRETEXT_RESPONSE_H

#include "kernels.h"

INLINE void add(float *sums, int64_t c, vec value) { store(sums, c, load(sums, c, 0) + value, 0); }

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

/* Gradient of the activations through the strengths, per unit of activation, from that of the shares. */
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

typedef struct {
    const float *bias, *gamma, *beta;
    float epsilon;
} Norm;

/* factor = 1 + gamma * share; returns 1 / mean strength. */
INLINE float factors_of(float *factor, float *share, const float *strength, Norm norm, int64_t channels)
{
    const float inverse_mean = shares(share, strength, channels, norm.epsilon);
    for (int64_t c = 0; c < channels; c++)
        factor[c] = 1 + norm.gamma[c] * share[c];
    return inverse_mean;
}

/* From the gradient of the factors to those of gamma, added, and per unit of activation. */
INLINE void through_strength(float *per_active, float *by_gamma, float *by_factor, const float *share,
                             const float *strength, float inverse_mean, Norm norm, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        by_gamma[c] += by_factor[c] * share[c];
        by_factor[c] *= norm.gamma[c];
    }
    strength_gradient(per_active, by_factor, share, strength, channels, inverse_mean);
}

#endif
