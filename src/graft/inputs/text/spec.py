"""A text as the numbers of its tokens, as it is or as a view in which some are missing or masked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.errors import BackboneError
from graft.inputs.spec import Arrays, Signature, UndecodableError
from graft.inputs.text import tokenizer
from graft.inputs.text.parts import parts

if TYPE_CHECKING:
    from tokenizers import Encoding

    from graft.config.schema import BackboneParams, ExtractParams

TOKENS = "tokens"
"""The network's one input."""

MULTIPLE = 4
"""A text's tokens are padded to a multiple of this: there are few lengths, and each depends on its text alone."""


@dataclass(frozen=True)
class TextInput:
    """tokenizer: its JSON. max_tokens: of one text or pair, with what marks its ends.

    augment: shares and seed of views, None where there are none. pair: whether an example is of two texts. No array
    depends on it; it says what a model in use must be given.
    """

    tokenizer: str
    max_tokens: int
    augment: Mapping[str, Any] | None = None
    pair: bool = False

    kind = "text"
    libraries = ("tokenizers", "keras-hub")
    names = "tokens"

    @staticmethod
    def of(backbone: BackboneParams, extract: ExtractParams, pair: bool) -> TextInput:
        augment = extract.augment_text.model_dump() if extract.views else None
        return TextInput(tokenizer.read(backbone.weights), backbone.max_tokens, augment, pair)

    @staticmethod
    def from_dict(values: Mapping[str, Any], augment: Mapping[str, Any] | None = None) -> TextInput:
        return TextInput(values["tokenizer"], values["max_tokens"], augment, values.get("pair", False))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "max_tokens": self.max_tokens, "pair": self.pair, "tokenizer": self.tokenizer}

    def fingerprint(self, augmented: bool) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "max_tokens": self.max_tokens,
            "multiple": MULTIPLE,
            "tokenizer": hashlib.sha256(self.tokenizer.encode()).hexdigest(),
            "augment": dict(self.augment) if augmented and self.augment else None,
        }

    def signature(self) -> Signature:
        return {TOKENS: ((None, 2), "int32")}

    @property
    def longest(self) -> int:
        return -(-self.max_tokens // MULTIPLE) * MULTIPLE

    def arrays(self, data: bytes, sha256: str, views: Sequence[int]) -> list[Arrays]:
        """{"tokens": (length, 2) int32} of each view: the number of each token and 1, and its segment; zeros after the
        last one. Raises UndecodableError where the bytes are no text in UTF-8."""
        found = self.encoded(data)
        special = np.array(found.special_tokens_mask, bool)
        tokens = np.stack([np.array(found.ids, np.int32) + 1, np.array(found.type_ids, np.int32)], axis=1)
        return [{TOKENS: _padded(self._view(tokens, special, sha256, view) if view else tokens)} for view in views]

    def is_cut(self, data: bytes) -> bool:
        return bool(self.encoded(data).overflowing)

    def encoded(self, data: bytes) -> Encoding:
        """What the tokenizer makes of a text; its `overflowing` is not empty where something was cut off."""
        try:
            texts = parts(data)
        except UnicodeDecodeError as error:
            raise UndecodableError("not UTF-8", f"byte {error.start} is {data[error.start]:#04x}") from None
        return tokenizer.encoded(tokenizer.opened(self.tokenizer, self.max_tokens), texts)

    def _view(self, tokens: np.ndarray, special: np.ndarray, sha256: str, number: int) -> np.ndarray:
        """View `number` of the text whose bytes have this sha256: what marks its ends stays as it is."""
        shares = self.augment or {}
        rng = np.random.default_rng([shares["seed"], number, int(sha256, 16)])
        dropped, masked = rng.random((2, len(tokens)))
        tokens = tokens.copy()
        if shares["masking"]:
            tokens[(masked < shares["masking"]) & ~special, 0] = 1 + self._mask()
        return np.asarray(tokens[(dropped >= shares["dropout"]) | special])

    def _mask(self) -> int:
        number = tokenizer.mask(tokenizer.opened(self.tokenizer, self.max_tokens))
        if number is None:
            raise BackboneError(
                "extract.augment_text.masking: must be 0 for this network, whose tokenizer has no mask. "
                f"Got {(self.augment or {})['masking']:g}."
            )
        return number


def _padded(tokens: np.ndarray) -> np.ndarray:
    """(n, 2) -> the same with zeros after it, up to the next MULTIPLE."""
    return np.pad(tokens, ((0, -len(tokens) % MULTIPLE), (0, 0)))
