"""The tiny networks that tests of texts use: KerasHub loads them, and computes what they are by definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import text_network
from numpy_layers import dense, normalised
from text_network import HEADS, HIDDEN, INTERMEDIATE, WORD_PIECES, Architecture

CLASSES: dict[Architecture, str] = {
    "bert": "BertBackbone",
    "distilbert": "DistilBertBackbone",
    "roberta": "RobertaBackbone",
}
TOKENS = np.array([[2, 33, 40, 70, 61, 3, 0, 0], [2, 60, 59, 3, 12, 3, 0, 0], [2, 5, 6, 7, 8, 9, 10, 3]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0], [1] * 8], np.int32)
SEGMENTS = np.array([[0] * 8, [0, 0, 0, 0, 1, 1, 0, 0], [0] * 8], np.int32)


def loaded(folder: Path, architecture: Architecture) -> np.ndarray:
    """(3, 8, hidden): what KerasHub's network says of TOKENS."""
    import keras_hub

    network = getattr(keras_hub.models, CLASSES[architecture]).from_preset(str(folder))
    given = {"token_ids": TOKENS, "padding_mask": MASK}
    if architecture == "bert":
        return np.asarray(network(given | {"segment_ids": SEGMENTS})["sequence_output"])
    return np.asarray(network(given))


def gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    """Hendrycks and Gimpel 2016 (https://arxiv.org/abs/1606.08415), the approximation that KerasHub's BERT takes."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def bert(weights: dict[str, np.ndarray], layers: int) -> np.ndarray:
    """Devlin et al. 2019 (https://arxiv.org/abs/1810.04805) in plain NumPy, on TOKENS: (3, 8, hidden) float64."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}
    n, length = TOKENS.shape
    x = w["embeddings.word_embeddings.weight"][TOKENS] + w["embeddings.position_embeddings.weight"][:length]
    x = normalised(x + w["embeddings.token_type_embeddings.weight"][SEGMENTS], w, "embeddings.LayerNorm", epsilon=1e-12)
    for layer in (f"encoder.layer.{i}" for i in range(layers)):
        heads = [
            dense(x, w, f"{layer}.attention.self.{part}").reshape(n, length, HEADS, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        ]
        query, key, value = heads
        scores = query @ key.swapaxes(2, 3) / np.sqrt(HIDDEN // HEADS)
        scores = np.where(MASK[:, None, None, :] == 1, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        attended = shares / shares.sum(-1, keepdims=True) @ value
        attended = dense(attended.swapaxes(1, 2).reshape(n, length, HIDDEN), w, f"{layer}.attention.output.dense")
        x = normalised(x + attended, w, f"{layer}.attention.output.LayerNorm", epsilon=1e-12)
        inner = gelu_by_tanh(dense(x, w, f"{layer}.intermediate.dense"))
        assert inner.shape[-1] == INTERMEDIATE
        x = normalised(x + dense(inner, w, f"{layer}.output.dense"), w, f"{layer}.output.LayerNorm", epsilon=1e-12)
    return x


def test_kerashub_computes_what_bert_is(tmp_path: Path) -> None:
    """All positions that are no padding, of one text, of two texts with their segments, and of one without padding."""
    folder = text_network.write(tmp_path / "bert", seed=5)
    expected = bert(text_network.weights("bert", 5), 2)
    got = loaded(folder, "bert")
    assert got.shape == (*TOKENS.shape, HIDDEN)
    np.testing.assert_allclose(got[MASK == 1], expected[MASK == 1], atol=1e-4)
    assert np.abs(expected).max() > 1, "values of some size, or the tolerance would say nothing"


@pytest.mark.parametrize("architecture", CLASSES)
def test_every_architecture_loads_whole(tmp_path: Path, architecture: Architecture) -> None:
    """Another seed is another network; texts differ; the same seed is the same file."""
    one, same, other = (
        text_network.write(tmp_path / name, architecture, seed=seed)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    for file in sorted(path.name for path in one.iterdir()):
        assert (one / file).read_bytes() == (same / file).read_bytes(), file
    first, second = loaded(one, architecture), loaded(other, architecture)
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 0.5
    means = [row[mask == 1].mean(0) for row, mask in zip(first, MASK, strict=True)]
    assert min(np.abs(a - b).max() for a, b in ((means[0], means[1]), (means[0], means[2]), (means[1], means[2]))) > 0.1


def test_the_tokenizer_marks_both_ends_and_splits_unknown_words(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(text_network.write(tmp_path / "bert") / "tokenizer.json"))
    assert tokenizer.encode("Where is my CARD?").tokens == ["[CLS]", "where", "is", "my", "card", "?", "[SEP]"]
    assert tokenizer.encode("pin é").tokens == ["[CLS]", "p", "##i", "##n", "e", "[SEP]"]
    pair = tokenizer.encode("lost", "my card")
    assert (pair.tokens, pair.type_ids) == (
        ["[CLS]", "lost", "[SEP]", "my", "card", "[SEP]"],
        [0, 0, 0, 1, 1, 1],
    )
    assert [WORD_PIECES[i] for i in pair.ids] == pair.tokens
    assert tokenizer.encode("中").tokens == ["[CLS]", "[UNK]", "[SEP]"]


def test_the_tokenizer_of_bytes_marks_both_ends(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(text_network.write(tmp_path / "roberta", "roberta") / "tokenizer.json"))
    assert tokenizer.encode("cat me").tokens == ["<s>", "ca", "t", "Ġm", "e", "</s>"]
    assert tokenizer.encode("a", "b").tokens == ["<s>", "a", "</s>", "</s>", "b", "</s>"]


@pytest.mark.parametrize("architecture", CLASSES)
def test_the_folder_may_lack_tokenizer_json(tmp_path: Path, architecture: Architecture) -> None:
    folder = text_network.write(tmp_path, architecture, tokenizer=False)
    vocabulary = {"vocab.json", "merges.txt"} if architecture == "roberta" else {"vocab.txt"}
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer_config.json", *vocabulary,
    }  # fmt: skip
