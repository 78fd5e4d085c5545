"""`graft plan`: which stages, why, how many forward passes, what it takes, what MLflow gets; real DVC throughout.

One project is run once; each test changes something, plans, and puts it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from conftest import Project, changed, drawing, encoded, few_layers, make_project, params_of, tiny_params
from graft import cli
from graft.cli import plan as command
from graft.config.load import load
from graft.errors import SurroundingsError
from graft.pipeline import layout, session
from graft.planning import causes, document, dvc_state, passes, records, workload
from graft.planning.workload import Amount
from graft.runtime import progress
from graft.tracking import foreseen, identity

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's use of pygtrie

ALL = ["prepare", "extract", "train", "finetune", "evaluate"]
N, VIEWS = 18, 2
"""Images of the project, and views of each, itself among them."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A clone in which nothing has run, and its plan."""
    folder = tmp_path_factory.mktemp("plan")
    few = few_layers(tmp_path_factory.mktemp("weights"))
    sha256 = hashlib.sha256(Path(few["backbone.weights"]).read_bytes()).hexdigest()
    small = {"backbone.weights_sha256": sha256, "extract.views": VIEWS - 1, "train.epochs": 3, "finetune.epochs": 2}
    project = make_project(folder, changed(tiny_params(), few | small), per_class=N // 3)
    project.environment["GRAFT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    return project, planned(project)


@pytest.fixture(scope="module")
def project(fresh: tuple[Project, dict[str, Any]]) -> Project:
    """The same after its first `dvc repro`, committed."""
    project = fresh[0]
    project.run("dvc", "repro", GRAFT_THREADS="2")
    project.commit()
    return project


@contextmanager
def inside(project: Project) -> Iterator[None]:
    """In the project's folder, with its cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        patch.setenv("GRAFT_CACHE_DIR", project.environment["GRAFT_CACHE_DIR"])
        patch.setenv("GRAFT_THREADS", "2")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(passes, "start_tensorflow", lambda: None)  # which has computed in this process
        yield


def planned(project: Project) -> dict[str, Any]:
    """The plan as it is written as JSON."""
    with inside(project):
        found: dict[str, Any] = json.loads(json.dumps(document.of(load(), layout.read())))
    return found


@contextmanager
def kept(project: Project) -> Iterator[None]:
    """Afterwards params.yaml and the images are as before."""
    params = (project.folder / "params.yaml").read_text()
    images = project.folder / "data" / "drawings"
    aside = project.folder.parent / f"{project.folder.name}-images"
    shutil.copytree(images, aside)
    try:
        yield
    finally:
        (project.folder / "params.yaml").write_text(params)
        shutil.rmtree(images, ignore_errors=True)
        aside.rename(images)


def outcomes(plan: dict[str, Any]) -> dict[str, str]:
    return {one["stage"]: one["outcome"] for one in plan["stages"]}


def why(plan: dict[str, Any], stage: str) -> list[str]:
    return next(one["why"] for one in plan["stages"] if one["stage"] == stage)


def counts(plan: dict[str, Any]) -> tuple[int, ...]:
    extract = plan["extract"]
    return tuple(extract[key] for key in ("examples", "views", "passes", "held", "computed"))


def test_before_the_first_run(fresh: tuple[Project, dict[str, Any]]) -> None:
    _, plan = fresh
    assert outcomes(plan) == dict.fromkeys(ALL, "runs")
    assert [why(plan, stage) for stage in ALL] == [["never run here"]] * 5
    assert counts(plan) == (N, VIEWS, N * VIEWS, 0, N * VIEWS)
    assert plan["extract"]["exact"] is False
    assert {one["seconds"] for one in map(dict, plan["stages"])} == {None}
    assert plan["mlflow"]["kind"] == foreseen.NEW


def test_bytes_that_extract_writes(project: Project, fresh: tuple[Project, dict[str, Any]]) -> None:
    """The arrays are as large as was said, but for their header of 128 bytes; the cache grows by as much."""
    told = fresh[1]["extract"]
    sizes = {name: (project.folder / "data" / name / "array.npy").stat().st_size - 128 for name in told["array_bytes"]}
    assert told["array_bytes"] == sizes
    assert set(sizes) == {"features", "activations"}
    assert told["cache_bytes"] == sum(sizes.values())


def test_a_plan_makes_nothing(fresh: tuple[Project, dict[str, Any]], tmp_path: Path) -> None:
    """No store of MLflow's, no output, no entry of the cache; where graft has run or not."""
    project = make_project(tmp_path / "new", changed(tiny_params(), {"extract.views": 0}), per_class=3)
    project.environment["GRAFT_CACHE_DIR"] = str(tmp_path / "cache")
    before = sorted(path for path in project.folder.rglob("*") if not {".git", ".dvc"} & set(path.parts))
    planned(project)
    after = sorted(path for path in project.folder.rglob("*") if not {".git", ".dvc"} & set(path.parts))
    assert after == before
    assert not (tmp_path / "cache" / "features").exists()


def test_after_a_run(project: Project) -> None:
    plan = planned(project)
    assert plan["current"]
    assert outcomes(plan) == dict.fromkeys(ALL, "up to date")
    assert plan["extract"] is None
    took = {one["stage"]: one["took"] for one in plan["stages"]}
    assert all(one["in_last"] and one["seconds"] > 0 for one in took.values())
    assert (took["extract"]["passes"], took["extract"]["wanted"]) == (N * VIEWS, N * VIEWS)
    assert plan["saved"]["stages"] == plan["saved"]["passes"] == 0
    assert plan["mlflow"]["kind"] == foreseen.SAME
    assert plan["mlflow"]["run"] == project.runs()[0].info.run_id


def test_a_head_edit_costs_no_forward_pass(project: Project) -> None:
    with kept(project):
        before = load(project.folder / "params.yaml").train.learning_rate
        project.change(train={"learning_rate": 0.003})
        plan = planned(project)
    assert list(outcomes(plan).values()) == ["up to date", "up to date", "runs", "may run", "runs"]
    assert why(plan, "train") == why(plan, "evaluate") == [f"params.yaml train.learning_rate {before} -> 0.003"]
    assert why(plan, "finetune") == ["if models/head.keras changes"]
    assert plan["extract"] is None
    assert all(one["seconds"]["high"] > 0 for one in plan["stages"][2:])
    assert plan["mlflow"]["kind"] == foreseen.NEW
    assert "'learning_rate=0.003'" in plan["mlflow"]["sentence"]


def test_a_new_view_costs_one_pass_of_each_image(project: Project) -> None:
    with kept(project):
        project.change(extract={"views": VIEWS + 1})
        plan = planned(project)
    assert outcomes(plan)["extract"] == "runs"
    assert why(plan, "extract") == [f"params.yaml extract.views {VIEWS - 1} -> {VIEWS + 1}"]
    assert counts(plan) == (N, VIEWS + 2, N * (VIEWS + 2), N * VIEWS, N * 2)
    assert plan["extract"]["exact"]
    assert "once" in plan["mlflow"]["sentence"]


@pytest.mark.slow
def test_a_process_of_its_own_says_the_same(project: Project) -> None:
    """With TensorFlow as the stages start it."""
    with kept(project):
        project.change(extract={"views": VIEWS})
        done = project.run("graft", "plan", "--json", "-", GRAFT_THREADS="2")
        assert json.loads(done.stdout) == planned(project)
        assert counts(json.loads(done.stdout))[3:] == (N * VIEWS, N)
    assert done.stderr == ""


def test_new_images_cost_theirs(project: Project) -> None:
    """And a copy of a known image under another name nothing; a text among them is no image."""
    folder = project.folder / "data" / "drawings" / "cross"
    with kept(project):
        for i in range(2):
            (folder / f"new{i}.png").write_bytes(encoded(drawing("cross", 700 + i)))
        shutil.copy(folder / "000.png", folder / "zzz.png")
        (folder / "notes.txt").write_text("no image")
        plan = planned(project)
    assert why(plan, "prepare") == ["data data/drawings changed"]
    assert outcomes(plan)["extract"] == "may run"
    assert why(plan, "extract") == ["if data/prepared/catalogue.csv changes"]
    assert counts(plan) == (N + 3, VIEWS, (N + 2) * VIEWS, N * VIEWS, 2 * VIEWS)
    assert plan["extract"]["exact"] is False
    assert "3 new files beside 18" in plan["extract"]["note"]


@pytest.mark.slow
def test_another_network_costs_everything(project: Project) -> None:
    with kept(project):
        project.change(backbone={"interpolation": "nearest"})
        assert counts(planned(project))[2:] == (N * VIEWS, 0, N * VIEWS)


def test_the_other_output_alone(project: Project) -> None:
    """At another cut features are in the cache, activations are not: each view goes through once."""
    with kept(project):
        project.change(finetune={"cut": "conv_pw_12"})
        plan = planned(project)
    extract = plan["extract"]
    assert counts(plan)[3:] == (0, N * VIEWS)
    assert extract["cache_bytes"] == extract["array_bytes"]["activations"]


def test_code_and_missing_outputs_are_named(project: Project) -> None:
    code = project.folder / "src" / "graft" / "training" / "fit.py"
    text, head = code.read_text(), project.folder / "models" / "head.keras"
    content = head.read_bytes()
    try:
        code.write_text(text + "# a word\n")
        assert why(planned(project), "train") == ["code src/graft/training changed"]
        code.write_text(text)
        head.unlink()
        plan = planned(project)
        assert outcomes(plan) == dict.fromkeys(ALL, "up to date") | {"train": "from DVC's cache"}
        assert why(plan, "train") == ["output models/head.keras missing here or in DVC's cache"]
    finally:
        code.write_text(text)
        head.write_bytes(content)


def test_code_that_graft_lock_does_not_name(project: Project) -> None:
    """A stage refuses to run then; one that does not start is not asked."""
    lock = project.folder / "graft.lock"
    text = "".join(f'{stage}: "another"\n' for stage in (*ALL, "export"))
    with kept(project):
        try:
            lock.write_text(text)
            assert planned(project)["refused"] == []
            project.change(evaluate={"top_k": 3})
            plan = planned(project)
            assert plan["refused"] == ["evaluate"]
            assert "for evaluate: `dvc repro` will stop there" in " ".join(table(plan).split())
        finally:
            lock.unlink()


@pytest.mark.slow
def test_what_dvc_has_from_before(project: Project) -> None:
    """A pass is run and left again: DVC restores the first one, as the plan says, and starts nothing."""
    with kept(project):
        project.change(train={"learning_rate": 0.02})
        done = project.run("dvc", "repro", GRAFT_THREADS="2")
        assert project.executed(done.stdout) == ["train", "finetune", "evaluate"]
        after = planned(project)
        took = {one["stage"]: one["took"] for one in after["stages"]}
        assert {stage for stage, one in took.items() if one["in_last"]} == {"train", "finetune", "evaluate"}
        expected = sum(took[stage]["seconds"] for stage in ("prepare", "extract"))
        assert after["saved"]["stages"] == pytest.approx(expected)
        assert after["saved"]["passes"] == 0, "the stage itself was spared"
        shown = table(after)
        assert "0 (took" in shown
        assert "Caches saved" in shown
    back = planned(project)
    assert list(outcomes(back).values()) == ["up to date"] * 2 + ["from DVC's cache"] * 3
    assert back["mlflow"]["kind"] == foreseen.SAME
    done = project.run("dvc", "repro", GRAFT_THREADS="2")
    assert project.executed(done.stdout) == []
    assert planned(project)["current"]


def test_saved_passes_are_worth_their_rate(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = {"session": "a", "ended": 2.0, "seconds": 3.0, "passes": 10, "wanted": 36}
    monkeypatch.setattr(session, "took", lambda: {"extract": noted, "train": noted | {"session": "b", "ended": 1.0}})
    monkeypatch.setattr(records, "rate", lambda stage, params: {"extract": 0.5}[stage])
    assert planned(project)["saved"] == {"stages": 3.0, "passes": 26, "passes_seconds": 13.0}


def test_without_the_data(project: Project, tmp_path: Path) -> None:
    """A clone that has dvc.lock alone: by it, without an error; what is known without a catalogue is said."""
    clone = Project(tmp_path / "clone")
    clone.environment |= project.environment
    shutil.copytree(
        project.folder, clone.folder, ignore=shutil.ignore_patterns("cache", "tmp", "drawings", ".graft", "mlflow*")
    )
    for name in ("data/prepared", "data/features", "data/activations", "models", "plots"):
        shutil.rmtree(clone.folder / name)
    plan = planned(clone)
    assert plan["absent"] == ["data/drawings"]
    assert plan["current"]
    assert "not here. This goes by dvc.lock" in table(plan)
    assert "Nothing is out of date by dvc.lock." in table(plan)
    clone.change(extract={"views": 0})
    shutil.copytree(project.folder / ".dvc" / "cache", clone.folder / ".dvc" / "cache")
    assert counts(planned(clone))[:4] == (N, 1, N, N), "DVC's cache has the catalogue"
    shutil.rmtree(clone.folder / ".dvc" / "cache")
    plan = planned(clone)
    assert outcomes(plan)["prepare"] == "up to date"
    assert outcomes(plan)["extract"] == "runs"
    assert plan["extract"]["examples"] is None
    assert "not here. This goes by dvc.lock" in table(plan)


def table(plan: dict[str, Any]) -> str:
    """As a user sees it, in a terminal of 90 columns."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.setenv("COLUMNS", "90")
        command.show(plan, "image")
    return shown.getvalue()


def test_the_table_of_a_plan(project: Project) -> None:
    """Its lines fit into 90 columns, whatever the causes; the total is a range where a stage may not run."""
    with kept(project):
        project.change(train={"learning_rate": 0.003, "batch_size": 7, "label_smoothing": 0.125, "momentum": 0.5})
        plan = planned(project)
    plan["stages"][2]["seconds"] = plan["stages"][3]["seconds"] = {"low": 10.2, "high": 20.4}
    plan["stages"][4]["seconds"] = None
    lines = table(plan).splitlines()
    rows = lines[: next(i for i, line in enumerate(lines) if line.startswith("In all"))]
    assert max(map(len, rows)) <= 90
    words = " ".join(lines[0].split())
    assert words == "stage dvc repro why seconds"
    assert [row.split()[0] for row in rows[1:] if row[1] != " "] == ALL
    assert any(row.rstrip().endswith("10 to 20") for row in rows)
    assert rows[-1].split() == ["evaluate", "runs", "as", "above", "no", "record", "yet"]
    assert "In all 10 to 41 seconds here, by what stages took before; evaluate not among them." in lines


def test_the_command(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    with inside(project):
        shown = CliRunner().invoke(cli.app, ["plan", "--json", str(file)], env={"COLUMNS": "90"})
        written = CliRunner().invoke(cli.app, ["plan", "--json", "-"])
        assert "must name a file" in str(CliRunner().invoke(cli.app, ["plan", "--json", "no/where"]).exception)
    assert (shown.exit_code, written.exit_code) == (0, 0)
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["stage", "last", "pass", "seconds", "forward", "passes"]
    assert [line.split()[0] for line in lines[1:6]] == ALL
    assert json.loads(written.stdout) == json.loads(file.read_text()) == planned(project)
    assert max(len(line) for line in lines[:6]) <= 90


def test_wrong_parameters_are_told_as_ever(project: Project) -> None:
    with kept(project):
        project.change(train={"learning_rate": -1})
        told = [project.run("graft", *words, ok=False) for words in (("plan",), ("params", "check"))]
    assert {one.returncode for one in told} == {1}
    assert told[0].stderr == told[1].stderr
    assert "train.learning_rate" in told[0].stderr


def test_a_folder_without_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurroundingsError, match=r"must be a project of DVC's.* Got none. Run `graft init`"):
        dvc_state.read()


def test_while_dvc_is_at_work(project: Project) -> None:
    """Held by a thread: the lock is the process's own as well."""
    from dvc.repo import Repo

    with inside(project), Repo() as repo, repo.lock, pytest.raises(SurroundingsError, match="another `dvc` command"):
        dvc_state.read()


def mlflow_of(project: Project, **asked: Any) -> foreseen.Foreseen:
    with inside(project):
        return foreseen.of(load(), layout.read(), **{"inputs_known": True, "starts": True} | asked)


def test_runs_that_are_there_and_runs_that_go_on(project: Project) -> None:
    from graft.tracking import git, run

    found = mlflow_of(project)
    assert (found.kind, found.run) == (foreseen.AGAIN, project.runs()[-1].info.run_id)
    assert mlflow_of(project, inputs_known=False).kind == foreseen.NEW
    assert mlflow_of(project, inputs_known=False, starts=False).kind == foreseen.NOTHING
    client = project.client()
    with kept(project), inside(project):
        project.change(evaluate={"top_k": 3})
        assert mlflow_of(project).kind == foreseen.NEW
        assert mlflow_of(project, starts=False).kind == foreseen.NOTHING
        params = load()
        there = client.get_experiment_by_name(params.tracking.experiment).experiment_id
        this = identity.pass_id(params, layout.read())
        code = git.state(Path.cwd(), run.written()).digest
        other = client.create_run(there, tags={identity.PASS: this, identity.CODE: "another"})
        assert mlflow_of(project).kind == foreseen.NEW
        begun = client.create_run(there, tags={identity.PASS: this, identity.CODE: code})
        found = mlflow_of(project)
        assert (found.kind, found.run) == (foreseen.RESUMED, begun.info.run_id)
        client.delete_run(begun.info.run_id)
        client.delete_run(other.info.run_id)
        assert mlflow_of(project).kind == foreseen.NEW


def test_a_dead_server_costs_two_seconds(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses, and one that takes the call and says nothing."""
    with socket.socket() as listening, inside(project):
        listening.bind(("127.0.0.1", 0))
        address = f"http://name:secret@127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for known in (True, False, True):
            began = time.monotonic()
            found = foreseen.of(load(), layout.read(), inputs_known=known, starts=True)
            assert time.monotonic() - began < 2 * foreseen.WAIT_SECONDS
            assert found.kind == foreseen.UNKNOWN
            assert "does not answer now" in found.sentence
            assert "secret" not in found.sentence
            if not known:
                listening.listen()


@pytest.mark.long
def test_texts_are_counted_like_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a table: those of before are in the cache, new ones are not."""
    pytest.importorskip("keras_hub")
    from graft.planning import examples
    from text_pass import whole_text_pass, write_table

    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(passes, "start_tensorflow", lambda: None)
    passed = whole_text_pass(tmp_path, {"train.epochs": 1, "finetune.epochs": 1}, 6)
    known = examples.of_catalogue(passed.paths.catalogue)
    found = passes.of(passed.params, passed.paths, known)
    assert (found.examples, found.wanted, found.held, found.cache_bytes) == (18, 18, 18, 0)
    write_table(tmp_path / "texts" / "all.csv", 8)
    told = examples.foreseen(passed.params.data, passed.paths.catalogue)
    assert told is not None
    found = passes.of(passed.params, passed.paths, told)
    assert (found.examples, found.wanted, found.computed, told.exact) == (24, 24, 6, False)


SMALL = params_of({"train.epochs": 10, "train.batch_size": 10, "train.early_stopping_patience": 2})


def watched(stage: str, epochs: list[tuple[int, float]], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the record of a training with these ends of epochs."""
    watch = records.Watch(stage)
    watch.of(SMALL, SimpleNamespace(split=Path("split.csv"), catalogue=Path("catalogue.csv")))  # type: ignore[arg-type]
    clock = iter([when for _, when in epochs])
    monkeypatch.setattr(records.time, "monotonic", lambda: next(clock))
    follow = watch.following(lambda epoch, metrics: None)
    for epoch, _ in epochs:
        follow(epoch, {})
    watch.keep(seconds)


@pytest.fixture
def rated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache without records; 95 examples train, ten steps an epoch; what ran is noted nowhere else."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = ["path,split", *(f"{i},train" for i in range(95)), "a,validation", "b,test"]
    Path("split.csv").write_text("\n".join(rows) + "\n")
    Path("catalogue.csv").write_text(
        "sha256,state\n" + "".join(f"{i},used\n" for i in range(4)) + "0,used\n9,ignored\n"
    )
    monkeypatch.setattr(progress, "tracked", [])


@pytest.mark.usefixtures("rated")
def test_a_training_is_estimated_by_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four epochs of ten steps, 2 s each after the first one: 0.2 s a step and 12 s beside them."""
    assert records.estimate("train", SMALL, Amount(1, 1)) is None
    watched("train", [(1, 5.0), (2, 7.0), (3, 9.0), (4, 11.0)], 20.0, monkeypatch)
    amount = workload.steps(SMALL.train, 95)
    assert amount == Amount(30, 100)
    found = records.estimate("train", SMALL, amount)
    assert found == records.Seconds(pytest.approx(12 + 6), pytest.approx(12 + 20))
    assert records.estimate("finetune", SMALL, amount) is None
    other = SMALL.model_copy(update={"train": SMALL.train.model_copy(update={"head": "mlp"})})
    assert records.estimate("train", other, amount) is None
    assert session.took()["train"]["seconds"] == 20.0


@pytest.mark.usefixtures("rated")
def test_the_start_of_fine_tuning_is_no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch 0 judges what came; one epoch alone has no rate, so that what it took is what the next one takes."""
    watched("finetune", [(0, 1.0), (1, 9.0)], 12.0, monkeypatch)
    assert records.estimate("finetune", SMALL, Amount(50, 50)) == records.Seconds(12.0, 12.0)
    watched("finetune", [(0, 1.0), (1, 9.0), (2, 10.0)], 12.0, monkeypatch)
    assert records.rate("finetune", SMALL) == pytest.approx(1 / workload.steps(SMALL.finetune, 95, 1).most)


@pytest.mark.usefixtures("rated")
def test_an_extraction_that_computed_nothing_tells_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    watched("extract", [], 4.0, monkeypatch)
    assert records.estimate("extract", SMALL, Amount(0, 0)) == records.Seconds(4.0, 4.0)
    assert records.estimate("extract", SMALL, Amount(1, 1)) is None


@pytest.mark.usefixtures("rated")
def test_few_passes_do_not_tell_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand passes at 10 ms, then three slow ones: the rate stays, what is beside it is the newer one's."""
    done = progress.tracked
    done.append(progress.Tracked("extracting features and activations", 1000, 11.0, 0.01))
    done.append(progress.Tracked("something else", 5, 100.0, 20.0))
    watched("extract", [], 15.0, monkeypatch)
    assert records.estimate("extract", SMALL, Amount(2000, 2000)) == records.Seconds(
        pytest.approx(25), pytest.approx(25)
    )
    noted = session.took()["extract"]
    assert (noted["passes"], noted["wanted"]) == (1000, 4 * (1 + SMALL.extract.views))
    other = SMALL.model_copy(update={"numerics": "native"})
    assert records.estimate("extract", other, Amount(5, 5)) is None
    done[:] = [progress.Tracked("extracting features", 3, 4.0, 1.5)]
    watched("extract", [], 8.0, monkeypatch)
    assert records.rate("extract", SMALL) == pytest.approx(0.01)
    assert records.estimate("extract", SMALL, Amount(0, 0)) == records.Seconds(pytest.approx(3.5), pytest.approx(3.5))
    done[:] = []
    watched("extract", [], 4.0, monkeypatch)
    assert records.estimate("extract", SMALL, Amount(100, 100)) == records.Seconds(pytest.approx(5), pytest.approx(5))


def test_work_that_is_tracked_is_timed_without_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "tracked", [])
    clock = iter([0.0, 4.0, 4.0, 5.0, 6.0, 6.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.hushed():
        assert list(progress.track([2, 2, 2], 6, "work", lambda n: n)) == [2, 2, 2]
    assert progress.tracked == [progress.Tracked("work", 6, 6.0, 0.5)]


@pytest.mark.usefixtures("rated")
def test_a_stage_that_fails_leaves_no_record() -> None:
    def failing() -> None:
        with records.watched("prepare") as watch:
            watch.of(SMALL, SimpleNamespace())  # type: ignore[arg-type]
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert session.took() == {}
    assert records.estimate("prepare", SMALL, None) is None


@pytest.mark.parametrize(
    ("before", "now", "phrases"),
    [
        ({"seed": 1}, {"seed": 2}, ["params.yaml seed 1 -> 2"]),
        ({"a": {"b": None, "c": 1}}, {"a": {"b": True, "c": 1}}, ["params.yaml a.b null -> true"]),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, ["params.yaml a.c nothing -> 1", "params.yaml a.b 1 -> nothing"]),
        (
            {f"k{i}": 0 for i in range(6)},
            {f"k{i}": 1 for i in range(6)},
            [*(f"params.yaml k{i} 0 -> 1" for i in range(4)), "params.yaml: 2 more values"],
        ),
    ],
)
def test_parameters_in_words(before: dict[str, Any], now: dict[str, Any], phrases: list[str]) -> None:
    assert causes.of_dependency(dependency("params.yaml", before, now), {"params.yaml": {}}) == phrases


def dependency(name: str, before: dict[str, Any], now: dict[str, Any]) -> Any:
    """What `causes` asks of DVC's object."""

    class Dependency:
        hash_info = SimpleNamespace(value=before)

        def read_params(self, flatten: bool) -> dict[str, Any]:
            return now

        def __str__(self) -> str:
            return name

    return Dependency()


def test_another_version_of_graft_in_words() -> None:
    dep = dependency("graft.lock", {"train": "a"}, {"train": "b"})
    assert causes.of_dependency(dep, {"graft.lock": {}}) == ["graft's code of train is another version's (graft.lock)"]


def test_weights_that_are_not_here_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ImageNet's, in an empty folder of Keras's: nothing goes out, and the count is without the cache."""
    from graft.planning.examples import Examples

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(passes, "start_tensorflow", lambda: None)
    network = {"backbone.name": "MobileNet", "backbone.alpha": 0.25, "backbone.input_size": 128}
    params = params_of(network | {"backbone.weights": "imagenet"})
    found = passes.of(params, layout.read(Path(__file__).parent.parent / "dvc.yaml"), Examples(("a" * 64,), 2))
    assert (found.wanted, found.held) == (3 * (1 + params.extract.views), None)
    assert found.note.startswith("ImageNet's weights are not here yet")
    assert capsys.readouterr().out == ""
