"""What a complete MLflow run holds, by params.yaml, dvc.lock and DVC's cache alone: no code of graft's says it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow.artifacts import download_artifacts

from conftest import Project

STAGES = ("prepare", "extract", "train", "finetune", "evaluate")
CURVES = {"train": "while_training", "finetune": "while_finetuning"}
CURVE = ("loss", "accuracy", "val_loss", "val_accuracy")
FIGURES = {"accuracy": "accuracy", "log_loss": "log_loss", "f1": "macro_f1", "ece": "expected_calibration_error"}
"""Name in MLflow behind `test_` and `val_` -> name in data/evaluation.json."""


@dataclass(frozen=True)
class Files:
    """Of one pass. cache: DVC's. lock: stages of its dvc.lock. params: its params.yaml as a tree. summary: its own."""

    cache: Path
    lock: dict[str, Any]
    params: dict[str, Any]
    summary: bytes

    def md5(self, path: str) -> str:
        """Of an output, by dvc.lock."""
        outs = [out for stage in self.lock.values() for out in stage["outs"] if out["path"] == path]
        return str(outs[0]["md5"])

    def content(self, path: str) -> bytes:
        """Of an output that DVC's cache holds; of a folder its listing."""
        return self._object(self.md5(path))

    def _object(self, md5: str) -> bytes:
        return (self.cache / "files" / "md5" / md5[:2] / md5[2:]).read_bytes()


def of_workspace(project: Project) -> Files:
    here = project.folder
    return _files(
        project, *((here / name).read_bytes() for name in ("dvc.lock", "params.yaml", "metrics/summary.json"))
    )


def of_commit(project: Project, commit: str) -> Files:
    """Of a DVC experiment, say."""
    show = [
        subprocess.run(["git", "show", f"{commit}:{name}"], cwd=project.folder, check=True, capture_output=True).stdout
        for name in ("dvc.lock", "params.yaml", "metrics/summary.json")
    ]
    return _files(project, *show)


def _files(project: Project, lock: bytes, params: bytes, summary: bytes) -> Files:
    return Files(project.folder / ".dvc" / "cache", yaml.safe_load(lock)["stages"], yaml.safe_load(params), summary)


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """`train.learning_rate` -> its value; what is empty stays as it is."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return found


def assert_complete(client: Any, run: Any, files: Files, executed: tuple[str, ...], folder: Path) -> None:
    """folder: an empty one for what is downloaded."""
    run_id = run.info.run_id
    assert (run.info.status, run.data.tags["graft.complete"]) == ("FINISHED", "true")
    _assert_params(run, files)
    _assert_curves(client, run_id, files)
    _assert_figures(run, files)
    _assert_stages(client, run, files, executed, folder)
    _assert_artefacts(client, run_id, files, folder)
    _assert_model(client, run, files, folder)


def _assert_params(run: Any, files: Files) -> None:
    wanted = flat(files.params)
    assert set(run.data.params) == set(wanted)
    assert len(wanted) > 100
    logged = run.data.params
    other = {key: (value, logged[key]) for key, value in wanted.items() if not _says(logged[key], value)}
    assert {value for value, _ in other.values()} <= {"auto"}, other


def _says(text: str, value: Any) -> bool:
    """Whether a text of MLflow's is a value of params.yaml: 10 is 10.0, and a list may stand there as a tuple."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(text) == value
    return text == (str(tuple(value)) if isinstance(value, list) and text.startswith("(") else str(value))


def _assert_curves(client: Any, run_id: str, files: Files) -> None:
    for stage, under in CURVES.items():
        rows = list(csv.DictReader(io.StringIO(files.content(f"plots/{stage}.csv").decode())))
        assert len(rows) >= files.params[stage]["epochs"]
        for column in CURVE:
            points = client.get_metric_history(run_id, f"{under}_{column}")
            wanted = [(int(row["epoch"]), float(row[column])) for row in rows if row[column] not in ("", "nan")]
            assert sorted((point.step, point.value) for point in points) == wanted


def _assert_figures(run: Any, files: Files) -> None:
    judged = json.loads(files.content("data/evaluation.json"))
    assert list(judged) == ["head", "finetuned"]
    for model, before in (("finetuned", ""), ("head", "without_finetuning_")):
        for split, short in (("test", "test"), ("validation", "val")):
            wanted = {name: judged[model][split][long] for name, long in FIGURES.items()}
            assert {name: run.data.metrics[f"{before}{short}_{name}"] for name in FIGURES} == wanted
    summary = json.loads(files.summary)
    assert len(summary) == 5
    assert {name: run.data.metrics[name] for name in summary} == summary


def _assert_stages(client: Any, run: Any, files: Files, executed: tuple[str, ...], folder: Path) -> None:
    states = {stage: run.data.tags[f"graft.stage.{stage}"].split()[0] for stage in STAGES}
    assert states == {stage: "executed" if stage in executed else "cached" for stage in STAGES}
    listed = json.loads(_artefact(client, run.info.run_id, "stages.json", folder))
    outs = {stage: {out["path"]: out["md5"] for out in files.lock[stage]["outs"]} for stage in STAGES}
    assert {stage: one["md5"] for stage, one in listed.items()} == outs
    assert {stage for stage, one in listed.items() if one["executed"]} == set(executed)


def _assert_artefacts(client: Any, run_id: str, files: Files, folder: Path) -> None:
    pictures = {one["relpath"]: one["md5"] for one in json.loads(files.content("plots/pictures"))}
    assert set(pictures) == {"curves.png", "confusion.png", "calibration.png"}
    wanted = {f"plots/{name}": md5 for name, md5 in pictures.items()}
    wanted["predictions/predictions.parquet"] = files.md5("data/predictions.parquet")
    wanted["metrics/evaluation.json"] = files.md5("data/evaluation.json")
    wanted["data/split.csv"] = files.md5("data/prepared/split.csv")
    assert {path: md5_of(_artefact(client, run_id, path, folder)) for path in wanted} == wanted
    assert yaml.safe_load(_artefact(client, run_id, "code/params.yaml", folder)) == files.params
    (dataset,) = client.get_run(run_id).inputs.dataset_inputs
    assert dataset.dataset.digest == files.md5("data/prepared/catalogue.csv")


def _assert_model(client: Any, run: Any, files: Files, folder: Path) -> None:
    """The very file that DVC has, once."""
    (output,) = client.get_run(run.info.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.source_run_id, str(model.status)) == (run.info.run_id, "READY")
    place = Path(download_artifacts(model.artifact_location, dst_path=str(folder), tracking_uri=client.tracking_uri))
    assert md5_of((place / "data" / "model.keras").read_bytes()) == files.md5("models/model.keras")
    described = yaml.safe_load((place / "MLmodel").read_text())
    assert {"signature", "saved_input_example_info"} <= set(described)
    assert set(described["flavors"]) == {"python_function", "tensorflow"}


def _artefact(client: Any, run_id: str, path: str, folder: Path) -> bytes:
    return Path(client.download_artifacts(run_id, path, str(folder))).read_bytes()


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
