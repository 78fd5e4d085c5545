"""Every text network, one row each: KerasHub's encoders. To add one, add a row; `tests/test_encoders.py` drives them.

No TensorFlow here, and no KerasHub: the command line and the checks of params.yaml read this table.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FIRST = "start"
"""The layer where every text network begins."""


@dataclass(frozen=True)
class Encoder:
    """A row. name: that of KerasHub's class, less `Backbone`.

    layout: which of KerasHub's loaders reads its files from a folder in Hugging Face's layout; "" where there is none,
        so that it must be a preset of KerasHub's.
    """

    name: str
    layout: str

    preprocessing = "tokens"
    """What `preprocessing` of a row for images says of pixels."""

    is_network = True


ENCODERS: dict[str, Encoder] = {
    row.name: row
    for row in (
        Encoder("Bert", "bert"),  # MiniLM, BGE, E5 and their kin too
        Encoder("DistilBert", "distilbert"),
        Encoder("Roberta", "roberta"),
        Encoder("XLMRoberta", "xlm-roberta"),
        Encoder("Albert", "albert"),
        Encoder("DebertaV3", ""),
        Encoder("Electra", ""),
    )
}


def is_text(name: str) -> bool:
    """Whether a network reads texts."""
    return name in ENCODERS


READ = (".safetensors", ".h5", ".json", ".txt", ".model")
"""Suffixes of the files that a network and its tokenizer are read from."""


def digest(folder: Path) -> str:
    """sha256 over the names and contents of the files of a network, 64 hex digits."""
    state = hashlib.sha256()
    for file in sorted(one for one in folder.rglob("*") if one.suffix in READ and one.is_file()):
        with file.open("rb") as opened:
            inside = hashlib.file_digest(opened, "sha256").hexdigest()
        state.update(f"{file.relative_to(folder).as_posix()} {inside}\n".encode())
    return state.hexdigest()
