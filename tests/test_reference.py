"""The reference is what its script makes of the signatures and docstrings."""

import importlib.util
from pathlib import Path

import pytest

from functa_core.modality import Modality

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_reference", REFERENCE / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["hooks.md", "modality.md"])
def test_what_is_committed_is_what_is_made(name, make):
    made = make.PAGES[name]()
    assert (REFERENCE / name).read_text() == made, "run: python docs/reference/make.py"


def test_every_member_is_there():
    text = (REFERENCE / "modality.md").read_text()
    members = [name for name in [*vars(Modality), *Modality.__annotations__] if name[0] != "_"]
    for member in members:
        required = member in Modality.__abstractmethods__ or not hasattr(Modality, member)
        label = ", required" if required else ""
        assert f"\n## `{member}`{label}\n" in text, member
    assert "*Raises*\n\n- `UserError`: it is of this modality, but says what cannot be.\n" in text
    assert 'predicted: Float[Tensor, "B N C"]' in text
