"""Texts as exported files read them: numbers of tokens, which callers make with `tokenizers` and the file beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.inputs.spec import USUAL
from graft.inputs.text import tokenizer
from graft.inputs.text.parts import parts
from graft.inputs.text.spec import TOKENS, TextInput

if TYPE_CHECKING:
    import keras
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
"""Hugging Face's `tokenizers` reads it: it cuts a text off where graft does."""


class Texts:
    """A `kind.Kind`. Callers need not pad: graft does, to a multiple of 8, which must change nothing."""

    entry = TOKENS
    shape: tuple[int | None, ...] = (None, 2)
    dtype = "int32"
    nouns = "texts"
    same = "tokens"
    calibrates = False
    front: keras.Model | None = None

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.spec = TextInput.from_dict(card["input"])

    @property
    def words(self) -> str:
        return (
            f"Tokens (length, 2) of a text or pair, at most {self.spec.max_tokens}, as {FILE} encodes it: the number "
            "of each token and 1, and its segment; zeros behind them are padding."
        )

    @property
    def beside(self) -> Mapping[str, str]:
        return {FILE: self._opened.to_str(pretty=True) + "\n"}

    @property
    def network_shape(self) -> tuple[int | None, ...]:
        return self.shape

    def whole(self, network: keras.Model) -> keras.Model:
        import keras

        tokens = keras.Input(self.shape, dtype=self.dtype, name=self.entry)
        real = keras.ops.cast(tokens, network.inputs[0].dtype)
        return keras.Model(tokens, network(real, training=False), name="classifier")

    def prepared(self, data: bytes) -> np.ndarray:
        return self.spec.arrays(data, "", [0])[0][TOKENS]

    def given(self, data: bytes) -> np.ndarray:
        """(length, 2) int32, by the file's own text alone, without padding."""
        found = tokenizer.encoded(self._opened, parts(data))
        return np.stack([np.array(found.ids) + 1, np.array(found.type_ids)], axis=1).astype(np.int32)

    def timed(self, some: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """A text of USUAL tokens, or of as many as the network takes."""
        tokens = np.zeros((1, min(USUAL, self.spec.max_tokens), 2), np.int32)
        tokens[..., 0] = 2
        return {"milliseconds": tokens}

    @cached_property
    def _opened(self) -> Tokenizer:
        return tokenizer.opened(self.spec.tokenizer, self.spec.max_tokens)
