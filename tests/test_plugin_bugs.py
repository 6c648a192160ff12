"""A plugin's bug is said to be the plugin's: distribution or file, modality and member."""

import shutil

import pytest
from distributions import install

from functa_core.blame import blame

GOOD = """
from functa_core import UserError
from functa_clips import Clips

class Mine(Clips):
    name = "mine"
"""
BROKEN = "    def {member}(self, *given, **named):\n        raise {error}\n"
BROKEN_SPEC = "    @property\n" + BROKEN


def broken(member: str, error: str = "ValueError('boom')") -> str:
    """The file of a plugin whose member raises."""
    return GOOD + (BROKEN_SPEC if member == "spec" else BROKEN).format(member=member, error=error)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, whose plugin file tests overwrite."""
    from functa_core.cli.main import main

    folder = tmp_path_factory.mktemp("bugs")
    (folder / "mine.py").write_text(GOOD)
    arguments = ["run", "--plugin", folder / "mine.py", "--out", folder / "run"]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--set", "meta.steps=2", "--set", "modality.bars=9"])
    assert ended.value.code == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "member", ["spec", "dataset", "prepare", "observations", "forward", "loss"]
)
def test_a_bug_in_training(member, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(broken(member))
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    first, second = err.splitlines()[-2:]
    raised = f"{member} of modality 'mine' raised ValueError: boom"
    assert first == f"functa: plugin {file} failed: {raised}"
    assert "--debug" in second


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("None", "gave NoneType instead of Observations"),
        ("found.slice(0, 0)", "gave no observations of a signal"),
        ("attrs.evolve(found, values=found.values[0])", "gave values ("),
        ("attrs.evolve(found, weights=found.weights[:, :1])", "gave weights (1, 1)"),
        ("attrs.evolve(found, queries=found.queries[..., :5, :])", "gave queries ("),
        ("attrs.evolve(found, values=found.values.double())", "gave values of torch.float64"),
        ("attrs.evolve(found, values=found.values.numpy())", "gave values that are ndarray"),
        ("attrs.evolve(found, weights=-found.weights)", "gave weights below 0"),
        ("attrs.evolve(found, values=found.values.log())", "gave NaN or infinity as a value"),
    ],
)
def test_observations_of_a_wrong_shape(changed, said, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"import attrs\n{GOOD}\n    def observations(self, signals, generator=None):\n"
        f"        found = super().observations(signals, generator)\n        return {changed}\n"
    )
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert f"functa: plugin {file} failed: observations of modality 'mine' {said}" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("member", "given", "said"),
    [
        (
            "forward",
            "super().forward(*given, **named)[..., [0, 0]]",
            "forward of modality 'mine' gave (",
        ),
        ("forward", "None", "forward of modality 'mine' gave NoneType of one signal instead of ("),
        ("loss", "super().loss(*given).mean()", "loss of modality 'mine' gave () of one signal"),
    ],
)
def test_predictions_of_a_wrong_shape(member, given, said, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"{GOOD}\n    def {member}(self, *given, **named):\n        return {given}\n")
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("member", "given", "said"),
    [
        ("dataset", "[1.0, 2.0]", "dataset of modality 'mine' gave list instead of a Dataset"),
        (
            "dataset",
            "attrs.evolve(super().dataset(*given), ids=range(12))",
            "gave ids that are int instead of texts",
        ),
        (
            "dataset",
            "attrs.evolve(super().dataset(*given), labels=[7] * len(super().dataset(*given)))",
            "gave labels from 7 to 7 for 2 label names",
        ),
        (
            "dataset",
            "attrs.evolve(super().dataset(*given), labels=[0])",
            "gave labels (1,) for 22 signals",
        ),
        ("prepare", "None", "prepare of modality 'mine' gave NoneType instead of a dict"),
        (
            "prepare",
            "{**super().prepare(*given), 'scale': object()}",
            "prepare of modality 'mine' gave what is not JSON",
        ),
        ("metrics", "[1]", "metrics of modality 'mine' gave 1 instead of a Metric"),
        (
            "metrics",
            "[attrs.evolve(m, compute=lambda p, o: 0.5) for m in super().metrics()]",
            "0.5 of one signal, not a tensor (1,)",
        ),
    ],
)
def test_answers_of_another_kind_before_a_run(member, given, said, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"import attrs\n{GOOD}\n    def {member}(self, *given):\n        return {given}\n"
    )
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert f"functa: plugin {file} failed: {member} of modality 'mine'" in err
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("3", "spec of modality 'mine' gave int instead of a Spec"),
        ("Spec((0, 1), 1)", "has the domain (0, 1) instead of a Box or a UnitSphere"),
        ("Spec(Box((1.0,), (0.0,)), 1)", "which is no box from low to high"),
        ("Spec(Box((0.0,), (1.0,)), 0)", "has 0 channels"),
        ("Spec(Box((0.0,), (1.0,)), 1, (1.0, 1.0))", "has the value range (1.0, 1.0)"),
    ],
)
def test_a_spec_that_is_none(spec, said, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"from functa_core import Box, Spec\n{GOOD}    spec = {spec}\n")
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "def observations(self, signals): ...",
            "observations of 'mine' takes (signals); it has to take (signals, generator=None)",
        ),
        ("def spec(self): ...", "spec of 'mine' is a method; decorate it with @property"),
        ("loss = 3", "loss of 'mine' is 3 and no method"),
        ("recipe = [('meta', 3)]", "recipe of 'mine' is [('meta', 3)] and no mapping"),
        ("tasks = 'views'", "tasks of 'mine' are 'views' and no sequence of names"),
        ("benchmarks = {'small': 3}", "benchmarks of 'mine' are {'small': 3} and no Benchmark"),
    ],
)
def test_a_class_that_cannot_be_used_as_the_core_does(body, said, functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"{GOOD}\n    {body}\n")
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("member", "given", "said"),
    [
        ("describe", "['a line']", "describe of modality 'mine' gave list instead of a dict"),
        ("baselines", "{'mean': 3}", "baselines of modality 'mine' gave {'mean': 3} instead of"),
        (
            "baselines",
            "{'mean': lambda signals, observations, visible: 0}",
            "baselines of modality 'mine' predict int by 'mean' instead of (",
        ),
    ],
)
def test_answers_of_another_kind_after_training(member, given, said, functa, run, trained):
    (trained / "mine.py").write_text(
        f"{GOOD}\n    def {member}(self, *given):\n        return {given}\n"
    )
    command = ("inspect", "--plugin", trained / "mine.py")
    code, _, err = functa(*(command if member == "describe" else ("evaluate", "--run", run)))
    assert code == 1
    assert said in err


def test_values_far_outside_the_range_are_warned_of(functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"import attrs\n{GOOD}\n    def observations(self, *given):\n"
        "        found = super().observations(*given)\n"
        "        return attrs.evolve(found, values=found.values * 255)\n"
    )
    code, _, err = functa(
        *("train", "--plugin", file, "--out", tmp_path / "run", "--set", "meta.steps=1")
    )
    assert code == 0
    assert "far outside the range -1 to 1" in err


def test_the_same_signals_for_training_and_test(functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"{GOOD}\n    def dataset(self, split):\n        return super().dataset('all')\n"
    )
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert "dataset of modality 'mine' gave the same signals for training and for test" in err
    assert not (tmp_path / "run").exists()


def test_signals_that_change_while_they_are_encoded(functa, run, trained):
    (trained / "mine.py").write_text(
        f"import attrs, itertools\n{GOOD}\n    calls = itertools.count()\n"
        "    def observations(self, signals, generator=None):\n"
        "        found = super().observations(signals, generator)\n"
        "        return attrs.evolve(found, values=found.values + 1e-3 * next(self.calls))\n"
    )
    code, _, err = functa("encode", "--run", run, "--out", run.parent / "x.safetensors")
    assert code == 1
    assert "observations of modality 'mine' measured signal 0 otherwise than a moment" in err


@pytest.mark.parametrize(
    ("member", "command"),
    [
        ("fitted", "encode"),
        ("held_out", "evaluate"),
        ("metrics", "evaluate"),
        ("baselines", "evaluate"),
        ("render", "decode"),
        ("decode", "decode"),
        ("describe", "inspect"),
        ("preview", "inspect"),
    ],
)
def test_a_bug_after_training(member, command, functa, run, trained, tmp_path):
    (trained / "mine.py").write_text(broken(member))
    arguments = {
        "encode": ("encode", "--run", run, "--out", tmp_path / "l.safetensors"),
        "evaluate": ("evaluate", "--run", run),
        "decode": (
            *("decode", "--run", run, "--latents", run / "functaset" / "test.safetensors"),
            *("--out", tmp_path / "decoded"),
        ),
        "inspect": ("inspect", "--plugin", trained / "mine.py", "--out", tmp_path / "drawn"),
    }
    code, _, err = functa(*arguments[command])
    assert code == 1
    assert f"failed: {member} of modality 'mine' raised ValueError: boom" in err


@pytest.mark.parametrize("error", ["ValueError('boom')", "SystemExit(0)", "UserError('no pen')"])
@pytest.mark.parametrize("member", ["figures", "preview", "compare"])
def test_a_picture_that_fails_loses_nothing_else(member, error, functa, run, trained):
    (trained / "mine.py").write_text(broken(member, error))
    command = "views" if member == "compare" else "report"
    code, _, err = functa(command, "--run", run)
    assert code == 0
    assert "pictures are left out" in err
    kept = next(run.rglob(f"{member}-failed.txt"))
    assert error.split("(")[0] in kept.read_text()
    if command == "views":
        assert functa("report", "--run", run)[0] == 0
    page = (run / "report.html").read_text()
    assert "pictures are left out" in page
    assert kept.name in page
    # The next time it works the note is gone.
    (trained / "mine.py").write_text(GOOD)
    assert functa(command, "--run", run)[0] == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("None", "TypeError"),
        ("[3]", "3 instead of an Artefact"),
        ("[Artefact(out / 'no.png', 'image/png', '')]", "no file"),
    ],
)
def test_artefacts_that_are_none(answer, said, functa, run, trained):
    text = f"    def figures(self, signals, fields, out):\n        return {answer}\n"
    (trained / "mine.py").write_text("from functa_core import Artefact\n" + GOOD + text)
    code, _, err = functa("report", "--run", run)
    assert code == 0
    assert "figures of modality 'mine' failed: " in err
    assert said in err


def test_a_report_embeds_what_browsers_show_and_links_the_rest(functa, run, trained):
    text = """    def figures(self, signals, fields, out):
        kinds = {"a.png": "image/png", "b.tif": "image/tiff"}
        for name in kinds:
            (out / name).write_bytes(b"pixels")
        return [Artefact(out / name, kind, name) for name, kind in kinds.items()]
"""
    (trained / "mine.py").write_text("from functa_core import Artefact\n" + GOOD + text)
    assert functa("report", "--run", run)[0] == 0
    page = (run / "report.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert "data:image/tiff" not in page
    assert '<a href="figures/b.tif">' in page


def test_the_users_errors_pass_through(functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(broken("observations", "UserError('mend your data.')"))
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 2
    assert err == "functa: error: mend your data.\n"


def test_a_plugin_does_not_end_the_program_with_success(functa, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(broken("forward", "SystemExit(0)"))
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 1
    assert "forward of modality 'mine' raised SystemExit: 0" in err


def test_a_distribution_is_named_with_its_version(functa, tmp_path, monkeypatch):
    # The value is computed in a function within a member, in a module of its own.
    text = (
        "from functa_core import hookimpl\nfrom functa_clips import Clips\n"
        "from functa_core import Dataset\n"
        "class Mine(Clips):\n    name = 'faulty'\n"
        "    def dataset(self, split):\n"
        "        return Dataset(['a', 'b'], lambda i: 1 / 0).split(split, self.source)\n"
        "@hookimpl\ndef functa_modalities(): return [Mine]\n"
    )
    install(tmp_path / "site", "faulty", "faulty", text)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    code, _, err = functa("train", "--modality", "faulty", "--out", tmp_path / "run")
    assert code == 1
    said = "plugin functa-faulty 0.1 failed: dataset of modality 'faulty' raised ZeroDivisionError"
    assert said in err
    code, _, err = functa("--debug", "train", "--modality", "faulty", "--out", tmp_path / "run")
    assert "Traceback" in err


def test_nobody_is_blamed_for_the_cores_bugs_or_for_memory(functa, tmp_path, monkeypatch):
    def fail(*given, **named):
        raise ValueError("of the core")

    file = tmp_path / "mine.py"
    for error in (
        "MemoryError('all gone')",
        "RuntimeError('DefaultCPUAllocator: can\\'t allocate')",
    ):
        file.write_text(broken("forward", error.replace("allocate'", "allocate memory'")))
        code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
        assert code == 2
        assert err.startswith("functa: error: there is not enough memory (")
        assert "plugin" not in err
    full = "__import__('errno').ENOSPC, 'No space left on device', '/x/y'"
    file.write_text(broken("forward", f"OSError({full})"))
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("functa: error: /x/y cannot be written: No space left on device.")
    file.write_text(GOOD)
    monkeypatch.setattr("functa_core.runs.opening.build_learner", fail)
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "other")
    assert code == 1
    assert err.startswith("functa: bug: ValueError: of the core")
    assert blame(ValueError("never raised")) is None
