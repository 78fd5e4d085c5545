"""Metrics against numbers worked out by hand or by another library; predictions and plots as files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

from conftest import REPOSITORY, changed, params_of
from graft import inputs
from graft.cli import runs
from graft.config import doubts, yaml_file
from graft.config.load import of_tree
from graft.errors import StaleError
from graft.evaluation import metrics, plots, predictions, summary
from graft.pipeline import layout
from graft.training import history


def judged(**changes: Any) -> metrics.Judged:
    """Five images of three classes, four right: classes 0 0 1 2 2, predicted 0 1 1 2 2."""
    p = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]])
    values: dict[str, Any] = {
        "probabilities": p,
        "targets": np.array([0, 0, 1, 2, 2]),
        "classes": ["a", "b", "c"],
        "top_k": 2,
        "calibration_bins": 5,
        "confidence": 0.95,
    }
    return metrics.Judged(**(values | changes))


def test_all_metrics_by_hand() -> None:
    got = metrics.compute(judged())
    assert got["images"] == 5
    assert got["accuracy"] == 0.8
    assert got["top_k_accuracy"] == 1.0
    assert got["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert got["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.8, 0.6, 1.0]).mean())
    assert got["per_class"]["b"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "images": 1}
    # Bins of confidence (0.4, 0.6]: 0.6 wrong, 0.6 right; (0.6, 0.8]: both right; (0.8, 1]: right.
    gaps = [2 * abs(0.6 - 0.5), 2 * abs(0.8 - 1.0), 1 * abs(1.0 - 1.0)]
    assert got["expected_calibration_error"] == pytest.approx(sum(gaps) / 5)


def test_wilson_interval_of_the_literature() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 is 0.2553 to 0.3662."""
    targets = np.zeros(263, np.int64)
    p = np.tile([0.1, 0.9], (263, 1))
    p[:81] = [0.9, 0.1]
    got = metrics.accuracy_interval(judged(probabilities=p, targets=targets, classes=["a", "b"]))
    assert (round(got["low"], 4), round(got["high"], 4)) == (0.2553, 0.3662)


def test_top_k_says_nothing_of_k_classes() -> None:
    assert "top_k_accuracy" not in metrics.compute(judged(top_k=3))


def test_a_class_without_images_counts_zero_without_a_warning() -> None:
    got = metrics.compute(judged(targets=np.array([0, 0, 1, 1, 1])))
    assert got["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 0}


def test_macro_f1_does_not_punish_for_classes_that_are_not_there() -> None:
    p = np.eye(3)[[0, 0, 1]]
    assert metrics.macro_f1(judged(probabilities=p, targets=np.array([0, 0, 1]))) == 1.0


def test_class_names_are_not_mathematics(tmp_path: Path) -> None:
    figure = plots.confusion({"m": judged(classes=["$_$", "a$b$", "c"])})
    plots.save(figure, tmp_path / "confusion.png")


def test_a_probability_of_zero_costs_a_finite_loss() -> None:
    p = np.array([[1.0, 0.0, 0.0]])
    assert metrics.log_loss(judged(probabilities=p, targets=np.array([1]))) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_gives_plain_values(name: str) -> None:
    """What goes into JSON: numbers, or mappings of numbers."""

    def plain(value: Any) -> bool:
        return all(map(plain, value.values())) if isinstance(value, dict) else type(value) in (int, float)

    assert plain(metrics.METRICS[name](judged(temperature=1.5)))


def test_predictions_hold_a_row_per_image(tmp_path: Path) -> None:
    j = judged()
    table = predictions.table(
        "head", "test", [f"{i}.png" for i in range(5)], ["a", "a", "b", "c", "c"], j.probabilities, j.classes
    )
    predictions.write([table], tmp_path / "one.parquet")
    predictions.write([table.iloc[:2], table.iloc[2:]], tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    got = pd.read_parquet(tmp_path / "one.parquet")
    assert list(got.columns) == ["model", "split", "path", "label", "prediction", "p:a", "p:b", "p:c"]
    assert (got["prediction"] == got["label"]).mean() == 0.8
    assert got["p:a"].dtype == np.float32


def test_predictions_of_many_images_are_written_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    j = judged()
    table = predictions.table("head", "test", list("abcde"), list("aabcc"), j.probabilities, j.classes)
    monkeypatch.setattr(predictions, "AT_A_TIME", 4)
    predictions.write([table, table.iloc[:2], table.iloc[2:4], table.iloc[4:]], tmp_path / "many")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "many"), pd.concat([table, table], ignore_index=True))
    found = parquet.ParquetFile(tmp_path / "many").metadata
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [5, 4, 1]


def test_predictions_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    j = judged()
    table = predictions.table("head", "test", list("abcde"), list("aabcc"), j.probabilities, j.classes)

    def interrupted() -> Iterator[pd.DataFrame]:
        yield pd.concat([table] * (predictions.AT_A_TIME // 5 + 1))
        raise KeyboardInterrupt

    predictions.write([table], tmp_path / "there")
    before = (tmp_path / "there").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        predictions.write(interrupted(), tmp_path / "there")
    assert [file.name for file in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_bytes() == before


def test_top_k_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(9), 50).astype(np.float32)
    j = metrics.Judged(scores, rng.integers(0, 9, 50), list("abcdefghi"), 3, 10, 0.95)
    whole = metrics.top_k_accuracy(j)
    monkeypatch.setattr(metrics, "AT_A_TIME", 7)
    assert (
        metrics.top_k_accuracy(j)
        == whole
        == np.mean([t in row.argsort()[-3:] for t, row in zip(j.targets, scores, strict=True)])
    )


def test_predictions_of_no_image_have_the_same_columns(tmp_path: Path) -> None:
    """In the file, names and types: who reads all passes' files reads this one too."""
    j = judged()
    table = predictions.table("head", "test", list("abcde"), list("abcde"), j.probabilities, j.classes)
    predictions.write([table], tmp_path / "some")
    predictions.write([predictions.nothing(j.classes)], tmp_path / "none")
    assert parquet.read_schema(tmp_path / "none").equals(parquet.read_schema(tmp_path / "some"))
    assert len(pd.read_parquet(tmp_path / "none")) == 0


@pytest.mark.parametrize("name", plots.PLOTS)
def test_every_plot_is_the_same_picture_twice(name: str, tmp_path: Path) -> None:
    curve = pd.DataFrame(
        {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "val_loss": [2.0, 1.5], "best": [0, 1]}
    ).assign(val_accuracy=[0.2, 0.5])
    for file in ("one.png", "two.png"):
        figure = plots.PLOTS[name]({"train": curve, "finetune": curve}, {"head": judged(), "finetuned": judged()})
        plots.save(figure, tmp_path / file)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert min(image.size) > 200
        assert len(set(np.asarray(image.convert("L")).ravel())) > 20


def test_without_held_out_images_only_the_curves_are_drawn(tmp_path: Path) -> None:
    curve = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "best": [0, 1]})
    curve = curve.assign(val_loss=np.nan, val_accuracy=np.nan)
    figures = {name: draw({"train": curve}, {}) for name, draw in plots.PLOTS.items()}
    assert [name for name, figure in figures.items() if figure is not None] == ["curves"]
    plots.save(figures["curves"], tmp_path / "curves.png")
    assert [line.get_label() for line in figures["curves"].axes[0].lines] == ["train", "kept"]


def test_confusion_rows_are_what_dvc_counts(tmp_path: Path) -> None:
    plots.write_confusion(["b", "a"], ["a", "a"], tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == "actual,predicted\na,b\na,a\n"


def table_of(**recalls: float) -> dict[str, Any]:
    """What `data/evaluation.json` holds of one split, with the recall of each class."""
    interval = {"low": 0.5, "high": 0.9, "confidence": 0.95}
    values = {"images": 20, "accuracy": 0.75, "accuracy_interval": interval, "macro_f1": 0.7, "log_loss": 0.5}
    classes = {name: {"precision": 0.5, "recall": recall, "f1": 0.5, "images": 9} for name, recall in recalls.items()}
    return values | {"expected_calibration_error": 0.1, "per_class": classes}


def test_the_few_figures_are_of_the_model_that_ships() -> None:
    tuned = table_of() | {"accuracy": 0.8}
    both = {
        "head": dict.fromkeys(("validation", "test"), table_of()),
        "finetuned": {"validation": tuned, "test": tuned},
    }
    few = summary.few(both)
    assert few == {
        "test_accuracy": 0.8, "val_accuracy": 0.8, "test_log_loss": 0.5, "test_f1": 0.7, "test_ece": 0.1,
    }  # fmt: skip
    assert list(summary.few({"head": both["head"]})) == list(few)
    assert summary.few({"head": {"validation": tuned}}) == {
        "val_accuracy": 0.8, "val_log_loss": 0.5, "val_f1": 0.7, "val_ece": 0.1,
    }  # fmt: skip
    assert summary.few({"head": {}}) == {}


def test_what_a_user_should_know_is_said() -> None:
    kept_start = pd.DataFrame({"epoch": [0, 1], "best": [1, 0]})
    judged = {"head": {}, "finetuned": {"test": table_of(cat=0.5, dog=0.0)}}
    start, never = summary.warnings(judged, kept_start)
    assert start.startswith("no epoch of fine-tuning was better than the trained head it started from")
    assert never == "never found among the test examples: dog (0 of 9)."
    fine = {"finetuned": {"test": table_of(cat=0.5)}}
    assert summary.warnings(fine, pd.DataFrame({"epoch": [0, 1], "best": [0, 1]})) == []
    assert summary.warnings({"head": {}}, history.empty()) == []


@pytest.mark.parametrize(("name", "said"), [("MobileNetV2", True), ("VGG16", False), ("ConvNeXtTiny", False)])
def test_random_weights_under_frozen_batch_norm_are_doubted(name: str, said: bool) -> None:
    params = params_of({"backbone.name": name, "backbone.weights": "random"})
    told = doubts.of(params, {"backbone": {"alpha": params.backbone.alpha}})
    assert [doubt.split(":")[0] for doubt in told] == ["backbone.weights"] * said


def test_an_ignored_width_is_said() -> None:
    default = yaml_file.read(REPOSITORY / "params.yaml")
    assert doubts.of(of_tree(default, "params.yaml"), default) == []
    assert doubts.of(of_tree(tree := changed(default, {"backbone.name": "ResNet50"}), "params.yaml"), tree) == []
    tree = changed(default, {"backbone.name": "ResNet50", "backbone.alpha": 0.35})
    params = of_tree(tree, "params.yaml")
    assert doubts.of(params, tree) == ["backbone.alpha: 0.35 is ignored, since ResNet50 has no width multiplier."]
    assert (params.backbone.alpha, params.backbone.weights) == (None, "imagenet")
    assert params.finetune.cut == "conv4_block5_out"


@pytest.mark.parametrize(
    ("name", "alpha", "weights", "meant"),
    [
        ("MobileNetV2", "auto", "auto", (0.35, "bundled")),
        ("MobileNetV2", "auto", "imagenet", (1.0, "imagenet")),
        ("MobileNetV2", 1.0, "auto", (1.0, "imagenet")),
        ("MobileNet", "auto", "auto", (1.0, "imagenet")),
        ("MobileNetV3Large", "auto", "random", (1.0, "random")),
        ("ResNet50", "auto", "auto", (None, "imagenet")),
    ],
)
def test_what_auto_means(name: str, alpha: float | str, weights: str, meant: tuple[float | None, str]) -> None:
    backbone = params_of({"backbone.name": name, "backbone.alpha": alpha, "backbone.weights": weights}).backbone
    assert (backbone.alpha, backbone.weights) == meant


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> layout.Paths:
    """A folder in which `graft result` finds its files; no repository."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    paths = layout.read()
    history.write(history.empty(), paths.finetune_history)
    for path in (paths.metrics, paths.summary, paths.split):
        path.parent.mkdir(parents=True, exist_ok=True)
    paths.split.write_text("path,label,split\n")
    paths.summary.write_text("{}")
    return paths


def test_a_missing_result_says_what_to_run(result: layout.Paths) -> None:
    with pytest.raises(StaleError, match=r"evaluation\.json: must be written by `graft evaluate`. Run `dvc repro`."):
        runs.result()


def test_a_result_without_held_out_images_says_so(result: layout.Paths, capsys: pytest.CaptureFixture[str]) -> None:
    result.metrics.write_text('{"head": {}, "finetuned": {}}')
    runs.result()
    said = capsys.readouterr().out
    assert "No image was held out for validation or test (data.split)" in said
    assert "macro F1" not in said
    assert "with pictures, as a page" in said
    assert "the model, on pixels in [0, 255]" in said


def test_where_to_look_is_said_of_every_kind_of_example() -> None:
    said = {kind: runs.LOOK.format(**words) for kind, words in runs.OF_KIND.items()}
    assert set(said) == set(inputs.KINDS)
    assert "pictures" not in said["text"]
    assert "pixels" not in said["text"]


def test_a_result_is_compared_with_the_last_commit(
    result: layout.Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = {"head": {"test": table_of(cat=0.5)}}
    result.metrics.write_text(json.dumps(judged))
    result.summary.write_text(json.dumps(summary.few(judged)))
    runs.result()
    assert "The last commit has no result to compare with: commit this one" in capsys.readouterr().out
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    runs.result()
    assert "Against the last commit: the same." in capsys.readouterr().out
    result.summary.write_text(json.dumps(summary.few(judged) | {"test_accuracy": 0.8}))
    runs.result()
    assert "Against the last commit: test_accuracy +0.0500.\n" in capsys.readouterr().out
    (tmp_path / "dvc.lock").write_text("stages: {prepare: {outs: [{path: data/prepared/split.csv, md5: other}]}}")
    subprocess.run(["git", "add", "dvc.lock"], cwd=tmp_path, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "lock"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.lock").unlink()
    runs.result()
    assert "Against the last commit, on other data or another split: test_acc" in capsys.readouterr().out
