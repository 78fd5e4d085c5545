"""The run of a pass, whatever mix of stages DVC executes, skips or restores.

A pass is named by its content: its parameters and what enters training. The first training stage
that executes opens its run and streams epoch metrics; `evaluate` completes it from the files. A stage
that runs again after a crash resumes the run, if the code is still the same.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.config import yaml_file
from graft.config.load import FILE
from graft.errors import TrackingError
from graft.pipeline import lock, session
from graft.runtime import cores
from graft.runtime.progress import say
from graft.tracking import examples, git, holding, mirror, names, server
from graft.tracking.identity import CODE as CODE
from graft.tracking.identity import COMPLETE as COMPLETE
from graft.tracking.identity import DIVERGED as DIVERGED
from graft.tracking.identity import OUTPUTS as OUTPUTS
from graft.tracking.identity import PASS as PASS
from graft.tracking.identity import pass_id as pass_id
from graft.tracking.identity import search
from graft.tracking.mirror import Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

MOST_CHARACTERS = 6000


def opened(params: Params, paths: Paths) -> Tracked | None:
    """The run of a pass that is trained now: the unfinished one of the same code, or a new one. None where the pass is
    complete already. Raises TrackingError."""
    client, experiment_id = server.connect(params.tracking.experiment)
    with server.faults():
        done = find(client, experiment_id, {PASS: pass_id(params, paths), COMPLETE: "true"})
    if done is not None:
        say(f"this pass is complete in MLflow as {done.info.run_name} ({done.info.run_id}); computing it again")
        return None
    with server.faults():
        tracked = _open(client, experiment_id, params, paths)
    say(f"MLflow run {tracked.run_id} in {server.shown()}")
    return tracked


def before_judging(stage: str, params: Params) -> None:
    """Before `evaluate`: the store must answer before work is done; raises TrackingError if it does not."""
    session.note_execution(stage)
    server.connect(params.tracking.experiment)


def require_whole(paths: Paths) -> None:
    """For `graft log`: raises TrackingError where a file of the pass is missing, or not of these params."""
    if missing := paths.missing():
        raise TrackingError(
            f"{', '.join(missing)}: must exist to be logged. Run `dvc pull`, `dvc checkout` or `dvc repro`."
        )
    lock.require_current(yaml_file.read(FILE))


def _require_unchanged(paths: Paths, digest: str) -> None:
    """Raises TrackingError where the outputs are not those any more that a run was begun for."""
    if paths.missing() or mirror.outputs_digest(paths) != digest:
        raise TrackingError(
            "the outputs of the pass: must stay as they are while they are logged, and have changed meanwhile, as by "
            "`dvc checkout` or another `dvc repro`. The run is not complete; `graft log` logs what is there now."
        )


@dataclass(frozen=True)
class Logged:
    """The finished run of a pass."""

    run_id: str
    name: str


def complete(params: Params, paths: Paths, running: str | None) -> Logged:
    """Bring the pass's run to what the files say, and finish it.

    running: the stage under which this is called, which `dvc.lock` does not have yet; None for `graft log`.

    Where the pass is complete already with the same bytes of outputs, nothing is logged. Where it is complete
    with others (other hardware, other code), a new run is made that names the one it diverged from.
    """
    client, experiment_id = server.connect(params.tracking.experiment)
    digest = mirror.outputs_digest(paths)
    this = {PASS: pass_id(params, paths), COMPLETE: "true"}
    with server.faults():
        same = find(client, experiment_id, this | {OUTPUTS: digest})
        if same is not None:
            run_id, name = same.info.run_id, same.info.run_name
            if client.list_artifacts(run_id):
                say(f"reproduced: the same bytes as MLflow run {name} ({run_id})")
            else:
                say(f"note: the artefacts of MLflow run {run_id} are gone; logged anew")
                mirror.log(Tracked(client, run_id, name), params, paths, running)
            if examples.DIGEST not in same.data.tags:
                say("note: it was logged by an earlier graft; what `graft lineage` reads is added")
                mirror.log_origins(Tracked(client, run_id, name), params, paths)
            holding.drop_own(client, experiment_id, this[PASS])
            return Logged(run_id, name)
        other = find(client, experiment_id, this)
        if other is not None:
            say(f"note: same inputs as MLflow run {other.info.run_id}, but other outputs; logged as a new run")
        tracked = _open(client, experiment_id, params, paths)
        with ending(tracked):
            mirror.log(tracked, params, paths, running)
            _require_unchanged(paths, digest)
            if other is not None:
                client.set_tag(tracked.run_id, DIVERGED, other.info.run_id)
            client.set_tag(tracked.run_id, OUTPUTS, digest)
            client.set_tag(tracked.run_id, COMPLETE, "true")
        kept = holding.only_first(client, experiment_id, this[PASS], digest)
    return Logged(kept.info.run_id, kept.info.run_name)


def find(client: MlflowClient, experiment_id: str, tags: dict[str, str]) -> Run | None:
    """The newest run with these tags."""
    found = search(client, experiment_id, tags, 1)
    return found[0] if found else None


def is_resumed(tags: Mapping[str, str]) -> bool:
    """Whether a run of the very pass and code with these tags would go on."""
    return tags.get(COMPLETE) != "true" and holding.is_free(tags)


def _open(client: MlflowClient, experiment_id: str, params: Params, paths: Paths) -> Tracked:
    """Resume an unfinished run of the pass that the same code made and nobody works on, or make one; with all params
    and tags."""
    from mlflow.entities import RunTag

    code = git.state(Path.cwd(), written())
    tags = {PASS: pass_id(params, paths), **described(params, code, "dvc repro"), **holding.tags()}
    made = search(client, experiment_id, {PASS: tags[PASS], CODE: tags[CODE]})
    run = next((one for one in made if is_resumed(one.data.tags)), None)
    if run is None:
        run = client.create_run(experiment_id, tags=tags, run_name=params.tracking.run_name or names.of(params))
    else:
        client.update_run(run.info.run_id, status="RUNNING")
        client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    tracked = Tracked(client, run.info.run_id, run.info.run_name)
    with ending(tracked, "RUNNING"):
        log_params(tracked, params, run.data.params)
        log_code(tracked, code)
    return tracked


def described(params: Params, code: git.CodeState, command: str) -> dict[str, str]:
    """The tags of every run: what made it, on what, and the user's own."""
    return {
        CODE: code.digest,
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code.commit,
        "graft.git.dirty": str(code.dirty).lower(),
        "graft.cpu_threads": str(cores.available()),
        "mlflow.user": _user(),
        **({"dvc.exp_name": os.environ["DVC_EXP_NAME"]} if "DVC_EXP_NAME" in os.environ else {}),
        **params.tracking.tags,
    }


def log_params(tracked: Tracked, params: Params, known: Container[str] = ()) -> None:
    """All of params.yaml, but what the run has already: MLflow takes a hundred at a time."""
    from mlflow.entities import Param

    missing = [Param(key, _text(value)) for key, value in params.flat().items() if key not in known]
    for start in range(0, len(missing), 100):
        tracked.client.log_batch(tracked.run_id, params=missing[start : start + 100])


def log_code(tracked: Tracked, code: git.CodeState) -> None:
    """What is not committed, where there is something."""
    if code.uncommitted:
        tracked.client.log_text(tracked.run_id, code.uncommitted, "code/uncommitted.diff")


def written() -> list[str]:
    """What a pass writes, MLflow's own store too: none of it is code. Paths, and patterns of git's."""
    return [*lock.written(), f"{server.STORE}*", server.ARTIFACTS]


def _text(value: object) -> str:
    """As MLflow takes it, at most 6,000 characters; a longer data.classes is whole in the logged params.yaml."""
    text = str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 40]}… ({len(text)} characters)"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


@contextmanager
def ending(tracked: Tracked, well: str = "FINISHED") -> Iterator[None]:
    """Sets the run's status: `well`, FAILED, or KILLED for an interrupt. `graft.complete` says whether it is whole."""
    status = "FAILED"
    try:
        yield
        status = well
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if status != "RUNNING":
            with suppress(Exception):  # the store may be what failed
                tracked.client.set_terminated(tracked.run_id, status)
