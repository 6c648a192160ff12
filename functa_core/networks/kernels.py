"""The kernel of `fused.py`, in Triton: one tile of a product, and what follows it.

Arguments in capitals are known when it is compiled:

    LINE      of the equations of `passes.py`: wave, back, along, fold or bend
    SECOND    whether there is a second result
    FLAT      whether the shift is one for all coordinates of a signal
    THIN      whether the sum has few terms, fewer than the matrix units take
    WHOLE     whether nothing lies outside: then nothing is masked
    WIDE      whether there are more numbers than 32 bits count
    STEPPED   whether Triton's interpreter runs it, on a processor
    ROWS, COLUMNS, TERMS   of a tile
"""

import triton
import triton.language as tl


@triton.jit
def _circle(z, STEPPED: tl.constexpr):
    """Sine and cosine. The hardware's own are good between -π and π, so z is brought there."""
    turns = tl.floor(z * 0.15915494309189535 + 0.5)
    r = z - turns * 6.28125
    r -= turns * 0.0019353071795864769
    if STEPPED:
        s, c = tl.sin(r), tl.cos(r)
    else:
        s = tl.inline_asm_elementwise(
            "sin.approx.f32 $0, $1;", "=f,f", [r], dtype=tl.float32, is_pure=True, pack=1
        )
        c = tl.inline_asm_elementwise(
            "cos.approx.f32 $0, $1;", "=f,f", [r], dtype=tl.float32, is_pure=True, pack=1
        )
    return s, c


@triton.jit
def _read(pointer, inside, WHOLE: tl.constexpr):
    """Numbers in float32; 0 outside."""
    found = tl.load(pointer) if WHOLE else tl.load(pointer, mask=inside, other=0.0)
    return found.to(tl.float32)


@triton.jit
def _write(pointer, value, inside, WHOLE: tl.constexpr):
    if WHOLE:
        tl.store(pointer, value.to(tl.bfloat16))
    else:
        tl.store(pointer, value.to(tl.bfloat16), mask=inside)


@triton.jit
def _multiplied(
    matrix,
    x,
    row,
    column,
    rows,
    terms,
    count,
    stride,
    down,
    right,
    THIN: tl.constexpr,
    WHOLE: tl.constexpr,
    STEPPED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TERMS: tl.constexpr,
):
    """A tile of the product in float32."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    if THIN:
        for k in range(terms):
            left = _read(matrix + row * down + k * right, row < rows, WHOLE)
            over = _read(x + k * stride + column, column < count, WHOLE)
            total += left[:, None] * over[None, :]
    else:
        k = tl.arange(0, TERMS)
        from_left = matrix + row[:, None] * down + k[None, :] * right
        from_x = x + k[:, None] * stride + column[None, :]
        for start in range(0, terms, TERMS):
            if WHOLE:
                left, over = tl.load(from_left), tl.load(from_x)
            else:
                use = start + k < terms
                inside = (row < rows)[:, None] & use[None, :]
                left = tl.load(from_left, mask=inside, other=0.0)
                inside = use[:, None] & (column < count)[None, :]
                over = tl.load(from_x, mask=inside, other=0.0)
            if STEPPED:  # there bfloat16 is not a number
                left, over = left.to(tl.float32), over.to(tl.float32)
            total = tl.dot(left, over, total)
            from_left += TERMS * right
            from_x += TERMS * stride
    return total


@triton.jit
def line(
    matrix,
    x,
    cosine,
    sine,
    kept,
    shift,
    first,
    second,
    partial,
    rows,
    terms,
    groups,
    stride,
    count,
    across,
    down,
    right,
    shift_down,
    shift_over,
    LINE: tl.constexpr,
    SECOND: tl.constexpr,
    FLAT: tl.constexpr,
    THIN: tl.constexpr,
    WHOLE: tl.constexpr,
    WIDE: tl.constexpr,
    STEPPED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TERMS: tl.constexpr,
):
    """One tile of one signal. Tiles of the same columns come together: they read the same x."""
    if WIDE:  # more numbers than 32 bits count
        stride = stride.to(tl.int64)
    high = tl.cdiv(rows, ROWS)
    tile, group = tl.program_id(0) // high, tl.program_id(1)
    row = (tl.program_id(0) % high) * ROWS + tl.arange(0, ROWS)
    column = tile * COLUMNS + tl.arange(0, COLUMNS)
    skipped = group.to(tl.int64) * count
    total = _multiplied(
        matrix, x + skipped, row, column, rows, terms, count, stride, down, right,
        THIN, WHOLE, STEPPED, ROWS, COLUMNS, TERMS,
    )  # fmt: skip
    inside = (row < rows)[:, None] & (column < count)[None, :]
    at = row[:, None] * stride + column[None, :]
    by = shift + group * shift_over
    if FLAT:
        moved = _read(by + row * shift_down, row < rows, WHOLE)[:, None]
    else:
        moved = _read(by + at, inside, WHOLE)
    first += skipped
    second += skipped
    if LINE == "wave":
        s, c = _circle(total + moved, STEPPED)
        _write(first + at, s, inside, WHOLE)
        if SECOND:
            _write(second + at, c, inside, WHOLE)
    else:
        c = _read(cosine + skipped + at, inside, WHOLE)
        if LINE == "along":
            z = total + moved
            _write(first + at, z, inside, WHOLE)
            _write(second + at, c * z, inside, WHOLE)
        else:
            folded = total * c
            if LINE == "back":
                _write(first + at, total, inside, WHOLE)
                _write(second + at, folded, inside, WHOLE)
            else:
                if LINE == "bend":
                    a = _read(kept + skipped + at, inside, WHOLE)
                    folded -= a * moved * _read(sine + skipped + at, inside, WHOLE)
                    _write(second + at, a * c, inside, WHOLE)
                _write(first + at, folded, inside, WHOLE)
            place = partial + (row * groups + group) * across + tile
            tl.store(place, tl.sum(folded, axis=1), mask=row < rows)
