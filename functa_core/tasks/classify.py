"""Classification: telling the classes of signals from their latents, beside raw-data baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from functa_core.console import ticking
from functa_core.latents.classifiers import MLP, LatentClassifier
from functa_core.latents.standardise import Standardiser
from functa_core.latents.training import Budget, ClassifierNetwork, Contest, Items, validation_part
from functa_core.modality import seeded
from functa_core.options import option
from functa_core.seeding import derive
from functa_core.tasks.base import Material, Outcome, Task
from functa_core.tasks.judge import Judge, network_cost
from functa_core.tasks.labels import Labelled
from functa_core.tasks.plots import confusion_plot
from functa_core.tasks.raw import (
    PART,
    Convolutional,
    ConvolutionSize,
    RawArrays,
    channel_statistics,
)
from functa_core.tasks.scores import figures

PROTOCOL = (
    "the first figures are of a multilayer perceptron on latents standardised by training latents. "
    "Dropout and the penalty of regressions were chosen on a validation part of the training "
    "signals, then all were trained on; test signals only score. Means and sample standard "
    "deviations are over seeds of initialisation and order, which regressions do not have. The "
    "convolutional network has the optimiser steps and items of the perceptron and the number of "
    "parameters nearest to it. FLOPs: 2 for each multiply-add of a matrix product or convolution. "
    "Cost of latents is from the latent on, that of baselines from the raw array on"
)


@attrs.frozen
class ClassifyConfig:
    """How classifiers are trained."""

    seeds: int = option(3, "networks of each kind; figures are means over them", low=3)
    width: int = option(128, "units of the perceptron's two hidden layers", low=1)
    steps: int = option(200, "updates of each network", low=1)
    batch_size: int = option(32, "signals of an update", low=1)
    lr: float = option(2e-3, "AdamW's first rate; it falls to 0", above=0)
    weight_decay: float = option(0.05, "of AdamW", low=0)
    dropout: tuple[float, ...] = option(
        (0.1, 0.5), "shares that validation chooses from", low=0, high=0.95
    )
    validation: float = option(
        0.2, "share of each class's training signals that chooses options", above=0, high=0.9
    )
    least: int = option(5, "training signals that each class must have", low=2)
    drop_rare: bool = option(
        False, "leave classes with fewer out, instead of not classifying at all"
    )

    @dropout.validator
    def _some(self, _: Any, value: tuple[float, ...]) -> None:
        if not value:
            raise ValueError("dropout must have at least one share")


class Classify(Task):
    """Train classifiers on latents, and on raw data beside them."""

    name = "classify"
    summary = "Tell classes from latents; accuracy beside baselines."
    Config = ClassifyConfig
    config: ClassifyConfig

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` unless there are at least two classes with enough signals."""
        self._labelled(material)

    def _labelled(self, material: Material) -> Labelled:
        least, drop_rare = self.config.least, self.config.drop_rare
        return Labelled.of(material.train, material.test, least, drop_rare)

    def run(self, material: Material, out: Path) -> Outcome:
        """Accuracy and cost of classifiers on latents, beside those on raw data."""
        data = self._labelled(material)
        contest = self._contest(material, data)
        functasets = [material.functaset(split) for split in ("train", "test")]
        train, test = (
            functaset.latents.flatten(1)[places]
            for functaset, places in zip(functasets, (data.train, data.test), strict=True)
        )
        standardiser = Standardiser.of(train)
        learnt, scored = standardiser.apply(train), standardiser.apply(test)
        judge = Judge(data, contest)

        def perceptron(drop: float) -> ClassifierNetwork:
            return MLP(learnt.shape[1], len(data.names), self.config.width, drop)

        networks, drop = self._enter(contest, "perceptron", perceptron, learnt)
        matrices = judge.networks(networks, scored)
        ours = figures(matrices, network_cost(networks[0], scored))
        regression = judge.regression(learnt, scored)
        baseline = {"majority": judge.majority()}
        baseline |= self._raw_baselines(material, judge, train.shape[1], ours["parameters"])
        digest = functasets[0].weights_sha256
        first = networks[0].cpu()
        assert isinstance(first, MLP)
        path = out / "classifier.safetensors"
        LatentClassifier(first, standardiser, data.names, digest).save(path)
        plot = confusion_plot(np.sum(matrices, axis=0), data.names, out / "confusion.png")
        return Outcome(
            {
                "protocol": PROTOCOL,
                **ours,
                "dropout": drop,
                "seeds": self.config.seeds,
                "steps": self.config.steps,
                "n_train": len(data.train),
                "n_test": len(data.test),
                "classes": len(data.names),
                "classes_left_out": list(data.left_out),
                "logistic_regression": regression,
                "baseline": baseline,
            },
            [plot],
        )

    def _contest(self, material: Material, data: Labelled) -> Contest:
        config, seed = self.config, material.seed
        held = validation_part(
            data.train_labels, config.validation, seeded(derive(seed, self.name, "validation"))
        )
        return Contest(
            labels=data.train_labels,
            held=held,
            budget=Budget(config.steps, config.batch_size, config.lr, config.weight_decay),
            drops=config.dropout,
            seeds=[derive(seed, self.name, place) for place in range(config.seeds)],
            device=material.encoder.device,
        )

    def _enter(
        self, contest: Contest, kind: str, make: Callable[[float], ClassifierNetwork], items: Items
    ) -> tuple[list[ClassifierNetwork], float]:
        """Networks of one kind, with their progress."""
        with ticking(f"{self.name}: {kind}", contest.steps) as tick:
            return contest.enter(make, items, tick)

    def _raw_baselines(
        self, material: Material, judge: Judge, numbers: int, parameters: int
    ) -> dict[str, Any]:
        """PCA with logistic regression, and a convolutional network, where there are arrays."""
        if material.modality.raw([material.train[0]]) is None:
            return {}
        data = judge.data
        train = RawArrays(material.modality, material.train.select(data.train.tolist()))
        test = RawArrays(material.modality, material.test.select(data.test.tolist()))
        found = {"pca_logistic_regression": judge.pca(train, test, numbers)}
        size = ConvolutionSize.nearest(train.shape, len(data.names), parameters)
        statistics = channel_statistics(train)
        networks, drop = self._enter(
            judge.contest,
            "convolutional network",
            lambda drop: Convolutional(size, *statistics, drop),
            train,
        )
        cost = network_cost(networks[0], test.evenly(PART))
        found["convolutional"] = {
            **figures(judge.networks(networks, test), cost),
            "rank": train.rank,
            "dropout": drop,
            "parameters_relative": cost.parameters / parameters,
        }
        return found


def load_classifier(path: str | Path) -> LatentClassifier:
    """The classifier that `functa classify` saved, to classify latents with.

    Raises:
        UserError: no such file, or not one of these.
    """
    return LatentClassifier.load(Path(path))
