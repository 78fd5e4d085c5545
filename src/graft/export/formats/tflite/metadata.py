"""What a .tflite says of itself, as TensorFlow Lite's own tools read it.

A buffer called TFLITE_METADATA holds a table of metadata_schema.fbs
(https://github.com/tensorflow/tflite-support/tree/master/tensorflow_lite_support/metadata); the files that it names are
in a zip at the end of the model, which the model's reader does not look at. The library for it, tflite-support, is no
longer kept and pins an old flatbuffers; six tables are needed of its schema, by the places that it gives their fields.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graft.export.formats.tflite import join
from graft.export.kind import Kind
from graft.export.subject import PROBABILITIES

BUFFER = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
LABELS, CARD = "labels.txt", "card.json"
PARSER = "1.0.0"
"""The least version of their parser: all fields used are from its first."""

EPOCH = (1980, 1, 1, 0, 0, 0)
DESCRIPTIONS, AXIS_LABELS = 1, 2
"""AssociatedFileType"""
IMAGE_PROPERTIES, RGB = 2, 1
"""ContentProperties, ColorSpaceType"""


def write(model: Any, classes: Sequence[str], card: Mapping[str, Any], kind: Kind, path: Path) -> None:
    """model: schema.ModelT without metadata. The labels are one a line, in the order of the outputs."""
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER, len(model.buffers)
    holder = schema.BufferT()
    holder.data = np.frombuffer(table(card, kind), np.uint8)
    model.buffers.append(holder)
    model.metadata = [entry]
    path.write_bytes(join.packed(model))
    lines = "".join(f"{' '.join(name.split())}\n" for name in classes)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, EPOCH), lines)
        text = json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, content in ({CARD: text} | dict(kind.beside)).items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)


def table(card: Mapping[str, Any], kind: Kind) -> bytes:
    """ModelMetadata: an image's colours, the files with labels, card and what belongs to the kind, and in words what
    the graph reads."""
    import flatbuffers

    b = flatbuffers.Builder(1024)

    def made(fields: Mapping[int, Any], size: int) -> int:
        """A table: place of a field -> an offset, or (number, its type)."""
        b.StartObject(size)
        for place, value in fields.items():
            if isinstance(value, tuple):
                number, kind = value
                getattr(b, f"Prepend{kind}Slot")(place, number, 0)
            else:
                b.PrependUOffsetTRelativeSlot(place, value, 0)
        return int(b.EndObject())

    def listed(offsets: Sequence[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    def file(name: str, description: str, kind: int) -> int:
        return made({0: b.CreateString(name), 1: b.CreateString(description), 2: (kind, "Int8")}, 5)

    said: dict[int, Any] = {0: b.CreateString(kind.entry), 1: b.CreateString(kind.words)}
    if kind.entry == "image":
        colours = made({0: (RGB, "Int8")}, 2)
        said[3] = made({0: (IMAGE_PROPERTIES, "Uint8"), 1: colours}, 3)
    example = made(said, 7)
    labels = file(LABELS, "The classes, in the order of the probabilities.", AXIS_LABELS)
    of_classes = b.CreateString("The probability of each class.")
    probabilities = made({0: b.CreateString(PROBABILITIES), 1: of_classes, 6: listed([labels])}, 7)
    graph = made({2: listed([example]), 3: listed([probabilities])}, 10)
    beside = [file(name, "What callers make the input with.", DESCRIPTIONS) for name in kind.beside]
    model = made(
        {
            0: b.CreateString("graft classifier"),
            1: b.CreateString(f"{card['backbone']['name']}; {len(card['classes'])} classes. card.json says more."),
            3: listed([graph]),
            6: listed([file(CARD, "The model's card.", DESCRIPTIONS), *beside]),
            7: b.CreateString(PARSER),
        },
        8,
    )
    b.Finish(model, file_identifier=IDENTIFIER)
    return bytes(b.Output())
