"""From a configuration, or from a run directory, to the objects that do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from functa_core import distributed
from functa_core.blame import accuse
from functa_core.console import warn
from functa_core.dataset import Dataset
from functa_core.discovery.loading import Plugin, load_plugin
from functa_core.discovery.onefile import load_plugin_file
from functa_core.encoding import Encoder
from functa_core.errors import UserError
from functa_core.files import remove_drafts, write_new
from functa_core.meta.learner import Learner, build_learner
from functa_core.meta.precision import has_passes, kept_type
from functa_core.meta.problem import Problem
from functa_core.modality import Modality, seeded
from functa_core.networks.products import bfloat16_pays
from functa_core.runs.answers import (
    check_dataset,
    check_labels,
    check_metrics,
    check_observations,
    check_predictions,
    check_spec,
    check_state,
    outside_range,
)
from functa_core.runs.batches import Batches
from functa_core.runs.config import RunConfig, Tree, build_config, read_yaml, to_yaml
from functa_core.runs.directory import (
    RunDirectory,
    already_a_run,
    make_folder,
    read_json,
    write_json,
)
from functa_core.runs.finding import find_task
from functa_core.runs.signals import check_signals, describe_signals

_Told = tuple[str, Tree, dict[str, Any], Tree]
"""Path, configuration and state of a run, and which signals it has."""


@attrs.frozen(eq=False)
class Session:
    """A run directory with its plugin, configuration and signals at hand.

    Attributes:
        modality: prepared.
        train, test: signals of the run's own data.
        resumed: whether the directory holds the run already.
    """

    directory: RunDirectory
    plugin: Plugin
    config: RunConfig
    modality: Modality[Any]
    train: Dataset[Any]
    test: Dataset[Any]
    device: torch.device
    resumed: bool = False


def find_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N`; of several processes on a machine each has its own.

    Raises:
        UserError: no such device here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if distributed.count() > 1 and name != "cpu":
        return _own_device(name, count)
    if name == "auto":
        return _current(torch.device("cuda:0" if count else "cpu"))
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if name not in known:
        raise UserError(f"there is no device '{name}' here; there are: auto, {', '.join(known)}.")
    return _current(torch.device("cuda:0" if name == "cuda" else name))


def _own_device(name: str, there: int) -> torch.device:
    """The device of one of several processes."""
    place = distributed.local_rank()
    if name == "auto" and not there:
        return torch.device("cpu")
    if name not in ("auto", "cuda") or place >= there:
        raise UserError(
            f"--device {name}: process {place + 1} of this machine needs a device of its own, and "
            f"there are {there}.\nStart as many processes as there are devices, with --device "
            "cuda, or give --device cpu."
        )
    return _current(torch.device("cuda", place))


def _current(device: torch.device) -> torch.device:
    """The device, made the one that kernels and recordings go to."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def read_signals(modality: Modality[Any]) -> tuple[Dataset[Any], Dataset[Any]]:
    """Training and test signals, both checked.

    Raises:
        UserError: the data cannot be used; says why.
    """
    train, test = modality.dataset("train"), modality.dataset("test")
    for split, signals in (("training", train), ("test", test)):
        check_dataset(modality, signals)
        if len(signals) == 0:
            raise UserError(
                f"there are no {split} signals in {modality.source.path or 'the embedded set'}; "
                "add some, or let the split be made at random by giving no split of your own."
            )
    return train, test


def prepare_modality(modality: Modality[Any], train: Dataset[Any]) -> Modality[Any]:
    """The same modality, prepared.

    Args:
        modality: with its data, not prepared.
        train: its training signals.
    """
    state = modality.prepare(train)
    check_state(modality, state)
    prepared = type(modality)(modality.config, modality.source, state)
    check_spec(prepared)
    return prepared


def begin(session: Session) -> None:
    """Make the directory of a new run; where one goes on, nothing is to be done.

    Raises:
        UserError: it cannot be made, or another process was first.
    """
    directory = session.directory
    if session.resumed:
        return
    make_folder(directory.root)
    try:
        write_new(directory.config, to_yaml(session.config))
    except FileExistsError as error:
        raise already_a_run(directory.root) from error
    signals = describe_signals({"train": session.train, "test": session.test})
    about = describe_modality(session.plugin, session.modality)
    write_json(directory.modality, {**about, "signals": signals})


def prepare(plugin: Plugin, config: RunConfig, directory: RunDirectory, device: str) -> Session:
    """A run that could begin: all input is read and checked, and nothing is written.

    Raises:
        UserError: the data, the device or a signal cannot be used.
    """
    where = find_device(device)
    unprepared = plugin.modality(config.modality, config.source())
    train, test = read_signals(unprepared)
    modality = prepare_modality(unprepared, train)
    for signals in (train, test):
        check_labels(modality, signals)
    seen = [modality.observations([signals[0]]) for signals in (train, test)]
    for given in seen:
        check_observations(modality, given)
    check_metrics(modality, seen[1])
    if (said := outside_range(modality, seen[0])) is not None:
        warn(said)
    # Ids may count from 0 in each split, and a set of one signal has it in both.
    if len(train) > 1 and [*train.ids] == [*test.ids] and seen[0].values.equal(seen[1].values):
        raise accuse(plugin.modality, "dataset", "gave the same signals for training and for test")
    for name, options in config.tasks.items():
        find_task(name, plugin.tasks)(options).check_options(modality, test[0])
    _check_fit(modality, train[0], config)
    batches = Batches(modality, train, config)
    _check_processes(batches.size)
    if config.meta.precision == "bfloat16" and not bfloat16_pays(where):
        warn(
            "this processor has no instructions for bfloat16, so meta.precision=bfloat16 will be "
            "far slower than float32."
        )
    batches.plan(build_learner(modality.spec, config.model, config.meta, seed=0).to(where), where)
    return Session(directory, plugin, config, modality, train, test, where)


def _check_fit(modality: Modality[Any], signal: Any, config: RunConfig) -> None:
    """Raise a `UserError` if the network or the solver is not for such signals."""
    learner = build_learner(modality.spec, config.model, config.meta, seed=0)
    network = learner.network
    if config.meta.precision == "bfloat16" and not has_passes(network):
        raise UserError(
            "meta.precision=bfloat16 is for networks whose shifts alone are modulated.\n"
            "Use model.modulate_scale=false, or meta.precision=float32."
        )
    observations = modality.observations([signal], seeded(0))
    check_predictions(modality, learner.network, observations)
    learner.solver.fit(Problem(learner.network, modality, observations), steps=1)


def _check_processes(batch: int) -> None:
    """Raise a `UserError` unless there is a signal of each update for every process."""
    if batch < distributed.count():
        raise UserError(
            f"an update is of {batch} signals, too few for {distributed.count()} processes.\n"
            "Start fewer processes, or raise meta.batch_size if there are more training signals."
        )


def resume(directory: RunDirectory, device: str) -> Session:
    """The run that is in a directory, with its own data.

    Raises:
        UserError: its plugin or its data is gone, or the data is not what it was.
    """
    where = find_device(device)
    plugin, config = read_run(directory)
    remove_drafts(directory.root)
    if not directory.modality.is_file():  # the crash came between the first two files
        directory.config.unlink()
        return prepare(plugin, config, directory, device)
    modality = plugin.modality(config.modality, config.source(), read_state(directory, plugin))
    train, test = read_signals(modality)
    check_signals(directory, {"train": train, "test": test})
    if not directory.weights.is_file():
        _check_processes(Batches(modality, train, config).size)
    return Session(directory, plugin, config, modality, train, test, where, resumed=True)


def open_together(open_first: Callable[[], Session | None], device: str) -> Session | None:
    """The session that the first process opens, in all processes, with its directory there.

    The others read the same data, and take everything else from the first, which writes nothing
    before all have come so far.

    Args:
        open_first: opens it; None if nothing is left to be done. Called in the first process.
        device: "auto", "cpu" or "cuda", of the others.

    Raises:
        UserError: the first cannot open it, or another finds other data.
    """
    session = open_first() if distributed.is_first() else None
    told = distributed.from_first(None if session is None else _described(session))
    if told is None:
        return None
    if session is None:
        session = _same(told, device)
    distributed.meet()
    if distributed.is_first():
        begin(session)
    return session


def _same(told: _Told, device: str) -> Session:
    """The session that the first process told of.

    Raises:
        UserError: there is other data here, or no device.
    """
    root, tree, state, signals = told
    plugin = choose_plugin(modality_name(tree), plugin_file(tree))
    config = build_config(plugin.modality, [("the first process", tree)], plugin.tasks)
    modality = plugin.modality(config.modality, config.source(), state)
    where = find_device(device)
    train, test = read_signals(modality)
    if signals != describe_signals({"train": train, "test": test}):
        first = [signals[split]["signals"] for split in ("train", "test")]
        raise UserError(
            f"process {distributed.rank()} finds {len(train)} training and {len(test)} test "
            f"signals, the first process {first[0]} and {first[1]}, or others.\n"
            f"All need the same data at {config.data.path}."
        )
    return Session(RunDirectory(Path(root)), plugin, config, modality, train, test, where)


def _described(session: Session) -> _Told:
    """What other processes need to open the same session."""
    root, state = str(session.directory.root.absolute()), dict(session.modality.state)
    signals = describe_signals({"train": session.train, "test": session.test})
    return root, session.config.tree(), state, signals


def read_run(directory: RunDirectory) -> tuple[Plugin, RunConfig]:
    """Plugin and configuration of a run directory.

    Raises:
        UserError: there is no run, or its plugin cannot be loaded.
    """
    plugin, tree = read_plugin(directory)
    return plugin, build_config(plugin.modality, [(str(directory.config), tree)], plugin.tasks)


def read_plugin(directory: RunDirectory) -> tuple[Plugin, Tree]:
    """Plugin of a run directory, and its configuration as it is written, unchecked.

    Raises:
        UserError: there is no run, or its plugin cannot be loaded.
    """
    if not directory.holds_run:
        raise UserError(f"there is no run in {directory.root} (no config.yaml).")
    tree = read_yaml(directory.config)
    name, file = modality_name(tree), plugin_file(tree)
    if name is None:
        raise UserError(f"{directory.config} names no modality (modality.name).")
    if file is not None and not Path(file).is_file():
        raise UserError(
            f"the plugin file of this run is gone: {file}. Put it back, or say where it is now: "
            f"modality.plugin in {directory.config}."
        )
    return choose_plugin(name, file), tree


def require_trained(directory: RunDirectory) -> None:
    """Raise a `UserError` unless training has ended here."""
    if not directory.holds_run:
        raise UserError(f"there is no run in {directory.root} (no config.yaml).")
    if not directory.weights.is_file():
        raise UserError(
            f"the run in {directory.root} is not trained yet (no {directory.weights.name}). "
            f"Finish it: functa train --out {directory.root} --resume"
        )


def modality_name(tree: dict[str, Any]) -> str | None:
    """`modality.name` of a configuration, if it has one.

    Raises:
        UserError: there is something else where the section should be.
    """
    section = tree.get("modality")
    if section is not None and not isinstance(section, Mapping):
        raise UserError(
            f"section 'modality' must be a mapping, got {section!r}.\nThe name of a modality "
            "stands in it: modality.name."
        )
    name = section.get("name") if section else None
    return name if isinstance(name, str) else None


def plugin_file(tree: Mapping[str, Any]) -> str | None:
    """`modality.plugin` of a configuration: the file that is the plugin, if it is one.

    Raises:
        UserError: it is not a text.
    """
    section = tree.get("modality")
    file = section.get("plugin") if isinstance(section, dict) else None
    if file is not None and not isinstance(file, str):
        raise UserError(f"modality.plugin must be a path, FILE.py; got {file!r}.")
    return file


def choose_plugin(name: str | None, file: str | None) -> Plugin:
    """The plugin in a file, or the installed one.

    Args:
        name: of the modality; may be None for a file that has exactly one.
        file: path of a plugin that is a Python file, or None.

    Raises:
        UserError: neither is named, or the plugin cannot be loaded.
    """
    if file is not None:
        return load_plugin_file(Path(file), name)
    if name is None:
        raise UserError("no modality was named. Give --modality NAME; see: functa plugins list")
    return load_plugin(name)


def read_state(directory: RunDirectory, plugin: Plugin) -> dict[str, Any]:
    """The modality's prepared state; warns if the plugin is a file that has changed since."""
    about = read_json(directory.modality)
    then = about.get("plugin_sha256")
    if plugin.origin.sha256 != then and plugin.origin.file is not None:
        warn(
            f"the plugin file {plugin.origin.file} is not what it was when the run in "
            f"{directory.root} was started; what it does now may not fit the run."
        )
    state: dict[str, Any] = about["state"]
    return state


def read_learner(config: RunConfig, modality: Modality[Any], path: Path) -> Learner:
    """A trained learner, with its weights frozen.

    Raises:
        UserError: the file does not fit the configuration.
    """
    learner = build_learner(modality.spec, config.model, config.meta, seed=0)
    try:
        learner.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} does not fit this run's configuration: {reason[:200]}\n"
            "Put back the file that was trained with it, or train again in another --out."
        ) from error
    return learner.requires_grad_(False)


def make_encoder(
    config: RunConfig, modality: Modality[Any], weights: Path, device: torch.device
) -> Encoder:
    """The trained run, ready to fit latents."""
    learner = read_learner(config, modality, weights).to(device)
    return Encoder(
        learner=learner,
        modality=modality,
        inner_steps=config.meta.inner_steps,
        l2_weight=config.meta.l2_weight,
        batch=config.meta.encode_batch,
        chunk=config.meta.chunk,
        device=device,
        precision=kept_type(config.meta.precision, learner, device),
    )


def describe_spec(modality: Modality[Any]) -> dict[str, Any]:
    """`spec` as JSON."""
    spec = modality.spec
    return {
        "domain": {"kind": type(spec.domain).__name__, **attrs.asdict(spec.domain)},
        "channels": spec.channels,
        "value_range": list(spec.value_range),
        "output_offset": spec.output_offset,
    }


def describe_modality(plugin: Plugin, modality: Modality[Any]) -> dict[str, Any]:
    """What modality.json says."""
    digest = plugin.origin.sha256
    return {
        "modality": modality.name,
        "plugin_version": plugin.version,
        **({} if digest is None else {"plugin_sha256": digest}),
        "spec": describe_spec(modality),
        "state": dict(modality.state),
    }
