"""After whatever a broken plugin does, the listing and a run of another modality still work.

Each is installed alone. `tests/test_discovery.py` has those that do not load all at once, and
quickly; `tests/test_plugin_bugs.py` says what is said of the others.
"""

import json

import pytest
from distributions import TINY_IMAGES, functa, install, install_all
from published import NUMPY
from test_discovery import BROKEN, distribution
from test_plugin_bugs import broken

from functa_core.modality import Modality

pytestmark = pytest.mark.slow

HANGS = "import time; time.sleep(1e6)"

MEMBERS = [
    name
    for name, value in vars(Modality).items()
    if not name.startswith("_")
    and (callable(value) or isinstance(value, property | classmethod))
    and name != "state"  # nobody overrides what it was given
]
ELSEWHERE = {
    "describe": lambda name, out: ("inspect", "--modality", name),
    "from_published": lambda name, out: (
        *("import-deepmind", NUMPY, "--modality", name),
        *("--out", out),
    ),
}
"""Commands that call members which `functa run` does not."""
TASKS = {
    "compare": "views",
    "masks": "impute",
    "compare_masked": "impute",
    "animate": "interpolate",
    "raw": "classify",
    "codec": "compress",
    "features": "generate",
    "set_distances": "generate",
    "gallery": "generate",
}
"""The tasks that call members which a run without any does not."""
PICTURES = {"figures", "compare", "compare_masked", "animate", "gallery"}
PICTURES |= {"preview", "render", "decode"}
"""Members without which a run is still whole: it goes on, and says so."""
QUICK = [
    *("meta.steps=2", "modality.bars=9"),
    *("tasks.generate.model=flow", "tasks.generate.flow_steps=2", "tasks.generate.samples=2"),
]


def a_run(name, out):
    quick = [part for setting in QUICK for part in ("--set", setting)]
    return "run", "--modality", name, "--out", out, *quick


def check_the_rest(folder, out, limit=60):
    """`functa plugins list` and `functa run --modality images`, beside what is in the folder."""
    done = functa(folder, "plugins", "list", "--json", "--timeout", limit)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["images"]["state"], rows["images"]["modalities"]) == ("ok", ["images"])
    done = functa(folder, "run", "--modality", "images", "--out", out, *TINY_IMAGES)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (out / "report.html").is_file()
    return rows


@pytest.mark.parametrize("case", BROKEN)
def test_beside_one_that_does_not_load(case, tmp_path):
    name, module, text = distribution(case)
    install(tmp_path / "site", name, module, text)
    if BROKEN[case][1] != "ok" and "os._exit" not in text:
        assert functa(tmp_path / "site", "config", "--modality", name).returncode == 2
    rows = check_the_rest(tmp_path / "site", tmp_path / "run")
    assert rows[name]["state"] == BROKEN[case][1]


def test_beside_one_that_hangs(tmp_path):
    install(tmp_path / "site", "hangs", "hangs", HANGS)
    rows = check_the_rest(tmp_path / "site", tmp_path / "run", limit=20)
    assert "did not load within 20 s" in rows["hangs"]["reason"]


def test_beside_two_of_one_name(tmp_path):
    install_all(tmp_path / "site", [("twin", "twin_a", ""), ("twin", "twin_b", "")])
    rows = check_the_rest(tmp_path / "site", tmp_path / "run")
    assert rows["twin"]["state"] == "duplicate"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A folder with a distribution for each member, whose modality raises there."""
    folder = tmp_path_factory.mktemp("site")
    text = "\nfrom functa_core import hookimpl\n@hookimpl\ndef functa_modalities(): return [Mine]\n"
    install_all(folder, [(f"m_{m}", f"m_{m}", named(m) + text) for m in MEMBERS])
    return folder


def named(member):
    """A modality that does no task but the one that calls this member, which raises."""
    tasks = f"    tasks = {(TASKS[member],) if member in TASKS else ()!r}\n"
    text = broken(member).replace('    name = "mine"\n', f'    name = "m_{member}"\n{tasks}')
    return text.replace("    def from_pub", "    @classmethod\n    def from_pub")


@pytest.fixture(scope="module")
def ended(faulty, tmp_path_factory):
    """What became of a command for each member that raised, and the folder it was to write."""
    found = {}
    for member in MEMBERS:
        name, out = f"m_{member}", tmp_path_factory.mktemp(member) / "out"
        found[member] = functa(faulty, *ELSEWHERE.get(member, a_run)(name, out)), out
    return found


@pytest.mark.parametrize("member", MEMBERS)
def test_an_exception_in_a_member(member, ended):
    done, out = ended[member]
    name = f"m_{member}"
    said = f"plugin functa-{name} 0.1 failed: {member} of modality '{name}' raised ValueError: boom"
    assert said in done.stderr
    if member in PICTURES:
        assert (done.returncode, (out / "report.html").is_file()) == (0, True)
    else:
        assert done.returncode == (2 if member == "from_published" else 1)


def test_after_exceptions_in_all_members(faulty, ended, tmp_path):
    rows = check_the_rest(faulty, tmp_path / "run")
    for member in ended:
        assert rows[f"m_{member}"]["state"] == "ok"
