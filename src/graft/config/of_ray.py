"""Checks of `ray`, the cluster and the processes on it, and of the stages that it may work for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.config.data import DataParams
    from graft.config.schema import ExtractParams, RayParams, TrainParams

IN_BLOCKS = ("ridge", "taps")
"""Heads that are solved block by block, as processes of a cluster can do."""


def check(sections: dict[str, Any]) -> list[str]:
    """What no cluster can do."""
    p: RayParams | None = sections.get("ray")
    data: DataParams | None = sections.get("data")
    extract: ExtractParams | None = sections.get("extract")
    train: TrainParams | None = sections.get("train")
    faults = []
    if p is not None and p.address is not None and "://" in p.address:
        faults.append(
            "ray.address: must be auto, or host:port of a cluster that this machine belongs to; from elsewhere submit "
            f"graft as a job (docs/scale.md). Got {p.address!r}."
        )
    if p is not None and p.gpus and extract is not None and extract.engine == "openvino":
        faults.append(f"ray.gpus: must be 0.0 for extract.engine: openvino, which computes on a CPU. Got {p.gpus:g}.")
    if data is not None and data.runner != "local" and data.kind == "text":
        faults.append(
            "data.runner: must be local for data.kind: text; a text is examined in less time than it takes to send. "
            f"Got {data.runner!r}."
        )
    if train is not None and train.runner != "local" and train.enabled and train.head not in IN_BLOCKS:
        faults.append(
            f"train.runner: must be local for train.head: {train.head}; {' and '.join(IN_BLOCKS)} alone are solved in "
            f"blocks, which processes can share. Got {train.runner!r}."
        )
    return faults
