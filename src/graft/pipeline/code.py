"""Which of graft's modules a computation runs through, and one hash of their code.

What is cached is keyed by the code that computed it, so that yesterday's bug is not today's output. The hash is of the
syntax without comments and docstrings, so that wording costs nothing; and the same whichever Python reads it, so that a
team's projects agree.
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
    f"{PACKAGE}.{name}"
    for name in (
        "errors",
        "runtime.cache",
        "runtime.database",
        "runtime.mounts",
        "runtime.cores",
        "runtime.memory",
        "runtime.progress",
        "runtime.room",
        "pipeline.code",
    )
)
"""Modules that only word messages, look for cores, or save time or memory."""

TABLES = frozenset(
    f"{PACKAGE}.{name}" for name in ("backbones.table", "examples.sources", "features.engines", "inputs")
)
"""Tables, of which a computation uses one row: it is named, or enters by its values, where a key is made."""

TABLES_END_IN = (".json", ".csv", ".j2")
"""Names of files beside a module that it reads as tables."""


def file(module: str) -> Path | None:
    """Where a module of graft stands; nothing is imported to find it."""
    path = ROOT.joinpath(*module.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


@cache
def tree(module: str) -> ast.Module | None:
    """The syntax of a module, or None where there is none of this name (it may be a name inside a module)."""
    found = file(module)
    return None if found is None else ast.parse(found.read_text(encoding="utf-8"))


@cache
def imports(module: ast.Module) -> frozenset[str]:
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
    return frozenset(name for name in names if name.startswith(f"{PACKAGE}.") and tree(name) is not None)


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
    return {name for name in seen if (found := tree(name)) and not all(map(_is_wording, found.body))}


def digest(modules: Iterable[str], leave_out: Collection[str] = CHANGE_NO_OUTPUT | TABLES) -> str:
    """sha256 over the code of the closure of `modules`."""
    return _sha256(sorted(closure(modules, leave_out)))


DECIDED = dict.fromkeys(("extract", "finetune"), f"{PACKAGE}.backbones.automatic")
"""What decides values that a stage gets, where params.yaml says `auto`: what it decides is the stage's output too."""


def of_stage(stage: str) -> set[str]:
    """The modules that a stage runs through, the tables among them too: what its outputs may depend on."""
    deciding = [DECIDED[stage]] if stage in DECIDED else []
    return closure([f"{PACKAGE}.stages.{stage}", *deciding], CHANGE_NO_OUTPUT)


@cache
def data_files(module: str) -> frozenset[Path]:
    """Files beside a module that it names: the tables that it reads. Weights are pinned by their sha256 in the code."""
    found, source = tree(module), file(module)
    if found is None or source is None:
        return frozenset()
    names = {node.value for node in ast.walk(found) if isinstance(node, ast.Constant)}
    return frozenset(one for one in source.parent.iterdir() if one.name in names and one.suffix in TABLES_END_IN)


@cache
def stage_digest(stage: str) -> str:
    """sha256 over the code of a stage and the tables that it reads."""
    modules = sorted(of_stage(stage))
    return _sha256(modules, sorted({one for name in modules for one in data_files(name)}))


def _sha256(modules: Iterable[str], tables: Iterable[Path] = ()) -> str:
    state = hashlib.sha256()
    for name in modules:
        state.update(f"{name}\n{_canonical(tree(name))}\n".encode())
    for table in tables:
        state.update(f"{table.relative_to(ROOT).as_posix()}\n".encode() + table.read_bytes())
    return state.hexdigest()


def _canonical(node: object) -> str:
    """A syntax tree as text; `ast.unparse` and `ast.dump` write the same tree otherwise in every Python.

    Wording and empty fields are left out; newer Pythons have more of these.
    """
    if isinstance(node, list):
        return f"[{','.join(_canonical(one) for one in node if not _is_wording(one))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _whole_texts(node.values)
    inside = (f"{name}={_canonical(value)}" for name, value in fields.items() if value is not None and value != [])
    return f"{type(node).__name__}({','.join(inside)})"


def _whole_texts(values: Iterable[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: Pythons cut them in different places."""
    whole: list[ast.expr] = []
    for value in values:
        if whole and isinstance(before := whole[-1], ast.Constant) and isinstance(value, ast.Constant):
            whole[-1] = ast.Constant(str(before.value) + str(value.value))
        else:
            whole.append(value)
    return whole


def _is_wording(node: object) -> bool:
    """A docstring, of an attribute too, or another constant that stands alone: it does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
