"""The runs of a repetition: a parent with what all say together, and in it one for each seed or fold.

The parent is named by its content as a pass's run is, and logged once: computing it again compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.evaluation import summary
from graft.runtime.progress import say
from graft.tracking import git, names, run, server
from graft.tracking.mirror import WITHOUT_FINETUNING, Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

REPEAT = "graft.repeat"
"""Of a parent: what was repeated. Of a run in it: the seed or the fold."""

REPEAT_OF = "graft.repeat_of"
"""Of a parent: the pass's id, as `run.pass_id` makes it."""

COMMAND = "graft repeat"
ARTIFACT = "repeat.json"


@contextmanager
def live(params: Params, paths: Paths, what: str) -> Iterator[Log]:
    """Around a repetition: yields what to tell of each training, and at last of all.

    The store must answer before anything is trained; raises TrackingError if it does not. If it fails later, the
    trainings go on, and `Log.all` raises.
    """
    client, experiment_id = server.connect(params.tracking.experiment)
    this = {REPEAT: what, REPEAT_OF: run.pass_id(params, paths)}
    with ExitStack() as stack:
        with server.faults():
            known = run.find(client, experiment_id, this | {run.COMPLETE: "true"})
            log = Log(client, experiment_id, params, this, git.state(Path.cwd(), run.written()), known, stack)
            if known is None:
                log.open()
            else:
                say(f"MLflow has this as {known.info.run_name} ({known.info.run_id}); computing it again")
        yield log


@dataclass
class Log:
    """known: the complete run of the same repetition, where there is one; then nothing is logged unless all differs."""

    client: MlflowClient
    experiment_id: str
    params: Params
    this: Mapping[str, str]
    code: git.CodeState
    known: Run | None
    stack: ExitStack
    parent: Tracked | None = None
    waiting: list[tuple[str, Params, dict[str, float]]] = field(default_factory=list)
    failure: Exception | None = None

    def open(self) -> Tracked:
        """Make the parent; it ends with `stack`."""
        parent = self._run(f"repeat {self.this[REPEAT]}: {names.of(self.params)}", self.params, self.this)
        self.parent = parent
        self.stack.enter_context(run.ending(parent))
        run.log_params(parent, self.params)
        run.log_code(parent, self.code)
        say(f"MLflow run {parent.run_id} in {server.shown()}")
        return parent

    def one(self, name: str, params: Params, judged: summary.Judged) -> None:
        """What was trained with which params, and what it is worth."""
        figures = {model: summary.figures(judged, model) for model in judged}
        self.waiting.append((name, params, _named(figures)))
        if self.parent is None or self.failure is not None:
            return
        try:
            self._log_waiting(self.parent)
        except Exception as error:  # whatever the store raises, the trainings are worth more
            self.failure = error
            say(f"note: MLflow failed ({server.reason(error)}); the repetition goes on and is not logged")

    def all(self, document: Mapping[str, Any], figures: Mapping[str, Mapping[str, float]]) -> None:
        """document: all there is to know. figures: of the parent, model -> name -> value.

        Raises TrackingError where the store has failed.
        """
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        tags = {run.OUTPUTS: digest, run.COMPLETE: "true"}
        with server.faults():
            if self.failure is not None:
                raise self.failure
            if self.known is not None:
                named = f"MLflow run {self.known.info.run_name} ({self.known.info.run_id})"
                if self.known.data.tags.get(run.OUTPUTS) == digest:
                    say(f"reproduced: the same numbers as {named}")
                    return
                say(f"note: same inputs as {named}, but other numbers; logged as a new run")
                tags[run.DIVERGED] = self.known.info.run_id
            parent = self.parent or self.open()
            self._log_waiting(parent)
            parent.metrics(_named(figures), 0)
            self.client.log_dict(parent.run_id, dict(document), ARTIFACT)
            for key, value in tags.items():
                self.client.set_tag(parent.run_id, key, value)

    def _log_waiting(self, parent: Tracked) -> None:
        while self.waiting:
            name, params, figures = self.waiting[0]
            child = self._run(name, params, {REPEAT: name, "mlflow.parentRunId": parent.run_id})
            with run.ending(child):
                run.log_params(child, params)
                child.metrics(figures, 0)
            self.waiting.pop(0)

    def _run(self, name: str, params: Params, tags: Mapping[str, str]) -> Tracked:
        every = {**run.described(params, self.code, COMMAND), **tags}
        made = self.client.create_run(self.experiment_id, tags=every, run_name=name)
        return Tracked(self.client, made.info.run_id, name)


def _named(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """As in a pass's run: the last model's by their own names, the head's, where it is not the last, apart."""
    last = list(figures)[-1] if figures else None
    return {
        name if model == last else f"{WITHOUT_FINETUNING}_{name}": value
        for model, values in figures.items()
        for name, value in values.items()
    }
