"""`graft study few-shot`: the images each way saw, what it cost, and the pipeline itself where all labels train."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from conftest import Pass, extracted_pass, params_of, whole_pass
from graft import cli
from graft.cli import study as command
from graft.errors import GraftError, TrainingError
from graft.examples import split
from graft.examples.splitting.make import make_split
from graft.repetition import plans
from graft.study import compute, few_shot
from graft.study.few_shot import FINETUNED, HEAD, SCRATCH

CHANGES = {"extract.views": 1, "train.epochs": 2, "finetune.epochs": 1, "finetune.batch_size": 8}
"""Of 7 training images of each of 3 classes, in batches of 8: 3 steps a pass."""

RECIPE = few_shot.Recipe(min_steps=3, scratch_seeds=1, scratch_rate=0.001, scratch_epochs=1)
ARGUMENTS = ("--shots", "1,all,7", "--seeds", "1", "--min-steps", "3", "--scratch-seeds", "0")


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    return whole_pass(tmp_path_factory.mktemp("passed"), CHANGES, 11)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """For what is chosen before anything is trained."""
    return extracted_pass(tmp_path_factory.mktemp("extracted"), CHANGES, 11)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["study", "few-shot", *arguments])


@dataclass(frozen=True)
class Studied:
    table: pd.DataFrame
    result: Result
    changed: bool

    def of(self, shots: str, way: str) -> Any:
        (row,) = self.table[(self.table["shots"] == shots) & (self.table["way"] == way)].itertuples()
        return row


@pytest.fixture(scope="module")
def studied(passed: Pass) -> Studied:
    """The command, with one label of each class and with all, run once; from scratch is a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(passed.folder)
        patch.delenv("DVC_ROOT", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(command, "start_tensorflow", lambda: None)
        before = passed.contents("study")
        result = call(*ARGUMENTS)
        assert result.exit_code == 0, result.output
        table = pd.read_csv(command.FOLDER / "few-shot.csv")
        return Studied(table, result, passed.contents("study") != before)


@pytest.mark.slow
def test_a_row_for_each_number_way_and_seed(studied: Studied, passed: Pass) -> None:
    table = studied.table
    assert list(table) == [field.name for field in fields(few_shot.Point)]
    assert list(zip(table["shots"], table["way"], strict=True)) == [
        (shots, way) for shots in ("1", "all") for way in (HEAD, FINETUNED)
    ]
    assert "no class has more training images than that, so that 7 would be all of them" in studied.result.output
    assert set(table["seed"]) == {passed.params.seed}
    assert not studied.changed


@pytest.mark.slow
def test_each_way_saw_what_it_should(studied: Studied) -> None:
    few, whole = studied.of("1", HEAD), studied.of("all", HEAD)
    assert (few.images, few.steps_per_epoch, few.steps, few.examples_seen) == (3, 2, 4, 12)
    assert (whole.images, whole.steps_per_epoch, whole.steps, whole.examples_seen) == (21, 3, 6, 42)
    few, whole = studied.of("1", FINETUNED), studied.of("all", FINETUNED)
    assert (few.steps, few.examples_seen) == (3, 9)
    assert (whole.steps, whole.examples_seen) == (3, 21)
    assert studied.of("all", HEAD).multiply_adds < whole.multiply_adds
    assert (studied.table["cpu_seconds"] > 0).all()


@pytest.mark.slow
def test_all_labels_are_the_pipeline_itself(studied: Studied, passed: Pass) -> None:
    judged = json.loads(passed.paths.metrics.read_text())
    for way, model in ((HEAD, "head"), (FINETUNED, "finetuned")):
        row, expected = studied.of("all", way), judged[model]["validation"]
        assert (row.accuracy, row.log_loss) == (expected["accuracy"], expected["log_loss"])


@pytest.mark.slow
def test_the_picture_and_mlflow_have_the_points(studied: Studied, passed: Pass) -> None:
    with Image.open(passed.folder / command.FOLDER / "few-shot.png") as picture:
        assert picture.width > picture.height > 300
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 50
    client = mlflow.MlflowClient(f"sqlite:///{passed.folder}/mlflow.db")
    (run,) = client.search_runs(["1"], "tags.`graft.study` = 'few-shot'")
    assert run.data.tags["graft.kind"] == "study"
    assert {file.path for file in client.list_artifacts(run.info.run_id, "study")} == {
        "study/few-shot.csv", "study/few-shot.png",
    }  # fmt: skip
    logged = client.get_metric_history(run.info.run_id, "fine_tuned_accuracy")
    told = [(1, studied.of("1", FINETUNED).accuracy), (7, studied.of("all", FINETUNED).accuracy)]
    assert [(one.step, one.value) for one in logged] == told


def test_means_stand_in_the_order_of_the_ways_whatever_the_seeds() -> None:
    """107.9 of each class is not the mean of three times 107.9, to the last bit."""
    rows = [(way, seed) for way, seeds in ((HEAD, 3), (SCRATCH, 1)) for seed in range(seeds)]
    values = {field.name: 1 for field in fields(few_shot.Point)}
    points = [
        few_shot.Point(**values | {"shots": "all", "way": way, "seed": seed, "images_per_class": 107.9, "images": 1079})
        for way, seed in rows
    ]
    means = few_shot.means(few_shot.table(points))
    assert list(zip(means["way"], means["seeds"], strict=True)) == [(HEAD, 3), (SCRATCH, 1)]


@pytest.mark.slow
def test_from_scratch_pixels_are_read_and_features_left_alone(passed: Pass) -> None:
    before = passed.contents("study")
    chosen = few_shot.trials(passed.params, passed.paths, [1], [42], RECIPE)
    (scratch,) = few_shot.run(passed.params, passed.paths, [one for one in chosen if SCRATCH in one.ways])
    assert (scratch.way, scratch.images, scratch.steps, scratch.examples_seen) == (SCRATCH, 3, 3, 9)
    network = compute.of(passed.params, passed.paths, 3)
    assert scratch.multiply_adds == pytest.approx(3 * (network.all + network.head) * 9 / 1e12)
    assert passed.contents("study") == before


def sides_of(trial: few_shot.Trial, side: str) -> set[str]:
    table = trial.plan.sides
    assert table is not None
    return set(table.loc[table["split"] == side, "path"])


@pytest.mark.long
def test_fewer_labels_are_a_part_of_more(extracted: Pass) -> None:
    chosen = few_shot.trials(extracted.params, extracted.paths, [1, 2, 5, None], [42, 43], RECIPE)
    heads = [trial for trial in chosen if HEAD in trial.ways]
    of_seed = {seed: [one for one in heads if one.plan.params.seed == seed] for seed in (42, 43)}
    whole = pd.read_csv(extracted.paths.split)
    for trials in of_seed.values():
        trained = [sides_of(one, "train") for one in trials]
        assert [len(one) for one in trained] == [3, 6, 15, 21] == [one.images for one in trials]
        assert trained[0] < trained[1] < trained[2] < trained[3]
        for one in trials:
            assert sides_of(one, "validation") == set(whole.loc[whole["split"] == "validation", "path"])
            assert not sides_of(one, "test")
    assert sides_of(of_seed[42][2], "train") != sides_of(of_seed[43][2], "train")
    scratch = [one.plan for one in chosen if SCRATCH in one.ways]
    assert [plan.params.seed for plan in scratch] == [42] * 4, "as many seeds as scratch_seeds says"
    for plan in scratch:
        params = plan.params
        assert (plan.extracts, params.train.enabled, params.finetune.cut) == (True, False, "input")
        assert (params.backbone.weights, params.backbone.random_seed) == ("random", 42)


def test_the_subset_is_that_of_few_shot_in_params(extracted: Pass) -> None:
    used, copies = plans.splittable(extracted.paths)
    p = extracted.params.data.split.model_copy(update={"few_shot": 2})
    expected, _ = make_split(used, copies, p, 42)
    trial = few_shot.trials(extracted.params, extracted.paths, [2], [42], RECIPE)[0]
    assert sides_of(trial, "train") == set(expected.loc[expected["split"] == "train", "path"])


def test_multiply_adds_by_hand(extracted: Pass) -> None:
    network = compute.Network(all=100, extracted=80.0, above=40.0, head=7, views=4)
    # 10 images and 4 views of each through 80, 50 seen by the head of 7, 30 by 40 + 7 of them, 3 times each
    assert network.frozen_head(10, 50) == pytest.approx((10 * 5 * 80 + 3 * 7 * 50) / 1e12)
    assert network.finetuned(10, 50, 30) == pytest.approx((4000 + 1050 + 3 * 47 * 30) / 1e12)
    assert network.scratch(30) == pytest.approx(3 * 107 * 30 / 1e12)
    # 21 images in batches of 8, 8 and 5
    assert [compute.examples_seen(steps, 21, 8) for steps in (0, 1, 2, 3, 4, 7)] == [0, 8, 16, 21, 29, 50]
    found = compute.of(extracted.params, extracted.paths, 3)
    assert (found.head, found.views) == (1280 * 3, 1)
    assert found.extracted == found.all > found.above > 0


@pytest.mark.parametrize(
    ("own", "images", "expected"),
    [
        ({"epochs": 10}, 3200, {"epochs": 10, "steps": None, "steps_per_epoch": 100}),
        ({"epochs": 10}, 64, {"epochs": 10, "steps": None, "steps_per_epoch": 20}),
        ({"epochs": 10, "steps_per_epoch": 50}, 64, {"epochs": 10, "steps": None, "steps_per_epoch": 50}),
        ({"epochs": None, "steps": 500}, 64, {"epochs": None, "steps": 500, "steps_per_epoch": 100}),
        ({"epochs": None, "steps": 50}, 64, {"epochs": None, "steps": 200, "steps_per_epoch": 100}),
    ],
)
def test_few_labels_have_as_many_epochs_and_enough_steps(
    own: dict[str, Any], images: int, expected: dict[str, Any]
) -> None:
    p = params_of({f"train.{key}": value for key, value in own.items()}).train
    got = few_shot.lengthened(p, images, 3200, 200)
    assert {key: getattr(got, key) for key in expected} == expected


def test_what_is_not_there_is_left_out_and_said(extracted: Pass) -> None:
    without = {"backbone.name": "GreyPixels", "finetune.enabled": False}
    params = params_of(without)
    assert {one.ways for one in few_shot.trials(params, extracted.paths, [1], [42], RECIPE)} == {(HEAD,)}
    assert command._left_out(params, [1], {"1"}) == [
        "GreyPixels has no layers: its head on pixels is the network from scratch"
    ]
    params = params_of({"finetune.enabled": False})
    assert {one.ways for one in few_shot.trials(params, extracted.paths, [1], [42], RECIPE)} == {(HEAD,), (SCRATCH,)}
    assert command._left_out(params, [1], {"1"}) == ["finetune.enabled is false: nothing is fine-tuned"]


def test_without_validation_images_there_is_no_study(extracted: Pass, tmp_path: Path) -> None:
    table = pd.read_csv(extracted.paths.split)
    split.write(table.assign(split=table["split"].replace("validation", "test")), tmp_path / "split.csv")
    paths = replace(extracted.paths, split=tmp_path / "split.csv")
    with pytest.raises(TrainingError, match=r"data\.split: must hold validation examples out, for the study"):
        few_shot.trials(extracted.params, paths, [1], [42], RECIPE)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--shots", "1,none,0"), "--shots: must be numbers from 1 on, and `all` for all labels"),
        (("--shots", "100"), "--shots: must hold `all`, or a number below that of the largest class's training"),
    ],
)
def test_numbers_that_make_no_sense_are_one_error(
    extracted: Pass, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], fault: str
) -> None:
    monkeypatch.chdir(extracted.folder)
    monkeypatch.setattr(command, "start_tensorflow", lambda: None)
    done = call(*arguments)
    assert isinstance(done.exception, GraftError)
    assert fault in str(done.exception)


def test_without_the_pipelines_outputs_it_says_what_to_run(
    extracted: Pass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((extracted.folder / name).read_text())
    monkeypatch.chdir(tmp_path)
    done = call()
    assert isinstance(done.exception, GraftError)
    assert "must be there to be read. Run `dvc repro`" in str(done.exception)
