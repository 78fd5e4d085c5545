"""Words of a text and what they are worth, on a model whose answer is known: a sum of what its tokens are worth."""

from __future__ import annotations

import numpy as np
import pytest

import text_network
from graft.explaining import occlusion
from graft.explaining.occlusion import occluded
from graft.explaining.words import fewer, worded
from graft.inputs.spec import UndecodableError
from graft.inputs.text import tokenizer
from graft.inputs.text.spec import MULTIPLE, TextInput


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tokenizer.read(str(text_network.write(tmp_path_factory.mktemp("bert"))))


@pytest.fixture(scope="module")
def byte_pieces(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tokenizer.read(str(text_network.write(tmp_path_factory.mktemp("roberta"), "roberta")))


def seen(spec: TextInput, text: str) -> list[str]:
    found = worded(spec, text.encode())
    return [found.texts[word.text][word.start : word.end] for word in found.words]


@pytest.mark.parametrize("kind", ["word_pieces", "byte_pieces"])
def test_words_are_found_where_they_stand(kind: str, request: pytest.FixtureRequest) -> None:
    """What stands between them is white space alone; every token but the ends is of one."""
    spec = TextInput(request.getfixturevalue(kind), 64)
    text = "\n Where is  MY card? Überall é 日本!"
    assert "".join(seen(spec, text)) == "".join(text.split())
    found = worded(spec, text.encode())
    real = found.tokens[:, 0] > 0
    assert (found.of_token[~real] == -1).all()
    assert [int(place) for place in np.flatnonzero(real & (found.of_token == -1))] == [0, int(real.sum()) - 1]
    assert sorted(set(found.of_token[found.of_token >= 0])) == list(range(len(found.words)))
    assert len(seen(spec, "my card is")) == 3


def test_a_pair_and_what_is_cut_off(word_pieces: str) -> None:
    pair = worded(TextInput(word_pieces, 64, pair=True), b"my card\0is lost")
    assert [(word.text, word.start, word.end) for word in pair.words] == [(0, 0, 2), (0, 3, 7), (1, 0, 2), (1, 3, 7)]
    assert [int(number) for number in pair.of_token[:8]] == [-1, 0, 1, -1, 2, 3, -1, -1]
    assert seen(TextInput(word_pieces, 5), "my card is lost") == ["my", "card", "is"]
    with pytest.raises(UndecodableError):
        worded(TextInput(word_pieces, 64), b"\xff")


def test_neighbours_are_joined_evenly_and_never_across_texts(word_pieces: str) -> None:
    spec = TextInput(word_pieces, 64, pair=True)
    data = b"i do how my card is\0lost the"
    joined = fewer(worded(spec, data), 3)
    assert [joined.texts[word.text][word.start : word.end] for word in joined.words] == [
        "i do", "how my card", "is", "lost the",
    ]  # fmt: skip
    assert joined.of_token[:12].tolist() == [-1, 0, 0, 1, 1, 1, 2, -1, 3, 3, -1, -1]
    assert fewer(worded(spec, data), 8).words == worded(spec, data).words


N_CLASSES = 4


def summing() -> occlusion.Run:
    """A model whose logits are the sums of what its tokens are worth, whatever their order."""
    worth = np.random.default_rng(3).normal(size=(1000, N_CLASSES))
    worth[0] = 0

    def run(tokens: np.ndarray) -> np.ndarray:
        assert tokens.shape[1] % MULTIPLE == 0
        logits = worth[tokens[..., 0]].sum(axis=1)
        shares = np.exp(logits)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)

    return run


def test_a_word_is_worth_what_its_tokens_are(word_pieces: str) -> None:
    spec = TextInput(word_pieces, 32)
    text = "where is my lost pin"
    found = occluded(spec, text.encode(), summing())
    worth = np.random.default_rng(3).normal(size=(1000, N_CLASSES))
    encoding = spec.encoded(text.encode())
    expected = np.zeros((5, N_CLASSES))
    for number, word in zip(encoding.ids, encoding.word_ids, strict=True):
        if word is not None:
            expected[word] += worth[number + 1]
    expected -= expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.falls, expected, atol=1e-4)
    assert len(encoding.ids) == 9, "a word of several tokens is among them"
    np.testing.assert_allclose(found.probabilities.sum(), 1, atol=1e-6)
    (pieces,) = found.marked(2)
    scores = np.array([piece.score for piece in pieces if piece.score is not None])
    np.testing.assert_allclose(scores, expected[:, 2], atol=1e-4)
    shares = [piece.share for piece in pieces if piece.score is not None]
    np.testing.assert_allclose(shares, scores / np.abs(scores).max())


def test_the_pieces_are_the_text(word_pieces: str) -> None:
    """No sign in it turns a page's text round; what is cut off is there, too, as what it is."""
    text = "  where\tis my \u202ecard, i do not  know\n"
    for most, unread in ((64, 0), (6, 1)):
        (pieces,) = occluded(TextInput(word_pieces, most), text.encode(), summing()).marked(0)
        assert "".join(piece.text for piece in pieces) == text.replace("\u202e", r"\u202e")
        assert sum(not piece.read for piece in pieces) == unread


def test_the_time_is_bounded(word_pieces: str) -> None:
    rows: list[int] = []
    text = "i do not " * 250
    one = summing()

    def counted(tokens: np.ndarray) -> np.ndarray:
        rows.append(len(tokens))
        return one(tokens)

    (pieces,) = occluded(TextInput(word_pieces, 400), text.encode(), counted).marked(1)
    assert sum(rows) <= occlusion.MOST_PASSES + 1
    unread = [piece.text for piece in pieces if not piece.read]
    assert len(unread) == 1
    assert len(unread[0]) == occlusion.UNREAD + 2
