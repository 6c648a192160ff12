/* A layer of each of the network's passes in one sweep: the product and, of each row of it, what
 * follows while it is near; `swept.py` has the Python of it.
 *
 * The equations are those of `passes.py`. An array (W, G, n) is read and written row by row: a row
 * is one unit of one signal at its n coordinates. No sum is shared by threads, so that results do
 * not depend on how many there are.
 *
 * Compiled twice: numbers are float, or with -DHALF bfloat16, of which all arithmetic is in float.
 * FEW and BLOCK are given by who compiles it.
 */

#include <math.h>

#include "product.h"

#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA)
#error "without instructions for a product and a sum at once, PyTorch's own operations are faster"
#endif

#ifdef HALF
typedef uint16_t number;

static inline float wide(number x)
{
    uint32_t bits = (uint32_t)x << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}

/* To the nearest, of two the even one; what is not a number stays none. */
static inline number narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return x == x ? rounded : 0x7fc0;
}
#else
typedef float number;

static inline float wide(number x) { return x; }
static inline number narrow(float x) { return x; }
#endif

/* Up to here `circle` was measured to be within 1e-7; what is further is the mathematics library's. */
#define FAR 30000.0f

/* Sine and cosine. x less the nearest multiple n of π/2 is between -π/4 and π/4, where a short
 * polynomial is good to a float's last digits; n tells which of both it is, and its sign. The
 * coefficients are those of S. L. Moshier's Cephes library. */
static inline void circle(float x, float *sine, float *cosine)
{
    float n = rintf(x * 0.636619772367581343f);
    float r = fmaf(n, -1.5707962512969971f, x);
    r = fmaf(n, -7.5497894158615964e-8f, r);
    r = fmaf(n, -5.3903029534742384e-15f, r);
    float q = r * r;
    float s = fmaf(fmaf(-1.9515295891e-4f, q, 8.3321608736e-3f), q, -1.6666654611e-1f);
    float c = fmaf(fmaf(2.443315711809948e-5f, q, -1.388731625493765e-3f), q, 4.166664568298827e-2f);
    s = fmaf(s, q * r, r);
    c = fmaf(c, q * q, fmaf(-0.5f, q, 1.0f));
    int32_t quarter = (int32_t)n;
    float first = quarter & 1 ? c : s, second = quarter & 1 ? s : c;
    uint32_t a, b;
    memcpy(&a, &first, 4);
    memcpy(&b, &second, 4);
    a ^= (uint32_t)(quarter & 2) << 30;
    b ^= (uint32_t)((quarter + 1) & 2) << 30;
    memcpy(sine, &a, 4);
    memcpy(cosine, &b, 4);
}

/* Most coordinates of a row that are worked on together where no product is made. */
#define ROW 512
_Static_assert(BLOCK <= ROW, "lines have room for a block");

/* An array (W, K, n) of G signals: K is G, or 1 for an array that all share, or several for each. */
typedef struct {
    number *first; /* NULL if it is not used */
    size rows, n;  /* K and n; n may be 1 for a number that all coordinates share */
} array;

/* What the lines read and write, by the names of the equations. `result` is where the product is if
 * there is one already, and takes what becomes of it; G is its signals. */
typedef struct {
    array result, sine, cosine, a, x, along;
    const float *shift; /* (W, G) */
    float *total;       /* (blocks of a signal, W, G), the sums of each; at last (W, G), of all */
    size units, signals;
    int given; /* whether the product is there */
} layer;

/* The first of a place's rows in an array; the next unit's is `below` further. */
static inline number *here(const layer *l, array of, place at)
{
    size each = of.rows == l->signals ? at.signal : at.signal * of.rows / l->signals;
    size row = at.unit * of.rows + each;
    return of.first + row * of.n + (of.n == 1 ? 0 : at.start);
}
#define below(array) (l->array.rows * l->array.n)

static inline float *total_of(const layer *l, place at)
{
    return l->total + (at.block * l->units + at.unit) * l->signals + at.signal;
}

static inline void wave_row(float *sum, float shift, number *s, number *c, size n)
{
    float other[ROW], most = 0;
#pragma omp simd reduction(max : most)
    for (size i = 0; i < n; i++) {
        sum[i] += shift;
        float far = fabsf(sum[i]);
        most = far > most ? far : most;
    }
    if (most < FAR) {
#pragma omp simd
        for (size i = 0; i < n; i++)
            circle(sum[i], sum + i, other + i);
    } else {
        for (size i = 0; i < n; i++) {
            other[i] = cosf(sum[i]);
            sum[i] = sinf(sum[i]);
        }
    }
#pragma omp simd
    for (size i = 0; i < n; i++)
        s[i] = narrow(sum[i]);
    if (c) {
#pragma omp simd
        for (size i = 0; i < n; i++)
            c[i] = narrow(other[i]);
    }
}

/* sin and cos of z plus the shift of its row; the cosine where it is kept. */
static void wave_line(const void *what, float *sums, place at)
{
    const layer *l = what;
    const float *shift = l->shift + at.unit * l->signals + at.signal;
    number *s = here(l, l->result, at), *c = l->cosine.first ? here(l, l->cosine, at) : NULL;
    for (size k = 0; k < at.units; k++)
        wave_row(sums + k * BLOCK, shift[k * l->signals], s + k * below(result),
                 c ? c + k * below(cosine) : NULL, at.length);
}

/* x = c p and Σ c p, where p is the product. Without an x of its own it is in p's place. */
static void fold_line(const void *what, float *sums, place at)
{
    const layer *l = what;
    const number *c = here(l, l->cosine, at);
    number *p = here(l, l->result, at), *x = l->x.first ? here(l, l->x, at) : p;
    float *totals = total_of(l, at);
    for (size k = 0; k < at.units; k++) {
        float total = 0, *sum = sums + k * BLOCK;
        if (x != p && !l->given) {
#pragma omp simd
            for (size i = 0; i < at.length; i++)
                p[i] = narrow(sum[i]);
        }
#pragma omp simd reduction(+ : total)
        for (size i = 0; i < at.length; i++) {
            float folded = sum[i] * wide(c[i]);
            x[i] = narrow(folded);
            total += folded;
        }
        totals[k * l->signals] = total;
        c += below(cosine), p += below(result), x += below(result);
    }
}

/* The numbers of a row in float, or its only one for all. */
static inline void read(float *to, array of, const number *from, size length)
{
    if (of.n == 1)
        for (size i = 0; i < length; i++)
            to[i] = wide(*from);
    else
        for (size i = 0; i < length; i++)
            to[i] = wide(from[i]);
}

/* ż is the product plus what is along, and x = c ż. */
static void along_line(const void *what, float *sums, place at)
{
    const layer *l = what;
    const number *c = here(l, l->cosine, at), *t = here(l, l->along, at);
    number *z = here(l, l->result, at), *x = here(l, l->x, at);
    for (size k = 0; k < at.units; k++) {
        float along[ROW], *sum = sums + k * BLOCK;
        read(along, l->along, t, at.length);
#pragma omp simd
        for (size i = 0; i < at.length; i++) {
            float moved = sum[i] + along[i];
            z[i] = narrow(moved);
            x[i] = narrow(wide(c[i]) * moved);
        }
        c += below(cosine), t += below(along), z += below(result), x += below(x);
    }
}

/* q = c p - Σ a ż sin z, the sum over all rows that are the signal's, and Σ q; ẋ = c ż; a becomes
 * a c. ż is what is along. */
static void bend_line(const void *what, float *sums, place at)
{
    const layer *l = what;
    const number *s = here(l, l->sine, at), *c = here(l, l->cosine, at), *z = here(l, l->along, at);
    number *a = here(l, l->a, at), *x = here(l, l->x, at), *result = here(l, l->result, at);
    float *totals = total_of(l, at);
    size each = l->a.rows / l->signals;
    for (size k = 0; k < at.units; k++) {
        float total = 0, t[ROW], *q = sums + k * BLOCK;
#pragma omp simd
        for (size i = 0; i < at.length; i++)
            q[i] *= wide(c[i]);
        for (size m = 0; m < each; m++) {
            read(t, l->along, z + m * l->along.n, at.length);
            number *am = a + m * l->a.n, *xm = x + m * l->x.n;
#pragma omp simd
            for (size i = 0; i < at.length; i++) {
                float kept = wide(am[i]), cosine = wide(c[i]);
                q[i] -= kept * t[i] * wide(s[i]);
                am[i] = narrow(kept * cosine);
                xm[i] = narrow(t[i] * cosine);
            }
        }
#pragma omp simd reduction(+ : total)
        for (size i = 0; i < at.length; i++) {
            result[i] = narrow(q[i]);
            total += q[i];
        }
        totals[k * l->signals] = total;
        s += below(sine), c += below(cosine), z += below(along), a += below(a), x += below(x),
            result += below(result);
    }
}

/* A place's rows of all arrays. */
static void wish_rows(wishes *list, const void *what, place at)
{
    const layer *l = what;
    const array *all[] = {&l->result, &l->sine, &l->cosine, &l->a, &l->x, &l->along};
    for (size k = 0; k < (size)(sizeof all / sizeof *all); k++) {
        array of = *all[k];
        if (!of.first || of.n == 1)
            continue;
        const number *row = here(l, of, at);
        for (size i = 0; i < at.units; i++, row += of.rows * of.n)
            for (size rest = of.rows, m = 0; rest > 0; rest -= l->signals, m++)
                wish(list, row + m * of.n, at.length * sizeof *row);
    }
}

/* The lines of a product that there is already, row by row. */
static void each_row(const work *w, handle *line, const layer *l)
{
#pragma omp parallel for num_threads(w->threads)
    for (size index = 0; index < w->units * w->signals; index++) {
        float sum[ROW] __attribute__((aligned(64)));
        place at = {index / w->signals, 1, index % w->signals, 0, 0, 0};
        for (; at.start < w->n; at.block++, at.start += ROW) {
            at.length = least(ROW, w->n - at.start);
            read(sum, l->result, here(l, l->result, at), at.length);
            line(l, sum, at);
        }
    }
}

static void sweep(const work *w, handle *line, const layer *l)
{
    if (l->given)
        each_row(w, line, l);
    else
        multiply(w, line, wish_rows, l);
    if (!l->total)
        return;
    size rows = w->units * w->signals, parts = l->given ? quotient(w->n, ROW) : blocks(w->n);
    for (size part = 1; part < parts; part++)
        for (size row = 0; row < rows; row++)
            l->total[row] += l->total[part * rows + row];
}

/* The memory that is needed: for n coordinates so many (W, G) of sums (a signal has as many blocks as
 * parts of ROW, or more), and numbers of room. */
size sweep_sums(size n) { return blocks(n); }
size sweep_room(size units, size terms, int threads) { return room_for(units, terms, threads); }

void wave(const work *w, const layer *l) { sweep(w, wave_line, l); }
void fold(const work *w, const layer *l) { sweep(w, fold_line, l); }
void along(const work *w, const layer *l) { sweep(w, along_line, l); }
void bend(const work *w, const layer *l) { sweep(w, bend_line, l); }

/* Columns of the two products with few rows, which are one thread's. */
#define TILE 256

/* The output layer: y (C, n) is m (C, W) times x (W, n), for at most FEW channels. */
void mix(const float *matrix, const number *x, float *y, size channels, size units, size n,
         int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size start = 0; start < n; start += TILE) {
        size length = least(TILE, n - start);
        float sum[FEW][TILE] = {{0}};
        for (size w = 0; w < units; w++)
            for (size c = 0; c < channels; c++) {
                float m = matrix[c * units + w];
#pragma omp simd
                for (size i = 0; i < length; i++)
                    sum[c][i] += m * wide(x[w * n + start + i]);
            }
        for (size c = 0; c < channels; c++)
            memcpy(y + c * n + start, sum[c], length * sizeof *y);
    }
}

/* Sums over coordinates: share (C, W) is r (C, n) times the transpose of x (W, n). */
void share(const float *r, const number *x, float *share, size channels, size units, size n,
           int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size w = 0; w < units; w++) {
        float sum[FEW] = {0};
        for (size start = 0; start < n; start += TILE) {
            size length = least(TILE, n - start);
            for (size c = 0; c < channels; c++) {
                float part = 0;
#pragma omp simd reduction(+ : part)
                for (size i = 0; i < length; i++)
                    part += r[c * n + start + i] * wide(x[w * n + start + i]);
                sum[c] += part;
            }
        }
        for (size c = 0; c < channels; c++)
            share[c * units + w] = sum[c];
    }
}
