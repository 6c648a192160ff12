"""What every implementation offers to be measured, ours and the peers' alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from functa_core.bench.case import Case

Work = Callable[[], Any]


class Absent(Exception):
    """An implementation or an operation that is not to be had here; says why."""


class Implementation(ABC):
    """Somebody's way to do the operations on a case.

    What `updating`, `encoding` and `decoding` return does the work once at each call, as that
    implementation does it when it is in use; what can be made ready once is ready. A result may
    still be under way on a device: `finish` waits for it.

    Attributes:
        case: what it does its work on.
        name: as in the results.
        dtype: in which most of the work is done.
    """

    case: Case
    name: str
    dtype: str = "float32"

    @abstractmethod
    def __init__(self, case: Case) -> None:
        """Raises `Absent` if it cannot be had here, or not for such a case."""

    def precisely(self) -> Implementation:
        """The same without shortcuts in its float32 products, to be compared. Default: itself."""
        return self

    @abstractmethod
    def updating(self) -> Work:
        """Each call takes one more outer update on the batch; gives the loss before it."""

    @abstractmethod
    def encoding(self) -> Work:
        """Each call fits the batch with frozen weights; gives the latents (B, *latent)."""

    @abstractmethod
    def decoding(self) -> Work:
        """Each call predicts the batch's values (B, N, C) from `Case.latents`."""

    @abstractmethod
    def finish(self, result: Any) -> Any:
        """Wait until a result is there, and give it back."""

    @abstractmethod
    def device_peak(self) -> int:
        """Bytes that an update takes on the GPU at most, weights and Adam's moments with it."""
