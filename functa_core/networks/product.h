/* A matrix times what has units first, a block of columns after the other, and what is to be done
 * with the rows of a block while they lie in the nearest cache.
 *
 * A block's columns are copied to where they can be read in one go, and each panel of a few rows of
 * the matrix passes over them, its sums in registers. What is far in memory is asked for meanwhile:
 * columns of the next block, and what is read and written with a panel's sums. Asked for in a burst
 * it would keep the product waiting, so each step of the product asks for one line. It is asked into
 * the second cache: rows that are a power of two apart, as pictures' are, meet in few places of the
 * first.
 */

#include <stdint.h>
#include <string.h>

typedef int64_t size;

/* Numbers in a register, and rows whose sums fill the registers, three in each row. */
#if defined(__AVX512F__)
#define LANES 16
#define HIGH 8
#elif defined(__AVX__)
#define LANES 8
#define HIGH 4
#else
#define LANES 4
#define HIGH 8
#endif
#define ACROSS 3

typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
typedef float anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline size least(size a, size b) { return a < b ? a : b; }
static inline size quotient(size a, size b) { return (a + b - 1) / b; }

/* What is multiplied: m (W, V) times x (V, G, n). */
typedef struct {
    const float *matrix;
    size down, right; /* from a row of the matrix to the next, and from a column */
    const float *x;
    size terms, units, signals, n;
    float *room; /* `room_for` numbers, on a cache line's boundary */
    int threads;
} work;

/* Some units of one signal, at some of its coordinates, which are its `block`. */
typedef struct {
    size unit, units, signal, start, length, block;
} place;

/* Cache lines that are asked for while a panel is multiplied; more are not worth it. */
#define MOST 1024
typedef struct {
    const char *lines[MOST];
    size count;
} wishes;

/* What to do with a place's sums, which are BLOCK apart. */
typedef void handle(const void *what, float *sums, place at);
/* Names the memory that `handle` will use. */
typedef void ask(wishes *list, const void *what, place at);

static inline void wish(wishes *list, const void *first, size bytes)
{
    const char *end = (const char *)first + bytes;
    for (const char *at = first; at < end && list->count < MOST; at += 64 - (uintptr_t)at % 64)
        list->lines[list->count++] = at;
}

/* Blocks of one signal, alike in length, and where in it one begins. There are several of a short
 * signal too, so that threads can share them. */
#define SEVERAL 8
static inline size blocks(size n)
{
    return least(quotient(n, LANES * ACROSS), n > SEVERAL * BLOCK ? quotient(n, BLOCK) : SEVERAL);
}
static inline size begin(size n, size block)
{
    return least(n, quotient(n, LANES) * block / blocks(n) * LANES);
}

/* All units of a block, counted through all signals. */
static inline place place_of(const work *w, size index)
{
    size block = index % blocks(w->n), start = begin(w->n, block);
    size length = begin(w->n, block + 1) - start;
    return (place){0, w->units, index / blocks(w->n), start, length, block};
}

/* Numbers of a packed matrix; columns behind it begin on a cache line. */
static inline size packed(size units, size terms)
{
    return quotient(quotient(units, HIGH) * HIGH * terms, 16) * 16;
}

static inline size room_for(size units, size terms, int threads)
{
    return packed(units, terms) + threads * 2 * BLOCK * terms;
}

/* The matrix panel by panel, of each the columns one after the other. */
static void pack_matrix(const work *w)
{
#pragma omp parallel for num_threads(w->threads)
    for (size panel = 0; panel < quotient(w->units, HIGH); panel++) {
        float *to = w->room + panel * HIGH * w->terms;
        const float *from = w->matrix + panel * HIGH * w->down;
        size rows = least(HIGH, w->units - panel * HIGH);
        for (size v = 0; v < w->terms; v++, to += HIGH, from += w->right)
            if (rows == HIGH)
                for (size i = 0; i < HIGH; i++)
                    to[i] = from[i * w->down];
            else
                for (size i = 0; i < HIGH; i++)
                    to[i] = i < rows ? from[i * w->down] : 0;
    }
}

static inline const float *column(const work *w, place at, size term)
{
    return w->x + (term * w->signals + at.signal) * w->n + at.start;
}

/* A block of columns, of some terms: of each term three registers, and then the next three. */
static void pack(const work *w, float *to, place at, size from, size until)
{
    size vectors = quotient(at.length, LANES);
    for (size v = from; v < until; v++) {
        const float *row = column(w, at, v);
        for (size j = 0; j < vectors; j += ACROSS) {
            size wide = least(ACROSS, vectors - j);
            vector *own = (vector *)(to + j * LANES * w->terms) + v * wide;
            for (size i = 0; i < wide; i++) {
                size first = (j + i) * LANES;
                if (first + LANES <= at.length) {
                    own[i] = *(const anywhere *)(row + first);
                } else {
                    own[i] = (vector){0};
                    memcpy(own + i, row + first, (at.length - first) * sizeof *row);
                }
            }
        }
    }
}

#define UNROLLED _Pragma("GCC unroll 8")
#define STEP(WIDE)                                                                                 \
    UNROLLED for (int i = 0; i < HIGH; i++)                                                        \
        UNROLLED for (int j = 0; j < WIDE; j++)                                                    \
            sum[i][j] += m[v * HIGH + i] * x[v * WIDE + j]
/* A panel of the matrix times so many registers of columns; to the second cache with the lines. */
#define PANEL(WIDE)                                                                                \
    static void panel_##WIDE(const float *m, const vector *x, float *to, size terms,               \
                             const char *const *lines, size count)                                 \
    {                                                                                              \
        vector sum[HIGH][WIDE] = {{{0}}};                                                          \
        size v = 0;                                                                                \
        for (; v < least(count, terms); v++) {                                                     \
            STEP(WIDE);                                                                            \
            __builtin_prefetch(lines[v], 0, 2);                                                    \
        }                                                                                          \
        for (; v < terms; v++)                                                                     \
            STEP(WIDE);                                                                            \
        for (; v < count; v++)                                                                     \
            __builtin_prefetch(lines[v], 0, 2);                                                    \
        UNROLLED for (int i = 0; i < HIGH; i++)                                                    \
            UNROLLED for (int j = 0; j < WIDE; j++)                                                \
                *(vector *)(to + i * BLOCK + j * LANES) = sum[i][j];                               \
    }
PANEL(1)
PANEL(2)
PANEL(3)

/* A panel of the matrix times a block of columns, and meanwhile what is wished for. */
static void multiply_panel(const work *w, place at, const float *columns, float *sums,
                           const wishes *list)
{
    const float *m = w->room + at.unit * w->terms;
    size vectors = quotient(at.length, LANES);
    size each = quotient(list->count, quotient(vectors, ACROSS)), done = 0;
    for (size j = 0; j < vectors; j += ACROSS) {
        const vector *x = (const vector *)(columns + j * LANES * w->terms);
        const char *const *lines = list->lines + done;
        size count = least(each, list->count - done);
        float *to = sums + j * LANES;
        switch (vectors - j) {
        case 1:
            panel_1(m, x, to, w->terms, lines, count);
            break;
        case 2:
            panel_2(m, x, to, w->terms, lines, count);
            break;
        default:
            panel_3(m, x, to, w->terms, lines, count);
        }
        done += count;
    }
}

/* Blocks one after the other, each packed bit by bit while the one before it is multiplied. */
static void multiply_blocks(const work *w, size first, size last, float *room, handle *handle,
                            ask *ask, const void *what)
{
    float sums[HIGH * BLOCK] __attribute__((aligned(64)));
    size bit = quotient(w->terms, quotient(w->units, HIGH));
    float *columns[] = {room, room + BLOCK * w->terms};
    if (first < last)
        pack(w, columns[0], place_of(w, first), 0, w->terms);
    for (size index = first; index < last; index++) {
        place at = place_of(w, index), next = place_of(w, index + 1);
        size terms = index + 1 < last ? w->terms : 0, done = 0;
        float *own = columns[(index - first) % 2], *others = columns[(index - first + 1) % 2];
        for (; at.unit < w->units; at.unit += HIGH) {
            wishes list;
            list.count = 0;
            size until = least(terms, done + bit);
            pack(w, others, next, done, until);
            done = until;
            for (size v = done; v < least(terms, done + bit); v++)
                wish(&list, column(w, next, v), next.length * sizeof(float));
            at.units = least(HIGH, w->units - at.unit);
            ask(&list, what, at);
            multiply_panel(w, at, own, sums, &list);
            handle(what, sums, at);
        }
    }
}

/* All of it. Each block is one thread's, so that results do not depend on how many there are. */
static void multiply(const work *w, handle *handle, ask *ask, const void *what)
{
    size all = w->signals * blocks(w->n);
    float *room = w->room + packed(w->units, w->terms);
    pack_matrix(w);
#pragma omp parallel for num_threads(w->threads)
    for (int k = 0; k < w->threads; k++)
        multiply_blocks(w, all * k / w->threads, all * (k + 1) / w->threads,
                        room + k * 2 * BLOCK * w->terms, handle, ask, what);
}
