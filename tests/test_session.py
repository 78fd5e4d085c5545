"""Which `dvc` process a stage runs under: told by what the processes above are, not by a word in their arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graft.pipeline import session

DVC = [
    "dvc repro",
    "/opt/dvc/bin/dvc repro",
    "dvc.exe repro",
    r"C:\Tools\dvc.exe exp run",
    "/venv/bin/python /venv/bin/dvc repro",
    "/venv/bin/python3.12 /venv/bin/dvc repro --force",
    "python3 -m dvc repro",
    "python -mdvc repro",
    "python -Pm dvc exp run",
    "python -X dev -W error -u /venv/bin/dvc repro",
    "python -Xdev -Werror::UserWarning -E -s -m dvc.__main__ repro",
    "python --check-hash-based-pycs always -m dvc repro",
    "python3.13t /venv/bin/dvc repro",
    "pypy3.10 /venv/bin/dvc repro",
    "/Library/Frameworks/Python /usr/local/bin/dvc repro",
    r"C:\Python312\python.exe C:\Python312\Scripts\dvc-script.py repro",
    r"C:\Python312\pythonw.exe C:\Python312\Scripts\dvc.exe repro",
    "/venv/bin/python /venv/lib/python3.11/site-packages/dvc/__main__.py exp queue-worker",
]
OTHERS = [
    "",
    "su - dvc",
    "sudo -u dvc make repro",
    "tmux -L dvc",
    "vim dvc",
    "vim dvc dvc",
    "bash -c dvc",
    "sh -c 'dvc repro'",
    "python train.py dvc",
    "python train.py -m dvc",
    "python -c import_something dvc",
    "python -uc import_something dvc",
    "python -m pytest dvc",
    "python -m dvc_render dvc",
    "python -X dvc train.py",
    "python -W dvc train.py",
    "python --check-hash-based-pycs dvc train.py",
    "python - dvc",
    "python -",
    "python -m",
    "python",
    "python -u",
    "python /home/dvc/train.py",
    "/home/dvc/bin/make repro",
    "dvc-viewer dvc",
    "python-config dvc",
    "watch -n 1 dvc status",
]


@pytest.mark.parametrize("command", DVC)
def test_dvc_is_recognised(command: str) -> None:
    assert session.is_dvc(command.split())


@pytest.mark.parametrize("command", OTHERS)
def test_another_program_is_not_dvc(command: str) -> None:
    assert not session.is_dvc(command.split())


def started(folder: Path, *words: str) -> str:
    """The name of the first argument of the process that is found above, from a program that `words` start."""
    (folder / "find.py").write_text(
        "from graft.pipeline import session; above = session.process_above(); print(above and above.cmdline()[1])"
    )
    (folder / "start.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, sys.argv[1]], check=True)"
    )
    (folder / "dvc").write_text((folder / "start.py").read_text())
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_the_process_above_is_found_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(session.PROCESS, raising=False)
    assert started(tmp_path, "dvc", "find.py") == "dvc"
    assert started(tmp_path, "start.py", "find.py", "dvc") != "dvc", "only an argument"


def test_notes_are_of_this_session_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert session.executed() == set()
    session.note_execution("prepare")
    session.note_execution("train")
    assert session.executed() == {"prepare", "train"}
    monkeypatch.setattr(session, "_session", lambda: "dvc 1 2.0")
    assert session.executed() == set()
    session.note_execution("train")
    assert session.executed() == {"train"}
    session.NOTES.write_text("{damaged")
    assert session.executed() == set()
