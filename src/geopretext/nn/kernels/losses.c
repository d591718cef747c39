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

/* Targets of one patch by row, column, channel, and 1 where they are known; returns how many are. */
INLINE float take_targets(float *target, float *known, const float *values, const uint8_t *valid, int64_t corner,
                          Patches p)
{
    int64_t count = 0;
    for (int64_t c = 0; c < p.channels; c++)
        for (int64_t y = 0; y < p.side; y++) {
            const int64_t from = (c * p.height + y) * p.width + corner;
            for (int64_t x = 0; x < p.side; x++) {
                const int64_t to = (y * p.side + x) * p.channels + c;
                target[to] = values[from + x];
                known[to] = valid[from + x] ? 1.0f : 0.0f;
                count += valid[from + x] != 0;
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
                    const float there = take_targets(target, known, values + tile * map, valid + tile * map,
                                                     patch_corner(p, chosen[patch]), p);
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

/* Cross-entropy of the classes of each pixel, which lie side by side in the prediction. Returns 2 if a target is no class. */
INLINE int cross_entropy(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                         const int64_t *values, const uint8_t *valid, const int64_t *chosen, Patches p, int half)
{
    const int64_t pixels = p.side * p.side, map = p.height * p.width, classes = p.channels;
    const int64_t blocks = blocks_of(classes);
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        vec *power = aligned(blocks * (int64_t)sizeof(vec));
        if (power == NULL) {
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < p.tiles; tile++) {
                double sum = 0, count = 0;
                for (int64_t patch = tile * p.patches; patch < (tile + 1) * p.patches; patch++) {
                    const int64_t corner = tile * map + patch_corner(p, chosen[patch]);
                    for (int64_t pixel = 0; pixel < pixels; pixel++) {
                        const int64_t cell = corner + pixel / p.side * p.width + pixel % p.side;
                        const int64_t from = (patch * pixels + pixel) * classes;
                        const int is_class = values[cell] >= 0 && values[cell] < classes;
                        const int known = valid[cell] != 0 && is_class;
                        if (valid[cell] != 0 && !is_class)
                            failed |= 2;
                        if (!known) {
                            if (by_prediction != NULL)
                                for (int64_t k = 0; k < blocks; k++)
                                    store_some(by_prediction, from + k * LANES, (vec){0}, classes - k * LANES, half);
                            continue;
                        }
                        float largest = -INFINITY, own = 0;
                        for (int64_t k = 0; k < blocks; k++) {
                            power[k] = load_some(prediction, from + k * LANES, classes - k * LANES, half);
                            for (int64_t i = k * LANES; i < classes && i < (k + 1) * LANES; i++)
                                largest = fmaxf(largest, power[k][i % LANES]);
                        }
                        own = ((const float *)power)[values[cell]];
                        vec added = {0};
                        for (int64_t k = 0; k < blocks; k++) {
                            power[k] = only_first(power_of_e(power[k] - largest), classes - k * LANES);
                            added += power[k];
                        }
                        const float all = total(added);
                        if (by_prediction == NULL) {
                            sum += (double)(logf(all) - (own - largest));
                            count += 1;
                        } else {
                            for (int64_t k = 0; k < blocks; k++)
                                power[k] *= factor / all;
                            ((float *)power)[values[cell]] -= factor;
                            for (int64_t k = 0; k < blocks; k++)
                                store_some(by_prediction, from + k * LANES, power[k], classes - k * LANES, half);
                        }
                    }
                }
                if (by_prediction == NULL)
                    sums[tile] = (float)sum, counts[tile] = (float)count;
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
    return half ? squared_error(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, scaled, 1)
                : squared_error(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, scaled, 0);
}

int geopretext_cross_entropy(float *sums, float *counts, void *by_prediction, float factor, const void *prediction,
                             const int64_t *values, const uint8_t *valid, const int64_t *chosen, int64_t tiles,
                             int64_t patches, int64_t side, int64_t channels, int64_t height, int64_t width, int half)
{
    const Patches p = {tiles, patches, side, channels, height, width};
    return half ? cross_entropy(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, 1)
                : cross_entropy(sums, counts, by_prediction, factor, prediction, values, valid, chosen, p, 0);
}
