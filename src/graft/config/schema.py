"""params.yaml as frozen, strict sections. Values live in the file; none has a default here."""

from __future__ import annotations

import math
import posixpath
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

SourceName = Literal["digits", "folder", "manifest", "mnist", "fashion_mnist", "cifar10", "cifar100"]
SplitMethod = Literal["auto", "official", "fractions", "counts", "folds"]
Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Pooling = Literal["avg", "max"]
HeadPooling = Literal["avg", "max", "flatten"]
HeadName = Literal["linear", "mlp", "conv", "ridge", "logistic", "taps"]
OptimizerName = Literal["sgd", "rmsprop", "adam", "adamw", "nadam", "lion"]
ScheduleName = Literal["constant", "cosine", "linear", "exponential"]
ExportFormat = Literal["tflite", "onnx", "openvino", "saved_model", "keras"]
ExportPrecision = Literal["float32", "float16", "int8"]
Numerics = Literal["portable", "native"]
Monitor = Literal["val_loss", "val_accuracy", "loss", "accuracy"]
Conflict = Literal["keep", "quarantine", "fail"]
FillMode = Literal["nearest", "reflect", "constant"]

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

OTHERS_TAGS = ("graft.", "mlflow.", "dvc.")
"""How the tags begin that graft, MLflow and DVC set themselves."""

OWN_FAULTS = ("sum", "fold", "columns", "files", "classes", "names", "tags", "twice")
"""Kinds of fault whose sentence is written here, not by pydantic."""

NAMED_BY_USERS = ("data.classes", "tracking.tags")
"""Mappings whose keys are not ours: one value each, since MLflow does not take every name."""


class Section(BaseModel):
    """Frozen; refuses unknown keys and values that would have to be converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Fractions(Section):
    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Fraction

    @model_validator(mode="after")
    def _sum(self) -> Fractions:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise PydanticCustomError("sum", "must add up to 1. Got {total}.", {"total": f"{total:g}"})
        return self


class FolderParams(Section):
    class_depth: Count | None
    label: str | None

    @property
    def names(self) -> re.Pattern[str] | None:
        """What `label` matches whole: a group `label`, in any text but / where it has wildcards. Raises re.error."""
        if self.label is None:
            return None
        if "(?P<label>" in self.label:
            return re.compile(self.label)
        wild = {"{label}": "(?P<label>[^/]+)", "*": "[^/]*", "?": "[^/]"}
        parts = re.split(r"(\{label\}|\*|\?)", self.label)
        return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.IGNORECASE)

    @model_validator(mode="after")
    def _label(self) -> FolderParams:
        try:
            one = self.names is None or list(self.names.groupindex) == ["label"]
            fault = "" if one else " It has no label, or other names."
        except re.error as error:
            fault = f" It is not a pattern: {error}."
        if fault:
            raise PydanticCustomError(
                "names",
                "label must have {label} once among other text, or be a regular expression with the group "
                "(?P<label>...). Got {got}.{fault}",
                {"got": repr(self.label), "fault": fault},
            )
        return self


class ListsParams(Section):
    train: str | None
    validation: str | None
    test: str | None

    @property
    def given(self) -> dict[str, str]:
        """split -> file, of those that are not null."""
        return {name: file for name, file in self.model_dump().items() if file is not None}


Column = str | int
"""A column by its name, or by its number from 0."""


class ColumnsParams(Section):
    """path: of several columns, the parts of the path. label: of several columns, one for each class."""

    path: Column | list[Column]
    label: Column | list[Column]
    split: Column | None
    group: Column | None
    weight: Column | None

    @property
    def named(self) -> bool:
        """Whether a column has a name, so that a text's first line is the header."""
        given = [self.split, self.group, self.weight]
        for several in (self.path, self.label):
            given += several if isinstance(several, list) else [several]
        return any(isinstance(column, str) for column in given)

    @field_validator("*", mode="before")
    @classmethod
    def _column(cls, value: object, info: ValidationInfo) -> object:
        several = info.field_name in ("path", "label")
        if _is_column(value) or (value is None and not several):
            return value
        if several and isinstance(value, list) and len(value) > 1 and all(map(_is_column, value)):
            return value
        other = "a list of at least two columns" if several else "null"
        raise PydanticCustomError(
            "columns",
            "must be the name of a column, its number from 0, or {other}. Got {value}.",
            {"other": other, "value": "null" if value is None else repr(value)},
        )

    @model_validator(mode="after")
    def _differ(self) -> ColumnsParams:
        """A part of a path may be the label too."""
        single = [self.split, self.group, self.weight, *([] if isinstance(self.path, list) else [self.path])]
        single += self.label if isinstance(self.label, list) else [self.label]
        names = [str(name) for name in single if name is not None]
        if len(set(names)) < len(names):
            raise PydanticCustomError(
                "columns", "must be different columns. Got {names}.", {"names": ", ".join(sorted(names))}
            )
        return self


def _is_column(value: object) -> bool:
    return isinstance(value, str) or (type(value) is int and value >= 0)


class ManifestParams(Section):
    file: str | None
    lists: ListsParams
    columns: ColumnsParams
    classes: str | None
    root: str
    suffix: str

    @model_validator(mode="after")
    def _one_kind(self) -> ManifestParams:
        if (self.file is None) == (not self.lists.given):
            got = "neither" if self.file is None else "both"
            raise PydanticCustomError(
                "files", "must have either file or lists, the other null. Got {got}.", {"got": got}
            )
        return self


class CountsParams(Section):
    train: Count
    validation: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]


class SplitParams(Section):
    method: SplitMethod
    fractions: Fractions
    counts: CountsParams
    fold: str
    few_shot: Count | None

    @property
    def fold_of(self) -> tuple[int, int]:
        """(fold from 1, number of folds) of 'K of N'."""
        found = re.fullmatch(r"(\d+) of (\d+)", self.fold)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @model_validator(mode="after")
    def _fold(self) -> SplitParams:
        k, n = self.fold_of
        if not (n >= 3 and 1 <= k <= n):
            raise PydanticCustomError(
                "fold",
                "fold must be 'K of N' with N at least 3 and K from 1 to N. Got {fold}.",
                {"fold": repr(self.fold)},
            )
        return self


class ConflictingLabels(Section):
    identical: Conflict
    near: Conflict


class DuplicatesParams(Section):
    near_distance: Annotated[int, Field(ge=0, le=15)]
    across_splits: Literal["keep_together", "fail"]
    conflicting_labels: ConflictingLabels


class DataParams(Section):
    source: SourceName
    path: Annotated[str, Field(min_length=1)]
    folder: FolderParams
    manifest: ManifestParams
    classes: dict[str, str | list[str]] | None
    min_images_per_class: Count
    max_images_per_class: Count | None
    split: SplitParams
    on_bad: Literal["quarantine", "fail"]
    max_bad_fraction: Probability
    max_missing_fraction: Probability
    min_side: Count
    max_pixels: Count
    duplicates: DuplicatesParams

    @model_validator(mode="after")
    def _classes(self) -> DataParams:
        seen: dict[str, str] = {}
        for name, labels in (self.classes or {}).items():
            if not name.strip() or not name.isprintable() or not labels:
                raise PydanticCustomError(
                    "classes",
                    "classes must have printable names and at least one label each. Got {name}: {labels}.",
                    {"name": repr(name), "labels": repr(labels)},
                )
            for label in [labels] if isinstance(labels, str) else labels:
                if label in seen:
                    raise PydanticCustomError(
                        "classes",
                        "classes must name each label once. Got {label} for {first} and for {second}.",
                        {"label": repr(label), "first": repr(seen[label]), "second": repr(name)},
                    )
                seen[label] = name
        return self


class BackboneParams(Section):
    name: str
    alpha: Positive | Literal["auto"] | None
    input_size: Annotated[int, Field(ge=1, le=4096)]
    resize: Resize
    interpolation: Interpolation
    weights: str
    weights_sha256: str | None
    random_seed: Annotated[int, Field(ge=0, lt=2**31)]

    @property
    def width(self) -> float | None:
        """The width multiplier that is meant; None where the network has none, or `auto` is not yet resolved."""
        return None if self.alpha == "auto" else self.alpha


class Augmentation(Section):
    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    width_shift: Fraction
    height_shift: Fraction
    zoom: Fraction
    horizontal_flip: bool
    brightness: Fraction
    contrast: Fraction
    fill_mode: FillMode
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @property
    def active(self) -> bool:
        """Whether any image would be changed."""
        ranges = (self.rotation_degrees, self.width_shift, self.height_shift, self.zoom)
        return self.horizontal_flip or any((*ranges, self.brightness, self.contrast))


class ExtractParams(Section):
    engine: Literal["auto", "tensorflow", "openvino"]
    precision: Literal["float32", "bfloat16"]
    batch_size: Count | None
    pooling: Pooling | None
    taps: Literal["none", "all"]
    dtype: Literal["float32", "float16"]
    views: Annotated[int, Field(ge=0, le=1000)]
    augment: Augmentation


class LinearHead(Section):
    pooling: HeadPooling
    dropout: Fraction


class MlpHead(Section):
    pooling: HeadPooling
    hidden_units: Annotated[list[Count], Field(min_length=1)]
    dropout: Fraction


class ConvHead(Section):
    filters: Count
    kernel_size: Count
    padding: Literal["same", "valid"]
    pool_size: Count
    hidden_units: Count
    dropout: Fraction


class SolvedHead(Section):
    pooling: HeadPooling


class Heads(Section):
    linear: LinearHead
    mlp: MlpHead
    conv: ConvHead
    ridge: SolvedHead
    logistic: SolvedHead
    taps: SolvedHead


class Optimization(Section):
    """What `training.fit` takes, for both training stages."""

    optimizer: OptimizerName
    learning_rate: Positive
    momentum: Fraction
    weight_decay: NotNegative
    clip_norm: Positive | None
    schedule: ScheduleName
    warmup_steps: Annotated[int, Field(ge=0)]
    decay_to: Probability
    batch_size: Count
    epochs: Count | None
    steps: Count | None
    steps_per_epoch: Count | None
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"]
    monitor: Monitor
    early_stopping_patience: Count | None
    early_stopping_min_delta: NotNegative


class TrainParams(Optimization):
    enabled: bool
    head: HeadName
    heads: Heads


class FinetuneParams(Optimization):
    enabled: bool
    cut: str | int | float | None
    batch_norm: Literal["frozen", "learning"]
    interpolate: Annotated[float, Field(gt=0, le=1)]
    temperature: Literal["none", "validation"]


class EvaluateParams(Section):
    top_k: Annotated[int, Field(ge=2)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


class ExportParams(Section):
    """precision: of every format in `to`; which format has which is in `graft.export.formats`."""

    to: list[ExportFormat]
    precision: Annotated[list[ExportPrecision], Field(min_length=1)]
    max_accuracy_drop: Fraction
    calibration_images: Count

    @field_validator("to", "precision")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PydanticCustomError("twice", "must name each once. Got {name} twice.", {"name": repr(twice[0])})
        return names


class TrackingParams(Section):
    experiment: Annotated[str, Field(min_length=1)]
    run_name: str | None
    tags: dict[str, str]

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: dict[str, str]) -> dict[str, str]:
        for name, value in tags.items():
            if name.startswith(OTHERS_TAGS):
                fault = f"must not begin with {' or '.join(OTHERS_TAGS)}, which are not yours"
            elif not re.fullmatch(r"[\w.\- :/]{1,250}", name) or posixpath.normpath(name) != name or name[0] in "/.":
                fault = "must be 1 to 250 letters, digits, and any of _ - . : / or blanks, as MLflow takes them"
            elif len(value) > 8000:
                fault = f"must have a value of at most 8,000 characters, not {len(value):,}"
            else:
                continue
            raise PydanticCustomError("tags", "a tag {fault}. Got {name}.", {"fault": fault, "name": repr(name)})
        return tags


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    numerics: Numerics
    data: DataParams
    backbone: BackboneParams
    extract: ExtractParams
    train: TrainParams
    finetune: FinetuneParams
    evaluate: EvaluateParams
    export: ExportParams
    tracking: TrackingParams

    def flat(self) -> dict[str, Any]:
        """All leaves, keys joined with dots."""
        return flattened(self.model_dump())


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree, keys joined with dots."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and f"{prefix}{key}" not in NAMED_BY_USERS:
            leaves |= flattened(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
