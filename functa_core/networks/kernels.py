"""The kernels of `fused.py`, in Triton.

`line` makes one tile of a product, and what follows it; `mix` and `share` make the products that
have a few rows alone, channels or coordinates, and take as long as reading the many rows does.
Arguments in capitals are known when they are compiled:

    LINE      of the equations of `passes.py`: wave, back, along, fold or bend
    SECOND    whether there is a second result
    FLAT      whether the shift is one for all coordinates of a signal
    THIN      whether the sum has few terms, fewer than the matrix units take
    WHOLE     whether nothing lies outside: then nothing is masked
    WIDE      whether there are more numbers than 32 bits count
    STEPPED   whether Triton's interpreter runs it, on a processor
    ROWS, COLUMNS, TERMS   of a tile
    PARTS     1, 2 or 4 of its columns, in which what follows is done: more need fewer registers
    FEW       a power of two that the few rows are no more than
    CHUNK     columns that one program sums
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
            total = tl.dot(left, over, total, input_precision="tf32x3")  # of float32 alone
            from_left += TERMS * right
            from_x += TERMS * stride
    return total


@triton.jit
def _follow(
    total,
    cosine,
    sine,
    kept,
    shift,
    first,
    second,
    third,
    row,
    column,
    rows,
    stride,
    count,
    shift_down,
    cosine_down,
    LINE: tl.constexpr,
    SECOND: tl.constexpr,
    FLAT: tl.constexpr,
    WHOLE: tl.constexpr,
    STEPPED: tl.constexpr,
):
    """What follows a product, for some columns of a tile; the sums over them where one is made."""
    inside = (row < rows)[:, None] & (column < count)[None, :]
    at = row[:, None] * stride + column[None, :]
    if FLAT:
        moved = _read(shift + row * shift_down, row < rows, WHOLE)[:, None]
    else:
        moved = _read(shift + at, inside, WHOLE)
    folded = total
    if LINE == "wave":
        s, c = _circle(total + moved, STEPPED)
        _write(first + at, s, inside, WHOLE)
        if SECOND:
            _write(second + at, c, inside, WHOLE)
    else:
        c = _read(cosine + row[:, None] * cosine_down + column[None, :], inside, WHOLE)
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
                    a = _read(kept + at, inside, WHOLE)
                    folded -= a * moved * _read(sine + at, inside, WHOLE)
                    _write(second + at, a * c, inside, WHOLE)
                    _write(third + at, c * moved, inside, WHOLE)
                _write(first + at, folded, inside, WHOLE)
    return tl.sum(folded, axis=1)


@triton.jit
def _halves(total, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The left and the right columns of a tile."""
    return tl.split(tl.permute(tl.reshape(total, (ROWS, 2, COLUMNS // 2)), (0, 2, 1)))


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
    third,
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
    cosine_down,
    cosine_over,
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
    PARTS: tl.constexpr,
):
    """One tile of one signal. Tiles of the same columns come together: they read the same x."""
    if WIDE:
        stride, cosine_down = stride.to(tl.int64), cosine_down.to(tl.int64)
    high = tl.cdiv(rows, ROWS)
    tile, group = tl.program_id(0) // high, tl.program_id(1)
    row = (tl.program_id(0) % high) * ROWS + tl.arange(0, ROWS)
    column = tile * COLUMNS + tl.arange(0, COLUMNS)
    skipped = group.to(tl.int64) * count
    total = _multiplied(
        matrix, x + skipped, row, column, rows, terms, count, stride, down, right,
        THIN, WHOLE, STEPPED, ROWS, COLUMNS, TERMS,
    )  # fmt: skip
    cosine += group.to(tl.int64) * cosine_over
    sine, kept = sine + skipped, kept + skipped
    shift += group.to(tl.int64) * shift_over
    first, second, third = first + skipped, second + skipped, third + skipped
    if PARTS == 1:
        parts = (total,)
    elif PARTS == 2:
        parts = _halves(total, ROWS, COLUMNS)
    else:
        left, over = _halves(total, ROWS, COLUMNS)
        parts = _halves(left, ROWS, COLUMNS // 2) + _halves(over, ROWS, COLUMNS // 2)
    sums = tl.zeros((ROWS,), tl.float32)
    for place in tl.static_range(PARTS):  # what one reads is done with before the next
        part = tile * COLUMNS + place * (COLUMNS // PARTS) + tl.arange(0, COLUMNS // PARTS)
        sums += _follow(
            parts[place], cosine, sine, kept, shift, first, second, third, row, part, rows, stride,
            count, shift_down, cosine_down, LINE, SECOND, FLAT, WHOLE, STEPPED,
        )  # fmt: skip
    if LINE == "back" or LINE == "fold" or LINE == "bend":
        place = partial + (row * groups + group) * across + tile
        tl.store(place, sums, mask=row < rows)


@triton.jit
def _exactly(few, many, total, STEPPED: tl.constexpr):
    """Add (FEW, k) in float32 times (k, n) in bfloat16: three bfloat16 have a float32's digits."""
    if STEPPED:
        total = tl.dot(few, many.to(tl.float32), total)
    else:
        first = few.to(tl.bfloat16)
        rest = few - first.to(tl.float32)
        second = rest.to(tl.bfloat16)
        third = (rest - second.to(tl.float32)).to(tl.bfloat16)
        total += tl.dot(first, many, tl.dot(second, many, tl.dot(third, many)))
    return total


@triton.jit
def mix(
    matrix,
    x,
    result,
    few,
    terms,
    count,
    down,
    right,
    WIDE: tl.constexpr,
    STEPPED: tl.constexpr,
    FEW: tl.constexpr,
    COLUMNS: tl.constexpr,
    TERMS: tl.constexpr,
):
    """Some columns of (few, terms) times (terms, count)."""
    row, k = tl.arange(0, FEW), tl.arange(0, TERMS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    stride = count.to(tl.int64) if WIDE else count
    total = tl.zeros((FEW, COLUMNS), tl.float32)
    for start in range(0, terms, TERMS):
        term = start + k
        use = term < terms
        inside = (row < few)[:, None] & use[None, :]
        place = row[:, None] * down + term[None, :] * right
        left = tl.load(matrix + place, mask=inside, other=0.0)
        inside = use[:, None] & (column < count)[None, :]
        over = tl.load(x + term[:, None] * stride + column[None, :], mask=inside, other=0.0)
        total = _exactly(left, over, total, STEPPED)
    inside = (row < few)[:, None] & (column < count)[None, :]
    tl.store(result + row[:, None] * stride + column[None, :], total, mask=inside)


@triton.jit
def share(
    left,
    x,
    partial,
    few,
    rows,
    count,
    WIDE: tl.constexpr,
    STEPPED: tl.constexpr,
    FEW: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Some rows of (few, count) times the transpose of (rows, count), summed over one chunk."""
    over, row = tl.arange(0, FEW), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    stride = count.to(tl.int64) if WIDE else count
    total = tl.zeros((FEW, ROWS), tl.float32)
    for start in range(0, CHUNK, COLUMNS):
        column = tl.program_id(1) * CHUNK + start + tl.arange(0, COLUMNS)
        use = (column < count)[None, :]
        inside = (over < few)[:, None] & use
        place = over[:, None] * stride + column[None, :]
        each = tl.load(left + place, mask=inside, other=0.0)
        inside = (row < rows)[:, None] & use
        place = row[:, None] * stride + column[None, :]
        many = tl.load(x + place, mask=inside, other=0.0)
        total = _exactly(each, tl.trans(many), total, STEPPED)
    place = partial + (tl.program_id(1) * few + over[:, None]) * rows + row[None, :]
    tl.store(place, total, mask=(over < few)[:, None] & (row < rows)[None, :])
