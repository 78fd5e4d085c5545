"""Checks of `extract.ray`: the cluster, and the processes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graft.config.schema import ExtractParams


def check_extract(extract: ExtractParams) -> list[str]:
    """Where features are computed by Ray: what no cluster can do."""
    p, faults = extract.ray, []
    if p.address is not None and "://" in p.address:
        faults.append(
            "extract.ray.address: must be auto, or host:port of a cluster that this machine belongs to; from elsewhere "
            f"submit graft as a job (docs/scale.md). Got {p.address!r}."
        )
    if p.gpus and extract.engine == "openvino":
        faults.append(
            f"extract.ray.gpus: must be 0.0 for extract.engine: openvino, which computes on a CPU. Got {p.gpus:g}."
        )
    return faults
