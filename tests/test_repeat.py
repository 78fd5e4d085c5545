"""`graft repeat`: the pipeline's own numbers at its own seed, true folds, and what MLflow sees of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from conftest import (
    Pass,
    PreparedData,
    changed,
    drawing,
    encoded,
    params_of,
    paths_in,
    whole_pass,
)
from graft import cli
from graft.cli import repeat as command
from graft.errors import GraftError, TrackingError, TrainingError
from graft.evaluation import metrics
from graft.examples import split
from graft.repetition import again, plans, result
from graft.stages import evaluate, extract, finetune, train
from graft.tracking import repeats, run
from graft.verdicts.spread import Spread

CHANGES = {
    "backbone.name": "MobileNet", "backbone.alpha": 0.25, "backbone.weights": "random", "finetune.cut": "conv_pw_13",
    "extract.views": 1, "train.heads.linear.dropout": 0.5, "finetune.epochs": 1, "data.split.fold": "1 of 3",
    "train.batch_size": 2, "finetune.batch_size": 2,
}  # fmt: skip
"""A network of few layers; and of 36 images a third trains, in batches of one size, so that there is one graph to make,
for two shards."""

PARAMS = params_of()


def test_noise_is_the_repeatability_limit() -> None:
    spread = Spread([0.90, 0.92, 0.94])
    assert (spread.mean, spread.lowest, spread.highest) == (pytest.approx(0.92), 0.90, 0.94)
    assert spread.deviation == pytest.approx(0.02)
    assert spread.noise(0.95) == pytest.approx(4.302653 * math.sqrt(2) * 0.02)  # t of 2 degrees, of any table
    many = Spread(list(np.random.default_rng(0).normal(0.9, 0.01, 100_000)))
    assert many.noise(0.95) == pytest.approx(2.77 * 0.01, rel=0.01)  # ISO 5725-6's 2.8
    differences = np.random.default_rng(1).normal(0, 0.01, (100_000, 2))
    assert np.mean(abs(differences[:, 0] - differences[:, 1]) < many.noise(0.95)) == pytest.approx(0.95, abs=0.003)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    return whole_pass(tmp_path_factory.mktemp("passed"), CHANGES, 12)


@pytest.mark.long
def test_the_pipelines_seed_gives_the_pipelines_numbers(passed: Pass) -> None:
    params, paths = passed.params, passed.paths
    before = passed.contents()
    first = plans.by_seed(params, plans.consecutive(params, 2))[0]
    again_trained = again.once(first, paths)
    assert again_trained.metrics == json.loads(paths.metrics.read_text())
    assert passed.contents() == before


@pytest.mark.slow
def test_a_frozen_network_ships_with_its_temperature(passed: Pass, tmp_path: Path) -> None:
    params, paths = passed.params, passed.paths
    frozen = params.finetune.model_copy(update={"enabled": False, "temperature": "validation"})
    params = params.model_copy(update={"finetune": frozen})
    kept = ("catalogue", "split", "quarantine", "duplicates", "prepare_metrics")
    paths = replace(paths, **{name: tmp_path / path.name for name, path in asdict(paths).items() if name not in kept})
    extract.run(params, paths)
    train.run(params, paths, lambda epoch, values: None)
    finetune.run(params, paths, lambda epoch, values: None)
    evaluate.run(params, paths)
    trained = again.once(plans.Plan("the same", plans.head_only(params)), paths)
    assert trained.metrics["head"]["test"]["temperature"]["value"] != 1
    assert trained.metrics == json.loads(paths.metrics.read_text())


def test_a_seed_is_another_head(passed: Pass, capsys: pytest.CaptureFixture[str]) -> None:
    params, paths = passed.params, passed.paths
    trained = list(again.each(plans.by_seed(plans.head_only(params), [7, params.seed]), paths))
    assert trained[1].metrics["head"] == json.loads(paths.metrics.read_text())["head"]  # whatever came before
    losses = [one.metrics["head"]["test"]["log_loss"] for one in trained]
    assert losses[0] != losses[1]
    spread = result.spreads(trained)["head"]["test_log_loss"]
    assert (spread.lowest, spread.highest) == (min(losses), max(losses))
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["1/2 seed 7", f"2/2 seed {params.seed}"]


@pytest.mark.long
def test_folds_test_every_image_once(passed: Pass) -> None:
    params, paths = passed.params, passed.paths
    trained = list(again.each(plans.by_fold(plans.head_only(params), paths), paths))
    assert len(trained) == 3
    whole = result.together(trained)["head"]
    assert whole["images"] == 36
    judged = [one.metrics["head"]["test"] for one in trained]
    assert whole["accuracy"] * 36 == pytest.approx(sum(one["accuracy"] * one["images"] for one in judged))
    document = result.document("head, 3 folds", trained, 0.95, folds=True)
    assert [one["fold"] for one in document["runs"]] == [f"{k} of 3" for k in range(1, 4)]
    figures = result.figures(document)["head"]
    assert figures["test_accuracy"] == pytest.approx(np.mean([one["accuracy"] for one in judged]))
    assert figures["test_accuracy_together"] == whole["accuracy"]
    assert "test_accuracy_noise" not in figures


def test_folds_are_those_of_prepare(tmp_path: Path, prepare: Callable[..., PreparedData]) -> None:
    """With copies, groups, weights, and an official split that is set aside: from the files alone."""
    rows = []
    for k, kind in enumerate(("circle", "cross")):
        for i in range(12):
            name = f"{kind}{i}.png"
            (tmp_path / name).write_bytes(encoded(drawing(kind, 100 * k + (i if i != 5 else 4))))  # 5 is a copy of 4
            rows.append((name, kind, "test" if i < 2 else "train", f"g{i // 2}" if i > 7 else "", 0.5 + i % 2))
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group", "weight"])
    table.to_csv(tmp_path / "images.csv", index=False)
    columns = {f"manifest.columns.{name}": name for name in ("split", "group", "weight")}
    official = prepare(tmp_path, columns, "manifest")
    params = params_of({"data.split.fold": "1 of 4", "seed": 0})
    made = plans.by_fold(params, paths_in(official.folder))
    assert [plan.name for plan in made] == [f"fold {k} of 4" for k in range(1, 5)]
    for plan in made:
        changes = columns | {"split.method": "folds", "split.fold": plan.params.data.split.fold}
        expected = prepare(tmp_path, changes, "manifest")
        split.write(plan.sides, tmp_path / "split.csv")
        assert (tmp_path / "split.csv").read_bytes() == paths_in(expected.folder).split.read_bytes()
        assert plan.params.seed == params.seed


@pytest.mark.parametrize(
    ("changes", "seeds", "fault"),
    [
        ({}, [1], "at least two different seeds from 0 to 2^31 - 1. Got 1."),
        ({}, [1, 1], "Got 1, 1."),
        ({}, [1, 2**31], "Got 1, 2147483648."),
        ({"train.enabled": False, "finetune.enabled": False}, [1, 2], "train.enabled: false"),
    ],
)
def test_what_cannot_be_repeated_is_refused(changes: dict[str, Any], seeds: list[int], fault: str) -> None:
    with pytest.raises(TrainingError) as caught:
        plans.by_seed(params_of(changes), seeds)
    assert fault in str(caught.value)


def test_nothing_held_out_is_refused(passed: Pass) -> None:
    params, paths = passed.params, passed.paths
    sides = pd.read_csv(paths.split).assign(split="train")
    with pytest.raises(TrainingError, match=r"data\.split: must hold examples out"):
        again.once(plans.Plan("all train", params, sides), paths)


@pytest.fixture
def here(passed: Pass, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the pass as the project's root."""
    folder = passed.folder
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(command, "start_tensorflow", lambda: None)
    return folder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["repeat", *arguments])


def runs_of(what: str) -> list[list[Any]]:
    """The parents of a repetition, oldest first, each with what is in it."""
    client = mlflow.MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    every = list(client.search_runs(["1"], order_by=["start_time"]))
    parents = [one for one in every if one.data.tags["graft.repeat"] == what]
    return [
        [parent, *(one for one in every if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id)]
        for parent in parents
    ]


@pytest.mark.long
def test_the_command_prints_writes_and_logs(passed: Pass, here: Path) -> None:
    before = passed.contents()
    done = call("--seeds", "2", "--json", "found.json")
    assert done.exit_code == 0, done.output
    document = json.loads((here / "found.json").read_text())
    (here / "found.json").unlink()
    assert passed.contents() == before
    spread = document["spread"]["head"]["test_accuracy"]
    assert "All 2 seeds give the same test accuracy." in done.output
    for row in ("seed 42", "seed 43", "mean", "standard deviation", "seed noise (95%)"):
        assert f"\n {row}" in done.stdout

    ((parent, *children),) = runs_of("head, seeds 42, 43")
    assert parent.info.run_name == "repeat head, seeds 42, 43: linear, frozen, MobileNet 0.25 random"
    assert parent.data.metrics["test_accuracy"] == spread["mean"]
    assert parent.data.metrics["test_accuracy_noise"] == spread["noise"]
    assert [child.info.run_name for child in children] == ["seed 42", "seed 43"]
    assert [child.data.params["seed"] for child in children] == ["42", "43"]
    for child, one in zip(children, document["runs"], strict=True):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["val_log_loss"] == one["judged"]["head"]["validation"]["log_loss"]
        assert run.PASS not in child.data.tags

    again_called = call("--seeds", "42,43")
    assert f"reproduced: the same numbers as MLflow run {parent.info.run_name}" in again_called.output
    ((parent, *children),) = runs_of("head, seeds 42, 43")
    assert [one.info.status for one in (parent, *children)] == ["FINISHED"] * 3


def test_the_noise_is_told_in_images_too(capsys: pytest.CaptureFixture[str]) -> None:
    trained = [again.Trained(plans.Plan(f"seed {right}", PARAMS), said(right), {}, {}) for right in (7, 8, 9)]
    command._show(result.document("head, three seeds", trained, 0.95, folds=False), "image")
    noise = 4.302653 * math.sqrt(2) * 0.1
    told = f"differ by less than {noise:.4f} in test accuracy ({noise * 10:.1f} of 10 images) are within seed noise"
    assert capsys.readouterr().out.count(told) == 2  # of the head, and fine-tuned


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--seeds", "few"], "--seeds: must be a number of seeds, as 5, or seeds, as 1,7,42. Got 'few'."),
        (["--seeds", "1"], "at least two different seeds"),
        (["--seeds", "3", "--folds"], "--seeds and --folds: must be given one at a time"),
    ],
)
def test_options_that_make_no_sense_are_one_error(here: Path, arguments: list[str], fault: str) -> None:
    done = call(*arguments)
    assert isinstance(done.exception, GraftError)
    assert fault in str(done.exception)


@pytest.mark.parametrize(
    ("change", "arguments", "fault"),
    [
        ({"seed": 1}, [], "Different: params.yaml seed (of prepare). Run `dvc repro`."),
        ({"extract.views": 2}, [], "views is 1, but params.yaml says 2"),
        ({"finetune.enabled": False}, ["--finetune"], "--finetune: needs finetune.enabled: true"),
    ],
)
def test_files_of_other_params_are_not_trained_on(
    here: Path, change: dict[str, Any], arguments: list[str], fault: str
) -> None:
    text = (here / "params.yaml").read_text()
    lock = {"stages": {"prepare": {"params": {"params.yaml": {"seed": 42}}}}}
    try:
        (here / "dvc.lock").write_text(yaml.safe_dump(lock))
        (here / "params.yaml").write_text(yaml.safe_dump(changed(yaml.safe_load(text), change)))
        done = call(*arguments)
        assert isinstance(done.exception, GraftError)
        assert fault in str(done.exception)
    finally:
        (here / "params.yaml").write_text(text)
        (here / "dvc.lock").unlink()


def judged(right: int) -> dict[str, dict[str, dict[str, Any]]]:
    """The metrics of two models, so many of ten images right."""
    return metrics.compute_all(said(right))


def said(right: int) -> dict[str, dict[str, metrics.Judged]]:
    """What they said."""
    targets = np.zeros(10, np.int64)
    says = np.where(np.arange(10)[:, None] < right, [0.8, 0.2], [0.2, 0.8])
    one = metrics.Judged(says, targets, ["a", "b"], 5, 10, 0.95)
    return {"head": {"test": one}, "finetuned": {"test": one}}


def test_an_interrupt_leaves_nothing_running(passed: Pass, here: Path) -> None:
    params, paths = passed.params, passed.paths
    with pytest.raises(KeyboardInterrupt), repeats.live(params, paths, "interrupted") as log:  # noqa: PT012
        log.one("seed 1", params, judged(9))
        raise KeyboardInterrupt
    ((parent, child),) = runs_of("interrupted")
    assert (parent.info.status, child.info.status) == ("KILLED", "FINISHED")
    assert child.data.metrics["test_accuracy"] == child.data.metrics["without_finetuning_test_accuracy"] == 0.9
    with repeats.live(params, paths, "interrupted") as log:  # an unfinished one is not taken for the whole
        log.all({"what": "x"}, {"head": {"test_accuracy": 0.9}})
    assert [parent.info.status for parent, *_ in runs_of("interrupted")] == ["KILLED", "FINISHED"]


def test_other_numbers_are_a_run_that_names_the_first(passed: Pass, here: Path) -> None:
    params, paths = passed.params, passed.paths
    for right in (9, 8):
        with repeats.live(params, paths, "diverging") as log:
            log.one("fold 1 of 3", params, judged(right))
            log.all({"right": right}, {"head": {"test_accuracy": right / 10}})
    (first, _), (second, child) = runs_of("diverging")
    assert second.data.tags[run.DIVERGED] == first.info.run_id
    assert second.data.metrics["test_accuracy"] == child.data.metrics["test_accuracy"] == 0.8


def test_a_store_that_dies_does_not_stop_the_repetition(
    passed: Pass, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params, paths = passed.params, passed.paths
    reached = []
    with pytest.raises(TrackingError), repeats.live(params, paths, "dying") as log:  # noqa: PT012
        monkeypatch.setattr(log.client, "create_run", lambda *_, **__: 1 / 0)
        for seed in (1, 2):
            log.one(f"seed {seed}", params, judged(9))
            reached.append(seed)
        log.all({}, {})
    assert reached == [1, 2]
    assert capsys.readouterr().err.count("note: MLflow failed (division by zero)") == 1
