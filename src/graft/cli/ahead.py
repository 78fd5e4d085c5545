"""What a stage can do before its turn, while the one before it runs (`runtime.warm`).

Nothing that it says is heard."""

from __future__ import annotations

from io import BytesIO

from graft.config.load import load
from graft.pipeline import layout
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow


def begin(stage: str) -> None:
    """stage: a key of BEGUN. Raises whatever it raises: the stage itself will say so."""
    BEGUN[stage]()


def _finetune() -> None:
    """Its code and its network; on a GPU, whose memory `train` has, the code alone."""
    import tensorflow as tf

    from graft.features import staleness  # noqa: F401
    from graft.stages import finetune
    from graft.tracking import live  # noqa: F401

    params, paths = load(), layout.read()
    numerics.apply(params.numerics)
    start_tensorflow()
    if not tf.config.list_physical_devices("GPU"):
        finetune.build_ahead(params, paths)


def _evaluate() -> None:
    """Its code; a picture, since the first one takes twice as long; and what its run is given of the data and code."""
    from graft.evaluation import plots
    from graft.features import staleness  # noqa: F401
    from graft.stages import evaluate  # noqa: F401
    from graft.tracking import mirror, model, run  # noqa: F401

    params, paths = load(), layout.read()
    numerics.apply(params.numerics)
    start_tensorflow()
    plots.calibration({}).savefig(BytesIO(), bbox_inches="tight")
    model.served_code()
    mirror.data_page(params, paths)


BEGUN = {"finetune": _finetune, "evaluate": _evaluate}
