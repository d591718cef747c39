/* The two-layer network of a ConvNeXt V2 block on one tile after another: linear, GELU, global response norm, linear.
 * What is four times as wide as the input is float32, never leaves the cache of a core, and is computed again for the
 * gradient.
 *
 * D: features, W = 4 D. The norm is a factor and a shift of each wide feature, so it goes into the second layer:
 * (a factor + beta) w2' = a (factor w2') + beta w2'.
 */

#include "products.h"

typedef struct {
    const float *w1, *b1, *w2, *b2;
    Norm norm;
    int64_t tiles, sites, width, wide;
    int half;
} Block;

INLINE int64_t panel_bytes(int64_t inner, int64_t columns)
{
    return inner * blocks_of(columns) * (int64_t)sizeof(vec);
}

INLINE int64_t floats(int64_t count) { return count * (int64_t)sizeof(float); }

/* Numbers in memory as float32: where they lie, or in `room`. */
INLINE const float *as_floats(float *room, const void *base, int64_t at, int64_t count, int half)
{
    if (!half)
        return (const float *)base + at;
    for (int64_t i = 0; i < count; i += LANES)
        store_some(room, i, load_some(base, at + i, count - i, 1), count - i, 0);
    return room;
}

INLINE void keep_half(void *base, int64_t at, const float *from, const void *plus, int64_t count)
{
    for (int64_t i = 0; i < count; i += LANES) {
        vec value = load_some(from, i, count - i, 0);
        if (plus != NULL)
            value += load_some(plus, at + i, count - i, 1);
        store_some(base, at + i, value, count - i, 1);
    }
}

/* b2 + beta w2' */
INLINE void shift_bias(float *shifted, Block block)
{
    for (int64_t d = 0; d < block.width; d++) {
        vec sum = {0};
        for (int64_t c = 0; c < block.wide; c += LANES)
            sum += load(block.w2, d * block.wide + c, 0) * load(block.norm.beta, c, 0);
        shifted[d] = block.b2[d] + total(sum);
    }
}

INLINE int forward(void *out, float *strength, const void *y, const void *residual, Block b)
{
    const int64_t in = b.sites * b.width, inside = b.sites * b.wide;
    vec *first = aligned(panel_bytes(b.width, b.wide)), *second = aligned(panel_bytes(b.wide, b.width));
    float *bias = aligned(floats(b.width));
    int failed = first == NULL || second == NULL || bias == NULL;
    if (!failed) {
        pack(first, b.w1, 1, b.width, b.width, b.wide);
        pack(second, b.w2, 1, b.wide, b.wide, b.width);
        shift_bias(bias, b);
#pragma omp parallel reduction(| : failed)
        {
            float *active = aligned(floats(inside + 2 * b.wide + (b.half ? 2 * in : 0)));
            float *share = active + inside, *factor = share + b.wide, *room = factor + b.wide;
            vec *scaled = aligned(panel_bytes(b.wide, b.width));
            failed = active == NULL || scaled == NULL;
            if (!failed) {
#pragma omp for schedule(static)
                for (int64_t tile = 0; tile < b.tiles; tile++) {
                    float *own = strength + tile * b.wide;
                    const float *from = as_floats(room, y, tile * in, in, b.half);
                    memset(own, 0, (size_t)floats(b.wide));
                    product((Product){.to = active, .from = from, .panels = first, .rows = b.sites,
                                      .inner = b.width, .columns = b.wide, .bias = b.b1, .sums = own},
                            ACTIVE);
                    for (int64_t c = 0; c < b.wide; c++)
                        own[c] = sqrtf(own[c]);
                    factors_of(factor, share, own, b.norm, b.wide);
                    scale_panels(scaled, second, factor, b.wide, b.width);
                    const int adds = residual != NULL && !b.half;
                    product((Product){.to = b.half ? room + in : (float *)out + tile * in, .from = active,
                                      .panels = scaled, .rows = b.sites, .inner = b.wide, .columns = b.width,
                                      .bias = bias, .residual = adds ? (const float *)residual + tile * in : NULL},
                            SUM);
                    if (b.half)
                        keep_half(out, tile * in, room + in, residual, in);
                }
            }
            free(active);
            free(scaled);
        }
    }
    free(first);
    free(second);
    free(bias);
    return failed;
}

/* Sums over tiles, in groups, to which is added: (groups, D, W), (groups, W) or (groups, D). by_w1 is transposed. */
typedef struct {
    float *by_w1, *by_b1, *by_gamma, *by_beta, *by_w2, *by_b2;
} Sums;

typedef struct {
    float *active, *slope; /* (sites, W) */
    float *by_scaled;      /* (D, W): of the second weight times its factor */
    float *by_factor, *share, *factor, *per, *given;
} Scratch;

/* Gradients of what the second layer and the norm hold; leaves factor and per for those of what comes before. */
INLINE void second_gradient(Scratch *s, Sums sums, const float *by_out, const float *strength, Block b)
{
    memset(s->by_factor, 0, (size_t)floats(b.wide));
    memset(s->given, 0, (size_t)floats(b.width));
    outer(s->by_scaled, by_out, s->active, b.sites, b.width, b.wide, 1);
    for (int64_t site = 0; site < b.sites; site++)
        for (int64_t d = 0; d < b.width; d++)
            s->given[d] += by_out[site * b.width + d];
    const float inverse_mean = factors_of(s->factor, s->share, strength, b.norm, b.wide);
    for (int64_t d = 0; d < b.width; d++) {
        const float given = s->given[d];
        sums.by_b2[d] += given;
        for (int64_t c = 0; c < b.wide; c += LANES) {
            const int64_t at = d * b.wide + c;
            const vec weight = load(b.w2, at, 0), by = load(s->by_scaled, at, 0);
            add(s->by_factor, c, by * weight);
            add(sums.by_beta, c, weight * given);
            add(sums.by_w2, at, by * load(s->factor, c, 0) + load(b.norm.beta, c, 0) * given);
        }
    }
    through_strength(s->per, sums.by_gamma, s->by_factor, s->share, strength, inverse_mean, b.norm, b.wide);
}

INLINE int backward(void *by_y, Sums all, const void *by_out, const void *y, const float *strength, Block b,
                    int64_t groups)
{
    const int64_t in = b.sites * b.width, inside = b.sites * b.wide, weights = b.width * b.wide;
    vec *first = aligned(panel_bytes(b.width, b.wide)), *second = aligned(panel_bytes(b.width, b.wide));
    vec *back = aligned(panel_bytes(b.wide, b.width));
    int failed = first == NULL || second == NULL || back == NULL;
    if (!failed) {
        pack(first, b.w1, 1, b.width, b.width, b.wide);
        pack(second, b.w2, b.wide, 1, b.width, b.wide);
        pack(back, b.w1, b.width, 1, b.wide, b.width);
#pragma omp parallel reduction(| : failed)
        {
            float *memory = aligned(floats(2 * inside + weights + 4 * b.wide + b.width + (b.half ? 3 * in : 0)));
            float *vectors = memory + 2 * inside + weights, *room = vectors + 4 * b.wide + b.width;
            Scratch s = {memory,           memory + inside,      memory + 2 * inside,  vectors,
                         vectors + b.wide, vectors + 2 * b.wide, vectors + 3 * b.wide, vectors + 4 * b.wide};
            failed = memory == NULL;
            if (!failed) {
#pragma omp for schedule(static)
                for (int64_t group = 0; group < groups; group++) {
                    const Sums sums = {all.by_w1 + group * weights,     all.by_b1 + group * b.wide,
                                       all.by_gamma + group * b.wide, all.by_beta + group * b.wide,
                                       all.by_w2 + group * weights,     all.by_b2 + group * b.width};
                    for (int64_t tile = group; tile < b.tiles; tile += groups) {
                        const float *from = as_floats(room, y, tile * in, in, b.half);
                        const float *by = as_floats(room + in, by_out, tile * in, in, b.half);
                        product((Product){.to = s.active, .from = from, .panels = first, .rows = b.sites,
                                          .inner = b.width, .columns = b.wide, .bias = b.b1, .slope = s.slope},
                                SLOPE);
                        second_gradient(&s, sums, by, strength + tile * b.wide, b);
                        product((Product){.to = s.active, .from = by, .panels = second, .rows = b.sites,
                                          .inner = b.width, .columns = b.wide, .factor = s.factor, .per = s.per,
                                          .slope = s.slope, .sums = sums.by_b1},
                                RESPONSE);
                        outer(sums.by_w1, from, s.active, b.sites, b.width, b.wide, 0);
                        product((Product){.to = b.half ? room + 2 * in : (float *)by_y + tile * in, .from = s.active,
                                          .panels = back, .rows = b.sites, .inner = b.wide, .columns = b.width},
                                SUM);
                        if (b.half)
                            keep_half(by_y, tile * in, room + 2 * in, NULL, in);
                    }
                }
            }
            free(memory);
        }
    }
    free(first);
    free(second);
    free(back);
    return failed;
}

/* 2 if these kernels are fast here and have tiles for this width, else 0. */
int geopretext_mlp_fits(int64_t width)
{
#ifdef __AVX512F__
    return width % 4 == 0 && tile_vectors(1, width) && tile_vectors(1, 4 * width) ? 2 : 0;
#else
    (void)width;
    return 0;
#endif
}

/* out, y, residual (or NULL): (tiles, sites, D); strength: (tiles, W); w1: (W, D); w2: (D, W). */
int geopretext_mlp_forward(void *out, float *strength, const void *y, const void *residual, const float *w1,
                           const float *b1, const float *gamma, const float *beta, const float *w2, const float *b2,
                           int64_t tiles, int64_t sites, int64_t width, float epsilon, int half)
{
    const Block block = {w1, b1, w2, b2, {b1, gamma, beta, epsilon}, tiles, sites, width, 4 * width, half};
    return forward(out, strength, y, residual, block);
}

int geopretext_mlp_backward(void *by_y, float *by_w1, float *by_b1, float *by_gamma, float *by_beta, float *by_w2,
                            float *by_b2, const void *by_out, const void *y, const float *strength, const float *w1,
                            const float *b1, const float *gamma, const float *beta, const float *w2, int64_t tiles,
                            int64_t groups, int64_t sites, int64_t width, float epsilon, int half)
{
    const Block block = {w1, b1, w2, NULL, {b1, gamma, beta, epsilon}, tiles, sites, width, 4 * width, half};
    const Sums sums = {by_w1, by_b1, by_gamma, by_beta, by_w2, by_b2};
    return backward(by_y, sums, by_out, y, strength, block, groups);
}
