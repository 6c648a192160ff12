/* What follows a layer's product, in one sweep over its coordinates; `swept.py` has the Python of it.
 *
 * The equations are those of `passes.py`. An array (W, G, n) is read and written row by row: a row
 * is one unit of one signal at its n coordinates. No sum is shared by threads, so that results do
 * not depend on how many there are.
 *
 * Compiled twice: numbers are float, or with -DHALF bfloat16, of which all arithmetic is in float.
 * FEW is given by who compiles it.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA)
#error "without instructions for a product and a sum at once, PyTorch's own operations are faster"
#endif

typedef int64_t size;

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

/* A row is worked on in tiles, in float, so that what several loops need stays where it is near. */
#define TILE 256

/* Where a line's product comes from: an array that holds it, which the line's result replaces, or
 * a sum of at most FEW terms, made here: matrix (W, V) times x (V, G, n), always float. */
typedef struct {
    const float *matrix, *x;
    size terms;
} few;

static inline void take(float *to, const number *from, few product, size units, size row, size rows,
                        size start, size n, size length)
{
    size at = row * n + start;
    if (!product.terms) {
#pragma omp simd
        for (size i = 0; i < length; i++)
            to[i] = wide(from[at + i]);
        return;
    }
    size per_unit = rows / units;
    const float *m = product.matrix + row / per_unit * product.terms;
    const float *x = product.x + row % per_unit * n + start;
    memset(to, 0, length * sizeof *to);
    for (size v = 0; v < product.terms; v++)
#pragma omp simd
        for (size i = 0; i < length; i++)
            to[i] += m[v] * x[v * per_unit * n + i];
}

static inline size shorter(size a, size b) { return a < b ? a : b; }

/* sin and cos of z plus the shift of its row; z (W, G, n) becomes the sine, the cosine is written
 * where there is room for it. */
void wave(number *z, const float *shift, number *cosine, const float *matrix, const float *x,
          size terms, size units, size signals, size n, int threads)
{
    few product = {matrix, x, terms};
    size rows = units * signals;
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < rows; row++)
        for (size start = 0; start < n; start += TILE) {
            size length = shorter(TILE, n - start), at = row * n + start;
            float sum[TILE], other[TILE], most = 0;
            take(sum, z, product, units, row, rows, start, n, length);
#pragma omp simd reduction(max : most)
            for (size i = 0; i < length; i++) {
                sum[i] += shift[row];
                float far = fabsf(sum[i]);
                most = far > most ? far : most;
            }
            if (most < FAR) {
#pragma omp simd
                for (size i = 0; i < length; i++)
                    circle(sum[i], sum + i, other + i);
            } else {
                for (size i = 0; i < length; i++) {
                    other[i] = cosf(sum[i]);
                    sum[i] = sinf(sum[i]);
                }
            }
#pragma omp simd
            for (size i = 0; i < length; i++)
                z[at + i] = narrow(sum[i]);
            if (cosine) {
#pragma omp simd
                for (size i = 0; i < length; i++)
                    cosine[at + i] = narrow(other[i]);
            }
        }
}

/* g = a c and Σ g. a and g are (W, K, n) and may be the same; c is that too, or of all K (W, 1, n). */
void fold(number *a, const number *cosine, number *g, float *total, const float *matrix,
          const float *x, size terms, size units, size signals, size cosines, size n, int threads)
{
    few product = {matrix, x, terms};
    size rows = units * signals;
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < rows; row++) {
        const number *c = cosine + (cosines == 1 ? row / signals : row) * n;
        float sum = 0;
        for (size start = 0; start < n; start += TILE) {
            size length = shorter(TILE, n - start), at = row * n + start;
            float own[TILE];
            take(own, a, product, units, row, rows, start, n, length);
            if (terms && a != g) {
#pragma omp simd
                for (size i = 0; i < length; i++)
                    a[at + i] = narrow(own[i]);
            }
#pragma omp simd reduction(+ : sum)
            for (size i = 0; i < length; i++) {
                float folded = own[i] * wide(c[start + i]);
                g[at + i] = narrow(folded);
                sum += folded;
            }
        }
        total[row] = sum;
    }
}

/* z += t and x = c z. t is (W, K, 1) or (W, K, n), c as in `fold`. */
void along(number *z, const number *direction, const number *cosine, number *x, size units,
           size signals, size cosines, size directions, size n, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < units * signals; row++) {
        const number *c = cosine + (cosines == 1 ? row / signals : row) * n;
        const number *t = direction + row * directions;
        number *moved = z + row * n, *waved = x + row * n;
        if (directions == 1) {
            float by = wide(t[0]);
#pragma omp simd
            for (size i = 0; i < n; i++) {
                float y = wide(moved[i]) + by;
                moved[i] = narrow(y);
                waved[i] = narrow(wide(c[i]) * y);
            }
        } else {
#pragma omp simd
            for (size i = 0; i < n; i++) {
                float y = wide(moved[i]) + wide(t[i]);
                moved[i] = narrow(y);
                waved[i] = narrow(wide(c[i]) * y);
            }
        }
    }
}

/* What one of the K takes from q, a ż sin z; its ẋ = c ż, and a becomes a c. */
static inline void bend_tile(float *q, const number *s, const number *c, number *a, const number *z,
                             number *x, size directions, size n)
{
    if (directions == 1) {
        float along = wide(z[0]);
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float kept = wide(a[i]), cosine = wide(c[i]);
            q[i] -= kept * along * wide(s[i]);
            a[i] = narrow(kept * cosine);
            x[i] = narrow(along * cosine);
        }
    } else {
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float kept = wide(a[i]), cosine = wide(c[i]), along = wide(z[i]);
            q[i] -= kept * along * wide(s[i]);
            a[i] = narrow(kept * cosine);
            x[i] = narrow(along * cosine);
        }
    }
}

/* q = c p - Σ a ż sin z in p's place, Σ q, and ẋ = c ż; a becomes a c. p, s and c are (W, G, n), a and
 * ẋ (W, K, n) and ż (W, K, 1) or (W, K, n), where K is G, or G is 1 and the sum is over all K. */
void bend(number *p, const number *sine, const number *cosine, number *a, const number *z, number *x,
          float *total, const float *matrix, const float *factor, size terms, size units,
          size signals, size cotangents, size directions, size n, int threads)
{
    few product = {matrix, factor, terms};
    size rows = units * signals, each = cotangents / signals;
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < rows; row++) {
        float sum = 0;
        for (size start = 0; start < n; start += TILE) {
            size length = shorter(TILE, n - start), at = row * n + start;
            float q[TILE];
            take(q, p, product, units, row, rows, start, n, length);
#pragma omp simd
            for (size i = 0; i < length; i++)
                q[i] *= wide(cosine[at + i]);
            for (size k = row * each; k < (row + 1) * each; k++) {
                size own = k * n + start;
                bend_tile(q, sine + at, cosine + at, a + own,
                          z + k * directions + (directions == 1 ? 0 : start), x + own, directions,
                          length);
            }
#pragma omp simd reduction(+ : sum)
            for (size i = 0; i < length; i++) {
                p[at + i] = narrow(q[i]);
                sum += q[i];
            }
        }
        total[row] = sum;
    }
}

/* The output layer: y (C, n) is m (C, W) times x (W, n), for at most FEW channels. */
void mix(const float *matrix, const number *x, float *y, size channels, size units, size n,
         int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size start = 0; start < n; start += TILE) {
        size length = shorter(TILE, n - start);
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
            size length = shorter(TILE, n - start);
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
