/* Losses of patches, with targets read from maps where they lie. */

#include "kernels.h"

typedef struct {
    int64_t tiles, patches, side, channels, height, width; /* of one tile: patches that are compared; of the map */
} Patches;

/* First cell of a patch on the map. */
INLINE int64_t patch_corner(Patches p, int64_t number)
{
    const int64_t across = p.width / p.side;
    return number / across * p.side * p.width + number % across * p.side;
}

/* Targets of one patch by row, column, channel, and 1 where they are known; returns how many are. Those of the next patch
 * are asked for: a processor does not foresee rows so short. */
INLINE float take_targets(float *target, float *known, const float *values, const uint8_t *valid, int64_t corner,
                          int64_t next, Patches p)
{
    int64_t count = 0;
    for (int64_t c = 0; c < p.channels; c++)
        for (int64_t y = 0; y < p.side; y++) {
            const int64_t from = (c * p.height + y) * p.width + corner;
            __builtin_prefetch(values + from - corner + next);
            __builtin_prefetch(valid + from - corner + next);
            for (int64_t x = 0; x < p.side; x++) {
                const int64_t to = (y * p.side + x) * p.channels + c;
                const int there = valid[from + x] != 0;
                target[to] = values[from + x];
                known[to] = (float)there; /* no branch: what is missing may be anywhere */
                count += there;
            }
        }
    return (float)count;
}

/* Mean 0 and (unbiased) variance 1 over what is known. */
INLINE void standardise(float *target, const float *known, float count, int64_t numbers)
{
    vec sum = {0}, squares = {0};
    for (int64_t i = 0; i < numbers; i += LANES)
        sum += load(target, i, 0) * load(known, i, 0);
    const float mean = total(sum) / (count > 1 ? count : 1);
    for (int64_t i = 0; i < numbers; i += LANES) {
        const vec off = (load(target, i, 0) - mean) * load(known, i, 0);
        squares += off * off;
        store(target, i, off, 0);
    }
    const float scale = 1 / sqrtf(total(squares) / (count > 2 ? count - 1 : 1) + 1e-6f);
    for (int64_t i = 0; i < numbers; i += LANES)
        store(target, i, load(target, i, 0) * scale, 0);
}

/* Squared error: sums and counts of each tile; or, if `by_prediction` is given, the gradient times `factor`. */
INLINE int squared_error(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                         const float *values, const uint8_t *valid, const int64_t *chosen, Patches p, int scaled,
                         int half)
{
    const int64_t numbers = p.side * p.side * p.channels, map = p.channels * p.height * p.width;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *target = aligned(2 * numbers * (int64_t)sizeof(float)), *known = target + numbers;
        if (target == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < p.tiles; tile++) {
                double sum = 0, count = 0;
                for (int64_t patch = tile * p.patches; patch < (tile + 1) * p.patches; patch++) {
                    const int64_t corner = patch_corner(p, chosen[patch]);
                    const int is_last = patch + 1 == (tile + 1) * p.patches;
                    const int64_t next = is_last ? corner : patch_corner(p, chosen[patch + 1]);
                    const float there =
                        take_targets(target, known, values + tile * map, valid + tile * map, corner, next, p);
                    if (scaled)
                        standardise(target, known, there, numbers);
                    vec squares = {0};
                    for (int64_t i = 0; i < numbers; i += LANES) {
                        const vec off = (load(prediction, patch * numbers + i, half) - load(target, i, 0));
                        const ivec unknown = load(known, i, 0) == 0;
                        const vec error = choose(unknown, (vec){0}, off);
                        if (by_prediction != NULL)
                            store(by_prediction, patch * numbers + i, error * (2 * factor), half);
                        squares += error * error;
                    }
                    sum += total(squares), count += there;
                }
                if (by_prediction == NULL)
                    sums[tile] = (float)sum, counts[tile] = (float)count;
            }
        }
        free(target);
    }
    return failed;
}

#define NEARLY_FULL 1e250 /* a double that can be multiplied once more */

typedef struct {
    double sum, product; /* of what needs no logarithm, and of what does: one for many pixels */
    int64_t count;
} Entropy;

/* One pixel: its cross-entropy is added to `entropy`; or, if `by_prediction` is given, its gradient is written. */
INLINE void pixel_entropy(Entropy *entropy, void *by_prediction, float factor, const void *prediction, int64_t from,
                          int32_t class, int64_t classes, vec *power, int64_t blocks, int half)
{
    vec most = splat(-INFINITY), added = {0};
    for (int64_t k = 0; k < blocks; k++) {
        power[k] = load_some(prediction, from + k * LANES, classes - k * LANES, half);
        most = greater(most, choose(is_before(classes - k * LANES), power[k], splat(-INFINITY)));
    }
    const float top = largest(most), own = ((const float *)power)[class] - top;
    for (int64_t k = 0; k < blocks; k++) {
        power[k] = only_first(power_of_e(power[k] - top), classes - k * LANES);
        added += power[k];
    }
    const float all = total(added);
    if (by_prediction == NULL) {
        entropy->sum -= own;
        entropy->product *= all;
        entropy->count++;
        if (entropy->product > NEARLY_FULL)
            entropy->sum += log(entropy->product), entropy->product = 1;
        return;
    }
    for (int64_t k = 0; k < blocks; k++) {
        const ivec own_lane = is_before(class + 1 - (int32_t)k * LANES) & ~is_before(class - (int32_t)k * LANES);
        const vec gradient = power[k] * (factor / all) - choose(own_lane, splat(factor), (vec){0});
        store_some(by_prediction, from + k * LANES, gradient, classes - k * LANES, half);
    }
}

/* Cross-entropy of the classes of each pixel, which lie side by side in the prediction. Returns 2 if a target is no class. */
INLINE int cross_entropy(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                         const int64_t *values, const uint8_t *valid, const int64_t *chosen, Patches p, int half)
{
    const int64_t map = p.height * p.width, classes = p.channels, row = p.side * classes, blocks = blocks_of(classes);
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        vec *power = aligned(blocks * (int64_t)sizeof(vec));
        if (power == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < p.tiles; tile++) {
                Entropy entropy = {.sum = 0, .product = 1, .count = 0};
                const int64_t lines = (tile + 1) * p.patches * p.side;
                for (int64_t line = tile * p.patches * p.side; line < lines; line++) {
                    const int64_t patch = line / p.side, down = tile * map + line % p.side * p.width;
                    const int64_t corner = down + patch_corner(p, chosen[patch]);
                    if (line + p.side < lines) { /* see take_targets */
                        const int64_t next = down + patch_corner(p, chosen[patch + 1]);
                        __builtin_prefetch(values + next);
                        __builtin_prefetch(values + next + 8);
                        __builtin_prefetch(valid + next);
                    }
                    for (int64_t x = 0; x < p.side; x++) {
                        const int64_t cell = corner + x, from = line * row + x * classes;
                        const int is_class = values[cell] >= 0 && values[cell] < classes, known = valid[cell] != 0;
                        if (known && is_class)
                            pixel_entropy(&entropy, by_prediction, factor, prediction, from, (int32_t)values[cell],
                                          classes, power, blocks, half);
                        else if (by_prediction != NULL)
                            for (int64_t k = 0; k < blocks; k++)
                                store_some(by_prediction, from + k * LANES, (vec){0}, classes - k * LANES, half);
                        failed |= known && !is_class ? 2 : 0;
                    }
                }
                if (by_prediction == NULL) {
                    sums[tile] = (float)(entropy.sum + log(entropy.product));
                    counts[tile] = (float)entropy.count;
                }
            }
        }
        free(power);
    }
    return failed;
}

int geopretext_squared_error(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                             const float *values, const uint8_t *valid, const int64_t *chosen, int64_t tiles,
                             int64_t patches, int64_t side, int64_t channels, int64_t height, int64_t width,
                             int scaled, int half)
{
    const Patches p = {tiles, patches, side, channels, height, width};
    return squared_error(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, scaled, half);
}

int geopretext_cross_entropy(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                             const int64_t *values, const uint8_t *valid, const int64_t *chosen, int64_t tiles,
                             int64_t patches, int64_t side, int64_t channels, int64_t height, int64_t width, int half)
{
    const Patches p = {tiles, patches, side, channels, height, width};
    return cross_entropy(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, half);
}
