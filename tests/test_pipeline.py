"""The whole job in a temporary clone: real DVC, real git, a real SQLite MLflow store.

One clone is run once and looked at by many tests; each further pass says what it changes.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from bucket import SECRET, served
from conftest import CLASSES, REPOSITORY, Project, changed, make_project, tiny_params
from graft import cli
from graft.config.load import load
from graft.errors import TrackingError
from graft.pipeline import lock as pipeline_lock
from graft.runtime import environment
from graft.tracking import recorded

ALL = ["prepare", "extract", "train", "finetune", "evaluate"]


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A clone after its first `dvc repro`, committed; and what that printed."""
    whole_batches = dict.fromkeys(("train.batch_size", "finetune.batch_size"), 12)  # a graph for one size
    project = make_project(tmp_path_factory.mktemp("cold"), changed(tiny_params(), whole_batches))
    project.environment["GRAFT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))  # others have drawings like these
    done = project.run("dvc", "repro", GRAFT_THREADS="2")
    project.commit()
    return project, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(cold: tuple[Project, str]) -> Project:
    return cold[0]


@pytest.fixture(scope="module")
def first_run(project: Project) -> Any:
    """The MLflow run of the cold pass."""
    return project.runs()[-1]


def test_a_cold_pass_runs_all_stages_quietly(cold: tuple[Project, str]) -> None:
    project, output = cold
    assert project.executed(output) == ALL
    for noise in ("Warning", "absl", "Traceback", "oneDNN", "\x1b", "━"):
        assert noise not in output
    assert "extracting features and activations: 360 images in" in output
    assert "images/s" in output


def test_nothing_to_do_does_nothing(project: Project) -> None:
    lock = (project.folder / "dvc.lock").read_bytes()
    done = project.run("dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout
    assert project.executed(done.stdout) == []
    assert (project.folder / "dvc.lock").read_bytes() == lock


def test_metrics_have_the_promised_shape(project: Project) -> None:
    metrics = json.loads((project.folder / "data" / "evaluation.json").read_text())
    assert list(metrics) == ["head", "finetuned"]
    for splits in metrics.values():
        assert list(splits) == ["validation", "test"]
        for values in splits.values():
            assert values["images"] == 12
            assert 0 <= values["accuracy_interval"]["low"] <= values["accuracy"] <= values["accuracy_interval"]["high"]
            assert set(values["per_class"]) == set(CLASSES)
    assert json.loads((project.folder / "data" / "prepared" / "counts.json").read_text())["split"] == {
        "train": 36,
        "validation": 12,
        "test": 12,
        "unused": 0,
    }


def test_predictions_are_the_models_own(project: Project) -> None:
    """Rows of the parquet file agree with the metrics, and with the saved model on the image files."""
    import keras

    from graft.inputs.image.decode import Resizing, decode

    table = pd.read_parquet(project.folder / "data" / "predictions.parquet")
    metrics = json.loads((project.folder / "data" / "evaluation.json").read_text())
    for (model, split), rows in table.groupby(["model", "split"]):
        assert (rows["label"] == rows["prediction"]).mean() == metrics[model][split]["accuracy"]
    rows = table[(table["model"] == "finetuned") & (table["split"] == "test")]
    pixels = [
        decode((project.folder / "data" / "drawings" / path).read_bytes(), Resizing(32, "stretch", "bilinear"))
        for path in rows["path"]
    ]
    model = keras.models.load_model(project.folder / "models" / "model.keras")
    expected = np.asarray(model(np.stack(pixels).astype(np.float32)))
    np.testing.assert_allclose(rows[[f"p:{name}" for name in CLASSES]], expected, atol=1e-4)


def test_features_say_what_made_them(project: Project) -> None:
    meta = json.loads((project.folder / "data" / "features" / "meta.json").read_text())
    made_with = meta["made_with"]
    assert [made_with[key] for key in ("backbone", "alpha", "weights", "numerics")] == [
        "MobileNetV2", 0.35, "bundled", "portable",
    ]  # fmt: skip
    assert made_with["input"]["side"] == 32
    assert len(made_with["weights_sha256"]) == 64
    array = np.load(project.folder / "data" / "features" / "array.npy", mmap_mode="r")
    assert array.shape == tuple(meta["shape"]) == (60, 6, 1280)
    meta = json.loads((project.folder / "data" / "activations" / "meta.json").read_text())
    assert meta["output"] == {"asked": "block_16_project", "cut": "block_16_project"}
    array = np.load(project.folder / "data" / "activations" / "array.npy", mmap_mode="r")
    assert array.shape == tuple(meta["shape"]) == (60, 6, 1, 1, 336)


def test_the_run_holds_all_that_the_files_say(project: Project, first_run: Any, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(project.run("git", "show", "HEAD:params.yaml").stdout)
    resolved = load(tmp_path / "params.yaml").flat()
    assert first_run.data.params == {key: str(value) for key, value in resolved.items()}
    client = project.client()
    for stage in ("train", "finetune"):
        history = pd.read_csv(project.folder / "plots" / f"{stage}.csv")
        under = {"train": "while_training", "finetune": "while_finetuning"}[stage]
        for column in ("loss", "val_loss", "accuracy", "val_accuracy"):
            points = client.get_metric_history(first_run.info.run_id, f"{under}_{column}")
            known = history[history[column].notna()]
            assert [point.step for point in points] == known["epoch"].tolist()
            np.testing.assert_allclose([point.value for point in points], known[column], rtol=1e-6)
    metrics = json.loads((project.folder / "data" / "evaluation.json").read_text())
    found = first_run.data.metrics
    assert found["test_accuracy"] == metrics["finetuned"]["test"]["accuracy"]
    assert found["val_log_loss"] == metrics["finetuned"]["validation"]["log_loss"]
    assert found["without_finetuning_test_f1"] == metrics["head"]["test"]["macro_f1"]
    summary = json.loads((project.folder / "metrics" / "summary.json").read_text())
    assert summary == {name: found[name] for name in summary}
    assert list(summary) == ["test_accuracy", "val_accuracy", "test_log_loss", "test_f1", "test_ece"]
    assert not [name for name in found if "rate" in name or "images" in name or "confidence" in name]
    # The shipped model's come first in the alphabet.
    finals = [name for name in sorted(found) if name.startswith(("test_", "val_"))]
    assert sorted(found)[: len(finals)] == finals
    assert first_run.info.run_name == "linear, from block_16_project, MobileNetV2 0.35 bundled"
    assert first_run.data.tags["graft.images"] == "60 used, 0 set aside"
    assert first_run.info.status == "FINISHED"


def test_the_run_has_artifacts_dataset_code_and_stages(project: Project, first_run: Any) -> None:
    client = project.client()
    run_id = first_run.info.run_id
    names = {
        item.path
        for folder in ("plots", "metrics", "history", "predictions", "data", "features", "code")
        for item in client.list_artifacts(run_id, folder)
    }
    assert {
        "plots/curves.png",
        "plots/confusion.png",
        "plots/calibration.png",
        "metrics/summary.json",
        "metrics/evaluation.json",
        "metrics/counts.json",
        "history/train.csv",
        "history/finetune.csv",
        "predictions/predictions.parquet",
        "data/split.csv",
        "data/examples.parquet",
        "data/quarantine.csv",
        "data/duplicates.csv",
        "data/report.html",
        "features/meta.json",
        "code/params.yaml",
        "code/dvc.yaml",
        "code/dvc.lock",
    } <= names
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    catalogue = next(out["md5"] for out in lock["prepare"]["outs"] if out["path"].endswith("catalogue.csv"))
    (dataset,) = first_run.inputs.dataset_inputs
    assert dataset.dataset.digest == catalogue
    tags = first_run.data.tags
    head = project.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert tags["mlflow.source.git.commit"] == head
    assert tags["graft.git.dirty"] == "false"
    meta = json.loads((project.folder / "data" / "features" / "meta.json").read_text())
    assert tags["graft.weights_sha256"] == meta["made_with"]["weights_sha256"]
    (model,) = (out["md5"] for out in lock["finetune"]["outs"] if out["path"].endswith("model.keras"))
    assert tags["graft.model"] == model
    assert len(tags["graft.test_split"]) == 64
    (data,) = (dep["md5"] for dep in lock["prepare"]["deps"] if dep["path"] == "data/drawings")
    assert tags["graft.data_md5"] == data
    own = json.loads((project.folder / "models" / "card.json").read_text())
    card = json.loads(Path(client.download_artifacts(run_id, "card.json")).read_text())
    assert card["classes"] == list(CLASSES)
    assert tags["graft.model_weights"] == own["weights_sha256"]
    table = pd.read_parquet(client.download_artifacts(run_id, "data/examples.parquet"))
    assert list(table.columns) == ["path", "sha256", "label", "split"]
    assert table["split"].value_counts().to_dict() == {"train": 36, "validation": 12, "test": 12}
    assert set(card["judged"]) == {"validation", "test"}
    assert own == {key: value for key, value in card.items() if key not in ("judged", "numerics", "versions")}
    assert all(tags[f"graft.stage.{stage}"].startswith("executed ") for stage in ALL)


def test_a_commit_and_its_run_predict_the_same(project: Project, first_run: Any) -> None:
    said = project.run("graft", "compare", "HEAD", first_run.info.run_id).stdout
    assert "of 12 test images" in said
    assert "Verdict: within noise. Both predict the same for every image." in said


def test_the_data_report_is_the_one_of_the_run(project: Project, first_run: Any, tmp_path: Path) -> None:
    """Self-contained and always the same: what a user asks for is what MLflow shows."""
    done = project.run("graft", "data", "report")
    assert done.stdout == "data/report.html\n"
    page = (project.folder / "data" / "report.html").read_text()
    logged = project.client().download_artifacts(first_run.info.run_id, "data/report.html", tmp_path)
    assert Path(logged).read_text() == page
    assert page.count("data:image/jpeg;base64,") == 3 * 10
    assert "http" not in page
    for kind in CLASSES:
        assert f"<td>{kind}</td>" in page


def test_stage_md5s_are_those_of_dvc(project: Project, first_run: Any, tmp_path: Path) -> None:
    """Even those of `evaluate`, which dvc.lock does not have yet when they are logged."""
    listing = json.loads(
        Path(project.client().download_artifacts(first_run.info.run_id, "stages.json", tmp_path)).read_text()
    )
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    assert {stage: entry["md5"] for stage, entry in listing.items()} == {
        stage: {out["path"]: out["md5"] for out in entry["outs"]} for stage, entry in lock.items()
    }


def test_a_run_says_what_it_takes_to_compute_it_again(
    project: Project, first_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `graft reproduce` reads: by the run, by the outputs of its stages, by the bytes of its model."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.folder}/mlflow.db")
    found = recorded.of_run(first_run.info.run_id)
    assert found is not None
    locked = pipeline_lock.recorded((project.folder / "dvc.lock").read_text())
    assert found.outs == {stage: one.outs for stage, one in locked.items()}
    assert found.environment == environment.here("portable").model_copy(update={"threads": 2})
    assert {stage: one for stage, one in pipeline_lock.recorded(found.lock).items() if stage != "evaluate"} == {
        stage: one for stage, one in locked.items() if stage != "evaluate"
    }
    assert (found.commit, found.uncommitted) == (first_run.data.tags["mlflow.source.git.commit"], "")
    assert found.evaluation == json.loads((project.folder / "data" / "evaluation.json").read_text())
    md5s = {stage: pipeline_lock.StageState(one.outs, True).md5 for stage, one in locked.items()}
    assert recorded.by_outputs(md5s) == recorded.by_model(locked["finetune"].outs["models/model.keras"]) == found
    assert recorded.by_outputs(md5s | {"train": "0" * 32}) is recorded.by_model("0" * 32) is None


def test_the_logged_model_serves(project: Project, first_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes image files: the classes and sizes are its card's. `mlflow.tensorflow` gives the very Keras model."""
    import keras

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.folder}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    (output,) = first_run.outputs.model_outputs
    model = project.client().get_logged_model(output.model_id)
    assert model.name == "linear, from block_16_project, MobileNetV2 0_35 bundled"
    own = {metric.key: metric for metric in model.metrics}
    assert {"test_accuracy", "val_accuracy"} <= set(own)
    assert all(name.startswith(("test_", "val_")) for name in own)
    (dataset,) = first_run.inputs.dataset_inputs
    assert own["test_accuracy"].dataset_digest == dataset.dataset.digest

    logged = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    folder = mlflow.artifacts.download_artifacts(f"models:/{output.model_id}")
    image = logged.metadata.load_input_example(folder).iloc[0, 0]
    table = pd.read_parquet(project.folder / "data" / "predictions.parquet")
    drawings = {(project.folder / "data" / "drawings" / path).read_bytes(): path for path in table["path"]}
    expected = table[(table["path"] == drawings[image]) & (table["model"] == "finetuned")].iloc[0]
    served = json.loads(logged.metadata.get_serving_input(folder))["dataframe_split"]
    for given in (pd.DataFrame({"image": [image]}), [image], image, pd.DataFrame(**served)):
        found = logged.predict(given, params={"top_k": 2}).iloc[0]
        assert found["label"] == expected["prediction"]
        assert found["probability"] == pytest.approx(expected[f"p:{found['label']}"], abs=1e-4)
        assert len(found["top_labels"]) == len(found["top_probabilities"]) == 2
    with pytest.raises(mlflow.MlflowException, match=r"image 1: must be a whole image file. Got: not an image"):
        logged.predict([b"not an image"])
    with pytest.raises(mlflow.MlflowException, match="a text is not opened as a path"):
        logged.predict(pd.DataFrame({"image": [str(project.folder / "data" / "drawings" / drawings[image])]}))

    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(keras.models.load_model(project.folder / "models" / "model.keras")(pixels))
    loaded = mlflow.tensorflow.load_model(f"models:/{output.model_id}")
    np.testing.assert_allclose(np.asarray(loaded(pixels)), expected, atol=1e-5)


WITHOUT_GRAFT = """
import importlib.util, sys
sys.path += sys.argv.pop(1).split(":")
assert importlib.util.find_spec("graft") is None
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
print(mlflow.pyfunc.load_model(sys.argv[2]).predict([open(sys.argv[3], "rb").read()])["label"][0])
"""


@pytest.mark.long
def test_the_logged_model_needs_no_graft(project: Project, first_run: Any, tmp_path: Path) -> None:
    """-S: the path file that makes graft importable is not read."""
    (output,) = first_run.outputs.model_outputs
    image = next((project.folder / "data" / "drawings" / "circle").iterdir())
    done = project.run(
        sys.executable, "-S", "-c", WITHOUT_GRAFT, str(Path(np.__file__).parents[1]),
        f"sqlite:///{project.folder}/mlflow.db", f"models:/{output.model_id}", str(image),
    )  # fmt: skip
    assert done.stdout.strip() in CLASSES
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    logged = mlflow.artifacts.download_artifacts(f"models:/{output.model_id}")
    pins = (Path(logged) / "requirements.txt").read_text().split()
    assert f"numpy=={np.__version__}" in pins
    assert {pin.split("==")[0] for pin in pins} >= {"mlflow", "keras", "tensorflow", "pillow", "simplejpeg"}


def test_dvc_shows_dag_metrics_plots_and_artifacts(project: Project) -> None:
    dag, shown, _ = project.dvc("dag", "metrics show", "plots show")
    assert all(stage in dag for stage in ALL)
    assert "test_accuracy" in shown
    assert "found" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    for title in (
        "Head, cross-entropy by epoch",
        "Validation accuracy by epoch",
        "Confusion of the final model on test",
    ):
        assert title in page
    assert "curves.png" in page


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4"])
def test_any_number_of_threads_gives_the_same_bytes_and_no_second_run(
    project: Project, tmp_path: Path, threads: str
) -> None:
    """The cold pass had two. Every stage anew, every feature too: the cache is an empty one."""
    lock = (project.folder / "dvc.lock").read_bytes()
    runs = len(project.runs())
    done = project.run("dvc", "repro", "--force", GRAFT_THREADS=threads, GRAFT_CACHE_DIR=str(tmp_path))
    assert project.executed(done.stdout) == ALL
    assert "features of 60 images and 5 views of each: 0 of 360 are in the cache" in done.stderr
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert "reproduced: the same bytes as MLflow run" in done.stderr
    assert len(project.runs()) == runs


def test_an_experiment_with_a_new_rate_makes_no_forward_pass(project: Project) -> None:
    done = project.run("dvc", "exp", "run", "-n", "slower", "-S", "train.learning_rate=0.003")
    assert project.executed(done.stdout) == ["train", "finetune", "evaluate"]
    newest = project.runs()[0]
    assert newest.data.params["train.learning_rate"] == "0.003"
    assert newest.data.tags["dvc.exp_name"] == "slower"
    assert newest.data.tags["graft.git.dirty"] == "true"
    stages = {stage: newest.data.tags[f"graft.stage.{stage}"].split()[0] for stage in ALL}
    assert stages == dict(zip(ALL, ["cached", "cached", "executed", "executed", "executed"], strict=True))
    assert newest.info.run_name == "slower: learning_rate=0.003"
    assert "MLflow run: slower: learning_rate=0.003\n" in done.stdout
    assert "Against the last commit: " in done.stdout
    readme = (REPOSITORY / "README.md").read_text()
    (line,) = [line.split("#")[0].strip() for line in readme.splitlines() if line.startswith("dvc exp show ")]
    show = line.removeprefix("dvc ")
    params, metrics, table, more = project.dvc(
        "params diff", "metrics diff", show, f"{show} --keep train.learning_rate"
    )
    assert "train.learning_rate" in params
    assert "test_log_loss" in metrics
    assert "[slower]" in table
    assert "test_accuracy" in table
    assert max(len(row.rstrip()) for row in table.splitlines()) <= 100
    assert "--keep train.learning_rate` beside" in readme
    assert "train.learning_rate" in more
    # Back again: everything comes from DVC's run cache, and its MLflow run is there already.
    runs = len(project.runs())
    project.run("git", "checkout", "params.yaml")
    done = project.run("dvc", "repro")
    assert project.executed(done.stdout) == []
    assert len(project.runs()) == runs
    assert project.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.slow
def test_an_edit_that_changes_no_byte_is_a_pass_with_a_run(project: Project) -> None:
    """Adam has no momentum: the head is the same, and DVC would stop there."""
    runs = len(project.runs())
    project.change(train={"momentum": 0.5})
    done = project.run("dvc", "repro")
    assert project.executed(done.stdout) == ["train", "evaluate"]
    assert len(project.runs()) == runs + 1
    newest = project.runs()[0]
    assert newest.info.run_name == "momentum=0.5"
    assert newest.data.params["train.momentum"] == "0.5"
    assert newest.data.tags["graft.complete"] == "true"
    project.run("git", "checkout", "params.yaml")
    done = project.run("dvc", "repro")
    assert project.executed(done.stdout) == []
    assert project.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.slow
def test_queued_experiments_run_beside_each_other(project: Project) -> None:
    """In workspaces of their own; their runs land in the project's store, and what runs is the code that was queued."""
    project.run("dvc", "exp", "run", "--queue", "-S", "train.learning_rate=0.004,0.005")
    train = project.folder / "src" / "graft" / "stages" / "train.py"
    train.write_text("raise SystemExit('edited after queueing')\n")
    project.run("dvc", "queue", "start", "--jobs", "2")
    for _ in range(240):
        status = project.run("dvc", "queue", "status").stdout
        if "Running" not in status and "Queued" not in status:
            break
        time.sleep(1)
    assert status.count("Success") == 2, status
    runs = project.runs()[:2]
    assert {run.data.params["train.learning_rate"] for run in runs} == {"0.004", "0.005"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["graft.complete"] for run in runs} == {"true"}
    project.run("git", "checkout", "src")


@pytest.mark.slow
def test_a_new_seed_splits_anew_but_extracts_nothing(project: Project) -> None:
    """And with fine-tuning off there is one model to judge; the pipeline is the same.

    `extract` takes the activations away, which nothing reads any more, without a forward pass.
    """
    project.change(finetune={"enabled": False})
    tree = yaml.safe_load((project.folder / "params.yaml").read_text())
    project.write_params(tree | {"seed": 7})
    done = project.run("dvc", "repro")
    assert project.executed(done.stdout) == ALL
    assert "extracting" not in done.stderr
    metrics = json.loads((project.folder / "data" / "evaluation.json").read_text())
    assert list(metrics) == ["head"]
    assert set(pd.read_parquet(project.folder / "data" / "predictions.parquet")["model"]) == {"head"}
    project.run("dvc", "plots", "show")
    newest = project.runs()[0]
    assert newest.info.status == "FINISHED"
    assert newest.info.run_name == "seed=7, finetune.enabled=False"
    assert not [name for name in newest.data.metrics if "finetuning" in name]
    assert newest.data.metrics["test_accuracy"] == metrics["head"]["test"]["accuracy"]
    project.run("git", "checkout", "params.yaml", "metrics", "dvc.lock")
    project.run("dvc", "checkout")


@pytest.mark.slow
def test_nothing_held_out_is_a_whole_pass_too(project: Project) -> None:
    """As for a last training on all images there are: models, curves, a run; nothing is judged, and that is said."""
    counts = {"method": "counts", "counts": {"train": 20, "validation": 0, "test": 0}}
    split = yaml.safe_load((project.folder / "params.yaml").read_text())["data"]["split"] | counts
    project.change(data={"split": split}, train={"monitor": "loss"}, finetune={"monitor": "loss"})
    done = project.run("dvc", "repro")
    assert project.executed(done.stdout) == ["prepare", "train", "finetune", "evaluate"]
    assert json.loads((project.folder / "data" / "evaluation.json").read_text()) == {"head": {}, "finetuned": {}}
    table = pd.read_parquet(project.folder / "data" / "predictions.parquet")
    assert (len(table), list(table)[:2], list(table)[-1]) == (0, ["model", "split"], f"p:{CLASSES[-1]}")
    assert (project.folder / "plots" / "confusion.csv").read_text() == "actual,predicted\n"
    assert [file.name for file in (project.folder / "plots" / "pictures").iterdir()] == ["curves.png"]
    assert "No image was held out" in project.run("graft", "result").stdout
    newest = project.runs()[0]
    assert (newest.info.status, newest.data.tags["graft.complete"]) == ("FINISHED", "true")
    assert "while_finetuning_loss" in newest.data.metrics
    assert not any(name.startswith(("val_", "test_")) or "_val_" in name for name in newest.data.metrics)
    project.run("dvc", "plots", "show")
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    assert "Head, cross-entropy by epoch" in page
    assert "curves.png" in page
    project.run("dvc", "metrics", "diff")
    assert "reproduced" in project.run("graft", "log").stderr
    project.run("git", "checkout", "params.yaml", "metrics", "dvc.lock")
    project.run("dvc", "checkout")


def test_bad_params_stop_every_stage_before_any_work(project: Project) -> None:
    project.change(train={"learning_rate": 0}, backbone={"input_size": 8})
    for stage in ("prepare", "train"):
        command = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"][stage]["cmd"]
        done = project.run("sh", "-c", command, ok=False)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "graft: params.yaml: 2 faults",
            "  - train.learning_rate: must be greater than 0. Got 0.",
            "  - backbone.input_size: must be at least 32 pixels for MobileNetV2. Got 8.",
        ]
    project.run("git", "checkout", "params.yaml")


def test_a_server_that_does_not_answer_stops_before_training(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    project.change(train={"learning_rate": 0.02})
    done = project.run("dvc", "repro", ok=False, MLFLOW_TRACKING_URI=address)
    assert done.returncode != 0
    assert f"graft: MLFLOW_TRACKING_URI: {address} must be a reachable MLflow server. Got: " in done.stderr
    assert "Nothing was computed." in done.stderr
    assert "epoch" not in done.stderr
    assert "Traceback" not in done.stderr
    project.run("git", "checkout", "params.yaml")
    assert project.executed(project.run("dvc", "repro").stdout) == []


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Answers /health, then refuses everything as a broken MLflow server would."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 501)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_broken_server_is_one_error_too(project: Project, silent_server: str) -> None:
    command = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]["train"]["cmd"]
    done = project.run(
        "sh", "-c", command, ok=False, MLFLOW_TRACKING_URI=silent_server, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert done.returncode == 1
    assert f"graft: MLFLOW_TRACKING_URI: {silent_server} cannot be used. Got: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def log(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Result]:
    """Runs `graft log` in the project's folder, in this process."""
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda: CliRunner().invoke(cli.app, ["log"])


def test_graft_log_makes_the_run_anew_from_files(
    project: Project, log: Callable[[], Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty store, as a colleague's after `dvc pull`: nothing was executed, all is there. Twice is once."""
    store = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    first = log().stdout.strip()
    again = log()
    assert again.stdout.strip() == first
    assert "reproduced: the same bytes as MLflow run" in again.stderr
    client = mlflow.MlflowClient(store)
    run = client.get_run(first)
    original = project.runs()[-1]
    assert run.data.metrics == original.data.metrics
    assert run.data.params == original.data.params
    assert all(run.data.tags[f"graft.stage.{stage}"].startswith("cached ") for stage in ALL)
    assert run.data.tags["graft.outputs"] == original.data.tags["graft.outputs"]


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def team(request: pytest.FixtureRequest, tmp_path: Path, project: Project) -> Iterator[list[str]]:
    """DVC's commands that add a remote: a folder, or a bucket at a server that speaks S3."""
    if request.param == "folder":
        yield [f"remote add --local -d team {tmp_path}/remote"]
    else:
        with served() as server:
            server.make("team")
            values = {
                "endpointurl": server.endpoint, "access_key_id": "somebody", "secret_access_key": SECRET,
            }  # fmt: skip
            modify = [f"remote modify --local team {name} {value}" for name, value in values.items()]
            yield ["remote add --local -d team s3://team/graft", *modify]
    project.dvc("remote remove --local team")


@pytest.mark.long
def test_a_colleague_checks_out_what_was_pushed(project: Project, team: list[str], tmp_path: Path) -> None:
    """And computes nothing; `graft log` makes the run there. Features come from the remote, too, where asked for."""
    project.dvc(*team, "push")
    pushed = project.run("graft", "cache", "push")
    assert "values in all to team" in pushed.stdout
    assert SECRET not in pushed.stdout + pushed.stderr
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    colleague = Project(tmp_path / "clone")
    shutil.copytree(project.folder / "data" / "drawings", colleague.folder / "data" / "drawings", dirs_exist_ok=True)
    *_, repro = colleague.dvc(*team, "pull", "repro")
    assert colleague.executed(repro) == []
    assert repro.count("didn't change, skipping") == len(ALL)
    assert (colleague.folder / "dvc.lock").read_text() == (project.folder / "dvc.lock").read_text()
    run_id = colleague.run("graft", "log").stdout.strip()
    (run,) = colleague.runs()
    assert run.info.run_id == run_id
    assert run.data.metrics == project.runs()[-1].data.metrics
    mine = {"GRAFT_CACHE_DIR": str(tmp_path / "cache"), "GRAFT_CACHE_REMOTE": "team"}
    forced = colleague.run("dvc", "repro", "--force", "--single-item", "extract", **mine).stderr
    assert f"GRAFT_CACHE_REMOTE: {int(pushed.stdout.splitlines()[-1].split()[0]):,} values, " in forced
    assert "from team, which save 360 forward passes" in forced
    assert "extracting" not in forced
    assert (colleague.folder / "dvc.lock").read_text() == (project.folder / "dvc.lock").read_text()


@pytest.mark.slow
def test_graft_log_notices_deleted_artifacts(project: Project) -> None:
    run_id = project.run("graft", "log").stdout.strip()
    shutil.rmtree(project.folder / "mlruns" / run_id)
    done = project.run("graft", "log")
    assert f"the artefacts of MLflow run {run_id} are gone; logged anew" in done.stderr
    assert done.stdout.strip() == run_id
    assert (project.folder / "mlruns" / run_id / "artifacts" / "plots" / "curves.png").exists()
    assert "reproduced" in project.run("graft", "log").stderr


def test_graft_log_refuses_files_of_other_params(project: Project, log: Callable[[], Result]) -> None:
    project.change(train={"learning_rate": 0.5})
    done = log()
    assert isinstance(done.exception, TrackingError)
    assert "dvc.lock: must belong to params.yaml and the files. Different: params.yaml train" in str(done.exception)
    project.run("git", "checkout", "params.yaml")
