"""Compiles the kernels for GPUs that need not be there; test_fused.py runs it as a process.

The interpreter takes what the compiler refuses, such as results of two types; and only the compiler
tells whether a tile's registers suffice, or its numbers go out to memory and back.
"""

import itertools
import re
import subprocess
import sys
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from functa_core.networks import fused, kernels

HALF, FULL = "*bf16", "*fp32"
LINES = ("wave", "back", "along", "fold", "bend")
SIZES = {"large": (512, 512, 16, 4096), "small": (256, 256, 8, 1024)}
"""Rows, terms, signals and coordinates."""
NUMBERS = ["rows", "terms", "few", "groups", "stride", "count", "across"]
STRIDES = ["down", "right", "shift_down", "shift_over", "cosine_down", "cosine_over"]
SPILLED = {80: 128, 90: 16}
"""Bytes of a thread in memory that are let pass: of a few numbers."""


def compiled(kernel, pointers, constants, options, capability):
    """A kernel as it is launched in earnest: sizes are multiples of 16."""
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else pointers.get(name, "i32")
        if name in pointers or (name in NUMBERS + STRIDES and name not in constants):
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spilled(found):
    """Bytes of a thread that did not fit into registers."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(found.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"STACK:(\d+)", told)[1])


def compiled_line(what, size, thin, whole, capability):
    """One line of the equations at a size."""
    rows, terms, groups, count = SIZES[size]
    terms = 2 if thin else terms
    tile = fused.tile_for(what, not thin, rows, terms, groups, count)
    factor = FULL if thin else HALF  # coordinates are never rounded
    pointers = dict.fromkeys(("cosine", "sine", "kept", "first", "second", "third"), HALF)
    pointers |= {"matrix": factor, "x": factor, "partial": FULL}
    flat = what in ("wave", "along")  # as they are outside of the shared first step
    pointers["shift"] = FULL if flat else HALF
    constants = {
        "right" if what in ("wave", "along") else "down": 1,
        "LINE": what,
        "SECOND": what != "fold",
        "FLAT": flat,
        "THIN": thin,
        "WHOLE": whole,
        "WIDE": False,
        "STEPPED": False,
        "ROWS": tile.rows,
        "COLUMNS": tile.columns,
        "TERMS": tile.terms,
        "PARTS": tile.parts,
    }
    return compiled(kernels.line, pointers, constants, fused.options(tile), capability)


def compiled_few(kernel, capability):
    """A product of a few rows."""
    pointers = {"x": HALF, "matrix": FULL, "left": FULL, "result": FULL, "partial": FULL}
    few, columns, terms = fused.MIXED
    constants = {"FEW": few, "COLUMNS": columns, "TERMS": terms, "right": 1}
    if kernel is kernels.share:
        few, rows, columns = fused.SHARED
        constants = {"FEW": few, "ROWS": rows, "COLUMNS": columns, "CHUNK": 16 * columns}
    constants |= {"WIDE": False, "STEPPED": False}
    pointers = {name: kind for name, kind in pointers.items() if name in kernel.arg_names}
    return compiled(kernel, pointers, constants, {}, capability)


def main(capability):
    """Everything for one kind of GPU, 80 for Ampere and 90 for Hopper."""
    for what, size, thin, whole in itertools.product(LINES, SIZES, (False, True), (False, True)):
        if thin and (what == "along" or not whole):
            continue  # "along" has as many terms as rows
        found = spilled(compiled_line(what, size, thin, whole, capability))
        print(capability, what, size, "thin" if thin else "", "" if whole else "ragged", found)
        assert found <= SPILLED[capability]
    for kernel in (kernels.mix, kernels.share):
        found = spilled(compiled_few(kernel, capability))
        print(capability, kernel.__name__, found)
        assert found <= SPILLED[capability]


if __name__ == "__main__":
    main(int(sys.argv[1]))
