"""What a finished run says of itself: commit, parameters, data, split, versions in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config import yaml_file
from graft.config.load import FILE
from graft.config.schema import flattened
from graft.errors import ParamsError
from graft.tracking import artefacts, examples, git, identity, ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.tracking.origin import Finished

PARAMS, COUNTS = "code/params.yaml", "metrics/counts.json"


@dataclass(frozen=True)
class Described:
    """started: in UTC, to the second. versions: `NAME version N (alias)` of the registry.

    commit: 40 hex digits, "" outside a repository. changed: parameter -> its value in the commit and in the run; None
    where the commit is not here, or the run holds no params.yaml. data_md5: as dvc.lock had it of data.path.
    split: part -> examples. figures: of the model that ships. test_split: which test examples, None without any.
    """

    run_id: str
    name: str
    started: str
    weights_sha256: str | None
    versions: Sequence[str]
    commit: str
    dirty: bool
    changed: Mapping[str, tuple[Any, Any]] | None
    data_path: str
    data_md5: str | None
    split: Mapping[str, int]
    figures: Mapping[str, float]
    test_split: str | None
    examples_listed: bool


def describe(found: Finished) -> Described:
    """Read from the run alone, but for the commit's params.yaml, which git has."""
    client, run, run_id, tags = found.client, found.run, found.id, found.run.data.tags
    commit = tags.get("mlflow.source.git.commit", "")
    counts = artefacts.tree(client, run_id, COUNTS) or {}
    return Described(
        run_id,
        run.info.run_name,
        datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        tags.get(identity.WEIGHTS),
        _versions(client, run_id),
        commit,
        tags.get("graft.git.dirty") == "true",
        _changed(artefacts.tree(client, run_id, PARAMS), commit),
        run.data.params.get("data.path", ""),
        tags.get(identity.DATA),
        counts.get("split", {}),
        {key: value for key, value in run.data.metrics.items() if key.startswith(("test_", "val_"))},
        tags.get(ledger.TEST_SPLIT),
        examples.DIGEST in tags,
    )


def _changed(params: Mapping[str, Any] | None, commit: str) -> dict[str, tuple[Any, Any]] | None:
    text = git.committed(Path.cwd(), FILE, commit) if commit else None
    if params is None or text is None:
        return None
    try:
        committed = flattened(yaml_file.parse(text.decode("utf-8", "replace"), f"{FILE} of {commit[:7]}"))
    except ParamsError:
        return None
    now = flattened(dict(params))
    return {
        key: (committed.get(key), now.get(key))
        for key in dict.fromkeys([*committed, *now])
        if committed.get(key) != now.get(key)
    }


def _versions(client: MlflowClient, run_id: str) -> list[str]:
    found = []
    for one in client.search_model_versions(f"run_id = '{run_id}'"):
        version = client.get_model_version(one.name, one.version)  # a search leaves the aliases out
        aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
        found.append(f"{version.name} version {version.version}{aliases}")
    return sorted(found)
