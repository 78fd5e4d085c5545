"""params.yaml as frozen, strict sections. Values live in the file; none has a default here.

`load` reports every fault at once: what each section's schema refuses, then what only shows when
sections are read together (a cut that the backbone does not have, a head that the features cannot feed).
No TensorFlow is imported: layer names come from `graft.backbones.cuts`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from graft.backbones import cuts
from graft.backbones.table import BACKBONES
from graft.errors import ParamsError, unknown

SourceName = Literal["digits", "folder", "manifest", "mnist", "fashion_mnist", "cifar10", "cifar100"]
SplitMethod = Literal["auto", "official", "fractions", "counts", "folds"]
Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Pooling = Literal["avg", "max"]
HeadPooling = Literal["avg", "max", "flatten"]
HeadName = Literal["linear", "mlp", "conv"]
OptimizerName = Literal["sgd", "rmsprop", "adam", "adamw", "nadam", "lion"]
ScheduleName = Literal["constant", "cosine", "linear", "exponential"]
Monitor = Literal["val_loss", "val_accuracy", "loss", "accuracy"]
FillMode = Literal["nearest", "reflect", "constant"]

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

OWN_FAULTS = ("sum", "fold", "columns", "files", "classes")


NAMED_BY_USERS = ("data.classes", "tracking.tags")
"""Mappings whose keys are not ours: one value each, since MLflow does not take every name."""


class Section(BaseModel):
    """Frozen; refuses unknown keys and values that would have to be converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Fractions(Section):
    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _sum(self) -> Fractions:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise PydanticCustomError("sum", "must add up to 1. Got {total}.", {"total": f"{total:g}"})
        return self


class FolderParams(Section):
    class_depth: Count | None


class ListsParams(Section):
    train: str | None
    validation: str | None
    test: str | None

    @property
    def given(self) -> dict[str, str]:
        """split -> file, of those that are not null."""
        return {name: file for name, file in self.model_dump().items() if file is not None}


class ColumnsParams(Section):
    path: str
    label: str
    split: str | None
    group: str | None
    weight: str | None

    @model_validator(mode="after")
    def _differ(self) -> ColumnsParams:
        names = [name for name in self.model_dump().values() if name is not None]
        if len(set(names)) < len(names):
            raise PydanticCustomError("columns", "must be different columns. Got {names}.", {"names": ", ".join(names)})
        return self


class ManifestParams(Section):
    file: str | None
    lists: ListsParams
    columns: ColumnsParams
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


class DuplicatesParams(Section):
    near_distance: Annotated[int, Field(ge=0, le=15)]
    across_splits: Literal["keep_together", "fail"]
    conflicting_labels: Literal["keep", "quarantine", "fail"]


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
    alpha: Positive | None
    input_size: Count
    resize: Resize
    interpolation: Interpolation
    weights: str
    weights_sha256: str | None
    random_seed: Annotated[int, Field(ge=0, lt=2**31)]


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
    batch_size: Count
    pooling: Pooling | None
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
    pool_size: Count
    hidden_units: Count
    dropout: Fraction


class Heads(Section):
    linear: LinearHead
    mlp: MlpHead
    conv: ConvHead


class Optimization(Section):
    """What `training.fit` takes, for both training stages."""

    optimizer: OptimizerName
    learning_rate: Positive
    momentum: Fraction
    weight_decay: NotNegative
    schedule: ScheduleName
    warmup_steps: Annotated[int, Field(ge=0)]
    decay_to: Probability
    batch_size: Count
    epochs: Count | None
    steps: Count | None
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"]
    monitor: Monitor
    early_stopping_patience: Count | None
    early_stopping_min_delta: NotNegative


class TrainParams(Optimization):
    head: HeadName
    heads: Heads


class FinetuneParams(Optimization):
    enabled: bool
    cut: str | int | float | None


class EvaluateParams(Section):
    top_k: Annotated[int, Field(ge=2)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


class TrackingParams(Section):
    experiment: Annotated[str, Field(min_length=1)]
    run_name: str | None
    tags: dict[str, str]


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    data: DataParams
    backbone: BackboneParams
    extract: ExtractParams
    train: TrainParams
    finetune: FinetuneParams
    evaluate: EvaluateParams
    tracking: TrackingParams

    def flat(self) -> dict[str, Any]:
        """All leaves, keys joined with dots."""
        return _flatten(self.model_dump())


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and f"{prefix}{key}" not in NAMED_BY_USERS:
            leaves |= _flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def load(path: Path) -> Params:
    """Read and check `path`. Raises ParamsError with one bullet per fault."""
    tree = _read(path)
    faults: list[str] = []
    sections: dict[str, Any] = {}
    for name, kind in get_type_hints(Params, include_extras=True).items():
        if name not in Params.model_fields:
            continue
        if name not in tree:
            faults.append(f"{name}: must be present. Got nothing; add the section.")
            continue
        try:
            # Section by section, so that a fault in one does not hide the cross-checks of the others.
            sections[name] = TypeAdapter(kind).validate_python(tree[name], strict=True)
        except ValidationError as error:
            faults += _merged(_sentence(name, kind, detail) for detail in error.errors())
    faults += [f"{key}: {unknown(key, Params.model_fields)}" for key in tree if key not in Params.model_fields]
    for name in ("train", "finetune"):
        faults += _check_optimization(name, tree.get(name))
    faults += _cross_checks(sections)
    if faults:
        raise ParamsError(str(path), faults)
    return Params.model_construct(**sections)


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word; here that is a fault."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a plain name", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key_node.value!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.2, which DVC writes, has 1e-05 as a number; PyYAML's 1.1 wants a point before the exponent.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "-+0123456789"
)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(str(path), ["must exist. Run the command in the project's root."]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), [f"must be a readable UTF-8 file. Got: {error}"]) from None
    try:
        tree = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ParamsError(str(path), [f"must be YAML. {' '.join(str(error).split())}"]) from None
    if not isinstance(tree, dict):
        raise ParamsError(str(path), [f"must be a mapping of sections. Got {type(tree).__name__}."])
    return {str(key): value for key, value in tree.items()}


def _merged(sentences: Iterable[str]) -> list[str]:
    """One bullet per key: a value that may be of several types has a fault for each."""
    bullets: dict[str, list[str]] = {}
    for sentence in sentences:
        key, _, fault = sentence.partition(": ")
        bullets.setdefault(key, []).append(fault)
    return [f"{key}: {' Or: '.join(fault)}" for key, fault in bullets.items()]


def _keys(detail: ErrorDetails) -> list[str]:
    """The YAML path of a fault, without the branches of a union that pydantic adds."""
    branches = {"str", "int", "float", "list[str]"}
    return [str(part) for part in detail["loc"] if part not in branches]


def _names_beside(keys: list[str], kind: Any) -> list[str]:
    """The names that may stand where an unknown key stands."""
    for key in keys[:-1]:
        kind = kind.model_fields[key].annotation
    return list(kind.model_fields)


def _sentence(section: str, kind: Any, detail: ErrorDetails) -> str:
    """A fault that pydantic found, as 'key: what is allowed. Got what came.'"""
    keys = _keys(detail)
    where, got, fault = ".".join([section, *keys]), detail["input"], detail["type"]
    if fault == "extra_forbidden":
        return f"{where}: unknown key; {unknown(keys[-1], _names_beside(keys, kind))}"
    if fault == "missing":
        return f"{where}: must be present, since no value is hidden in the code. Got nothing."
    if fault in OWN_FAULTS:
        return f"{where}: {detail['msg']}"
    if fault == "literal_error":
        allowed = str(detail["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{where}: {unknown(got, allowed)}"
    shown = "null" if got is None else repr(got)
    return f"{where}: {detail['msg'].replace('Input should', 'must')}. Got {shown}."


def _cross_checks(sections: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    backbone: BackboneParams | None = sections.get("backbone")
    extract: ExtractParams | None = sections.get("extract")
    train: TrainParams | None = sections.get("train")
    finetune: FinetuneParams | None = sections.get("finetune")
    if backbone is not None:
        faults += _check_backbone(backbone)
    if extract is not None and extract.engine == "tensorflow" and extract.precision != "float32":
        faults.append(
            "extract.precision: must be float32 for extract.engine: tensorflow; openvino computes in bfloat16 too. "
            f"Got {extract.precision!r}."
        )
    if extract is not None and extract.views and not extract.augment.active:
        faults.append(
            f"extract.views: must be 0 where extract.augment changes nothing (all 0 and false). Got {extract.views}."
        )
    if extract is not None and train is not None:
        faults += _check_head(extract, train)
    if finetune is not None and finetune.cut is None and finetune.enabled:
        faults.append("finetune.cut: must name where fine-tuning starts, or finetune.enabled be false. Got null.")
    if backbone is not None and backbone.name in BACKBONES and finetune is not None and finetune.cut is not None:
        try:
            cuts.resolve(cuts.known(backbone.name), finetune.cut)
        except ValueError as error:
            faults.append(f"finetune.cut: {error}")
    return faults


def _check_optimization(section: str, values: Any) -> list[str]:
    """What fields say together, read from the file itself: a fault elsewhere in the section hides nothing."""
    faults = []
    if not isinstance(values, dict):
        return []
    if {"epochs", "steps"} <= set(values) and (values["epochs"] is None) == (values["steps"] is None):
        got = ", ".join(f"{key}={'null' if values[key] is None else values[key]}" for key in ("epochs", "steps"))
        faults.append(f"{section}: exactly one of epochs and steps must be a number, the other null. Got {got}.")
    if values.get("schedule") == "exponential" and values.get("decay_to") == 0:
        faults.append(
            f"{section}.decay_to: must be greater than 0 for schedule: exponential, which only nears 0. Got 0."
        )
    return faults


def _check_backbone(p: BackboneParams) -> list[str]:
    if p.name not in BACKBONES:
        return [f"backbone.name: {unknown(p.name, BACKBONES)}"]
    row, faults = BACKBONES[p.name], []
    if p.input_size < row.min_input_size:
        faults.append(
            f"backbone.input_size: must be at least {row.min_input_size} pixels for {p.name}. Got {p.input_size}."
        )
    if not row.alphas and p.alpha is not None:
        faults.append(f"backbone.alpha: must be null, since {p.name} has no width multiplier. Got {p.alpha:g}.")
    if row.alphas and p.alpha is None:
        faults.append(f"backbone.alpha: must be a number for {p.name} (1.0 is the full width). Got null.")
    known = ["bundled", "imagenet", "random"]
    if p.weights == "bundled":
        if row.bundled is None:
            having = ", ".join(r.name for r in BACKBONES.values() if r.bundled)
            faults.append(
                f"backbone.weights: must be imagenet, random or a file for {p.name}; "
                f"bundled weights exist for {having}. Got 'bundled'."
            )
        elif p.alpha is not None and p.alpha != row.bundled.alpha:
            faults.append(
                f"backbone.alpha: must be {row.bundled.alpha:g} for the bundled weights of {p.name}. Got {p.alpha:g}."
            )
    elif p.weights == "imagenet":
        if row.alphas and p.alpha is not None and p.alpha not in row.alphas:
            allowed = ", ".join(f"{a:g}" for a in row.alphas)
            faults.append(
                f"backbone.alpha: must be one of {allowed} for ImageNet weights of {p.name}. Got {p.alpha:g}."
            )
    elif p.weights != "random":
        return [*faults, *_check_weights_file(p, known)]
    if p.weights_sha256 is not None:
        faults.append(f"backbone.weights_sha256: must be null for weights: {p.weights}. Got {p.weights_sha256!r}.")
    return faults


def _check_weights_file(p: BackboneParams, known: list[str]) -> list[str]:
    """The content of the file is a parameter like any other: so DVC sees it change, and a colleague's is the same."""
    path = Path(p.weights)
    if not path.is_file():
        return [f"backbone.weights: must be an existing file, or {unknown(p.weights, known)}"]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if p.weights_sha256 != digest:
        got = "null" if p.weights_sha256 is None else repr(p.weights_sha256)
        return [f"backbone.weights_sha256: must be the sha256 of {path}, {digest}. Got {got}."]
    return []


def _check_head(extract: ExtractParams, train: TrainParams) -> list[str]:
    if extract.pooling is None:
        return []
    if train.head == "conv":
        return [
            "extract.pooling: must be null for train.head: conv, which reads unpooled feature maps. "
            f"Got {extract.pooling!r}."
        ]
    pooling = getattr(train.heads, train.head).pooling
    if pooling != extract.pooling:
        return [
            f"train.heads.{train.head}.pooling: must be {extract.pooling!r}, as extract.pooling stores the features "
            f"(or set extract.pooling: null, which serves every head). Got {pooling!r}."
        ]
    return []
