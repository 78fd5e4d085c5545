"""The run of a pass, whatever mix of stages DVC executes, skips or restores.

A pass is named by its content: its parameters and what enters training. The first training stage
that executes opens its run and streams epoch metrics; `evaluate` completes it from the files. A value
that the run already has is not logged again, so that a stage may stream after a crash, or never.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.errors import TrackingError
from graft.progress import say
from graft.tracking import dvc, git, server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from graft.params import Params
    from graft.training.fit import OnEpoch

PASS = "graft.pass"
COMPLETE = "graft.complete"
OUTPUTS = "graft.outputs"
DIVERGED = "graft.diverged_from"

UNTRACKED = ("tracking.", "data.path")
"""Parameters that change nothing that is computed: the catalogue has every image's sha256."""

REQUIREMENTS = ("keras", "tensorflow", "numpy")
"""What a logged model needs; MLflow would take seconds to infer them."""


@dataclass(frozen=True)
class Inputs:
    """The files that enter training."""

    catalogue: Path
    split: Path
    features: Path


@dataclass(frozen=True)
class Outputs:
    """The files a complete run is made of. histories: stage -> its CSV."""

    inputs: Inputs
    model: Path
    histories: dict[str, Path]
    metrics: dict[str, Path]
    pictures: Path
    confusion: Path
    predictions: Path


@dataclass
class Tracked:
    """An open run and what it already holds."""

    client: MlflowClient
    run_id: str
    experiment_id: str
    steps: dict[str, set[int]] = field(default_factory=dict)

    def metric(self, name: str, value: float, step: int) -> None:
        self.metrics({name: value}, step)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Log what the run lacks at this step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        missing = {name: value for name, value in values.items() if step not in self._steps(name)}
        if missing:
            self.client.log_batch(self.run_id, metrics=[Metric(n, float(v), now, step) for n, v in missing.items()])
        for name in missing:
            self.steps[name].add(step)

    def _steps(self, name: str) -> set[int]:
        if name not in self.steps:
            self.steps[name] = {m.step for m in self.client.get_metric_history(self.run_id, name)}
        return self.steps[name]


def pass_id(params: Params, inputs: Inputs) -> str:
    """12 hex digits over the parameters that compute something, the catalogue, the split and what made the features."""
    state = hashlib.sha256()
    leaves = {key: value for key, value in params.flat().items() if not key.startswith(UNTRACKED)}
    state.update(json.dumps(leaves, sort_keys=True).encode())
    for path in (inputs.catalogue, inputs.split, inputs.features / "meta.json"):
        state.update(path.read_bytes())
    return state.hexdigest()[:12]


@contextmanager
def live(stage: str, params: Params, inputs: Inputs) -> Iterator[OnEpoch]:
    """Around a training stage: yields what to call as each epoch ends.

    Opens or resumes the pass's run before anything is trained; raises TrackingError if that fails. A run
    that is complete is left alone: training again is a check of it, and `complete` compares.
    """
    dvc.note_execution(stage)
    client, experiment_id = server.connect(params.tracking.experiment)
    run = _find(client, experiment_id, pass_id(params, inputs))
    if run is not None and run.data.tags.get(COMPLETE) == "true":
        say(f"this pass is complete in MLflow as {run.info.run_name} ({run.info.run_id}); computing it again")
        yield lambda epoch, metrics: None
        return
    tracked = _open(client, experiment_id, run, params, inputs)
    say(f"MLflow run {tracked.run_id} in {server.uri()}")

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        tracked.metrics({f"{stage}/{name}": value for name, value in metrics.items()}, epoch)

    with _ending(tracked):
        yield on_epoch


@contextmanager
def judging(stage: str, params: Params) -> Iterator[None]:
    """Around `evaluate`: the store must answer before work is done."""
    dvc.note_execution(stage)
    server.connect(params.tracking.experiment)
    yield


def from_pipeline() -> Outputs:
    """The files of the pass by dvc.yaml's names, for `graft log`. Raises TrackingError where one is missing."""
    p = dvc.paths()
    outputs = Outputs(
        inputs=Inputs(p["catalogue"], p["split"], p["features"]),
        model=p["model"],
        histories={"train": p["train_history"], "finetune": p["finetune_history"]},
        metrics={"data": p["prepare_metrics"], "": p["metrics"]},
        pictures=p["pictures"],
        confusion=p["confusion"],
        predictions=p["predictions"],
    )
    missing = sorted(str(path) for path in p.values() if not path.exists())
    if missing:
        raise TrackingError(
            f"{', '.join(missing)}: must exist to be logged. Run `dvc pull`, `dvc checkout` or `dvc repro`."
        )
    return outputs


def complete(params: Params, outputs: Outputs, running: str | None) -> str:
    """Bring the pass's run to what the files say, and finish it; returns its id.

    running: the stage under which this is called, which `dvc.lock` does not have yet; None for `graft log`.

    Where the pass is complete already and its outputs are the same bytes, nothing is logged. Where they
    differ (other hardware, other code), a new run is made that names the one it diverged from.
    """
    client, experiment_id = server.connect(params.tracking.experiment)
    name = pass_id(params, outputs.inputs)
    digest = _outputs_digest(outputs)
    run = _find(client, experiment_id, name)
    diverged_from = None
    if run is not None and run.data.tags.get(COMPLETE) == "true":
        if run.data.tags.get(OUTPUTS) == digest:
            say(f"reproduced: the same bytes as MLflow run {run.info.run_name} ({run.info.run_id})")
            return str(run.info.run_id)
        diverged_from, run = run.info.run_id, None
        say(f"note: same inputs as MLflow run {diverged_from}, but other outputs; logged as a new run")
    tracked = _open(client, experiment_id, run, params, outputs.inputs)
    with _ending(tracked):
        _log_metrics(tracked, outputs)
        _log_artifacts(tracked, outputs)
        _log_dataset(tracked, outputs.inputs)
        _log_stages(tracked, outputs, running)
        _log_model(tracked, outputs)
        if diverged_from:
            client.set_tag(tracked.run_id, DIVERGED, diverged_from)
        client.set_tag(tracked.run_id, OUTPUTS, digest)
        client.set_tag(tracked.run_id, COMPLETE, "true")
    client.set_terminated(tracked.run_id, "FINISHED")
    return tracked.run_id


def _find(client: MlflowClient, experiment_id: str, name: str) -> Run | None:
    found = client.search_runs(
        [experiment_id], f"tags.`{PASS}` = '{name}'", order_by=["start_time DESC"], max_results=1
    )
    return found[0] if found else None


def _open(client: MlflowClient, experiment_id: str, run: Run | None, params: Params, inputs: Inputs) -> Tracked:
    """Resume `run`, or make one, with all params and tags."""
    from mlflow.entities import Param, RunTag

    code = git.state(Path.cwd(), dvc.written())
    tags = {
        PASS: pass_id(params, inputs),
        "mlflow.source.name": "dvc repro",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code.commit,
        "graft.git.dirty": str(code.dirty).lower(),
        "mlflow.user": getpass.getuser(),
        **{
            f"dvc.{key}": os.environ[f"DVC_{key.upper()}"]
            for key in ("exp_name",)
            if f"DVC_{key.upper()}" in os.environ
        },
        **params.tracking.tags,
    }
    if run is None:
        run = client.create_run(experiment_id, tags=tags, run_name=params.tracking.run_name or default_name(params))
    else:
        client.update_run(run.info.run_id, status="RUNNING")
        client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    tracked = Tracked(client, run.info.run_id, experiment_id)
    known = run.data.params
    missing = [Param(key, str(value)) for key, value in params.flat().items() if key not in known]
    for start in range(0, len(missing), 100):
        client.log_batch(tracked.run_id, params=missing[start : start + 100])
    if code.diff:
        client.log_text(tracked.run_id, code.diff, "code/uncommitted.diff")
    return tracked


def default_name(params: Params) -> str:
    """What tells runs apart first: the DVC experiment, the head, where fine-tuning starts, the backbone."""
    experiment = os.environ.get("DVC_EXP_NAME")
    tuned = f"from {params.finetune.cut}" if params.finetune.enabled else "frozen"
    alpha = f" {params.backbone.alpha:g}" if params.backbone.alpha is not None else ""
    what = f"{params.train.head}, {tuned}, {params.backbone.name}{alpha} {Path(params.backbone.weights).name}"
    return f"{experiment}: {what}" if experiment else what


@contextmanager
def _ending(tracked: Tracked) -> Iterator[None]:
    """A stage that fails leaves its run FAILED, one that is interrupted KILLED; both can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        tracked.client.set_terminated(tracked.run_id, "KILLED")
        raise
    except BaseException:
        tracked.client.set_terminated(tracked.run_id, "FAILED")
        raise


def _outputs_digest(outputs: Outputs) -> str:
    """sha256 over the model and the predictions."""
    state = hashlib.sha256()
    for path in (outputs.model, outputs.predictions):
        state.update(path.read_bytes())
    return state.hexdigest()


def _log_metrics(tracked: Tracked, outputs: Outputs) -> None:
    """Curves with the epoch as step; final metrics at step 0. Per-class values stay in the JSON."""
    for stage, path in outputs.histories.items():
        for row in pd.read_csv(path).to_dict("records"):
            values = {
                f"{stage}/{name}": float(value)
                for name, value in row.items()
                if name not in ("epoch", "steps", "best") and not pd.isna(value)
            }
            tracked.metrics(values, int(row["epoch"]))
    for prefix, path in outputs.metrics.items():
        tracked.metrics(dict(_numbers(json.loads(path.read_text()), prefix)), 0)


def _numbers(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, dict) and key != "per_class":
            yield from _numbers(value, name)
        elif isinstance(value, int | float):
            yield name, float(value)


def _log_artifacts(tracked: Tracked, outputs: Outputs) -> None:
    client, run_id = tracked.client, tracked.run_id
    client.log_artifacts(run_id, str(outputs.pictures), "plots")
    for path in outputs.metrics.values():
        client.log_artifact(run_id, str(path), "metrics")
    for path in outputs.histories.values():
        client.log_artifact(run_id, str(path), "history")
    client.log_artifact(run_id, str(outputs.predictions), "predictions")
    client.log_artifact(run_id, str(outputs.inputs.split), "data")
    for name in ("params.yaml", "dvc.yaml"):
        if Path(name).exists():
            client.log_artifact(run_id, name, "code")


def _log_dataset(tracked: Tracked, inputs: Inputs) -> None:
    """The catalogue with its split as the run's dataset; its digest is DVC's md5 of the catalogue."""
    from mlflow.data import from_pandas
    from mlflow.entities import DatasetInput, InputTag

    catalogue = pd.read_csv(inputs.catalogue, keep_default_na=False, dtype={"label": str, "path": str})
    integers = catalogue.select_dtypes("integer").columns
    catalogue[integers] = catalogue[integers].astype(float)  # MLflow warns of integer columns
    digest = dvc.md5_of(inputs.catalogue)
    dataset = from_pandas(
        catalogue, source=str(inputs.catalogue), targets="label", name="catalogue", digest=digest[:32]
    )
    entry = DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "train, validation, test")])
    tracked.client.log_inputs(tracked.run_id, [entry])


def _log_stages(tracked: Tracked, outputs: Outputs, running: str | None) -> None:
    made = (outputs.metrics[""], outputs.confusion, outputs.pictures, outputs.predictions)
    states = dvc.stage_states(running, made)
    for stage, state in states.items():
        how = "executed" if state.executed else "cached"
        tracked.client.set_tag(tracked.run_id, f"graft.stage.{stage}", f"{how} {state.md5}")
    listing = {stage: {"executed": state.executed, "md5": state.md5s} for stage, state in states.items()}
    tracked.client.log_dict(tracked.run_id, listing, "stages.json")


def _log_model(tracked: Tracked, outputs: Outputs) -> None:
    """The final model, with its signature and a blank image as input example."""
    from importlib.metadata import version

    import keras
    import mlflow
    from mlflow.models import infer_signature

    keras.config.disable_interactive_logging()  # MLflow tries the example with a progress bar
    model = keras.models.load_model(outputs.model, compile=False)
    example = np.zeros((1, *model.input_shape[1:]), np.float32)
    signature = infer_signature(example, np.asarray(model(example, training=False)))
    os.environ.pop("MLFLOW_RUN_ID", None)  # would beat the run named here
    with mlflow.start_run(run_id=tracked.run_id):
        # mlflow.keras.log_model cannot take an input example: it writes it into a folder that is not there yet.
        mlflow.tensorflow.log_model(
            model,
            name="model",
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
