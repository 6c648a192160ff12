"""Which signals of a run can be classified: those of known classes with enough of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from jaxtyping import Int
from torch import Tensor

from functa_core.dataset import Dataset
from functa_core.tasks.base import NotApplicable

NAMED = 5
"""Classes that a message names."""


@attrs.frozen(eq=False)
class Labelled:
    """Signals to classify.

    Attributes:
        names: of K classes.
        train, test: places of the signals in their splits.
        train_labels, test_labels: from 0 to K − 1.
        left_out: names of classes that have too few training signals.
    """

    names: Sequence[str]
    train: Int[Tensor, " n"]
    train_labels: Int[Tensor, " n"]
    test: Int[Tensor, " m"]
    test_labels: Int[Tensor, " m"]
    left_out: Sequence[str]

    @classmethod
    def of(cls, train: Dataset[Any], test: Dataset[Any], least: int, drop_rare: bool) -> Labelled:
        """Signals with a label, of classes with at least `least` training signals.

        Raises:
            NotApplicable: no labels, or no two such classes, or no test signal of them, or a class
                with fewer that is not to be left out.
        """
        if train.labels is None or test.labels is None:
            raise NotApplicable("the data has no labels, so there are no classes to tell apart.")
        known, found = torch.tensor(list(train.labels)), torch.tensor(list(test.labels))
        present = sorted({label for label in [*train.labels, *test.labels] if label >= 0})
        counts = {label: int((known == label).sum()) for label in present}
        rare = [label for label in present if counts[label] < least]
        names = {label: _name(train, label) for label in present}
        if rare and not drop_rare:
            listed = ", ".join(f"'{names[label]}' ({counts[label]})" for label in rare[:NAMED])
            more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
            raise NotApplicable(
                f"{len(rare)} of {len(present)} classes have fewer than {least} training signals: "
                f"{listed}{more}.\nLeave them out with --set tasks.classify.drop_rare=true, or ask "
                "for fewer with --set tasks.classify.least=N."
            )
        kept = [label for label in present if label not in rare]
        if len(kept) < 2:
            raise NotApplicable(
                f"{len(kept)} class{'' if len(kept) == 1 else 'es'} with at least {least} labelled "
                "training signals; two are needed to tell apart."
            )
        chosen = torch.isin(found, torch.tensor(kept)).nonzero()[:, 0]
        if len(chosen) == 0:
            raise NotApplicable("no test signal has a label, so nothing can be scored.")
        places = torch.isin(known, torch.tensor(kept)).nonzero()[:, 0]
        return cls(
            names=[names[label] for label in kept],
            train=places,
            train_labels=torch.searchsorted(torch.tensor(kept), known[places]),
            test=chosen,
            test_labels=torch.searchsorted(torch.tensor(kept), found[chosen]),
            left_out=[names[label] for label in rare],
        )


def _name(signals: Dataset[Any], label: int) -> str:
    names = signals.label_names
    return names[label] if label < len(names) else str(label)
