"""Which of graft's modules a computation runs through, and one hash of their code.

What is cached is keyed by the code that computed it, so that yesterday's bug is not today's output. The hash is of the
syntax without comments and docstrings, so that wording costs nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

PACKAGE = "graft"
ROOT = Path(__file__).parents[2]
"""What holds the package."""

CHANGE_NO_OUTPUT = frozenset(
    f"{PACKAGE}.{name}" for name in ("errors", "runtime.cache", "runtime.cores", "runtime.progress", "pipeline.code")
)
"""Modules that only word messages, look for cores or save time."""

TABLES = frozenset(
    f"{PACKAGE}.{name}" for name in ("backbones.table", "examples.sources", "features.engines", "inputs")
)
"""Tables, of which a computation uses one row: it is named, or enters by its values, where a key is made."""


def file(module: str) -> Path | None:
    """Where a module of graft stands; nothing is imported to find it."""
    path = ROOT.joinpath(*module.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


@cache
def tree(module: str) -> ast.Module | None:
    """The syntax of a module, or None where there is none of this name (it may be a name inside a module)."""
    found = file(module)
    return None if found is None else ast.parse(found.read_text(encoding="utf-8"))


def imports(module: ast.Module) -> set[str]:
    """graft's own modules that a module imports at run time, at its top or inside a function.

    What stands under `if TYPE_CHECKING:` is never imported. The packages on the way to a module count as imported.
    """
    names: set[str] = set()
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith(f"{PACKAGE}.") and tree(name) is not None}


def closure(modules: Iterable[str], leave_out: Collection[str] = ()) -> set[str]:
    """`modules` and all of graft's modules that they import, directly or not, without `leave_out` and what only those
    import, and without modules that are no more than a docstring."""
    seen: set[str] = set()
    pending = [name for name in modules if name not in leave_out]
    while pending:
        name = pending.pop()
        found = tree(name)
        if name not in seen and found is not None:
            seen.add(name)
            pending += imports(found) - seen - set(leave_out)
    return {name for name in seen if len(_without_wording(name).body)}


def digest(modules: Iterable[str], leave_out: Collection[str] = CHANGE_NO_OUTPUT | TABLES) -> str:
    """sha256 over the code of the closure of `modules`."""
    state = hashlib.sha256()
    for name in sorted(closure(modules, leave_out)):
        state.update(f"{name}\n{ast.unparse(_without_wording(name))}\n".encode())
    return state.hexdigest()


@cache
def _without_wording(module: str) -> ast.Module:
    """Without docstrings, of attributes too: strings that stand alone do nothing."""
    found = tree(module) or ast.Module([], [])
    stripped = ast.parse(ast.unparse(found))  # a copy
    for node in ast.walk(stripped):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
            node.body = kept or ([] if isinstance(node, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
    return stripped
