"""Git hooks that run `graft log`: real Git, real DVC and its own hooks, a real store."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import Project, changed, make_project, tiny_params
from graft.errors import SurroundingsError
from graft.hooks import install, lines
from logged_passes import SMALL

WITHIN_SECONDS = 120
IN_BACKGROUND = "graft: MLflow may lack this pass; `graft log` runs in the background, see .graft/hooks.log"


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone with DVC's own hooks and graft's, and a pass; the branch `before` has none."""
    project = make_project(tmp_path_factory.mktemp("hooks") / "project", changed(tiny_params(), SMALL), per_class=6)
    project.environment["GRAFT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    project.run("git", "branch", "before")
    project.dvc("install", "repro")
    project.commit()
    project.run("graft", "hooks", "install")
    return project


@pytest.fixture
def project(passed: Project, tmp_path: Path) -> Project:
    """A copy of it whose run MLflow has forgotten."""
    shutil.copytree(passed.folder, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project")
    for name in ("mlruns", ".graft"):
        shutil.rmtree(project.folder / name)
    (project.folder / "mlflow.db").unlink()
    return project


def log_of(folder: Path, n: int = 1) -> list[str]:
    """What hooks have said in the background, once there are so many lines and nobody is at work any more."""
    file = folder / ".graft" / "hooks.log"
    began = time.monotonic()
    while not file.is_file() or len(file.read_text().splitlines()) < n or at_work(folder):
        assert time.monotonic() - began < WITHIN_SECONDS, file.read_text() if file.is_file() else "no line yet"
        time.sleep(0.1)
    return [line.split(" ", 2)[2] for line in file.read_text().splitlines()]


def at_work(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-3:-1] == ["hooks", "after"] and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.long
def test_a_commit_has_mlflow_know_a_pass_that_it_lacks(project: Project) -> None:
    """Git is through before; a second commit of the same pass starts nothing and says nothing."""
    commit = ("git", "commit", "--allow-empty", "-qm", "as it is")
    assert project.run(*commit).stderr.splitlines()[1:] == [IN_BACKGROUND], "the first line is of DVC's own hook"
    assert not (project.folder / ".graft" / "hooks.log").exists(), "Git has waited"
    assert len(log_of(project.folder)) == 1, log_of(project.folder)
    (said,) = log_of(project.folder)
    (run,) = project.runs()
    assert said == f"in MLflow: {run.info.run_name} ({run.info.run_id})"
    assert run.data.tags["graft.complete"] == "true"
    assert len(project.run(*commit).stderr.splitlines()) == 1
    assert at_work(project.folder) == []
    assert project.run("graft", "log").stdout.strip() == run.info.run_id


@pytest.mark.long
def test_a_checkout_logs_what_dvcs_own_hook_has_brought(project: Project) -> None:
    """DVC's hook ends with `exec dvc`, behind which nothing would run."""
    hook = (project.folder / ".git" / "hooks" / "post-checkout").read_text()
    assert re.search(r"^exec dvc git-hook post-checkout", hook, re.MULTILINE)
    project.run("git", "-c", "core.hooksPath=/dev/null", "checkout", "-q", "before")
    shutil.rmtree(project.folder / "models", ignore_errors=True)
    done = project.run("git", "checkout", "-q", "-")
    assert IN_BACKGROUND in done.stderr
    (said,) = log_of(project.folder)
    (run,) = project.runs()
    assert said.endswith(f"({run.info.run_id})")
    assert (project.folder / "models" / "model.keras").is_file()


@pytest.mark.long
def test_what_cannot_be_logged_is_a_line_and_git_goes_on(project: Project) -> None:
    """Files that are not here, a server that is down; a params.yaml that nothing was run with is no matter."""
    empty = ("git", "commit", "--allow-empty", "-qm", "x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    project.run(*empty, MLFLOW_TRACKING_URI=address)
    (down,) = log_of(project.folder)
    assert down.startswith(f"not logged: MLFLOW_TRACKING_URI: {address} must be a reachable MLflow server. Got: ")
    (project.folder / "models" / "model.keras").unlink()
    project.run(*empty)
    assert log_of(project.folder, 2)[1:] == [
        "not logged: models/model.keras is not here. Run `dvc pull` or `dvc checkout`, then `graft log`."
    ]
    project.change(evaluate={"confidence": 0.8})
    project.run("git", "commit", "-qam", "nothing was run with this")
    assert len(log_of(project.folder, 2)) == 2
    assert not (project.folder / "mlflow.db").exists()


@pytest.mark.long
@pytest.mark.slow
def test_a_worktree_has_its_own_state_and_0_switches_hooks_off(project: Project, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    add = ("git", "worktree", "add", "-q", "--detach", str(tree))
    done = project.run(*add, ok=False, GRAFT_HOOKS="0")  # DVC's own hook fails there, without a cache
    assert "graft" not in done.stderr
    shutil.copytree(project.folder / ".dvc" / "cache", tree / ".dvc" / "cache")
    other = Project(tree)
    other.run("dvc", "checkout")
    other.run("git", "commit", "--allow-empty", "-qm", "there")
    assert log_of(tree)[0].startswith("in MLflow: ")
    assert len(other.runs()) == 1
    assert not (project.folder / ".graft").exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a b").mkdir()
    (tmp_path / "dvc.yaml").write_text("")
    return tmp_path


def test_what_was_there_stays_to_the_byte(repository: Path) -> None:
    """`core.hooksPath` is heeded; lines of two projects in a repository stand side by side; twice is once."""
    subprocess.run(["git", "config", "core.hooksPath", "own hooks"], cwd=repository, check=True)
    hooks = repository / "own hooks"
    hooks.mkdir()
    theirs = b"#!/usr/bin/env bash\n# K\xf6pfe\necho theirs\nexit 0\n"
    (hooks / "post-commit").write_bytes(theirs)
    (hooks / "post-commit").chmod(0o750)
    for folder in (repository, repository / "a b", repository):
        assert install.install(folder) == [hooks / name for name in install.NAMES]
    content = (hooks / "post-commit").read_bytes()
    assert content.startswith(b"#!/usr/bin/env bash\n# >>> graft hooks: . >>>\n")
    assert content.endswith(theirs.partition(b"\n")[2])
    assert content.count(b">>> graft hooks") == 2
    assert (hooks / "post-commit").stat().st_mode & 0o777 == 0o750
    assert (hooks / "post-merge").stat().st_mode & 0o111 == 0o111
    assert len(install.remove(repository)) == len(install.remove(repository / "a b")) == 3
    assert {file.name: file.read_bytes() for file in hooks.iterdir()} == {"post-commit": theirs}
    assert install.remove(repository) == []
    assert not (repository / ".git" / "hooks" / "post-commit").exists()


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [
        (
            "#!/usr/bin/env python3\nprint()\n",
            0o755,
            "must be a shell script, so that .* It begins with '#!/usr/bin/env p",
        ),
        ("#!/bin/sh\n", 0o644, "must be executable, since Git passes over it otherwise"),
    ],
)
def test_a_hook_that_cannot_be_added_to_is_one_error(repository: Path, content: str, mode: int, fault: str) -> None:
    file = repository / ".git" / "hooks" / "post-merge"
    file.write_text(content)
    file.chmod(mode)
    if mode == 0o644 and install.os.access(file, install.os.X_OK):
        pytest.skip("here every file may be run")
    with pytest.raises(SurroundingsError, match=fault):
        install.install(repository)
    assert file.read_text() == content
    assert not (repository / ".git" / "hooks" / "post-checkout").exists(), "nothing is written"


def test_there_must_be_a_repository(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="must lie in a Git repository"):
        install.install(tmp_path)


@pytest.mark.parametrize(
    ("first", "is_shell"),
    [
        ("#!/bin/sh", True), ("#! /bin/sh -e", True), ("#!/usr/bin/env bash", True), ("#!/usr/local/bin/zsh", True),
        ("echo no first line", True), ("#!/usr/bin/python3", False), ("#!/usr/bin/env node", False),
        ("#!/usr/bin/fish", False), ("#!/bin/csh", False),
    ],
)  # fmt: skip
def test_shells_are_told(first: str, is_shell: bool) -> None:
    assert lines.is_shell(f"{first}\nx\n") is is_shell


def test_lines_are_a_shells_and_cost_nothing_where_there_is_nothing_to_do(repository: Path) -> None:
    """No Python starts in a commit without dvc.lock, nor where this state was seen to before."""
    own = lines.of("./", "/nowhere/python", ".graft/noted", ".graft/hooks.log")
    script = repository / "hook"
    script.write_text(f"{lines.FIRST}set -eu\n{own}echo end\n")
    (repository / "params.yaml").write_text("a: 1\n")
    command = ["sh", str(script)]
    environment = {"PATH": "/usr/bin:/bin"}

    def said() -> tuple[str, str]:
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr

    assert said() == ("end\n", "")
    (repository / "dvc.lock").write_text("b\n")
    graft = repository / "graft"
    graft.write_text("#!/bin/sh\necho $@ >started\n")
    graft.chmod(0o755)
    environment["PATH"] = f"{repository}:/usr/bin:/bin"
    assert said() == ("end\n", f"{IN_BACKGROUND}\n")
    began = time.monotonic()
    while not (started := repository / "started").is_file() or not started.read_text():
        assert time.monotonic() - began < WITHIN_SECONDS
        time.sleep(0.02)
    assert re.fullmatch(r"hooks after \d+\n", started.read_text())
    (repository / ".graft").mkdir()
    state = subprocess.run(
        ["git", "hash-object", "--stdin"], input=b"a: 1\nb\n", capture_output=True, check=True
    ).stdout
    (repository / ".graft" / "noted").write_bytes(state)
    assert said() == ("end\n", "")
    assert sys.executable not in script.read_text()
