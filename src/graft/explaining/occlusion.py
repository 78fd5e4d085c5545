"""Occlusion: which words of a text speak for a class, by what the model says without each of them.

Li, Monroe & Jurafsky 2016, https://arxiv.org/abs/1612.08220, eq. 2, in logits: the importance of a word is by how much
the class's logit falls where the word is left out. It asks the model alone, whatever the model is made of, and one more
pass for each word tells it of all classes; what a gradient says in one pass is the slope at words that nobody writes.

A logit is taken from the probabilities, as its distance from the mean logit of all classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graft.explaining.words import Worded, fewer, worded
from graft.inputs.text.spec import MULTIPLE, TextInput

MOST_PASSES = 32
"""Of a text with more words, neighbours are left out together: the time is bounded by so many passes."""

UNREAD = 200
"""Characters that are shown of what is beyond the network's last token."""

Run = Callable[[np.ndarray], np.ndarray]
"""tokens (n, length, 2) int32 -> probabilities (n, n_classes)"""


@dataclass(frozen=True)
class Piece:
    """Characters of a text. score: by how much the class's logit falls without them; None between words.

    share: of the text's largest score, with the score's sign, in [-1, 1]. read: whether the network reads them.
    """

    text: str
    score: float | None = None
    share: float = 0.0
    read: bool = True


Marked = list[list[Piece]]
"""The pieces of each text of an example, which one after the other are the text."""


@dataclass(frozen=True)
class Occluded:
    """probabilities: (n_classes,) of the whole text. falls: (n_words, n_classes) by how much each class's logit falls
    without a word."""

    found: Worded
    probabilities: np.ndarray
    falls: np.ndarray

    def marked(self, number: int) -> Marked:
        """What speaks for class `number`, and, where it is negative, against it."""
        falls = self.falls[:, number]
        largest = float(np.abs(falls).max(initial=0)) or 1.0
        texts: Marked = [[] for _ in self.found.texts]
        ends = [0] * len(texts)
        for word, fall in zip(self.found.words, falls, strict=True):
            whole = self.found.texts[word.text]
            if word.start > ends[word.text]:
                texts[word.text].append(Piece(_plain(whole[ends[word.text] : word.start])))
            piece = Piece(_plain(whole[word.start : word.end]), float(fall), float(fall) / largest)
            texts[word.text].append(piece)
            ends[word.text] = word.end
        for pieces, whole, end in zip(texts, self.found.texts, ends, strict=True):
            rest = whole[end:]
            if rest:
                cut = rest if len(rest) <= UNREAD else f"{rest[:UNREAD]} …"
                pieces.append(Piece(_plain(cut), read=not rest.strip()))
        return texts


def occluded(spec: TextInput, data: bytes, run: Run) -> Occluded:
    """The model asked about an example without each of its words. Raises UndecodableError, and what `run` raises."""
    found = fewer(worded(spec, data), MOST_PASSES)
    real = found.tokens[:, 0] > 0
    kept = [real, *(real & (found.of_token != number) for number in range(len(found.words)))]
    lengths = [-(-int(some.sum()) // MULTIPLE) * MULTIPLE for some in kept]
    answers: dict[int, np.ndarray] = {}
    # The same length for all that are of one length: how long its neighbours are does not matter to an example.
    for length in sorted(set(lengths)):
        places = [place for place, one in enumerate(lengths) if one == length]
        batch = np.zeros((len(places), length, 2), np.int32)
        for row, place in enumerate(places):
            tokens = found.tokens[kept[place]]
            batch[row, : len(tokens)] = tokens
        answers |= dict(zip(places, run(batch), strict=True))
    probabilities = np.stack([answers[place] for place in range(len(kept))])
    logits = _logits(probabilities)
    return Occluded(found, probabilities[0], logits[0] - logits[1:])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """(n, n_classes), the mean of each row 0."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _plain(text: str) -> str:
    """White space as it is, whatever else is not seen written out: it could make a page say something else."""
    return "".join(one if one.isprintable() or one.isspace() else repr(one)[1:-1] for one in text)
