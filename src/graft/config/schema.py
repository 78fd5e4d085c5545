"""params.yaml as frozen, strict sections. Values live in the file; none has a default here."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from graft.config.data import DataParams
from graft.config.section import Count, Fraction, NotNegative, Positive, Probability, Runner, Section

Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Pooling = Literal["avg", "max", "cls"]
HeadPooling = Literal["avg", "max", "flatten", "cls"]
HeadName = Literal["linear", "mlp", "conv", "ridge", "logistic", "taps"]
OptimizerName = Literal["sgd", "rmsprop", "adam", "adamw", "nadam", "lion"]
ScheduleName = Literal["constant", "cosine", "linear", "exponential"]
ExportFormat = Literal["tflite", "onnx", "openvino", "saved_model", "keras"]
ExportPrecision = Literal["float32", "float16", "int8"]
Numerics = Literal["portable", "native"]
Monitor = Literal["val_loss", "val_accuracy", "loss", "accuracy"]
FillMode = Literal["nearest", "reflect", "constant"]

OTHERS_TAGS = ("graft.", "mlflow.", "dvc.")
"""How the tags begin that graft, MLflow and DVC set themselves."""

OWN_FAULTS = ("sum", "fold", "columns", "files", "classes", "names", "tags", "twice", "address")
"""Kinds of fault whose sentence is written here, not by pydantic."""

NAMED_BY_USERS = ("data.classes", "tracking.tags")
"""Mappings whose keys are not ours: one value each, since MLflow does not take every name."""


class BackboneParams(Section):
    name: str
    alpha: Positive | Literal["auto"] | None
    input_size: Annotated[int, Field(ge=1, le=4096)]
    resize: Resize
    interpolation: Interpolation
    max_tokens: Annotated[int, Field(ge=3, le=8192)]
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


class TextAugmentation(Section):
    dropout: Fraction
    masking: Fraction
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @property
    def active(self) -> bool:
        """Whether any text would be changed."""
        return bool(self.dropout or self.masking)


class ExtractParams(Section):
    engine: Literal["auto", "tensorflow", "openvino"]
    precision: Literal["float32", "bfloat16"]
    batch_size: Count | None
    runner: Runner
    pooling: Pooling | None
    taps: Literal["none", "all"]
    dtype: Literal["float32", "float16"]
    views: Annotated[int, Field(ge=0, le=1000)]
    augment: Augmentation
    augment_text: TextAugmentation


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
    dtype_policy: Literal["float32", "mixed_bfloat16"]
    epochs: Count | None
    steps: Count | None
    steps_per_epoch: Count | None
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"]
    monitor: Monitor
    early_stopping_patience: Count | None
    early_stopping_min_delta: NotNegative
    refit: bool


class TrainParams(Optimization):
    enabled: bool
    head: HeadName
    heads: Heads
    runner: Runner


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


class RayParams(Section):
    address: Annotated[str, Field(min_length=1)] | None
    actors: Count | None
    cpus: Count
    gpus: NotNegative


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
    ray: RayParams

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
