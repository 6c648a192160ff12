"""Runs from Python: train one, load one, encode and decode with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.dataset import Dataset, Split, check_split
from functa_core.encoding import Encoder
from functa_core.errors import UserError
from functa_core.files import sha256
from functa_core.functaset import Functaset, StoredFunctaset
from functa_core.modality import Field, Modality
from functa_core.runs.config import RunConfig, build_config, read_yaml
from functa_core.runs.directory import RunDirectory, check_folder
from functa_core.runs.encoding import Belonging, make_functaset, write_functaset
from functa_core.runs.opening import (
    begin,
    find_device,
    make_encoder,
    modality_name,
    read_run,
    read_state,
    require_trained,
)
from functa_core.runs.pipeline import run_task_of, run_training
from functa_core.runs.signals import check_signals
from functa_core.runs.starting import check_same_run, open_session


@attrs.frozen(eq=False)
class Run:
    """A trained run.

    Attributes:
        path: its directory.
        config: its complete configuration.
        modality: its modality, prepared.
        encoder: its learner, ready to fit latents.
        plugin_version: of the modality's distribution.
    """

    path: Path
    config: RunConfig
    modality: Modality[Any]
    encoder: Encoder
    plugin_version: str

    def dataset(
        self, split: Split = "all", data: str | Path | None = None, *, skip_bad: bool = False
    ) -> Dataset[Any]:
        """Signals of the run's own data, or of other data read in the same way.

        Args:
            split: "train", "test" or "all".
            data: file or folder; None for the run's own.
            skip_bad: leave unreadable signals out.

        Raises:
            UserError: there is no such split; the data cannot be read, or does not fit the run; or
                the run's own is not what it was trained on.
        """
        check_split(split)
        source = self.config.source()
        if data is not None:
            if not str(data).strip():
                raise UserError("the data has an empty path; name a file or folder.")
            source = attrs.evolve(source, path=Path(data))
        if skip_bad:
            source = attrs.evolve(source, skip_bad=True)
        signals = type(self.modality)(self.config.modality, source, self.modality.state).dataset(
            split
        )
        if data is None:
            check_signals(RunDirectory(self.path), {split: signals})
        return signals

    def encode(self, signals: Sequence[Any]) -> Float[Tensor, "n *latent"]:
        """One latent for each signal, on the CPU.

        Args:
            signals: of the modality's own type, as `dataset` gives them.
        """
        latents = [self.encoder.fit(part)[-1].cpu() for _, part in self.encoder.batches(signals)]
        if not latents:
            raise UserError("there are no signals to encode.")
        return torch.cat(latents)

    def field(self, latents: Float[Tensor, "n *latent"]) -> Field:
        """The latents as one field: coordinates (N, D) or (n, N, D) → features (n, N, C)."""
        self._check(latents)
        return self.encoder.field(latents)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "n *latent"], resolution: int | None = None
    ) -> Float[Tensor, "n *shape"]:
        """Signals as plain arrays, on the CPU; None is the native resolution.

        Raises:
            UserError: latents of another shape, or a resolution below 1.
        """
        self._check(latents)
        if resolution is not None and resolution < 1:
            raise UserError(f"a resolution of at least 1 is needed, got {resolution}.")
        parts = [
            self.modality.decode(self.field(few), resolution).cpu()
            for few in torch.split(latents, self.encoder.batch)
        ]
        return torch.cat(parts)

    def functaset(self, split: str) -> Functaset:
        """The latents of the run's "train" or "test" signals, as `functa run` left them."""
        path = RunDirectory(self.path).functaset(split)
        found = Functaset.load(path)
        found.check_weights(self.weights_sha256, path)
        return found

    def task(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        out: str | Path | None = None,
        seed: int | None = None,
    ) -> Mapping[str, Any]:
        """Do a task, the core's or a plugin's, as its command does: `functa NAME --run DIR`.

        Args:
            name: of the task.
            options: of the task, over those in the run's configuration.
            out: folder for what it writes; `tasks/NAME` in the run if None.
            seed: of every random choice; the run's own if None.

        Returns:
            Its figures, which are its entry in metrics.json now.

        Raises:
            UserError: there is no such task, a wrong option, or it cannot be done with this run.
        """
        layers: list[tuple[str, Mapping[str, Any]]] = [("options", {"tasks": {name: options}})]
        if seed is not None:
            layers.append(("seed", {"seed": seed}))
        if out is not None:
            check_folder(Path(out))
        where = None if out is None else Path(out)
        return run_task_of(self.path, name, layers, where, str(self.encoder.device))

    def encode_dataset(self, signals: Dataset[Any], split: str = "all") -> Functaset:
        """A dataset as a functaset in memory."""
        return make_functaset(self.encoder, signals, split, self._belonging)

    def encode_to(
        self,
        path: str | Path,
        signals: Dataset[Any],
        split: str = "all",
        shard_size: int | None = None,
    ) -> StoredFunctaset:
        """A dataset as a functaset on disk, resumed if it was interrupted, in bounded memory.

        Args:
            path: the file to write, or the folder if there is a shard size.
            signals: at least one, as `dataset` gives them.
            split: what they are: "train", "test" or "all".
            shard_size: signals in a shard, or None for one file.

        Raises:
            UserError: the ids are too many for one file, or something is in the folder's way.
        """
        check_split(split)
        return write_functaset(
            Path(path), self.encoder, signals, split, self._belonging, shard_size
        )

    @property
    def weights_sha256(self) -> str:
        """What ties functasets to this run."""
        return sha256(RunDirectory(self.path).weights)

    @property
    def _belonging(self) -> Belonging:
        return Belonging(self.weights_sha256, self.plugin_version)

    def _check(self, latents: Tensor) -> None:
        wanted = self.encoder.learner.network.latent_shape
        if tuple(latents.shape[1:]) != wanted or len(latents) == 0:
            raise UserError(
                f"latents of shape (n, {', '.join(map(str, wanted))}) are needed, "
                f"got {tuple(latents.shape)}."
            )


def load_run(
    path: str | Path, device: str = "auto", modality: Mapping[str, Any] | None = None
) -> Run:
    """Open a trained run.

    Args:
        path: its directory.
        device: "auto", "cpu", "cuda" or "cuda:N".
        modality: options of the modality that shall be other than in the run's configuration.

    Raises:
        UserError: no run there, one that is not trained yet, no such device, or a wrong option.
    """
    directory = RunDirectory(Path(path))
    where = find_device(device)
    require_trained(directory)
    plugin, config = read_run(directory)
    if modality is not None:
        layers = [("config.yaml", config.tree()), ("options", {"modality": modality})]
        config = build_config(plugin.modality, layers, plugin.tasks)
    prepared = plugin.modality(config.modality, config.source(), read_state(directory, plugin))
    encoder = make_encoder(config, prepared, directory.weights, where)
    return Run(directory.root, config, prepared, encoder, plugin.version)


def train(
    config: Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
) -> Run:
    """Meta-learn a run: `functa train`.

    Args:
        config: nested options, or a YAML file of them, over the modality's defaults; must name the
            modality: {"modality": {"name": "clips"}, "meta": {"steps": 500}}.
        out: run directory; `runs/<modality>-<time>` if None.
        resume: go on with the run that is in `out`.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: options, data or `out` cannot be used.
    """
    tree = dict(config) if isinstance(config, Mapping) else read_yaml(Path(config))
    layers = [("config", tree)]
    if resume and out is not None and RunDirectory(Path(out)).weights.is_file():
        check_same_run(RunDirectory(Path(out)), modality_name(tree), layers)
        return load_run(out, device)
    session = open_session(modality_name(tree), layers, out=out, resume=resume, device=device)
    begin(session)
    run_training(session)
    return load_run(session.directory.root, device)
