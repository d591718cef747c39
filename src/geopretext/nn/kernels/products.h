/* Matrix products of many rows with few features, float32: too narrow for what libraries are built for, and with what
 * follows a product done while its result is in registers. A result is made in tiles of some rows times some vectors.
 */

#ifndef GEOPRETEXT_PRODUCTS_H
#define GEOPRETEXT_PRODUCTS_H

#include "response.h"

#define MOST_ROWS 12
#define MOST_VECTORS 5
#define NEAR_BYTES 42000 /* of weights: what a core's nearest cache has beside the rows */
#define ONCE static __attribute__((noinline)) /* many calls, little to gain, and long to compile */
#define UNROLLED _Pragma("GCC unroll 12")

/* Vectors of a tile: what divides the blocks of a row, so that no lane is idle but in the last block, and leaves all that
 * is summed near, or else the most; 0: nothing does. */
INLINE int tile_vectors(int64_t inner, int64_t columns)
{
    int most = 0;
    for (int vectors = MOST_VECTORS; vectors > 1; vectors--)
        if (blocks_of(columns) % vectors == 0) {
            if (inner * vectors * (int64_t)sizeof(vec) <= NEAR_BYTES)
                return vectors;
            most = most ? most : vectors;
        }
    return most;
}

/* As many rows as leave registers for a row of vectors and one number. */
INLINE int tile_rows(int vectors) { return vectors == 5 ? 5 : 24 / vectors; }

/* Calls a function with constants, so that each tile is compiled by itself. */
#define BY_VECTORS(vectors, call)                                                                                      \
    ((vectors) == 5 ? call(5) : (vectors) == 4 ? call(4) : (vectors) == 3 ? call(3) : call(2))

/* (inner, columns) numbers, `row` and `column` apart, as tiles read them: panels of some vectors, row by row. */
INLINE void pack(vec *panels, const float *numbers, int64_t row, int64_t column, int64_t inner, int64_t columns)
{
    const int64_t vectors = tile_vectors(inner, columns);
    float *to = (float *)panels;
    for (int64_t from = 0; from < columns; from += vectors * LANES)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t c = from; c < from + vectors * LANES; c++)
                *to++ = c < columns ? numbers[k * row + c * column] : 0;
}

/* The same panels with each row times a factor. */
INLINE void scale_panels(vec *scaled, const vec *panels, const float *factor, int64_t inner, int64_t columns)
{
    const int64_t blocks = blocks_of(columns), vectors = tile_vectors(inner, columns);
    for (int64_t panel = 0; panel < blocks / vectors; panel++)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t v = 0; v < vectors; v++)
                *scaled++ = *panels++ * factor[k];
}

/* What becomes of a product. */
enum {
    SUM,      /* plus bias and residual, which may be NULL */
    ACTIVE,   /* a = gelu(product + bias), and sums of its squares are added */
    SLOPE,    /* likewise without squares, but with the slope of gelu there */
    RESPONSE, /* (product * factor + a * per) * slope over what was a, and its sums are added */
};

typedef struct {
    float *to;
    const float *from;
    const vec *panels;
    int64_t rows, inner, columns;
    const float *bias, *residual, *factor, *per;
    float *slope, *sums;
} Product;

ONCE void finish(Product p, int kind, vec (*sum)[MOST_VECTORS], int rows, int vectors, int64_t row, int64_t column)
{
    for (int v = 0; v < vectors; v++) {
        const int64_t c = column + v * LANES, count = kind == SUM ? p.columns - c : LANES;
        vec sums = {0};
        for (int r = 0; r < rows; r++) {
            const int64_t at = (row + r) * p.columns + c;
            vec value = sum[r][v], slope;
            if (kind == SUM) {
                if (p.bias != NULL)
                    value += load_some(p.bias, c, count, 0);
                if (p.residual != NULL)
                    value += load_some(p.residual, at, count, 0);
            } else if (kind == RESPONSE) {
                value = value * load(p.factor, c, 0) + load(p.to, at, 0) * load(p.per, c, 0);
                value *= load(p.slope, at, 0);
                sums += value;
            } else {
                value += load(p.bias, c, 0);
                const vec share = normal(value, &slope);
                value *= share;
                if (kind == SLOPE)
                    store(p.slope, at, share + slope, 0);
                sums += value * value;
            }
            store_some(p.to, at, value, count, 0);
        }
        if (kind == ACTIVE || kind == RESPONSE)
            add(p.sums, c, sums);
    }
}

/* Some rows and vectors of a product, over a part of what is summed; the rest of the sum lies in the result. */
INLINE void product_tile(Product p, int kind, int rows, int vectors, int64_t row, int64_t panel, int64_t begin,
                         int64_t end)
{
    vec sum[MOST_ROWS][MOST_VECTORS];
    const float *from = p.from + row * p.inner;
    const vec *weights = p.panels + (panel * p.inner + begin) * vectors;
    const int64_t column = panel * vectors * LANES;
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            sum[r][v] = begin == 0 ? (vec){0}
                                   : load_some(p.to, (row + r) * p.columns + column + v * LANES,
                                               p.columns - column - v * LANES, 0);
    for (int64_t k = begin; k < end; k++, weights += vectors)
        UNROLLED for (int r = 0; r < rows; r++)
        {
            const vec number = splat(from[r * p.inner + k]);
            UNROLLED for (int v = 0; v < vectors; v++)
                sum[r][v] += number * weights[v];
        }
    if (end == p.inner) {
        vec whole[MOST_ROWS][MOST_VECTORS]; /* so that sums themselves can be in registers */
        UNROLLED for (int r = 0; r < rows; r++)
            UNROLLED for (int v = 0; v < vectors; v++)
                whole[r][v] = sum[r][v];
        finish(p, kind, whole, rows, vectors, row, column);
        return;
    }
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            store_some(p.to, (row + r) * p.columns + column + v * LANES, sum[r][v], p.columns - column - v * LANES, 0);
}

INLINE void product_of(Product p, int kind, int vectors)
{
    const int64_t panels = blocks_of(p.columns) / vectors, bytes = p.inner * vectors * (int64_t)sizeof(vec);
    const int64_t parts = kind == SUM ? (bytes + NEAR_BYTES - 1) / NEAR_BYTES : 1;
    const int rows = tile_rows(vectors);
    for (int64_t panel = 0; panel < panels; panel++)
        for (int64_t part = 0; part < parts; part++) {
            const int64_t begin = part * p.inner / parts, end = (part + 1) * p.inner / parts;
            int64_t row = 0;
            for (; row + rows <= p.rows; row += rows)
                product_tile(p, kind, rows, vectors, row, panel, begin, end);
            for (; row < p.rows; row++)
                product_tile(p, kind, 1, vectors, row, panel, begin, end);
        }
}

/* Of (rows, inner) numbers with packed (inner, columns); only SUM takes columns that are no multiple of LANES. */
ONCE void product(Product p, int kind)
{
#define CALL(vectors) product_of(p, kind, vectors)
    BY_VECTORS(tile_vectors(p.inner, p.columns), CALL);
#undef CALL
}

INLINE void outer_tile(float *to, const float *few, const float *many, int64_t heads, int64_t columns, int64_t sites,
                       int is_new, int rows, int vectors)
{
    vec sum[MOST_ROWS][MOST_VECTORS];
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            sum[r][v] = is_new ? (vec){0} : load(to, r * columns + v * LANES, 0);
    for (int64_t site = 0; site < sites; site++, few += heads, many += columns) {
        vec row[MOST_VECTORS];
        UNROLLED for (int v = 0; v < vectors; v++)
            row[v] = load(many, v * LANES, 0);
        UNROLLED for (int r = 0; r < rows; r++)
        {
            const vec number = splat(few[r]);
            UNROLLED for (int v = 0; v < vectors; v++)
                sum[r][v] += number * row[v];
        }
    }
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            store(to, r * columns + v * LANES, sum[r][v], 0);
}

#define NEAR_SITES 96 /* of which a tile's vectors stay in a core's nearest cache */

INLINE void outer_of(float *to, const float *few, const float *many, int64_t sites, int64_t heads, int64_t columns,
                     int is_new, int vectors)
{
    const int64_t parts = (sites + NEAR_SITES - 1) / NEAR_SITES;
    const int rows = tile_rows(vectors);
    for (int64_t part = 0; part < parts; part++) {
        const int64_t begin = part * sites / parts, count = (part + 1) * sites / parts - begin;
        const float *a = few + begin * heads, *b = many + begin * columns;
        const int first = is_new && part == 0;
        for (int64_t c = 0; c < columns; c += vectors * LANES) {
            int64_t head = 0;
            for (; head + rows <= heads; head += rows)
                outer_tile(to + head * columns + c, a + head, b + c, heads, columns, count, first, rows, vectors);
            for (; head < heads; head++)
                outer_tile(to + head * columns + c, a + head, b + c, heads, columns, count, first, 1, vectors);
        }
    }
}

/* to (heads, columns) = or += the sum over sites of few (sites, heads) times many (sites, columns: of whole vectors). */
ONCE void outer(float *to, const float *few, const float *many, int64_t sites, int64_t heads, int64_t columns,
                  int is_new)
{
#define CALL(vectors) outer_of(to, few, many, sites, heads, columns, is_new, vectors)
    BY_VECTORS(tile_vectors(1, columns), CALL);
#undef CALL
}

#endif
