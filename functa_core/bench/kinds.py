"""Who is measured: ours first, then the peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from functa_core.bench.case import Case
from functa_core.bench.implementation import Implementation
from functa_core.bench.ours import Functa, FunctaBfloat16, FunctaGaussNewton
from functa_core.bench.peers.in_torch import AutogradLoop, VmapGrad


@attrs.frozen
class Kind:
    """An implementation that may not be there.

    Attributes:
        name: as in the results.
        dtype: likewise.
        ours: whether it is this project's.
        make: from a case; raises `Absent`.
        exact: whether its numbers must be those of ours in float32, up to rounding.
    """

    name: str
    dtype: str
    ours: bool
    make: Callable[[Case], Implementation]
    exact: bool = True


def _in_jax(case: Case) -> Implementation:
    """Imported when it is wanted: jax is no dependency."""
    from functa_core.bench.peers.in_jax import Jax

    return Jax(case)


def _kind(cls: Any, ours: bool, exact: bool = True) -> Kind:
    return Kind(cls.name, cls.dtype, ours, cls, exact)


KINDS = (
    _kind(Functa, ours=True),
    _kind(FunctaBfloat16, ours=True, exact=False),
    _kind(FunctaGaussNewton, ours=True, exact=False),
    Kind("functa in JAX", "float32", ours=False, make=_in_jax),
    _kind(AutogradLoop, ours=False),
    _kind(VmapGrad, ours=False),
)
REFERENCE = KINDS[0]
"""Whose numbers the others must have."""
