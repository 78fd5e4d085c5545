"""`graft reproduce`: real git, DVC and MLflow, on a pipeline of stand-ins that need no network and take no time.

Each stage of it is a few lines that depend on what the real one depends on. What stands for a library is a file beside
the project: DVC does not know it, so that only the recorded environment can tell that it has changed.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from conftest import REPOSITORY, Project
from graft import cli
from graft.config import yaml_file
from graft.errors import NotJudgedError
from graft.pipeline import lock
from graft.pipeline.worktree import Worktree
from graft.project import lock as project_lock
from graft.reproduction import again, figures, judging, noise, original, rebuild, run
from graft.reproduction.run import Asked
from graft.runtime import environment
from graft.runtime.environment import Environment
from graft.verdicts.words import Reproduced

STAGE = """
import hashlib, json, pathlib, sys
import yaml

params = yaml.safe_load(open("params.yaml"))
library = json.loads(pathlib.Path(LIBRARY).read_text())
stage = sys.argv[1]

def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

def read(path):
    return pathlib.Path(path).read_text()

if library.get("fails") == stage:
    sys.exit(3)
if stage == "prepare":
    photos = sorted(pathlib.Path(params["data"]["path"]).glob("*.txt"))
    assert photos
    rows = "".join(f"{one.name},{hashlib.sha256(one.read_bytes()).hexdigest()}\\n" for one in photos)
    write("data/prepared/catalogue.csv", "path,sha256\\n" + rows)
    for name in ("split.csv", "quarantine.csv", "duplicates.csv", "counts.json"):
        write(f"data/prepared/{name}", "nothing\\n")
if stage == "extract":
    for name in ("features", "activations"):
        write(f"data/{name}/meta.json", read("data/prepared/catalogue.csv"))
if stage == "train":
    write("models/head.keras", read("data/features/meta.json") + str(params["train"]) + library["train"])
    write("plots/train.csv", "epoch\\n")
if stage == "finetune":
    write("models/model.keras", read("models/head.keras"))
    write("models/card.json", "{}")
    write("plots/finetune.csv", "epoch\\n")
if stage == "evaluate":
    accuracy = library["accuracy"]
    judged = {name: {"accuracy": accuracy, "log_loss": 0.5, "images": 100} for name in ("test", "validation")}
    write("data/evaluation.json", json.dumps({"head": judged, "finetuned": judged}))
    write("metrics/summary.json", json.dumps({"test_accuracy": accuracy, "val_accuracy": accuracy}))
    write("data/predictions.parquet", read("models/model.keras"))
    write("plots/confusion.csv", "actual\\n")
    write("plots/pictures/confusion.png", "drawn")
"""

MADE_OF: dict[str, tuple[list[str], list[str], list[str]]] = {
    "prepare": (["data/photos"], ["data"], ["catalogue", "split", "quarantine", "duplicates", "prepare_metrics"]),
    "extract": (["data/prepared/catalogue.csv"], ["numerics"], ["features", "activations"]),
    "train": (["data/features"], ["train"], ["head", "train_history"]),
    "finetune": (["models/head.keras"], ["finetune"], ["model", "card", "finetune_history"]),
    "evaluate": (["models/model.keras"], [], ["predictions", "metrics", "confusion", "pictures"]),
}
"""stage -> its dependencies, parameters and outputs."""

PARAMS: dict[str, Any] = {
    "numerics": "portable",
    "data": {"path": "data/photos"},
    "backbone": {"weights": "bundled"},
    "train": {"learning_rate": 0.1},
    "finetune": {"enabled": True},
}
SAME = [Reproduced.BIT_IDENTICAL] * 5


class Stood(Project):
    """A project of stand-ins; `library` is what stands for the installed libraries."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.library = folder.parent / f"{folder.name}-library.json"

    def installs(self, **changes: Any) -> None:
        self.library.write_text(json.dumps({"train": "one", "accuracy": 0.9} | changes))

    def head(self) -> str:
        return self.run("git", "rev-parse", "HEAD").stdout.strip()


def pipeline() -> str:
    paths = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["vars"][0]["paths"]
    stages: dict[str, Any] = {}
    for stage, (deps, params, outs) in MADE_OF.items():
        stages[stage] = {
            "cmd": f"{sys.executable} stage.py {stage}",
            "deps": deps,
            "params": params,
            "outs": [paths[name] for name in outs],
        }
    stages["evaluate"]["metrics"] = [{paths["summary"]: {"cache": False}}]
    return yaml.safe_dump({"vars": [{"paths": paths}], "stages": stages}, sort_keys=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stood:
    """A pass that is committed with its dvc.lock; the photos are not in git, a store of MLflow holds its run."""
    folder = tmp_path_factory.mktemp("reproduce") / "project"
    (folder / "data" / "photos").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "data" / "photos" / f"{name}.txt").write_text(f"photo {name}")
    project = Stood(folder)
    project.installs()
    (folder / "stage.py").write_text(f"LIBRARY = {str(project.library)!r}\n{STAGE}")
    (folder / "dvc.yaml").write_text(pipeline())
    project.write_params(PARAMS)
    ignored = ("/data/photos/", "/data/prepared", "/data/features", "/data/activations", "/data/evaluation.json")
    more = ("/data/predictions.parquet", "/models", "/plots", "/mlflow.db*", "/mlruns", "/.graft")
    (folder / ".gitignore").write_text("\n".join((*ignored, *more)) + "\n")
    project.run("git", "init", "-q")
    project.dvc("init -q", "repro -q")
    project.commit()
    return project


@pytest.fixture
def project(base: Stood, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stood:
    """A copy of it, to be changed."""
    shutil.copytree(base.folder, tmp_path / "project", symlinks=True)
    own = Stood(tmp_path / "project")
    own.installs()
    script = (own.folder / "stage.py").read_text()
    (own.folder / "stage.py").write_text(script.replace(str(base.library), str(own.library)))
    own.run("git", "commit", "-qam", "its own library")
    monkeypatch.chdir(own.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return own


def verdicts(found: run.Reproduction) -> list[Reproduced]:
    return [one.verdict for one in found.stages]


def first(found: run.Reproduction) -> judging.Judged:
    diverging = judging.first_diverging(found.stages)
    assert diverging is not None
    return diverging


def graft(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["reproduce", *arguments])


def test_the_same_is_bit_identical_and_leaves_nothing(project: Stood, tmp_path: Path) -> None:
    before = {
        path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and ".git" not in path.parts
    }
    done = graft("HEAD", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [one["verdict"] for one in told["stages"]] == SAME
    assert (told["verdict"], told["first_diverging"]) == (Reproduced.BIT_IDENTICAL, None)
    assert told["commit"] == project.head()
    assert all(one["seconds"] is not None for one in told["stages"]), "each stage was computed anew"
    after = {path: path.read_bytes() for path in before}
    assert before == after
    assert len(project.run("git", "worktree", "list").stdout.splitlines()) == 1


def test_a_tampered_data_file_is_named(project: Stood) -> None:
    """Which one, too, by the catalogue that only the remote has any more."""
    project.dvc("remote add --local -d team ../remote", "push -q")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    (project.folder / "data" / "photos" / "b.txt").write_text("another photo")
    found = run.run("HEAD", project.folder, Asked())
    assert first(found).stage == "prepare"
    assert first(found).differs == ["data data/photos (b.txt)"]
    assert found.verdict == Reproduced.DIFFERENT
    assert found.stages[1].differs == ["outputs of prepare"]
    assert {one.verdict for one in found.stages[2].figures} == {Reproduced.WITHIN_TOLERANCE}


def test_a_changed_parameter_is_named(project: Stood) -> None:
    """params.yaml is committed without the pass that it asks for."""
    project.change(train={"learning_rate": 0.2})
    project.run("git", "commit", "-qam", "not run")
    done = graft("HEAD")
    assert done.exit_code == 0, done.output
    assert "First diverging stage: train (models/head.keras)" in done.stdout
    assert "parameter train.learning_rate: 0.1 there, 0.2 here" in done.stdout
    assert "Verdict on HEAD" in done.stdout


@pytest.fixture
def logged(project: Stood) -> Callable[..., str]:
    """Makes a run in MLflow of the committed pass, as `graft.tracking` does; returns its id."""

    def make(there: Environment, diff: str = "") -> str:
        client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
        experiment = client.create_experiment("graft", f"{project.folder}/mlruns")
        run_id = str(client.create_run(experiment, run_name="first").info.run_id)
        recorded = lock.recorded((project.folder / "dvc.lock").read_text())
        client.set_tag(run_id, "mlflow.source.git.commit", project.head())
        client.set_tag(run_id, "graft.model", recorded["finetune"].outs["models/model.keras"])
        for stage, one in recorded.items():
            client.set_tag(run_id, f"graft.stage.{stage}", f"executed {lock.StageState(one.outs, True).md5}")
        listing = {stage: {"executed": True, "md5": one.outs} for stage, one in recorded.items()}
        client.log_dict(run_id, listing, "stages.json")
        client.log_dict(run_id, there.model_dump(), "environment.json")
        client.log_artifact(run_id, str(project.folder / "dvc.lock"), "code")
        client.log_artifact(run_id, str(project.folder / "data" / "evaluation.json"), "metrics")
        if diff:
            client.log_text(run_id, diff, "code/uncommitted.diff")
        return run_id

    return make


def here(**changes: Any) -> Environment:
    return environment.here("portable").model_copy(update=changes)


def test_another_version_and_another_instruction_set_are_named(project: Stood, logged: Callable[..., str]) -> None:
    packages = environment.here("portable").packages
    run_id = logged(here(packages=packages | {"keras": "3.0.1"}, instruction_set="arm64 with sve"))
    project.installs(train="two", accuracy=0.905)
    done = graft(run_id, "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["verdict"], told["first_diverging"]) == (0, Reproduced.WITHIN_TOLERANCE, "train")
    assert told["environment"] == [
        {"what": "keras", "there": "3.0.1", "here": packages["keras"]},
        {"what": "instruction set", "there": "arm64 with sve", "here": environment.here("portable").instruction_set},
    ]
    assert told["stages"][2]["differs"] == [], "not its inputs"
    assert [one["verdict"] for one in told["stages"]] == SAME[:2] + [Reproduced.WITHIN_TOLERANCE] * 3
    warned, _, _ = done.stderr.partition("computed anew")
    assert "note: this is not the original's environment: keras (3.0.1 there" in warned, "said before it starts"
    assert original.find("HEAD", project.folder).environment == original.find(run_id, project.folder).environment


@pytest.mark.long
def test_what_is_further_off_is_measured_by_seeds(project: Stood, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(tree: Worktree, done: again.Again, finetuned: bool) -> dict[str, dict[str, float]]:
        asked.append(finetuned)
        return {"head": {"test_accuracy": 0.1, "val_accuracy": 0.1}, "finetuned": {"test_accuracy": 0.01}}

    monkeypatch.setattr(noise, "measured", measured)
    project.installs(train="two", accuracy=0.85)
    done = graft("HEAD", "--from-features")
    assert done.exit_code == 1, done.output
    rows = [re.split("  +", line.strip())[:2] for line in done.stdout.splitlines()[1:6]]
    assert rows == [
        ["prepare", "not judged"],
        ["extract", "not judged"],
        ["train", "within seed noise"],
        ["finetune", "different"],
        ["evaluate", "different"],
    ]
    assert "First diverging stage: train (models/head.keras). Its inputs are the same;" in done.stdout
    assert "which environment the original had is not known" in done.stdout
    assert "train test_accuracy: 0.9000 there, 0.8500 here; tolerance 0.0100, seed noise 0.1000: within" in done.stdout
    assert asked == [True], "once, and of the fine-tuned model too"


def test_without_photos_the_recorded_features_do(project: Stood) -> None:
    shutil.rmtree(project.folder / "data" / "photos")
    done = graft("HEAD", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    assert [one["verdict"] for one in told["stages"]] == ["not comparable"] * 2 + ["bit-identical"] * 3
    assert {one["reason"] for one in told["stages"][:2]} == {"the examples are not at data/photos"}


@pytest.mark.slow
def test_without_photos_features_come_from_a_remote(project: Stood, tmp_path: Path) -> None:
    """One that only this clone knows, by a relative path, as a colleague's clone does."""
    project.dvc("remote add --local -d team ../remote", "push -q")
    shutil.rmtree(project.folder / "data" / "photos")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    found = run.run("HEAD", project.folder, Asked())
    assert verdicts(found)[2:] == SAME[2:]
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    done = graft("HEAD")
    assert isinstance(done.exception, NotJudgedError)
    assert str(done.exception).startswith("HEAD (")
    assert "features must be in DVC's cache" in str(done.exception)


@pytest.mark.long
def test_what_was_not_committed_is_applied(project: Stood, logged: Callable[..., str], tmp_path: Path) -> None:
    """A run of a changed params.yaml is that of this params.yaml, whatever has been done to the files since."""
    project.change(train={"learning_rate": 0.7})
    project.dvc("repro -q")
    diff = project.run("git", "diff", "HEAD", "--", ".", ":(exclude)dvc.lock", ":(exclude)metrics").stdout
    run_id = logged(here(), f"{diff}untracked sha256:{'0' * 64} notes.txt\n")
    model = shutil.copy(project.folder / "models" / "model.keras", tmp_path / "sent.keras")
    project.run("git", "checkout", "-q", ".")
    found = run.run(run_id, project.folder, Asked(from_features=True, keeps=True))
    assert verdicts(found)[2:] == SAME[2:]
    assert found.kept is not None
    assert yaml_file.read(found.kept / "params.yaml")["train"] == {"learning_rate": 0.7}
    project.run("git", "worktree", "remove", "--force", str(found.kept))
    shutil.rmtree(found.kept.parent)
    assert found.original.untracked == {"notes.txt": f"sha256:{'0' * 64}"}
    assert original.find(str(model), project.folder).name == found.original.name, "no commit has these bytes"
    project.dvc("checkout -q")
    committed = original.find("models/model.keras", project.folder)
    assert committed.commit == project.run("git", "rev-parse", "HEAD~1").stdout.strip(), "the first that has them"


def test_a_diff_that_does_not_apply_is_one_sentence(project: Stood, logged: Callable[..., str]) -> None:
    run_id = logged(here(), "diff --git a/no b/no\n--- a/no\n+++ b/no\n@@ -1 +1 @@\n-one\n+two\n")
    done = graft(run_id)
    assert isinstance(done.exception, NotJudgedError)
    assert done.exception.exit_code == 2
    assert "what was not committed must apply to" in str(done.exception)
    assert "no: No such file or directory" in str(done.exception)


def test_what_fails_is_not_judged(project: Stood) -> None:
    project.installs(fails="finetune")
    done = graft("HEAD")
    assert done.exit_code == 2, done.output
    assert "it failed, for the reason above" in done.stdout
    assert "finetune failed before it" in done.stdout
    assert "Verdict on HEAD" in done.stdout
    assert done.stdout.rstrip().endswith("not judged.")


def test_another_graft_than_the_projects_is_named(project: Stood) -> None:
    """Of a project that `graft init` made: the code that would run is not in the worktree."""
    (project.folder / "graft.lock").write_text(
        project_lock.text().replace(f'train: "{project_lock.digest("train")}"', 'train: "0"')
    )
    project.commit()
    done = graft("HEAD")
    assert isinstance(done.exception, NotJudgedError)
    assert "has other code for train. Install that one, or use --environment." in str(done.exception)


def test_what_is_no_original_is_one_sentence(project: Stood, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.keras"
    stranger.write_text("no model")
    root = project.run("git", "commit-tree", "-m", "empty", project.run("git", "mktree").stdout.strip()).stdout.strip()
    for name, said in (
        ("nothing-like-it", "must be the id or the name of a run in MLflow"),
        (str(stranger), "must be a model that a pass of this project wrote"),
        (root, "must hold a result. Its dvc.lock says nothing of prepare, extract"),
    ):
        done = graft(name)
        assert isinstance(done.exception, NotJudgedError), name
        assert said in str(done.exception)


def evaluation(accuracy: float, log_loss: float) -> dict[str, Any]:
    return {"head": {"test": {"accuracy": accuracy, "log_loss": log_loss, "images": 50}}}


@pytest.mark.parametrize(
    ("got", "noise_of", "expected"),
    [
        ((0.92, 0.3), {}, [Reproduced.WITHIN_TOLERANCE] * 2),  # one of fifty
        ((0.94, 0.3), {}, [Reproduced.DIFFERENT, Reproduced.WITHIN_TOLERANCE]),
        ((0.94, 0.3021), {"test_accuracy": 0.05}, [Reproduced.WITHIN_SEED_NOISE, Reproduced.DIFFERENT]),
        ((0.9, 0.302), {"test_log_loss": 0.0}, [Reproduced.WITHIN_TOLERANCE] * 2),
    ],
)
def test_how_far_figures_may_lie_apart(
    got: tuple[float, float], noise_of: dict[str, float], expected: list[Reproduced]
) -> None:
    found = figures.compare(evaluation(0.9, 0.3), evaluation(*got), "head", noise_of)
    assert [one.name for one in found] == ["test_accuracy", "test_log_loss"]
    assert [one.verdict for one in found] == expected
    assert figures.worst([one.verdict for one in found]) == max(expected, key=figures.WORST.index)


def test_what_git_holds_of_the_figures_will_do() -> None:
    there = figures.of_summary(
        {"test_accuracy": 0.9, "val_accuracy": 0.8, "test_log_loss": 0.3, "test_ece": 0.1}, "head"
    )
    (first, second) = figures.compare(there, evaluation(0.9, 0.4), "head", {})
    assert (first.expected, first.verdict) == (0.9, Reproduced.WITHIN_TOLERANCE)
    assert (second.expected, second.verdict) == (0.3, Reproduced.DIFFERENT)


@pytest.mark.parametrize(("off", "verdict"), [(1e-5, Reproduced.WITHIN_TOLERANCE), (1e-2, Reproduced.DIFFERENT)])
def test_features_are_compared_example_by_example(off: float, verdict: Reproduced, tmp_path: Path) -> None:
    """More rows than are read at a time, and one example alone that is off."""
    values = np.random.default_rng(0).normal(size=(figures.ROWS + 3, 2, 4)).astype(np.float32)
    for name, array in (("there", values), ("here", values.copy())):
        (tmp_path / name).mkdir()
        if name == "here":
            array[-1, 1] *= 1 + off
        np.save(tmp_path / name / "array.npy", array)
        (tmp_path / name / "meta.json").write_text(json.dumps({"made_with": {"precision": "float32"}}))
    there = {file.name: file for file in (tmp_path / "there").iterdir()}
    assert figures.features(there, tmp_path / "here") == verdict
    assert figures.features({}, tmp_path / "here") == Reproduced.DIFFERENT, "what is not at hand is not excused"
    half = len(array) // 2 + 1
    for number, part in enumerate((array[:half], array[half:])):
        np.save(tmp_path / "here" / f"array-{number:05d}.npy", part)
    (tmp_path / "here" / "array.npy").unlink()
    assert figures.features(there, tmp_path / "here") == verdict, "an array in several files"


def test_seed_noise_is_what_repeat_measured(tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    told = {"mean": 0.9, "deviation": 0.1, "lowest": 0.8, "highest": 1.0, "noise": 0.3}
    file.write_text(json.dumps({"spread": {"head": {"test_accuracy": told}}}))
    assert noise.read(file) == {"head": {"test_accuracy": 0.3}}


REPEAT = """#!{python}
import json, sys
json.dump({{"spread": {{"head": {{"test_accuracy": {{"noise": 0.2, "args": sys.argv[1:]}}}}}}}}, open(sys.argv[5], "w"))
"""


@pytest.mark.parametrize(
    ("finetuning", "training", "said", "options"),
    [
        (20.0, 10.0, "the head and fine-tuning with 5 seeds", ["--finetune"]),
        (90.0, 10.0, "train and finetune take 100 s: 5 times as long is not spent on seed noise", []),
        (90.0, 61.0, "train take 61 s", None),
    ],
)
def test_seed_noise_is_measured_where_it_costs_seconds(
    finetuning: float,
    training: float,
    said: str,
    options: list[str] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the `graft repeat` of the original's own environment, for which a script stands here."""
    (tmp_path / "graft").write_text(REPEAT.format(python=sys.executable))
    (tmp_path / "graft").chmod(0o755)
    tree = Worktree(tmp_path, tmp_path, {"PATH": str(tmp_path)}, tmp_path, tmp_path)
    done = again.Again({}, {"train": training, "finetune": finetuning}, None)
    found = noise.measured(tree, done, finetuned=True)
    assert said in capsys.readouterr().err
    if options is None:
        assert found == {}
    else:
        assert found == {"head": {"test_accuracy": 0.2}}
        (told,) = json.loads((tmp_path / "noise.json").read_text())["spread"].values()
        assert told["test_accuracy"]["args"] == [
            "repeat", "--seeds", "5", "--json", str(tmp_path / "noise.json"), *options
        ]  # fmt: skip


def made_on(python: str | None, packages: dict[str, str]) -> original.Original:
    there = Environment(python=python, packages=packages)
    return original.Original("it", "0" * 40, {}, "", environment=there)


def test_an_environment_is_made_by_pip_from_the_lock_file(tmp_path: Path) -> None:
    """The commands alone: nothing is downloaded."""
    lock_file, place = tmp_path / "requirements.lock", tmp_path / "place"
    lock_file.write_text("keras==3.0.1 \\\n    --hash=sha256:00\n")
    pip = [f"{place}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    assert rebuild.commands("python3", place, lock_file, tmp_path) == [
        ["python3", "-m", "venv", str(place)],
        [*pip, "--require-hashes", "--requirement", str(lock_file)],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", str(tmp_path)],
    ]
    lock_file.write_text("keras==3.0.1\n")
    assert rebuild.commands("python3", place, lock_file, None)[1:] == [[*pip, "--requirement", str(lock_file)]]
    assert rebuild.python_of(made_on(None, {})) == sys.executable
    with pytest.raises(NotJudgedError, match=r"must be made with Python 2\.1\. There is no python2\.1 on the PATH"):
        rebuild.python_of(made_on("2.1.3", {}))


def test_without_a_lock_file_the_recorded_versions_make_it(tmp_path: Path) -> None:
    tree = Worktree(tmp_path, tmp_path, {}, tmp_path, tmp_path)
    with pytest.raises(NotJudgedError, match="must have recorded its environment to have it rebuilt"):
        rebuild.environment(made_on(None, {}), tree)
    file = rebuild.lock_file(made_on(None, {"keras": "3.0.1", "numpy": "2.0.0"}), tree)
    assert file.read_text() == "keras==3.0.1\nnumpy==2.0.0\n"


def test_what_differs_between_environments() -> None:
    there = environment.of_lock_file("Keras==3.0.1 \\\n    --hash=sha256:00\nml_dtypes==0.5.0\nidle==1\n# scipy==1\n")
    assert there.packages == {"keras": "3.0.1", "ml-dtypes": "0.5.0", "idle": "1"}
    now = Environment(python="3.12.1", packages={"keras": "3.0.1", "numpy": "2.0"}, instruction_set="AVX2", threads=2)
    assert [str(one) for one in environment.differences(there, now)] == ["ml-dtypes (0.5.0 there, none here)"]
    then = now.model_copy(update={"python": "3.11.2", "threads": 8})
    assert [one.what for one in environment.differences(then, now)] == ["python", "threads"]
    assert environment.here("portable").packages["keras"]
