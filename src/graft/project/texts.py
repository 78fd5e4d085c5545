"""What texts are at a place, and the values of params.yaml that suit them: a table, or a directory per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from graft.backbones import encoders
from graft.config import yaml_file
from graft.config.data import DataParams
from graft.errors import DataError
from graft.examples.sources import SOURCES, tables
from graft.examples.sources.base import SPLIT_NAMES, SPLITS, Item, Items
from graft.examples.sources.names import NAMES
from graft.examples.sources.tables.table import Table
from graft.examples.sources.tree import Tree, open_tree
from graft.inputs.text.parts import parts
from graft.project import look, template

SAMPLE = 200
"""Texts that are read, evenly through all, to tell their length."""

NETWORK = "data/minilm"
"""Where a network that reads texts is looked for, in the project's folder: `make minilm` puts one there."""

LENGTHS = (32, 64, 128, 256)
"""Values of backbone.max_tokens that are chosen from; MiniLM was trained up to 256."""

CHARACTERS = 3.5
"""Of a token, about: English texts have four."""

TEXT = ("text", "sentence", "question", "review", "content", "body", "message", "utterance", "query", "comment",
        "description", "headline", "title", "tweet", "document", "input")  # fmt: skip
"""What a table's column of texts is usually called, the likeliest name first."""

PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
         ("text_a", "text_b"), ("query", "passage"))  # fmt: skip
"""Likewise, of two texts."""

LABEL = (*look.COLUMNS["label"], "intent", "sentiment", "topic", "gold_label", "stars")


@dataclass(frozen=True)
class Found:
    """What is at a place. data: values of the `data` section, "path" -> value. texts, other: usable, and what is not.

    classes: label -> texts. splits: part of the official split -> texts, without one empty. characters: of the middle
    text. long: which one of twenty exceeds.
    """

    data: Mapping[str, Any]
    texts: int
    other: int
    classes: Mapping[str, int]
    splits: Mapping[str, int]
    characters: int
    long: int


def found(path: Path, recorded: str) -> Found | None:
    """None where there are no texts, but perhaps images. path, recorded: as for `look.look`.

    Raises DataError where there are texts, but not of two classes, or none that can be read.
    """
    listed = _listed(path, recorded)
    if listed is None:
        return None
    root, data = listed
    items = _scan(root, data)
    usable = [item for item in items if item.problem is None]
    classes = Counter(item.label for item in usable)
    if len(classes) < 2:
        raise DataError(
            f"--data: must hold texts of at least two classes. {path} has {len(usable)} of one, "
            f"{next(iter(classes), '')!r}. Name the table's column of classes {LABEL[0]}, or the directory right above "
            "the classes."
        )
    lengths = _lengths(SOURCES[data["source"]].open(root), usable)
    if not lengths:
        raise DataError(f"--data: must hold texts in UTF-8. None of {SAMPLE} looked at in {path} can be read.")
    return Found(
        data=data,
        texts=len(usable),
        other=len(items) - len(usable),
        classes=classes,
        splits={name: n for name in SPLITS if (n := sum(item.split == name for item in usable))},
        characters=round(median(lengths)),
        long=round(float(np.quantile(lengths, 0.95))),
    )


def suited(one: Found, folder: Path) -> dict[str, Any]:
    """Values of params.yaml, "train.head" -> value: the recipe of the preset banking77. folder: the project's."""
    network = folder / NETWORK
    wanted = one.long / CHARACTERS
    return {f"data.{key}": value for key, value in one.data.items()} | {
        "backbone.name": "Bert",
        "backbone.weights": NETWORK,
        "backbone.weights_sha256": encoders.digest(network) if network.is_dir() else None,
        "backbone.max_tokens": next((length for length in LENGTHS if length >= wanted), LENGTHS[-1]),
        "extract.views": 0,
        "train.head": "logistic",
        "finetune.optimizer": "adamw",
        "finetune.learning_rate": 0.0001,
        "finetune.weight_decay": 0.01,
        "finetune.label_smoothing": 0.1,
        "finetune.epochs": 6,
    }


def sentences(one: Found, folder: Path) -> list[str]:
    """What was seen and what was chosen, to be read."""
    values = suited(one, folder)
    by_part = ", ".join(f"{name} {n:,}" for name, n in one.splits.items())
    split = f", split as they come ({by_part})" if by_part else ""
    seen = (
        f"saw: {one.texts:,} texts of {len(one.classes):,} classes{split}, the middle one of {one.characters:,} "
        "characters"
    )
    if one.other:
        seen += f"; {one.other:,} others, which data/prepared/quarantine.csv will list with the reason"
    chosen = (
        f"chose: MiniLM, a BERT of 6 blocks at {NETWORK}; of each text {values['backbone.max_tokens']} tokens at most; "
        "a solved head, then the upper blocks"
    )
    if values["backbone.weights_sha256"] is not None:
        return [seen, chosen]
    return [
        seen,
        chosen,
        f"note: there is no network at {NETWORK} yet. `make minilm` in graft's repository fetches it, to be put there; "
        "or name the folder of another one in backbone.weights. Then `graft params check` says which "
        "backbone.weights_sha256 is its own",
    ]


def _listed(path: Path, recorded: str) -> tuple[Path, dict[str, Any]] | None:
    """data.path as seen from here, and the values of `data` that list the texts; None where there are none."""
    if path.suffix.lower() in tables.READERS and path.is_file():
        columns = _columns(open_tree(path.parent), path.name)
        place = Path(recorded).parent.as_posix()
        return (path.parent, _manifest({"file": path.name}, columns) | {"path": place}) if columns else None
    tree = open_tree(path, suffixes=None)
    paths = [entry.path for entry in tree.entries()]
    for files in _tables(paths):
        if columns := _columns(tree, next(iter(files.values()))):
            return path, _manifest(files, columns) | {"path": recorded}
    beneath = [one.lower() for one in paths if "/" in one]
    if any(one.endswith(NAMES["image"].suffixes) for one in beneath):
        return None
    if any(one.endswith(NAMES["text"].suffixes) for one in beneath):
        return path, {"kind": "text", "source": "folder", "path": recorded}
    return None


def _tables(paths: Sequence[str]) -> list[dict[str, str]]:
    """What may be the table, as values of data.manifest: one for each part of a split, or one alone."""
    beside = [path for path in paths if "/" not in path and path.lower().endswith(look.SOUGHT)]
    by_part = {SPLIT_NAMES[name]: path for path in beside if (name := Path(path).stem.lower()) in SPLIT_NAMES}
    if "train" in by_part and len(by_part) > 1:
        return [{f"lists.{part}": path for part, path in by_part.items()}]
    return [{"file": beside[0]}] if len(beside) == 1 else []


def _manifest(files: Mapping[str, str], columns: Mapping[str, str | None]) -> dict[str, Any]:
    named = {f"manifest.{name}": file for name, file in ({"file": None} | dict(files)).items()}
    return {
        "kind": "text",
        "source": "manifest",
        **named,
        **{f"manifest.columns.{field}": name for field, name in columns.items()},
    }


def _columns(tree: Tree, file: str) -> dict[str, str | None] | None:
    """Columns by their usual names; None where none is of texts, or none of classes, or one leads to files."""
    with tree.open(file) as stream:
        table = tables.read(stream, file, with_header=True)
    by_name = {name.strip().lower(): name for name in table.header or []}
    label = _first(by_name, LABEL)
    pair = next((pair for pair in PAIRS if set(pair) <= set(by_name)), None)
    text, second = (by_name[name] for name in pair) if pair else (_first(by_name, TEXT), None)
    if text is None or label is None or text == label or _leads_to_files(table, by_name, tree):
        return None
    split = _first(by_name, look.COLUMNS["split"])
    if split is not None and not set(_cells(table, split)) <= {*SPLIT_NAMES, ""}:
        split = None
    group = _first(by_name, look.COLUMNS["group"])
    return {"text": text, "second": second, "label": label, "split": split, "group": group}


def _first(by_name: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _cells(table: Table, column: str) -> list[str]:
    place = (table.header or []).index(column)
    return [row[place].strip() for row in table.rows]


def _leads_to_files(table: Table, by_name: Mapping[str, str], tree: Tree) -> bool:
    """Whether a column that is called like one of paths has the name of a file: it is a table of images, say."""
    column = _first(by_name, look.COLUMNS["path"])
    if column is None or not table.rows:
        return False
    first = _cells(table, column)[0]
    return bool(first) and any(entry.path.endswith(first) for entry in tree.entries())


def _scan(root: Path, data: Mapping[str, Any]) -> Items:
    """root: where they are, seen from here."""
    values = {f"data.{key}": value for key, value in data.items()} | {"data.path": str(root)}
    tree = yaml_file.parse(template.parameters(values), "params.yaml")
    return SOURCES[data["source"]].scan(DataParams.model_validate(tree["data"]))


def _lengths(reader: Any, items: Sequence[Item]) -> list[int]:
    """Characters of some texts that can be read, of both of a pair."""
    found = []
    for item in items[:: max(1, len(items) // SAMPLE)]:
        with suppress(OSError, UnicodeDecodeError, DataError):
            found.append(sum(map(len, parts(reader.read(item.path)))))
    return found
