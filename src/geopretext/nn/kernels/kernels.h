/* What the kernels share. Features are channels-last; numbers are float32 or bfloat16 in memory (flags `..16` and
 * `half`), and float32 in between. A tile's sites are given as R rows of L adjacent cells each, and `place` says where on
 * the tile's map of height x width cells each row begins: visible patches have rows of one patch, a whole map its own.
 *
 * A kernel works tile by tile, so that what lies between two passes over a tile stays in the cache of one core. Sums over
 * tiles are made in groups, each by one thread and in order of tiles, so that they do not depend on the number of
 * threads. Kernels return 0, 1 if there was no memory, or what they say; operators.py calls them.
 */

#ifndef GEOPRETEXT_KERNELS_H
#define GEOPRETEXT_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef uint32_t uvec __attribute__((vector_size(64)));
typedef uint16_t hvec __attribute__((vector_size(32)));

/* ---- numbers in memory ------------------------------------------------------------------------------------------- */

INLINE vec splat(float a) { return a - (vec){0}; }

INLINE vec load(const void *base, int64_t at, int half)
{
    if (half) {
        hvec raw;
        memcpy(&raw, (const uint16_t *)base + at, sizeof raw);
        return (vec)(__builtin_convertvector(raw, uvec) << 16);
    }
    vec value;
    memcpy(&value, (const float *)base + at, sizeof value);
    return value;
}

INLINE hvec to_half(vec value)
{
#ifdef __AVX512BF16__
    return (hvec)_mm512_cvtneps_pbh((__m512)value);
#else
    uvec bits = (uvec)value;
    uvec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uvec quiet = (bits >> 16) | 0x40;
    ivec is_nan = value != value;
    return __builtin_convertvector((rounded & ~(uvec)is_nan) | (quiet & (uvec)is_nan), hvec);
#endif
}

INLINE void store(void *base, int64_t at, vec value, int half)
{
    if (half) {
        hvec raw = to_half(value);
        memcpy((uint16_t *)base + at, &raw, sizeof raw);
    } else {
        memcpy((float *)base + at, &value, sizeof value);
    }
}

/* The same for the last, narrower vector of a site: lanes from `count` on are zero, and are not written. */
INLINE vec load_some(const void *base, int64_t at, int64_t count, int half)
{
    if (count >= LANES)
        return load(base, at, half);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const uint32_t inside = (1u << count) - 1;
    if (half)
        return (vec)(__builtin_convertvector(
                         (hvec)_mm256_maskz_loadu_epi16((__mmask16)inside, (const uint16_t *)base + at), uvec) << 16);
    return (vec)_mm512_maskz_loadu_ps((__mmask16)inside, (const float *)base + at);
#endif
    if (half) {
        uint16_t raw[LANES] = {0};
        memcpy(raw, (const uint16_t *)base + at, (size_t)count * 2);
        return load(raw, 0, 1);
    }
    float raw[LANES] = {0};
    memcpy(raw, (const float *)base + at, (size_t)count * 4);
    return load(raw, 0, 0);
}

INLINE void store_some(void *base, int64_t at, vec value, int64_t count, int half)
{
    if (count >= LANES) {
        store(base, at, value, half);
        return;
    }
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const uint32_t inside = (1u << count) - 1;
    if (half)
        _mm256_mask_storeu_epi16((uint16_t *)base + at, (__mmask16)inside, (__m256i)to_half(value));
    else
        _mm512_mask_storeu_ps((float *)base + at, (__mmask16)inside, (__m512)value);
    return;
#endif
    if (half) {
        hvec raw = to_half(value);
        memcpy((uint16_t *)base + at, &raw, (size_t)count * 2);
    } else {
        memcpy((float *)base + at, &value, (size_t)count * 4);
    }
}

INLINE vec choose(ivec where, vec yes, vec no) { return (vec)(((ivec)yes & where) | ((ivec)no & ~where)); }

INLINE float total(vec value)
{
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)value);
#endif
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += value[i];
    return sum;
}

INLINE float largest(vec value)
{
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)value);
#endif
    float most = value[0];
    for (int i = 1; i < LANES; i++)
        most = most > value[i] ? most : value[i];
    return most;
}

INLINE vec greater(vec a, vec b)
{
#ifdef __AVX512F__
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return choose(a > b, a, b);
#endif
}

/* The lanes before one. */
INLINE ivec is_before(int64_t lane)
{
    const ivec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lanes < (int32_t)lane;
}

INLINE vec only_first(vec value, int64_t count) { return (vec)((ivec)value & is_before(count)); }

INLINE void *aligned(int64_t bytes)
{
    void *memory = NULL;
    return posix_memalign(&memory, 64, (size_t)(bytes > 0 ? bytes : 64)) ? NULL : memory;
}

/* ---- sites and layer norm of single sites -------------------------------------------------------------------------- */

typedef struct {
    int64_t rows, length, height, width, channels;
} Geometry;

INLINE int64_t blocks_of(int64_t channels) { return (channels + LANES - 1) / LANES; }

/* Mean and 1 / deviation of one site, whose features are `blocks` adjacent vectors, zero beyond the last feature. */
INLINE void site_moments(float *mean, float *scale, const vec *site, int64_t channels, float epsilon)
{
    const int64_t last = blocks_of(channels) - 1;
    vec sum = {0}, squares = {0};
    for (int64_t k = 0; k <= last; k++)
        sum += site[k];
    *mean = total(sum) / (float)channels;
    for (int64_t k = 0; k < last; k++) {
        const vec off = site[k] - *mean;
        squares += off * off;
    }
    const vec off = only_first(site[last] - *mean, channels - last * LANES);
    *scale = 1 / sqrtf(total(squares + off * off) / (float)channels + epsilon);
}

/* In place: the gradient of the norm's output becomes that of its input. gamma is zero beyond the last feature. */
INLINE void site_gradient(vec *gradient, const vec *site, float mean, float scale, int64_t channels, const vec *gamma,
                          vec *by_gamma, vec *by_beta)
{
    const int64_t blocks = blocks_of(channels);
    vec sum = {0}, product = {0};
    for (int64_t k = 0; k < blocks; k++) {
        const vec normalised = (site[k] - mean) * scale, given = gradient[k];
        by_gamma[k] += given * normalised;
        by_beta[k] += given;
        gradient[k] = given * gamma[k];
        sum += gradient[k];
        product += gradient[k] * normalised;
    }
    const float mean_sum = total(sum) / (float)channels, mean_product = total(product) / (float)channels;
    for (int64_t k = 0; k < blocks; k++)
        gradient[k] = (gradient[k] - mean_sum - (site[k] - mean) * scale * mean_product) * scale;
}

/* A vector of parameters, zero beyond the last feature. */
INLINE void widen(vec *wide, const float *numbers, int64_t channels)
{
    for (int64_t k = 0; k < blocks_of(channels); k++)
        wide[k] = load_some(numbers, k * LANES, channels - k * LANES, 0);
}

/* ---- functions ----------------------------------------------------------------------------------------------------- */

INLINE vec power_of_e(vec x) /* for x <= 0; what is no number stays none */
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
#ifdef __AVX512F__
    const vec low = (vec)_mm512_max_ps((__m512)splat(-87.0f), (__m512)x);
#else
    const vec low = choose(x < -87.0f, splat(-87.0f), x);
#endif
    const vec shifted = low * 1.44269504f + shift, whole = shifted - shift;
    const vec rest = (low - whole * 0.693359375f) + whole * 2.12194440e-4f;
    vec sum = splat(1.9875691500e-4f);
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
#ifdef __AVX512F__
    return (vec)_mm512_scalef_ps((__m512)sum, (__m512)whole);
#else
    return choose(x == x, (vec)((ivec)sum + (((ivec)shifted - 0x4b400000) << 23)), x);
#endif
}

INLINE vec inverse(vec x)
{
#ifdef __AVX512F__
    const vec guess = (vec)_mm512_rcp14_ps((__m512)x);
    return guess * (2.0f - x * guess); /* one step of Newton doubles its 14 bits */
#else
    return 1.0f / x;
#endif
}

/* The normal distribution function and its density times x (Abramowitz and Stegun 1964, 7.1.26: error 1.5e-7). */
INLINE vec normal(vec x, vec *density_times_x)
{
    const vec size = (vec)((ivec)x & 0x7fffffff);
    const vec bell = power_of_e(size * size * -0.5f);
    const vec t = inverse(1.0f + 0.3275911f * 0.70710678f * size);
    vec sum = splat(1.061405429f);
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    const vec half = 0.5f - 0.5f * sum * t * bell; /* the probability between 0 and |x| */
    *density_times_x = x * bell * 0.39894228f;
    return 0.5f + (vec)((ivec)half ^ ((ivec)x & (ivec)splat(-0.0f)));
}

#endif
