"""What only shows when values of params.yaml are read together: a cut that the backbone does not have, for one.

No TensorFlow is imported: layer names come from `cuts.json`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.backbones import cuts, known_cuts
from graft.backbones.table import BACKBONES
from graft.backbones.vision import VISION, is_vision
from graft.config import of_ray, of_text, of_vision
from graft.errors import unknown

if TYPE_CHECKING:
    from graft.config.data import DataParams
    from graft.config.schema import BackboneParams, ExtractParams, FinetuneParams, TrainParams


OF_TEXTS = ("folder", "manifest")
"""Sources that may hold texts."""


def across(sections: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    if sections.get("data") is not None:
        faults += _check_kind(sections["data"])
    backbone: BackboneParams | None = sections.get("backbone")
    extract: ExtractParams | None = sections.get("extract")
    train: TrainParams | None = sections.get("train")
    finetune: FinetuneParams | None = sections.get("finetune")
    data: DataParams | None = sections.get("data")
    kind = data.kind if data is not None else None
    if backbone is not None:
        faults += _check_backbone(backbone, kind)
    vision = backbone if backbone is not None and is_vision(backbone.name) else None
    if extract is not None and kind is not None:
        faults += of_text.check_extract(extract, kind, vision is not None)
    if extract is not None and vision is not None:
        faults += of_vision.check_pooling(vision, extract.pooling, extract.taps)
    faults += _check_bfloat16(sections)
    faults += _check_held_out(sections)
    if extract is not None and extract.engine == "tensorflow" and extract.precision != "float32":
        faults.append(
            "extract.precision: must be float32 for extract.engine: tensorflow; openvino computes in bfloat16 too. "
            f"Got {extract.precision!r}."
        )
    faults += of_ray.check(sections)
    if extract is not None and train is not None:
        faults += _check_head(extract, train)
    if extract is not None and extract.taps == "all":
        faults += _check_taps(extract, backbone, finetune)
    if finetune is not None:
        faults += _check_refit(train, finetune)
    if finetune is not None and finetune.cut is None and finetune.enabled:
        none = backbone is not None and backbone.name in BACKBONES and not BACKBONES[backbone.name].is_network
        why = f", since {backbone.name} has no layers" if backbone and none else ""
        faults.append(f"finetune.cut: must name where fine-tuning starts, or finetune.enabled be false{why}. Got null.")
    if train is not None and finetune is not None and not train.enabled and not finetune.enabled:
        faults.append("train.enabled: must be true where finetune.enabled is false, or nothing is trained. Got false.")
    if backbone is not None and backbone.name in BACKBONES and finetune is not None and finetune.cut is not None:
        try:
            cuts.resolve(known_cuts.known(backbone.name), finetune.cut)
        except ValueError as error:
            faults.append(f"finetune.cut: {error}")
    return faults


def optimization(section: str, values: Any) -> list[str]:
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


def _check_kind(p: DataParams) -> list[str]:
    """Which sources and columns go with which kind of example."""
    faults = []
    columns = p.manifest.columns
    if p.kind == "text" and p.source not in OF_TEXTS:
        faults.append(
            f"data.source: must be {' or '.join(OF_TEXTS)} for data.kind: text; {p.source} has images. "
            f"Got {p.source!r}."
        )
    if p.kind == "image":
        faults += [
            f"data.manifest.columns.{field}: must be empty for data.kind: image, whose files "
            f"data.manifest.columns.path names. Got {column!r}; or set data.kind: text."
            for field, column in (("text", columns.text), ("second", columns.second))
            if column is not None
        ]
    elif columns.second is not None and columns.text is None:
        faults.append(
            "data.manifest.columns.text: must name a column where data.manifest.columns.second does: a second text "
            f"stands beside a first. Got null, and {columns.second!r} for second."
        )
    return faults


def _check_backbone(p: BackboneParams, kind: str | None) -> list[str]:
    """By who made the network. kind: of the examples, None where that is not known."""
    if is_vision(p.name):
        return of_vision.check_backbone(p, kind)
    return of_text.check_backbone(p, kind) if of_text.is_meant(p, kind) else _check_keras(p)


def _check_keras(p: BackboneParams) -> list[str]:
    """A network that comes with Keras, or none at all."""
    if p.name not in BACKBONES:
        return [f"backbone.name: {unknown(p.name, [*BACKBONES, *VISION])}"]
    row, faults = BACKBONES[p.name], []
    if p.input_size < row.min_input_size:
        faults.append(
            f"backbone.input_size: must be at least {row.min_input_size} pixels for {p.name}. Got {p.input_size}."
        )
    if row.alphas and p.alpha is None:
        faults.append(f"backbone.alpha: must be auto, or a number, for {p.name} (1.0 is the full width). Got null.")
    if not row.is_network and p.weights != "none":
        return [
            *faults,
            f"backbone.weights: must be auto or none for {p.name}, which has no network. Got {p.weights!r}.",
        ]
    known = ["auto", "bundled", "imagenet", "random"]
    if p.weights == "bundled":
        if row.bundled is None:
            having = ", ".join(r.name for r in BACKBONES.values() if r.bundled)
            faults.append(
                f"backbone.weights: must be imagenet, random or a file for {p.name}; "
                f"bundled weights exist for {having}. Got 'bundled'."
            )
        elif p.width is not None and p.width != row.bundled.alpha:
            faults.append(
                f"backbone.alpha: must be {row.bundled.alpha:g} for the bundled weights of {p.name}. Got {p.width:g}."
            )
    elif p.weights == "imagenet":
        if row.alphas and p.width is not None and p.width not in row.alphas:
            allowed = ", ".join(f"{a:g}" for a in row.alphas)
            faults.append(
                f"backbone.alpha: must be one of {allowed} for ImageNet weights of {p.name}. Got {p.width:g}."
            )
    elif p.weights != ("random" if row.is_network else "none"):
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


def _check_bfloat16(sections: dict[str, Any]) -> list[str]:
    keys = ("extract.precision", "train.dtype_policy", "finetune.dtype_policy")
    asked = {key: getattr(sections.get(key.split(".")[0]), key.split(".")[1], None) for key in keys}
    return [
        f"{key}: must be float32 for numerics: portable, since bfloat16 is computed otherwise by every kind of "
        f"processor. Got {value!r}; or set numerics: native."
        for key, value in asked.items()
        if value not in (None, "float32") and sections.get("numerics") == "portable"
    ]


def _check_held_out(sections: dict[str, Any]) -> list[str]:
    """A monitor needs validation images, and `counts` may leave none."""
    data: DataParams | None = sections.get("data")
    if data is None or data.split.method != "counts" or data.split.counts.validation:
        return []
    stages = {name: sections[name] for name in ("train", "finetune") if name in sections}
    faults = [
        f"{name}.monitor: must be loss or accuracy where data.split.counts has validation: 0. Got {p.monitor!r}."
        for name, p in stages.items()
        if p.monitor.startswith("val_") and getattr(p, "enabled", True)
    ]
    if "finetune" in stages and stages["finetune"].temperature == "validation":
        faults.append("finetune.temperature: must be none where data.split.counts has validation: 0. Got 'validation'.")
    return faults


def _check_refit(train: TrainParams | None, finetune: FinetuneParams) -> list[str]:
    """What is chosen by validation images must not have seen them."""
    faults = []
    if train is not None and train.refit and finetune.enabled:
        faults.append(
            "train.refit: must be false where finetune.enabled is true, whose epochs validation examples choose; set "
            "finetune.refit. Got true."
        )
    refitted = finetune.refit if finetune.enabled else train is not None and train.refit
    if refitted and finetune.temperature == "validation":
        faults.append(
            "finetune.temperature: must be none where the model is refitted to the validation examples too. "
            "Got 'validation'."
        )
    return faults


def _check_taps(extract: ExtractParams, backbone: BackboneParams | None, finetune: FinetuneParams | None) -> list[str]:
    faults = []
    if extract.pooling is None:
        faults.append("extract.pooling: must be avg or max for extract.taps: all. Got null.")
    if backbone is not None and backbone.name in BACKBONES and not BACKBONES[backbone.name].is_network:
        faults.append(f"extract.taps: must be none for {backbone.name}, which has no layers. Got 'all'.")
    if finetune is not None and finetune.enabled:
        faults.append(
            "finetune.enabled: must be false for extract.taps: all, whose head reads layers below finetune.cut too. "
            "Got true."
        )
    return faults


def _check_head(extract: ExtractParams, train: TrainParams) -> list[str]:
    if train.head == "conv" and extract.taps == "all":
        return ["train.head: must be one that reads vectors for extract.taps: all, as all do but conv. Got 'conv'."]
    if train.head == "taps" and extract.taps != "all":
        return [f"extract.taps: must be all for train.head: taps. Got {extract.taps!r}."]
    if extract.pooling is None:
        return []
    if train.head == "conv":
        return [
            "extract.pooling: must be null for train.head: conv, which reads unpooled feature maps. "
            f"Got {extract.pooling!r}."
        ]
    pooling = getattr(train.heads, train.head).pooling
    if pooling != extract.pooling:
        other = "" if extract.taps == "all" else " (or set extract.pooling: null, which serves every head)"
        return [
            f"train.heads.{train.head}.pooling: must be {extract.pooling!r}, as extract.pooling stores the features"
            f"{other}. Got {pooling!r}."
        ]
    return []
