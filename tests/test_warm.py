"""Stages that share one start of Python's libraries: what a forked stage has, how it ends, and when the server does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks such a process safely")

DVC = """
import json, subprocess, sys
for line in sys.stdin:
    command, folder, word = json.loads(line)
    import os
    started = subprocess.Popen(command, cwd=folder, env=os.environ | {"WORD": word})
    print(started.pid, flush=True)
    print(started.wait(), flush=True)
"""
CLI = '''
"""In place of graft's: tells what it finds."""
import os, sys, time

def run():
    from graft.pipeline import session
    words = [os.environ["WORD"], os.getcwd(), session.process_above().pid, os.getpid(), "tensorflow" in sys.modules]
    print(*words, VERSION)
    print("to standard error", file=sys.stderr)
    sys.stdout.flush()
    open("began", "w").write(str(os.getpid()))
    try:
        time.sleep(float(sys.argv[3]))
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(3)
    sys.exit(int(sys.argv[2]))

VERSION = 1
'''


AHEAD = '''
"""In place of graft's: tells that it was called."""
import os

def begin(stage):
    with open(f"ahead.{stage}.{os.environ['WORD']}", "w") as file:
        file.write(f"{os.getpid()}\\n")
'''


class FakeDvc:
    """A process called `dvc` that starts stages one after the other."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.word = folder, "word"
        shutil.copytree(REPOSITORY / "src" / "graft", folder / "src" / "graft")
        self.cli = folder / "src" / "graft" / "cli" / "__init__.py"
        shutil.rmtree(self.cli.parent)
        self.cli.parent.mkdir()
        self.cli.write_text(CLI)
        self.cli.with_name("ahead.py").write_text(AHEAD)
        (folder / "dvc").write_text(DVC)
        self.out, self.err = folder / "out", folder / "err"
        with self.err.open("a") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(folder / "dvc")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, cwd=folder,
                env=os.environ | {"PYTHONPATH": str(folder / "src")} | environment,
            )  # fmt: skip

    def begin(self, stage: str, code: int = 0, seconds: float = 0, word: str = "", where: str = ".") -> int:
        """Start a stage; returns the process that DVC sees."""
        folder = self.folder / where
        folder.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "params.yaml", folder)  # which says under what numerics libraries are started
        (folder / "began").unlink(missing_ok=True)
        shell = f"exec {sys.executable} -m graft {stage} {code} {seconds} > {self.out}"
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([["sh", "-c", shell], str(folder), word or self.word]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ended(self) -> int:
        """The exit code of the stage that was begun."""
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def ran(self, stage: str, code: int = 0, word: str = "", where: str = ".") -> tuple[list[str], int, int]:
        """(what the stage told, its exit code, the process that DVC saw)"""
        seen = self.begin(stage, code, word=word, where=where)
        ended = self.ended()
        return self.out.read_text().split(), ended, seen

    def worker(self) -> psutil.Process:
        """The process that really runs the stage that was begun."""
        file = self.folder / "began"
        until(lambda: file.exists() and file.read_text() != "")
        return psutil.Process(int(file.read_text()))

    def ahead(self, stage: str) -> int:
        """The process that has begun with a stage before its turn."""
        file = self.folder / f"ahead.{stage}.{self.word}"
        until(lambda: file.exists() and file.read_text().endswith("\n"))
        return int(file.read_text())

    def begun_beside_train(self) -> int:
        self.word += "s"  # one that nothing begun earlier has
        self.ran("train")
        return self.ahead("finetune")

    def close(self) -> None:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
        until(lambda: not self._warm())

    def server(self) -> psutil.Process:
        """What others are forked from: the oldest."""
        return min(self._warm(), key=lambda process: process.create_time())

    def _warm(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if "graft.runtime.warm.server" in command and str(self.process.pid) in command:
                found.append(process)
        return found


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[FakeDvc]:
    """One that no other test has: its server is not started, and may end."""
    fake = FakeDvc(tmp_path)
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDvc]:
    fake = FakeDvc(tmp_path_factory.mktemp("shared"))
    yield fake
    fake.close()


@pytest.fixture
def dvc(shared: FakeDvc) -> FakeDvc:
    """One whose server goes on after each test: its start takes longer than all else here."""
    os.truncate(shared.err, 0)
    return shared


def test_a_stage_has_what_it_would_have_had(own: FakeDvc) -> None:
    """Arguments, environment, folder, files, exit code; and code that was edited meanwhile."""
    told, code, seen = own.ran("prepare", word="first")
    assert told == ["first", str(own.folder), str(own.process.pid), str(seen), "False", "1"], (
        "prepare needs no libraries"
    )
    assert code == 0
    own.cli.write_text(CLI.replace("VERSION = 1", "VERSION = 2  # of another length, which Python looks at"))
    told, code, seen = own.ran("train", code=7, word="other", where="sub")
    assert told[:3] == ["other", str(own.folder / "sub"), str(own.process.pid)]
    assert told[3] != str(seen), "another process than the one that DVC started"
    assert told[4:] == ["True", "2"]
    assert code == 7
    assert own.err.read_text() == "to standard error\n" * 2


def test_the_server_ends_with_dvc(own: FakeDvc) -> None:
    assert own.ran("train")[1] == 0
    server = own.server()
    assert own.process.stdin
    own.process.stdin.close()
    server.wait(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_command_that_dvc_started(dvc: FakeDvc, number: signal.Signals) -> None:
    seen = dvc.begin("train", seconds=600)
    worker = dvc.worker()
    assert worker.pid != seen
    os.kill(seen, number)
    assert dvc.ended() != 0
    worker.wait(timeout=30)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("victim", "number", "told"),
    [
        pytest.param(
            "worker", signal.SIGKILL, "signal 9 (SIGKILL), by the system or by hand; out of memory?", marks=SLOW
        ),
        ("worker", signal.SIGSEGV, "signal 11 (SIGSEGV), a fault in one of the libraries"),
        ("minder", signal.SIGKILL, "signal 9 (SIGKILL), by the system or by hand; out of memory?"),
        pytest.param(
            "minder", signal.SIGSEGV, "signal 9 (SIGKILL), by the system or by hand; out of memory?", marks=SLOW
        ),
    ],
)
def test_a_death_is_told_and_leaves_nothing_running(
    dvc: FakeDvc, victim: str, number: signal.Signals, told: str
) -> None:
    """As the system ends the largest process where memory is short, or a library's fault its own: they say nothing."""
    seen = dvc.begin("train", seconds=600)
    worker = dvc.worker()
    minder = worker.parent()
    assert minder
    assert "graft.runtime.warm.server" in minder.cmdline()
    assert seen not in (worker.pid, minder.pid)
    os.kill({"worker": worker, "minder": minder}[victim].pid, number)
    worker.wait(timeout=30)
    assert dvc.ended() == 128 + (number if victim == "worker" else signal.SIGKILL)
    lines = [line for line in dvc.err.read_text().splitlines() if line.startswith("graft:")]
    assert lines == [f"graft: train was ended by {told}"]
    assert dvc.ran("finetune")[0][4] == "True", "and the server goes on"


def test_an_interrupt_reaches_the_stage_and_dvc_learns_how_it_ended(dvc: FakeDvc) -> None:
    """As from a terminal: every process of the group gets it, and the one that DVC started waits."""
    seen = dvc.begin("train", seconds=600)
    worker = dvc.worker()
    server = dvc.server()
    for pid in (seen, server.pid, worker.pid):
        os.kill(pid, signal.SIGINT)
    assert dvc.ended() == 3
    assert dvc.out.read_text().endswith("interrupted\n")
    assert dvc.ran("finetune")[0][4] == "True", "and the server goes on"


def test_a_server_that_dies_costs_only_time(own: FakeDvc) -> None:
    own.ran("prepare")
    server = own.server()
    server.kill()
    server.wait()
    told, code, seen = own.ran("evaluate")
    assert (told[3], told[4], code) == (str(seen), "False", 0)


def test_a_stage_is_run_where_it_was_begun_before_its_turn(dvc: FakeDvc) -> None:
    begun = dvc.begun_beside_train()
    for stage in ("finetune", "evaluate"):
        told, code, _ = dvc.ran(stage, code=5)
        assert (int(told[3]), code) == (begun, 5)
        begun = dvc.ahead("evaluate")
    assert dvc.ran("evaluate")[0][3] != str(begun), "nothing follows it"


def test_what_was_begun_for_something_else_is_not_used(own: FakeDvc) -> None:
    """A project whose code is edited while a stage runs, for one: the next stage runs the code that DVC looked at."""
    table = own.cli.parents[1] / "backbones" / "cuts.json"

    def ran(word: str = "", where: str = ".") -> list[str]:
        told, code, _ = own.ran("finetune", code=4, word=word, where=where)
        assert (int(told[3]) != begun, code) == (True, 4)
        until(lambda: not psutil.pid_exists(begun))
        return told

    begun = own.begun_beside_train()
    own.cli.write_text(CLI.replace("VERSION = 1", "VERSION = 2  # of another length, which Python looks at"))
    assert ran()[5] == "2"
    begun = own.begun_beside_train()
    table.write_text(table.read_text() + "\n")
    ran()
    begun = own.begun_beside_train()
    assert ran(word="another")[0] == "another"
    begun = own.begun_beside_train()
    assert ran(where="sub")[1] == str(own.folder / "sub")
    begun = own.begun_beside_train()
    assert own.ran("finetune")[0][3] == str(begun)


def test_what_could_not_be_begun_is_done_in_its_turn(own: FakeDvc) -> None:
    own.cli.with_name("ahead.py").write_text(f"{AHEAD}    raise ValueError\n")
    begun = own.begun_beside_train()
    told, code, _ = own.ran("finetune", code=2)
    assert (told[0], told[5], code) == (own.word, "1", 2)
    assert int(told[3]) != begun
    assert own.err.read_text() == "to standard error\n" * 2, "and nothing is said of it"


def test_a_command_that_ends_while_its_stage_is_begun_leaves_nothing(own: FakeDvc) -> None:
    own.cli.with_name("ahead.py").write_text(f"{AHEAD}    import time\n    time.sleep(600)\n")
    begun = own.begun_beside_train()
    command = own.begin("finetune")
    until(lambda: bool(psutil.Process(command).net_connections("unix")))
    time.sleep(0.5)  # in which it is handed over
    os.kill(command, signal.SIGKILL)
    assert own.ended() != 0
    until(lambda: not psutil.pid_exists(begun))
    assert own.ran("train", code=3)[1] == 3, "and the server goes on"


def test_what_nobody_asks_for_ends_with_the_server(own: FakeDvc) -> None:
    first, second = own.begun_beside_train(), own.begun_beside_train()
    until(lambda: not psutil.pid_exists(first))
    assert psutil.pid_exists(second)
    assert own.process.stdin
    own.process.stdin.close()
    until(lambda: not psutil.pid_exists(second))


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    fake = FakeDvc(tmp_path, GRAFT_WARM="0")
    told, code, seen = fake.ran("train")
    assert (told[3], told[4], code) == (str(seen), "False", 0)
    assert fake._warm() == []
    fake.close()
