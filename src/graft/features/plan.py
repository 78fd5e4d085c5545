"""What `extract` writes, and everything that its values depend on: decided here, once, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft import inputs
from graft.backbones import cuts, known_cuts
from graft.features import compute, store
from graft.features.cache import Part
from graft.pipeline import code
from graft.runtime import numerics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graft.backbones.build import Loaded
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

FEATURES, ACTIVATIONS = compute.FEATURES, compute.ACTIVATIONS

ACTIVATIONS_DTYPE = "float16"

LIBRARIES = ("keras", "tensorflow", "numpy", "pillow", "simplejpeg", "opencv-python-headless")
"""Whose versions late decimals depend on, beside the engine's, which is called as its package."""


@dataclass(frozen=True)
class Output:
    """An array that is wanted.

    folder: where it goes. keys: what the cache is keyed by beside an example and a view: of examples as they are, and
    of their augmented views. reason: why it need not be stored, None where it must.
    """

    name: str
    folder: Path
    meta: store.Meta
    keys: tuple[dict[str, Any], dict[str, Any]]
    reason: str | None

    @property
    def part(self) -> Part:
        """The array of one view of one example."""
        return Part(self.meta.shape[2:], self.meta.dtype)


@dataclass(frozen=True)
class Plan:
    """spec: how to compute. outputs: what is stored. others: what is not. views: of each example, itself among them.

    apart: whether each output must be computed by itself, so that its values do not depend on what else is wanted.
    """

    spec: compute.Spec
    outputs: dict[str, Output]
    others: list[Output]
    views: int
    apart: bool


def reason(params: Params, output: str) -> str | None:
    """Why an output need not be stored; None where it must."""
    if output == FEATURES:
        return None if params.train.enabled else "train.enabled is false: no head is trained on features"
    if not params.finetune.enabled:
        return "finetune.enabled is false"
    backbone = params.backbone
    points = known_cuts.known(backbone.name)
    at_input = cuts.resolve(points, params.finetune.cut) == cuts.resolve(points, cuts.INPUT)
    return "finetune.cut is the network's input: pixels are read instead" if at_input else None


def declared(params: Params, output: str) -> dict[str, Any]:
    """What params.yaml says of an output, as its `meta.json` has it.

    What only the network itself can tell (its weights' sha256, where a fraction of its layers ends) is not among it.
    """
    backbone, extract, spec = params.backbone, params.extract, inputs.of(params)
    values = {
        "backbone": backbone.name,
        "alpha": backbone.width,
        "weights": backbone.weights,
        "input": spec.to_dict(),
        "views": extract.views,
        "augment": extract.augment.model_dump() if extract.views else None,
        "precision": extract.precision,
        "numerics": params.numerics,
    }
    if extract.engine != "auto":
        values["engine"] = extract.engine
    return values | ({"pooling": extract.pooling} if output == FEATURES else {"asked": params.finetune.cut})


def make(params: Params, paths: Paths, loaded: Loaded, cut: str | None, engine: str, sha256s: Sequence[str]) -> Plan:
    """cut: as `cuts.named` resolved it, None without fine-tuning. sha256s: of the used examples."""
    extract = params.extract
    reasons = {name: reason(params, name) for name in (FEATURES, ACTIVATIONS)}
    stored_cut = cut if reasons[ACTIVATIONS] is None else None
    spec = compute.Spec(
        backbone=params.backbone,
        inputs=inputs.of(params),
        pooling=extract.pooling,
        cut=stored_cut,
        dtypes={FEATURES: extract.dtype, ACTIVATIONS: ACTIVATIONS_DTYPE},
        engine=engine,
        precision=extract.precision,
        numerics=params.numerics,
        batch_size=extract.batch_size,
    )
    shapes = compute.shapes(loaded, extract.pooling, stored_cut)
    every = []
    for name, folder in ((FEATURES, paths.features), (ACTIVATIONS, paths.activations)):
        values = declared(params, name)
        special = {"pooling": values.pop("pooling")} if name == FEATURES else {"asked": values.pop("asked"), "cut": cut}
        made_with = values | {
            "engine": engine,
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": loaded.row.preprocessing,
        }
        meta = store.Meta(
            made_with,
            special,
            (len(sha256s), 1 + extract.views, *shapes.get(name, ())),
            spec.dtypes[name],
            store.examples_digest(sha256s),
        )
        every.append(Output(name, folder, meta, _keys(spec, loaded, meta), reasons[name]))
    outputs = {one.name: one for one in every if one.reason is None}
    others = [one for one in every if one.reason is not None]
    apart = stored_cut is not None and cuts.apart(loaded.model, stored_cut)
    return Plan(spec, outputs, others, 1 + extract.views, apart)


def _keys(spec: compute.Spec, loaded: Loaded, meta: store.Meta) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that one example's values depend on beside its bytes.

    Not the weights' name, since their bytes count; not how a cut was asked for; not `numerics`, but the instruction
    set that it leaves.
    """
    modules = (compute.__name__, f"{code.PACKAGE}.features.engines.{spec.engine}", type(spec.inputs).__module__)
    common = {
        "backbone": asdict(loaded.row),
        "alpha": spec.backbone.width,
        "weights_sha256": loaded.weights_sha256,
        "engine": spec.engine,
        "precision": spec.precision,
        "output": {key: value for key, value in meta.output.items() if key != "asked"},
        "shape": list(meta.shape[2:]),
        "dtype": meta.dtype,
        "instruction_set": numerics.instruction_set(spec.numerics, spec.uncapped_is_equal),
        "device": compute.device(spec.engine),
        "code": code.digest(modules),
        "libraries": _versions((*LIBRARIES, spec.engine)),
    }
    plain, augmented = (common | {"input": spec.inputs.fingerprint(views)} for views in (False, True))
    return plain, augmented


def _versions(names: Sequence[str]) -> Mapping[str, str]:
    return {name: version(name) for name in names}
