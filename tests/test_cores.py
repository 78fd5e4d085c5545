"""As many threads as this process may use, not as the machine has."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from graft.errors import SurroundingsError
from graft.runtime import cores


def test_never_more_than_the_machine_has() -> None:
    assert 1 <= cores.available() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_affinity_counts() -> None:
    """And, by joblib's count, a container's quota."""
    one = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, {{{one}}}); from graft.runtime import cores; print(cores.available())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"1\n"


@pytest.mark.parametrize("file", sorted((REPOSITORY / "src" / "graft").rglob("*.py")), ids=lambda file: file.name)
def test_nobody_counts_otherwise(file: Path) -> None:
    """Neither by the machine's number, nor by a pool's own, which is that and four more."""
    for node in ast.walk(ast.parse(file.read_text())):
        assert not (isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in ("os.cpu_count", "cpu_count"))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("ThreadPoolExecutor", "ProcessPoolExecutor")
        ):
            assert node.args or node.keywords, f"line {node.lineno}: how many threads?"


@pytest.mark.parametrize(("given", "expected"), [("1", 1), ("3", 3)])
def test_the_user_may_say(monkeypatch: pytest.MonkeyPatch, given: str, expected: int) -> None:
    monkeypatch.setenv("GRAFT_THREADS", given)
    assert cores.available() == expected


@pytest.mark.parametrize("given", ["0", "-1", "two", ""])
def test_what_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("GRAFT_THREADS", given)
    with pytest.raises(SurroundingsError, match="GRAFT_THREADS: must be a number of threads, 1 or more"):
        cores.available()
