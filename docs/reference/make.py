"""Write hooks.md and modality.md, beside this file, from the signatures and docstrings they are of.

`python docs/reference/make.py`. A test compares what it makes with what is there.
"""

from __future__ import annotations

import ast
import re
import textwrap
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "functa_core"
SECTIONS = {"Args:": "Takes", "Attributes:": "Has", "Returns:": "Returns", "Raises:": "Raises"}
NOTE = "<!-- Made by docs/reference/make.py from functa_core/{}: change that, make this again. -->"
SPOKEN_OF = "All of them are imported from `functa_core`."


class Source:
    """A module of the core: what it defines, as it is written."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.lines = (CORE / place).read_text(encoding="utf-8").splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.classes = {
            node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)
        }

    def opening(self, title: str) -> list[str]:
        """Where a page comes from, its title, and the module's docstring."""
        return [NOTE.format(self.place), f"# {title}", _docstring(self.tree)]

    def functions(self) -> list[str]:
        """All functions."""
        functions = [node for node in self.tree.body if isinstance(node, ast.FunctionDef)]
        return [part for node in functions for part in self._function(node, "##")]

    def contents(self, name: str, heading: str) -> list[str]:
        """A class: its docstring, its documented attributes and its public methods."""
        node = self.classes[name]
        parts = [_docstring(node)]
        for member, following in pairwise([*node.body, ast.Pass()]):
            if isinstance(member, ast.AnnAssign) and (text := _text(following)):
                needed = "" if member.value is not None else ", required"
                parts.append(f"{heading} `{ast.unparse(member.target)}`{needed}")
                parts += [_code(self._written(member.lineno, following.lineno)), _markdown(text)]
            elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                parts += self._function(member, heading)
        return parts

    def _function(self, node: ast.FunctionDef, heading: str) -> list[str]:
        """Its name, its head without what says that it is abstract or a hook, its docstring."""
        names = [ast.unparse(decorator) for decorator in node.decorator_list]
        if "overload" in names:
            return []
        head = self._written(node.lineno, node.body[0].lineno).partition("  #")[0]
        kept = [f"@{name}" for name in names if name not in ("abstractmethod", "hookspec")]
        required = ", required" if "abstractmethod" in names else ""
        code = _code("\n".join([*kept, f"{head} ..."]))
        return [f"{heading} `{node.name}`{required}", code, _docstring(node)]

    def _written(self, start: int, stop: int) -> str:
        """Lines `start` to `stop`, that one not included, without their indentation."""
        return textwrap.dedent("\n".join(self.lines[start - 1 : stop - 1])).strip()


def hooks_page() -> str:
    """The hooks, and the types that they speak of."""
    specs, tasks = Source("discovery/hookspecs.py"), Source("tasks/base.py")
    parts = [*specs.opening("Hooks"), *specs.functions(), "# Types of the hooks", SPOKEN_OF]
    for source in (specs, tasks):
        for name in source.classes:
            parts += [f"## `{name}`", *source.contents(name, "###")]
    return "\n\n".join(parts) + "\n"


def modality_page() -> str:
    """The class that a plugin supplies, and the types of the contract."""
    modality, types = Source("modality.py"), Source("modality_types.py")
    parts = [*modality.opening("Modality"), *modality.contents("Modality", "##")]
    parts += ["# Types of its members", SPOKEN_OF]
    for source in (types, Source("observations.py"), Source("dataset.py")):
        for name in source.classes:
            parts += [f"## `{name}`", *source.contents(name, "###")]
    return "\n\n".join(parts) + "\n"


PAGES = {"hooks.md": hooks_page, "modality.md": modality_page}


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return _markdown(ast.get_docstring(node) or "")


def _text(node: ast.stmt) -> str:
    """The text that a statement is, as behind a documented attribute; "" if it is none."""
    value = node.value if isinstance(node, ast.Expr) else None
    return str(value.value) if isinstance(value, ast.Constant) else ""


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _markdown(docstring: str) -> str:
    """A docstring whose sections became lists."""
    lines: list[str] = []
    section = ""
    for line in docstring.strip().splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text in SECTIONS:
            section = SECTIONS[text]
            lines += [f"*{section}*", ""]
        elif section and indent == 4 and (item := re.match(r"([\w, ]+): (.*)", text)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif section and indent >= 4:
            lines.append(text if section == "Returns" else f"  {text}")
        else:
            section = section if not text else ""
            lines.append(text)
    return "\n".join(lines).strip()


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
