"""What a model says of one file after the other; several are read, decoded and computed at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import DataError
from graft.features.compute import WAITING, at_a_time
from graft.inputs.batches import Row, of_one_shape, stacked
from graft.inputs.spec import UndecodableError
from graft.runtime.cores import available
from graft.runtime.reading.prefetch import prefetched

if TYPE_CHECKING:
    from graft.features.engines.base import Forward
    from graft.inputs.spec import Arrays
    from graft.prediction.files import Named
    from graft.serving.classifier import Classifier


@dataclass(frozen=True)
class Seen:
    """path: as it is shown. values: (n_classes,) or (feature_dim,) float32; None where there is a problem.

    meant: whether the file may have been meant to be an example, so that a problem is worth an exit code.
    """

    path: str
    values: np.ndarray | None
    problem: str = ""
    meant: bool = True


def seen(files: Iterable[Named], classifier: Classifier, forward: Forward) -> Iterator[Seen]:
    """What `forward` gives for each file, in the order of the files. One that is no example has a problem instead."""
    size = forward.batch_size

    def run(group: tuple[Named, ...]) -> list[Seen]:
        examples = [_arrays(file, classifier) for file in group]
        good: list[Row] = [(("", place), one) for place, one in enumerate(examples) if not isinstance(one, str)]
        values: dict[int, np.ndarray] = {}
        for batch in of_one_shape(good, size):
            keys, arrays = stacked(batch)
            values.update(zip((place for _, place in keys), forward.run(arrays)[0], strict=True))
        return [
            Seen(file.path, None, one, file.meant) if isinstance(one, str) else Seen(file.path, values[place])
            for place, (file, one) in enumerate(zip(group, examples, strict=True))
        ]

    threads = available() + WAITING
    for group in prefetched(run, _groups(files, at_a_time(classifier.input, size)), threads, 2 * threads):
        yield from group


def _groups(files: Iterable[Named], size: int) -> Iterator[tuple[Named, ...]]:
    rest = iter(files)
    return iter(lambda: tuple(islice(rest, size)), ())


def _arrays(file: Named, classifier: Classifier) -> Arrays | str:
    """What the network reads of a file, or why there is nothing."""
    if file.problem:
        return file.problem
    try:
        return classifier.arrays(file.read())
    except UndecodableError as error:
        return str(error)
    except DataError as error:  # of a table that has changed since its rows were counted
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
