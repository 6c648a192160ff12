/* What follows a layer's product, in one sweep over its coordinates; `swept.py` has the Python of it.
 *
 * The equations are those of `passes.py`. An array (W, G, n) is read and written row by row: a row
 * is one unit of one signal at its n coordinates. Sums are over a row, so that results do not depend
 * on how rows are shared out among threads.
 *
 * Compiled twice: numbers are float, or with -DHALF bfloat16, of which all arithmetic is in float.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

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

/* Up to here `circle` is good to 1e-7: n has 24 bits, and so have the parts of π/2 that it takes. */
#define FAR 30000.0f

/* Sine and cosine. x less the nearest multiple n of π/2 is between -π/4 and π/4, where a short
 * polynomial is exact to float's last digit; n tells which of both it is, and its sign. The
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

static inline void wave_row(number *z, number *cosine, float t, size n)
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (size i = 0; i < n; i++) {
        float x = fabsf(wide(z[i]) + t);
        most = x > most ? x : most;
    }
    if (!(most < FAR)) { /* infinite ones too */
        for (size i = 0; i < n; i++) {
            float x = wide(z[i]) + t;
            z[i] = narrow(sinf(x));
            if (cosine)
                cosine[i] = narrow(cosf(x));
        }
    } else if (cosine) {
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float s, c;
            circle(wide(z[i]) + t, &s, &c);
            z[i] = narrow(s);
            cosine[i] = narrow(c);
        }
    } else {
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float s, c;
            circle(wide(z[i]) + t, &s, &c);
            z[i] = narrow(s);
        }
    }
}

/* z (rows, n) plus the shift of its row becomes its sine; the cosine is written where there is room. */
void wave(number *z, const float *shift, number *cosine, size rows, size n, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < rows; row++)
        wave_row(z + row * n, cosine ? cosine + row * n : 0, shift[row], n);
}

/* g = a c, in a's place too, and Σ g: a and g are (W, K, n), c is (W, K, n) or of all K (W, 1, n). */
void fold(const number *a, const number *cosine, number *g, float *total, size units, size signals,
          size cosines, size n, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < units * signals; row++) {
        const number *c = cosine + (cosines == 1 ? row / signals : row) * n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size i = 0; i < n; i++) {
            float x = wide(a[row * n + i]) * wide(c[i]);
            g[row * n + i] = narrow(x);
            sum += x;
        }
        total[row] = sum;
    }
}

/* z += t and x = c z; t is (W, K, 1) or (W, K, n), c as in `fold`. */
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

/* Less Σ a ż sin z of one direction at a few coordinates; a becomes a c. */
static inline void bend_tile(float *q, const number *s, const number *c, number *a, const number *z,
                             size directions, size n)
{
    if (directions == 1) {
        float along = wide(z[0]);
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float kept = wide(a[i]);
            q[i] -= kept * along * wide(s[i]);
            a[i] = narrow(kept * wide(c[i]));
        }
    } else {
#pragma omp simd
        for (size i = 0; i < n; i++) {
            float kept = wide(a[i]);
            q[i] -= kept * wide(z[i]) * wide(s[i]);
            a[i] = narrow(kept * wide(c[i]));
        }
    }
}

#define TILE 256

/* q = c p - Σ a ż sin z in p's place and Σ q; a becomes a c. p, s and c are (W, G, n), a is (W, K, n)
 * and ż (W, K, 1) or (W, K, n), where K is G, or G is 1 and the sum is over all K. */
void bend(number *p, const number *sine, const number *cosine, number *a, const number *z,
          float *total, size units, size signals, size cotangents, size directions, size n,
          int threads)
{
    size each = cotangents / signals;
#pragma omp parallel for num_threads(threads)
    for (size row = 0; row < units * signals; row++) {
        float sum = 0;
        for (size start = 0; start < n; start += TILE) {
            size length = n - start < TILE ? n - start : TILE, at = row * n + start;
            float q[TILE];
#pragma omp simd
            for (size i = 0; i < length; i++)
                q[i] = wide(p[at + i]) * wide(cosine[at + i]);
            for (size k = row * each; k < (row + 1) * each; k++)
                bend_tile(q, sine + at, cosine + at, a + k * n + start,
                          z + k * directions + (directions == 1 ? 0 : start), directions, length);
#pragma omp simd reduction(+ : sum)
            for (size i = 0; i < length; i++) {
                p[at + i] = narrow(q[i]);
                sum += q[i];
            }
        }
        total[row] = sum;
    }
}
