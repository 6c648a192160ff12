"""What is hidden from a completion: a modality's masks, or one from a user's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from functa_core.encoding import Encoder
from functa_core.errors import UserError, nearest
from functa_core.modality import Mask, Modality, seeded
from functa_core.observations import Observations
from functa_core.seeding import derive
from functa_core.tasks.base import NotApplicable


@attrs.frozen(eq=False)
class Masked:
    """One signal, a batch of one, in two parts.

    Attributes:
        signal: the modality's own.
        whole: all its observations, on the device. What an evaluation holds out has weight 0.
        visible: what is seen; the rest is hidden.
    """

    signal: Any
    whole: Observations
    visible: Bool[Tensor, "1 N"]

    @property
    def seen(self) -> Observations:
        """Weight 0 where it is hidden."""
        return self.whole.masked(self.visible)

    @property
    def hidden(self) -> Observations:
        """Weight 0 where it is seen."""
        return self.whole.masked(~self.visible)

    @property
    def share(self) -> float:
        """Share of the observations, by weight, that is seen."""
        return float(self.seen.weights.sum() / self.whole.weights.sum())


def choose_masks(
    modality: Modality[Any], names: Sequence[str] | None, file: str | None
) -> list[Mask]:
    """The masks asked for: those in a file, by name, or all that the modality has.

    Raises:
        NotApplicable: it has none, and no file is given.
        UserError: it has none of that name, or the file is not a mask.
    """
    if file is not None:
        return [_from_file(Path(file))]
    known = {mask.name: mask for mask in modality.masks()}
    if not known:
        raise NotApplicable(
            f"modality '{modality.name}' names no way to hide part of a signal (masks). Give a "
            "mask of your own: --set tasks.impute.mask_file=FILE.npy"
        )
    for name in known if names is None else names:
        if name not in known:
            raise UserError(
                f"modality '{modality.name}' has no mask '{name}' (tasks.impute.masks); it has: "
                f"{', '.join(known)}.{nearest(name, known)}"
            )
    return [known[name] for name in (known if names is None else dict.fromkeys(names))]


def mask_signal(encoder: Encoder, mask: Mask, signal: Any, name: str, seed: int) -> Masked:
    """One signal behind a mask.

    Args:
        encoder: of the trained run.
        mask: what hides part of it.
        signal: the modality's own.
        name: its id, of which its mask is a function, as of the seed.
        seed: of the run.

    Raises:
        NotApplicable: nothing is observed, or nothing is hidden.
    """
    whole = encoder.modality.observations([signal])
    held_out = encoder.modality.held_out([signal], whole)
    visible = mask.visible([signal], whole, seeded(derive(seed, "mask", mask.name, name)))
    if held_out is not None:
        whole = whole.masked(~held_out)
    known = whole.weights > 0
    if visible.shape != known.shape or visible.dtype != torch.bool:
        raise ValueError(
            f"mask '{mask.name}' gave {tuple(visible.shape)} {visible.dtype}, not booleans "
            f"{tuple(known.shape)}"
        )
    for what, part in (("observed", known & visible), ("hidden", known & ~visible)):
        if not bool(part.any()):
            raise NotApplicable(
                f"mask '{mask.name}' leaves nothing {what} of test signal '{name}'. "
                "Choose another: --set tasks.impute.masks=[NAME]"
            )
    return Masked(signal, whole.to(encoder.device), visible.to(encoder.device))


def _from_file(path: Path) -> Mask:
    """A mask that is the same for every signal.

    Raises:
        UserError: it cannot be read, or is not of booleans.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"tasks.impute.mask_file {path} cannot be read as .npy: {error}."
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype != np.bool_:
        found = getattr(values, "dtype", "an archive of several arrays")
        raise UserError(
            f"tasks.impute.mask_file {path} must hold booleans, True where observed; got {found}."
        )
    flat = torch.from_numpy(np.ascontiguousarray(values).reshape(-1))

    def visible(signals: Sequence[Any], observations: Observations, _: Generator) -> Tensor:
        if len(flat) != observations.count:
            raise UserError(
                f"tasks.impute.mask_file {path} has {len(flat)} entries {values.shape}, but a "
                f"signal has {observations.count} observations."
            )
        return flat.expand(len(signals), -1)

    return Mask("file", f"as {path.name} says", visible)
