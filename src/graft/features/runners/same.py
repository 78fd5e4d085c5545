"""Whether what is computed here is what the cache's keys say that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graft.errors import SurroundingsError
from graft.features import plan

if TYPE_CHECKING:
    from graft.backbones.build import Loaded
    from graft.features.plan import Plan


def require(planned: Plan, wanted: Sequence[str], loaded: Loaded) -> None:
    """Raises SurroundingsError where values computed here would not be what the cache's keys say of them."""
    for name in wanted:
        output = planned.outputs[name]
        found = plan.keys(planned.spec, loaded, output.meta.output, output.part)
        if found != output.keys:
            raise SurroundingsError(
                "extract.ray: every machine of the cluster must compute with what the one has on which graft was "
                f"started. Different: {'; '.join(_differences(output.keys[0], found[0]))}. Install the same there, or "
                "let graft start where such machines are."
            )


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """'numpy must be 2.3.1, is 2.2.0', of each that differs."""
    lines = []
    for name in wanted:
        here, there = wanted[name], found.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            lines += _differences(here, there)
        elif here != there:
            lines.append(f"{name} must be {_short(here)}, is {_short(there)}")
    return lines


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
