"""What `extract` writes, and everything that its values depend on: decided here, once, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from graft import inputs
from graft.backbones import cuts, known_cuts, networks, taps
from graft.backbones.vision import Vision, is_vision
from graft.features import compute, engines, store
from graft.features.cache import Part
from graft.features.engines import portable
from graft.features.engines.base import CannotRunError
from graft.pipeline import code
from graft.runtime.computing import numerics

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from graft.backbones.build import Loaded
    from graft.config.schema import ExtractParams, Params
    from graft.pipeline.layout import Paths

T = TypeVar("T")

FEATURES, ACTIVATIONS = compute.FEATURES, compute.ACTIVATIONS

ACTIVATIONS_DTYPE = "float16"

SPECIAL = ("pooling", "taps", "asked")
"""What an output's `meta.json` has apart, as not all outputs have it."""

LIBRARIES = ("keras", "tensorflow", "numpy")
"""Whose versions late decimals depend on, beside the engine's, which is called as its package, and the input's own."""


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
    if not known_cuts.at_input(backbone.name, params.finetune.cut):
        return None
    return f"finetune.cut is the network's input: {inputs.KINDS[params.data.kind].names} are read instead"


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
        "augment": spec.augment,
        "precision": extract.precision,
        "numerics": params.numerics,
    }
    if extract.engine != "auto":
        values["engine"] = extract.engine
    return values | (_features(extract) if output == FEATURES else {"asked": params.finetune.cut})


def _features(extract: ExtractParams) -> dict[str, Any]:
    """What is special to features."""
    return {"pooling": extract.pooling} | ({"taps": extract.taps} if extract.taps == taps.ALL else {})


def engine(params: Params) -> str:
    """The engine that `extract.engine` means for this network here. Raises what `engines.resolve` raises."""
    backbone, extract = params.backbone, params.extract
    # Every network of KerasHub's has LayerNorm.
    depends = portable.NONE if is_vision(backbone.name) else portable.depends_on(backbone.name, backbone.width)
    return engines.resolve(extract.engine, params.numerics, depends != portable.NONE)


def on_engine(params: Params, work: Callable[[str], T]) -> T:
    """What `work` gives with `engine`, or with the one that stands in for it where it cannot run the network.

    Raises what `engines.resolve`, `engines.instead` and `work` raise.
    """
    chosen, extract = engine(params), params.extract
    while True:
        try:
            return work(chosen)
        except CannotRunError as error:
            chosen = engines.instead(extract.engine, chosen, extract.precision, error)


def spec(params: Params, engine: str, cut: str | None) -> compute.Spec:
    """How params.yaml says to compute. cut: as `cuts.named` resolved it, None where no activations are stored."""
    extract = params.extract
    return compute.Spec(
        backbone=params.backbone,
        inputs=inputs.of(params),
        pooling=extract.pooling,
        taps=extract.taps,
        cut=cut,
        dtypes={FEATURES: extract.dtype, ACTIVATIONS: ACTIVATIONS_DTYPE},
        engine=engine,
        precision=extract.precision,
        numerics=params.numerics,
        batch_size=extract.batch_size,
    )


def make(params: Params, paths: Paths, loaded: Loaded, cut: str | None, engine: str, sha256s: Collection[str]) -> Plan:
    """cut: as `cuts.named` resolved it, None without fine-tuning. sha256s: of the used examples."""
    extract = params.extract
    reasons = {name: reason(params, name) for name in (FEATURES, ACTIVATIONS)}
    stored_cut = cut if reasons[ACTIVATIONS] is None else None
    how = spec(params, engine, stored_cut)
    shapes = compute.shapes(loaded, extract.pooling, stored_cut, how.inputs.longest)
    widths = {"widths": taps.widths(loaded.model)} if extract.taps == taps.ALL else {}
    every = []
    for name, folder in ((FEATURES, paths.features), (ACTIVATIONS, paths.activations)):
        values = declared(params, name)
        special: dict[str, Any] = {key: values.pop(key) for key in SPECIAL if key in values}
        special |= {"cut": cut} if name == ACTIVATIONS else widths
        part = Part(shapes.get(name, ()), how.dtypes[name])
        made_with = values | {
            "engine": engine,
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": loaded.row.preprocessing,
        }
        if isinstance(loaded.row, Vision):
            made_with["rescaling"] = loaded.row.rescaling.words
        meta = store.Meta(
            made_with,
            special,
            (len(sha256s), 1 + extract.views, *part.shape),
            part.dtype,
            store.examples_digest(sha256s),
        )
        every.append(Output(name, folder, meta, keys(how, loaded, special, part), reasons[name]))
    outputs = {one.name: one for one in every if one.reason is None}
    others = [one for one in every if one.reason is not None]
    apart = stored_cut is not None and cuts.apart(loaded.model, stored_cut)
    return Plan(how, outputs, others, 1 + extract.views, apart)


def keys(
    spec: compute.Spec, loaded: Loaded, output: Mapping[str, Any], part: Part
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that one example's values depend on beside its bytes: as it is, and where it is augmented.

    output: what is special to it, as in its `meta.json`. part: its shape and dtype.

    Not the weights' name, since their bytes count; not how a cut was asked for; not `numerics`, but the instruction
    set that it leaves.
    """
    modules = [compute.__name__, f"{code.PACKAGE}.features.engines.{spec.engine}", type(spec.inputs).__module__]
    libraries = [*LIBRARIES, *spec.inputs.libraries, spec.engine]
    if isinstance(loaded.row, Vision):  # what takes them apart is no part of what other networks are computed by
        modules.append(networks.__name__)
        libraries.append("keras-hub")
    common = {
        "backbone": asdict(loaded.row),
        "alpha": spec.backbone.width,
        "weights_sha256": loaded.weights_sha256,
        "engine": spec.engine,
        "precision": spec.precision,
        "output": {key: value for key, value in output.items() if key != "asked"},
        "shape": list(part.shape),
        "dtype": part.dtype,
        "instruction_set": numerics.instruction_set(spec.numerics, spec.uncapped_is_equal),
        "device": compute.device(spec.engine),
        "code": code.digest(modules),
        "libraries": _versions(libraries),
    }
    plain, augmented = (common | {"input": spec.inputs.fingerprint(views)} for views in (False, True))
    return plain, augmented


def _versions(names: Sequence[str]) -> Mapping[str, str]:
    return {name: version(name) for name in names}
