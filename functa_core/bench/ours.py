"""This project's own implementations: what training and encoding call."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch

from functa_core.bench.case import Case
from functa_core.bench.implementation import Absent, Implementation, Work
from functa_core.errors import UserError
from functa_core.meta.learner import Learner, MetaConfig
from functa_core.meta.outer import update
from functa_core.networks.products import bfloat16_pays


class TorchImplementation(Implementation):
    """Anything that runs in PyTorch."""

    def finish(self, result: Any) -> Any:
        """Wait for the GPU, if it is one that works."""
        if self.case.device.type == "cuda":
            torch.cuda.synchronize(self.case.device)
        return result

    def __init__(self, case: Case) -> None:
        self.case = case

    def device_peak(self) -> int:
        """As PyTorch's allocator counts it."""
        device = self.case.device
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        self.finish(self.updating()())
        return torch.cuda.max_memory_allocated(device) - before


class Functa(TorchImplementation):
    """The engine at the case's own options, but in float32 everywhere: what peers calculate in."""

    name = "functa"
    options: ClassVar[dict[str, Any]] = {"precision": "float32"}

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        known = {field.name for field in attrs.fields(MetaConfig)}
        if not known.issuperset(self.options):
            raise Absent(f"there is no option meta.{', meta.'.join(self.options)}")
        self.meta = attrs.evolve(case.meta, **self.options)

    def _learner(self) -> Learner:
        return self.case.learner(self.meta)

    def updating(self) -> Work:
        """`functa_core.meta.outer.update`, as `functa train` calls it."""
        learner = self._learner()
        problem = self.case.problem(learner, self.meta)
        optimiser = torch.optim.Adam(learner.parameters(), lr=self.meta.lr)
        return lambda: update(learner, optimiser, problem, self.meta).loss

    def encoding(self) -> Work:
        """`Encoder.fit`, as `functa encode` calls it."""
        encoder = self.case.encoder(self._learner(), self.meta)
        return lambda: encoder.fit(self.case.observations)[-1]

    def decoding(self) -> Work:
        """`Encoder.predict`, as `functa encode` calls it for the PSNR of a fit."""
        encoder = self.case.encoder(self._learner(), self.meta)
        latents = self.case.latents()
        return lambda: encoder.predict(latents, self.case.observations)


class FunctaBfloat16(Functa):
    """The same in bfloat16: what meta-SGD has by default on NVIDIA's GPUs from Ampere on."""

    name = "functa bfloat16"
    dtype = "bfloat16"
    options: ClassVar[dict[str, Any]] = {"precision": "bfloat16"}

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        if not bfloat16_pays(case.device):
            raise Absent("this processor has no instructions for bfloat16")


class FunctaGaussNewton(Functa):
    """The same with one damped Gauss–Newton step in training; not the same mathematics."""

    name = "functa gauss-newton"
    options: ClassVar[dict[str, Any]] = {"precision": "float32", "solver": "gauss-newton"}

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        try:
            learner = self._learner()
            learner.solver.fit(case.problem(learner, self.meta), 1)
        except UserError as error:
            raise Absent(str(error).replace("\n", " ")) from error
