"""`results/published.yaml`: what each preset is expected to give here, and what others published for the same data."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from graft.config import yaml_file
from graft.errors import GraftError
from graft.project import template

FILE = "results/published.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Claim(_Strict):
    """metric: of the model that ships, as `metrics/summary.json` calls it (test_accuracy, val_accuracy, ...).

    tolerance: how far the same recipe may be off on another machine, and because of what. seed_noise: how far two
    seeds of it lie apart at most, 19 times of 20, as `graft repeat` measured; None where that was not measured.
    """

    metric: str
    value: float
    tolerance: Annotated[float, Field(gt=0)]
    because: str
    seed_noise: Annotated[float, Field(gt=0)] | None = None


class Published(_Strict):
    """What somebody else published. value: None where there is no number. comparable: whether it is the same task."""

    source: str
    protocol: str
    metric: str
    value: float | None
    comparable: bool
    differences: str


class Expected(_Strict):
    """model_sha256: of the shipped model's weights under `numerics: portable`, None where that was not pinned."""

    claims: list[Claim]
    model_sha256: str | None = None
    published: list[Published] = []


def read() -> dict[str, Expected]:
    """preset -> what is expected of it. Raises GraftError where the file is not as it must be."""
    tree: dict[str, Any] = yaml_file.parse(template.original(FILE), FILE)
    try:
        return TypeAdapter(dict[str, Expected]).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GraftError(f"{FILE}: {where}: {first['msg']}. Got {first['input']!r}.") from None
