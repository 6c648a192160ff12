"""Published weights as a run directory, and published modulations as its functasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from functa_core import __version__
from functa_core.console import warn
from functa_core.discovery.loading import Plugin
from functa_core.errors import UserError
from functa_core.files import save_tensors, sha256, write_new
from functa_core.meta.learner import build_learner
from functa_core.modality import Modality
from functa_core.published.checkpoint import START, Checkpoint, check_shapes, learner_tensors
from functa_core.published.modulations import (
    SPLITS,
    is_modulation_set,
    read_modulations,
    to_functaset,
)
from functa_core.published.settings import Settings
from functa_core.published.unpickling import read_inert
from functa_core.runs.config import RunConfig, build_config, to_yaml
from functa_core.runs.directory import (
    RunDirectory,
    check_folder,
    check_fresh,
    make_folder,
    read_json,
    write_json,
)
from functa_core.runs.opening import (
    describe_modality,
    describe_spec,
    read_run,
    read_signals,
    read_state,
    require_trained,
)
from functa_core.runs.recognising import recognise


@attrs.frozen(eq=False)
class Imported:
    """A published checkpoint, ready to be written as a run.

    Attributes:
        plugin: whose modality recognised it.
        config: complete.
        modality: prepared.
        tensors: of the learner.
        counts: signals of training and test, None without data.
        about: what `published.json` says: the file, its configuration, the start of its inner
            loop, and what was assumed.
    """

    plugin: Plugin
    config: RunConfig
    modality: Modality[Any]
    tensors: Mapping[str, Tensor]
    counts: tuple[int | None, int | None]
    about: Mapping[str, Any]


def import_published(
    file: Path, *, out: Path | None, run: Path | None, modality: str | None, data: str | None
) -> list[Path]:
    """Import whatever published file this is: weights, or modulations.

    Args:
        file: the published file.
        out: directory to write: a new run for weights; for modulations the folder that gets
            `functaset/`, the run itself if None.
        run: the imported run that modulations belong to.
        modality: which one is to recognise the weights; all installed ones are asked if None.
        data: signals of the new run.

    Returns:
        What was written: the run, or the functasets.

    Raises:
        UserError: anything the user asked for that cannot be done; nothing is written then.
    """
    tree = read_inert(file)
    if isinstance(tree, dict) and {"params", "config"} <= set(tree):
        if run is not None:
            raise UserError(f"{file} holds weights, which become a run of their own; leave --run.")
        if out is None:
            raise UserError(f"{file} holds weights; --out says which run directory to write.")
        check_fresh(RunDirectory(out))
        write_run(read_checkpoint(tree, file, modality, data), RunDirectory(out))
        return [out]
    if is_modulation_set(tree):
        if run is None or modality is not None or data is not None:
            raise UserError(
                f"{file} holds modulations, which belong to weights: import those first, then give "
                "--run RUN, and neither --modality nor --data."
            )
        return import_modulations(tree, file, RunDirectory(run), run if out is None else out)
    found = ", ".join(map(ascii, list(tree)[:5])) if isinstance(tree, dict) else "something else"
    raise UserError(
        f"{file} holds neither weights ('params' and 'config') nor modulations ('train' and "
        f"'test'); it holds {found[:200] or 'nothing'}."
    )


def read_checkpoint(
    tree: Any, file: Path, modality: str | None = None, data: str | None = None
) -> Imported:
    """Check a checkpoint, the signals that go with it, and that both fit.

    Raises:
        UserError: as `import_published`.
    """
    where = str(file)
    checkpoint = Checkpoint.of(tree, where)
    plugin, published = recognise(checkpoint.config, where, modality)
    settings = Settings(checkpoint, where, published.batch_size)
    own = {"modality": published.options, "model": settings.model(), "meta": settings.meta()}
    layers: list[tuple[str, Mapping[str, Any]]] = [(where, own)]
    if data is not None:
        layers.append(("--data", {"data": {"path": data}}))
    config = build_config(plugin.modality, layers, plugin.tasks)
    prepared = plugin.modality(config.modality, config.source(), published.state)
    check_shapes(checkpoint, prepared.spec, config.model, where)
    tensors = learner_tensors(checkpoint, prepared.spec, config.model, config.meta, where)
    counts: tuple[int | None, int | None] = (None, None)
    if data is not None:
        train, test = read_signals(prepared)
        for signals in (train, test):
            prepared.observations([signals[0]])
        counts = len(train), len(test)
    about = {
        "file": file.name,
        "sha256": sha256(file),
        "config": checkpoint.config,
        "latent_start": checkpoint.params[START].tolist(),
        "notes": [*published.notes, *settings.notes],
    }
    return Imported(plugin, config, prepared, tensors, counts, about)


def write_run(imported: Imported, directory: RunDirectory) -> None:
    """Write the run; `config.yaml`, which makes it one, comes last."""
    learner = build_learner(
        imported.modality.spec, imported.config.model, imported.config.meta, seed=0
    )
    learner.load_state_dict(dict(imported.tensors))
    for note in imported.about["notes"]:
        warn(note)
    make_folder(directory.root)
    try:
        save_tensors(directory.weights, learner.state_dict(), {"format": "functa 1"})
        write_json(directory.modality, describe_modality(imported.plugin, imported.modality))
        write_json(directory.published, dict(imported.about))
        write_json(directory.metrics, _facts(imported))
        write_new(directory.config, to_yaml(imported.config))
    except BaseException:
        for path in (
            directory.weights,
            directory.modality,
            directory.published,
            directory.metrics,
        ):
            path.unlink(missing_ok=True)
        raise


def _facts(imported: Imported) -> dict[str, Any]:
    """What metrics.json says before anything was evaluated; what nobody knows is null."""
    config = imported.config
    return {
        "modality": config.modality_name,
        "data": config.data.path,
        "n_train": imported.counts[0],
        "n_test": imported.counts[1],
        "seed": config.seed,
        "steps": None,
        "seconds": None,
        "params": sum(tensor.numel() for tensor in imported.tensors.values()),
        "latent_numbers": config.model.latent_dim,
        "inner_steps": config.meta.inner_steps,
        "tasks": {},
    }


def import_modulations(
    tree: Mapping[str, Any], file: Path, directory: RunDirectory, out: Path
) -> list[Path]:
    """Write a modulation set as functasets of the imported run in `directory`, below `out`.

    Raises:
        UserError: the run was not imported, the set does not fit it, or something is in the way.
    """
    start = latent_start(directory)
    plugin, config = read_run(directory)
    state = read_state(directory, plugin)
    modality = plugin.modality(config.modality, config.source(), state)
    sets = read_modulations(tree, str(file), config.model.latent_dim)
    about = {
        "modality": config.modality_name,
        "spec": describe_spec(modality),
        "state": state,
        "weights_sha256": sha256(directory.weights),
        "inner_steps": config.meta.inner_steps,
        "versions": {
            "functa-core": __version__,
            "plugin": plugin.version,
            "published": sha256(file),
        },
    }
    made = {
        RunDirectory(out).functaset(split): to_functaset(sets[split], split, start, about)
        for split in SPLITS
        if split in sets
    }
    check_folder(out)
    for path in made:
        if path.exists():
            raise UserError(f"{path} is there already. Move it away, or choose another --out.")
    for path, functaset in made.items():
        functaset.save(path)
    return list(made)


def latent_start(directory: RunDirectory) -> list[float]:
    """Where the published inner loop of an imported run starts: Z numbers.

    Raises:
        UserError: there is no run, or it was not imported.
    """
    require_trained(directory)
    if not directory.published.is_file():
        raise UserError(
            f"the run in {directory.root} was trained here; published latents belong to published "
            "weights. Import those first: functa import-deepmind CHECKPOINT --out RUN"
        )
    start: list[float] = read_json(directory.published)["latent_start"]
    return start
