"""Texts in a request: one as it is, or several in JSON; and the words that speak for the label of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from graft.errors import DataError
from graft.inputs.spec import UndecodableError
from graft.inputs.text.spec import TOKENS, TextInput
from graft.server.bodies import JSON, Asked, BodyError, Tree, parsed, shown
from graft.serving import texts

if TYPE_CHECKING:
    from graft.features.engines.base import Forward
    from graft.serving.classifier import Classifier

SHOULD = (
    "a text in UTF-8 (text/plain); or JSON with `instances`, `inputs`, `dataframe_split` or `dataframe_records`, whose "
    "rows are texts, or have them under `text`, and `second` where the model reads pairs"
)


def read(body: bytes, content_type: str, pair: bool) -> Asked:
    """content_type: of the request, without parameters, lower case. pair: whether the model reads pairs.

    Whether the examples are texts that can be used, is the classifier's to say. Raises BodyError.
    """
    if content_type == JSON:
        tree = parsed(body)
        return Asked([_example(one, place, pair) for place, one in enumerate(_rows(tree), start=1)], tree.top_k)
    if not body or pair:
        got = "one text, where the model reads pairs" if body else "nothing"
        raise BodyError(f"the body must be {SHOULD}. Got {got}.")
    return Asked([body])


def _rows(tree: Tree) -> Sequence[Any]:
    """A row an example: a str, a list or an object of columns."""
    value = tree.value
    if tree.form == "dataframe_split":
        columns, value = (value.get("columns"), value.get("data")) if isinstance(value, Mapping) else (None, None)
        if isinstance(columns, list) and isinstance(value, list):
            value = [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in value]
    elif tree.form == "inputs" and isinstance(value, Mapping):  # columns by their names
        columns, lists = list(value), [[one] if isinstance(one, str) else one for one in value.values()]
        if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists}) > 1:
            raise BodyError(f"inputs: columns must be lists of one length. Got {shown(value)}.")
        value = [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise BodyError(f"{tree.form}: must hold a list of texts. Got {shown(value)}.")
    return value


def _example(one: Any, place: int, pair: bool) -> Any:
    """One row as a classifier takes it: a str, or a pair of them."""
    names = texts.COLUMNS[: 1 + pair]
    if isinstance(one, Mapping):
        if set(names) <= set(one):
            one = [one[name] for name in names]
        elif len(one) == len(names):
            one = list(one.values())
        else:
            raise BodyError(f"text {place}: a row must have {' and '.join(names)}. Got {sorted(one)}.")
    if isinstance(one, list) and not pair and len(one) == 1:
        (one,) = one
    return one


def explained(classifier: Classifier, forward: Forward) -> Callable[[Any], dict[str, Any]] | None:
    """A text -> its label, and of each of its texts the pieces, with how much each speaks for the label."""
    from graft.explaining.occlusion import occluded

    spec = classifier.input
    if not isinstance(spec, TextInput):
        return None

    def of(example: Any) -> dict[str, Any]:
        classifier.example(example, 1)  # raises DataError where it is none
        try:
            data = texts.as_bytes(example, 1, spec)
            found = occluded(spec, data, lambda tokens: forward.run({TOKENS: tokens})[0])
        except UndecodableError as error:
            raise DataError(f"text 1: {error}") from None
        number = int(found.probabilities.argmax())
        pieces = [[asdict(piece) for piece in one] for one in found.marked(number)]
        return {"label": classifier.classes[number], "texts": pieces}

    return of
