"""Which layer to read: every block's end is found, judged on images not seen, and what cannot be told apart is said."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from conftest import REPOSITORY, PreparedData, params_of, paths_in, tiny_params, write_drawings
from graft import cli
from graft.backbones import build, taps
from graft.backbones.table import BACKBONES
from graft.cli import probe as command
from graft.convex import ridge
from graft.errors import ParamsError, StaleError
from graft.examples import dataset
from graft.pipeline import layout
from graft.probing import judging, passes, run, tuning
from graft.probing.imagenet import TOP1, published
from graft.stages import prepare as stage

BUILT = functools.cache(build.build)
SMALL = {"backbone.input_size": 32, "data.source": "folder"}


def test_every_network_has_an_accuracy_on_imagenet() -> None:
    assert set(TOP1) == {name for name, row in BACKBONES.items() if row.is_network}
    assert (published("VGG16", None), published("MobileNetV2", 1.0), published("MobileNetV2", 0.35)) == (
        0.713, 0.713, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        ("MobileNetV2", 0.35, ("expanded_conv_project_BN", "block_2_add", "block_16_project_BN", "out_relu")),
        ("VGG16", None, ("block1_conv1", "block3_pool", "block5_pool")),
    ],
)
def test_taps_are_the_ends_of_blocks(name: str, alpha: float | None, expected: tuple[str, ...]) -> None:
    network = BUILT(name, alpha, 32, "random", 0).model
    found = taps.of(network)
    layers = [tap.layer for tap in found]
    assert set(expected) <= set(layers)
    assert not [layer for layer in layers if layer.endswith(("_expand_relu", "_depthwise_relu", "_pad", "_expand"))]
    assert len(set(layers)) == len(layers) <= taps.MOST
    assert [tap.below for tap in found] == sorted(tap.below for tap in found)
    assert [tap.layer for tap in found if tap.cut is None] == [layers[-1]]
    assert found[-1].channels == network.output_shape[-1]


def test_of_many_as_many_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BUILT("MobileNetV2", 0.35, 32, "random", 0).model
    every = taps.of(network)
    monkeypatch.setattr(taps, "MOST", 5)
    some = taps.of(network)
    assert len(some) == 5
    assert (some[0], some[-1]) == (every[0], every[-1])


@pytest.fixture
def probed(
    tmp_path: Path, prepare: Callable[..., PreparedData], monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any, PreparedData]:
    """Parameters, paths and what was prepared, for drawings."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "build", BUILT)
    write_drawings(tmp_path / "images", 15)
    prepared = prepare(tmp_path / "images")
    return params_of(SMALL | {"data.path": str(tmp_path / "images")}), paths_in(prepared.folder), prepared


@pytest.mark.slow
def test_from_images_to_a_choice(probed: tuple[Any, Any, PreparedData], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layer's features are the pipeline's, every layer is judged as by hand, the second time is cached."""
    params, paths, prepared = probed
    seen: list[passes.Passed] = []
    wanted: list[str] = []
    whole = passes.run

    def spied(params: Any, tasks: Any, read: Any) -> passes.Passed:
        wanted.extend(task.path for task in tasks)
        seen.append(whole(params, tasks, read))
        return seen[-1]

    monkeypatch.setattr(passes, "run", spied)
    choice, tuned = run.run([params], paths)
    assert tuned == []
    assert {prepared.sides[path] for path in wanted} == {"train", "validation"}
    (passed,) = seen
    assert passed.computed == len(wanted) == 36
    data = run.without_test(dataset.read(paths.catalogue, paths.split))
    assert len(data.of("test").rows) == 0

    last = next(one for one in choice.ranked if one.cut is None and not one.together)
    features = passed.of(len(passed.taps) - 1)
    assert features.shape == (36, 1280)
    train, validation = data.of("train"), data.of("validation")
    solved = ridge.solve(lambda rows: features[train.rows][rows, None], train.targets, train.weights, 3)
    assert last.left_out == (solved.left_out == train.targets).mean()
    answers = (features[validation.rows] @ solved.kernel + solved.bias).argmax(axis=1)
    assert last.validation == (answers == validation.targets).mean()

    together = next(one for one in choice.ranked if one.together)
    assert (together.layer, together.channels) == (f"all {len(passed.taps)} layers", passed.features.shape[1])
    assert len(choice.ranked) == len(passed.taps) + 1

    assert [one.accuracy for one in choice.ranked] == sorted((one.accuracy for one in choice.ranked), reverse=True)
    assert choice.within_noise[0]
    assert choice.by_imagenet is None
    again, _ = run.run([params], paths)
    assert seen[1].computed == 0
    np.testing.assert_array_equal(seen[1].features, passed.features)
    assert [one.layer for one in again.ranked] == [one.layer for one in choice.ranked]


@pytest.mark.slow
def test_where_to_unfreeze(probed: tuple[Any, Any, PreparedData], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cut starts from the same pretrained network and head: epoch 0 is the same for all."""
    params, paths, _ = probed
    monkeypatch.setattr(build, "build", build.build.__wrapped__)  # a network of its own for each cut, as in a command
    monkeypatch.setattr(tuning, "MOST_CUTS", 2)
    starts: list[float] = []
    whole = dataset.fit_to

    def spied(*args: Any, **named: Any) -> Any:
        curve = whole(*args, **named, start_counts=True)
        starts.append(curve["val_loss"][0])
        return curve

    monkeypatch.setattr(dataset, "fit_to", spied)
    _, tuned = run.run([params], paths, epochs=1)
    assert starts[0] == pytest.approx(starts[1], abs=0.02), "but for float16 of the activations"
    assert {one.cut for one in tuned} == {"block_2_expand", "Conv_1"}
    assert tuned[0].accuracy >= tuned[1].accuracy
    assert {one.hits.shape for one in tuned} == {(9,)}
    said = command.where_to_unfreeze(tuned, "image")
    assert f"unfreeze from {tuned[0].cut}: {tuned[0].accuracy:.4f} of 9 validation images" in said


def candidate(layer: str, hits: list[int], **more: Any) -> judging.Candidate:
    values = {
        "network": "A", "layer": layer, "cut": None, "channels": 8, "left_out": 0.5, "validation": 0.5,
        "log_loss": 1.0, "hits": np.array(hits, bool), "milliseconds": 1.0, "seconds": 0.1, "stored_bytes": 10,
        "imagenet": None,
    }  # fmt: skip
    return judging.Candidate(**(values | more))


def test_mcnemars_test_and_the_choice() -> None:
    from scipy import stats

    best = candidate("best", [1] * 90 + [0] * 10, milliseconds=9.0)
    near = candidate("near", [1] * 88 + [0] * 10 + [1, 0], milliseconds=3.0)
    poor = candidate("poor", [1] * 70 + [0] * 30, milliseconds=1.0, imagenet=0.9)
    assert judging.against(best, poor) == pytest.approx(2 * 0.5**20)
    assert judging.against(best, near) == 1.0  # two are lost, one is gained
    assert judging.against(best, best) == 1.0
    choice = judging.choose([poor, near, best])
    assert [one.layer for one in choice.ranked] == ["best", "near", "poor"]
    assert choice.within_noise == [True, True, False]
    assert (choice.cheapest, choice.by_imagenet) == (near, poor)
    low, high = judging.interval(best)
    expected = stats.binomtest(90, 100).proportion_ci(0.95, "wilson")
    assert (low, high) == (expected.low, expected.high)
    said = "\n".join(command.advice(choice, "image"))
    assert "read features at best of A: 0.9000" in said
    assert "cheapest of these: near of A, 3.00 ms instead of 9.00" in said
    assert "would take poor of A: 0.7000, worse by these examples" in said


def test_what_candidates_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
    monkeypatch.chdir(tmp_path)
    every = command._every(["MobileNetV2:0.5", "VGG16"], [64, 96])
    assert [run.name_of(one) for one in every] == [
        "MobileNetV2 0.5 at 64 px", "MobileNetV2 0.5 at 96 px", "VGG16 at 64 px", "VGG16 at 96 px",
    ]  # fmt: skip
    assert [run.name_of(one) for one in command._every([""], [0])] == ["MobileNetV2 0.35 at 32 px"]
    with pytest.raises(ParamsError, match=r"NAME:WIDTH with a number\. Got 'wide'"):
        command._every(["MobileNetV2:wide"], [0])
    with pytest.raises(ParamsError, match=r"graft probe --backbone VGG17: 1 fault\n.*backbone.name"):
        command._every(["VGG17"], [0])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, picture, advice, and a run in MLflow; the pipeline's files stay as they are."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "start_tensorflow", lambda: None)
    monkeypatch.setattr(build, "build", BUILT)
    write_drawings(tmp_path / "data" / "drawings", 8)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())

    def probe() -> Result:
        return CliRunner().invoke(cli.app, ["probe"])

    refused = probe().exception
    assert isinstance(refused, StaleError)
    assert "Run `dvc repro" in str(refused)
    stage.run(params_of(tree=tiny_params()), layout.read())
    before = contents(tmp_path / "data" / "prepared")
    done = probe()
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "data" / "prepared") == before
    table = pd.read_csv(tmp_path / command.FOLDER / "layers.csv")
    assert "read features at " in done.stdout
    assert table["layer"][0] in done.stdout
    assert table["imagenet_top1"].isna().all(), "of a third of the width none is published"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (logged,) = client.search_runs([client.get_experiment_by_name("graft").experiment_id])
    assert logged.data.tags["graft.kind"] == "probe"
    assert logged.data.metrics["probe_accuracy"] == pytest.approx(table["accuracy"][0])
    assert {file.path for file in client.list_artifacts(logged.info.run_id, "probe")} == {
        "probe/layers.csv", "probe/layers.png",
    }  # fmt: skip
