"""Where in a text the words are whose tokens a network reads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from graft.inputs.spec import Arrays
from graft.inputs.text.parts import parts
from graft.inputs.text.spec import TOKENS, TextInput


@dataclass(frozen=True)
class Word:
    """Characters of a text, [start, end). text: 0, or 1 for the second of a pair."""

    text: int
    start: int
    end: int


@dataclass(frozen=True)
class Worded:
    """texts: of the example, one or two. words: those that are read, in the order of the texts.

    tokens: (length, 2) int32, what the network reads. of_token: (length,) the number of the word that each token is of;
    NO_WORD for what marks a text's ends, and for padding.
    """

    texts: list[str]
    words: list[Word]
    tokens: np.ndarray
    of_token: np.ndarray


NO_WORD = -1


def worded(spec: TextInput, data: bytes) -> Worded:
    """A text, or a pair, taken apart into the words that its tokenizer sees. Raises UndecodableError.

    Tokens are of one word where the tokenizer says so and no white space is between them: a tokenizer without words of
    its own takes a whole text for one.
    """
    found, texts = spec.encoded(data), parts(data)
    arrays: Arrays = spec.arrays(data, "", [0])[0]
    of_token = np.full(len(arrays[TOKENS]), NO_WORD)
    words: list[Word] = []
    before = None
    for place, (number, text, (start, end)) in enumerate(
        zip(found.word_ids, found.sequence_ids, found.offsets, strict=True)
    ):
        if number is None or text is None:
            continue
        blank = len(texts[text][start:end]) - len(texts[text][start:end].lstrip())
        # Several tokens may be of one character: those of its bytes.
        goes_on = (text, number) == before and not blank and start <= words[-1].end
        before = (text, number)
        if goes_on:
            words[-1] = Word(text, words[-1].start, max(words[-1].end, end))
        else:
            words.append(Word(text, min(start + blank, end), end))
        of_token[place] = len(words) - 1
    return Worded(texts, words, arrays[TOKENS], of_token)


def fewer(worded: Worded, most: int) -> Worded:
    """The same with neighbours joined, as evenly as can be, where there are more than `most` words.

    Words of the two texts of a pair stay apart.
    """
    n = len(worded.words)
    if n <= most:
        return worded
    edges = {n * part // most for part in range(most + 1)}
    edges |= {place for place in range(1, n) if worded.words[place].text != worded.words[place - 1].text}
    runs = list(pairwise(sorted(edges)))
    joined = [
        Word(worded.words[start].text, worded.words[start].start, worded.words[end - 1].end) for start, end in runs
    ]
    number = np.array([run for run, (start, end) in enumerate(runs) for _ in range(start, end)] + [NO_WORD])
    return Worded(worded.texts, joined, worded.tokens, number[worded.of_token])
