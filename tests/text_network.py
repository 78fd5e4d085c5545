"""Tiny networks that read texts, with random weights, in folders as Hugging Face lays them out: no download in tests.

`write(folder)` gives what `backbone.weights` may name. Three architectures, under the very names that KerasHub's
converters look for: `bert` as sentence-transformers saves it (no prefix), `distilbert` and `roberta` as transformers
saves them.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, pre_tokenizers
from tokenizers.processors import RobertaProcessing

Architecture = Literal["bert", "distilbert", "roberta"]

HIDDEN, HEADS, INTERMEDIATE, POSITIONS = 16, 2, 32, 64
ROBERTA_OFFSET = 2
"""Rows of RoBERTa's position embeddings that stand for no position."""

WORDS = ("card", "money", "lost", "my", "is", "the", "where", "top", "up", "transfer", "not", "how", "do", "i")
WORD_PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *("?", "."),
    *WORDS,
)
BYTE_PIECES = ("<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ca", "Ġm", "<mask>")
MERGES = [("c", "a"), ("Ġ", "m")]


def write(
    folder: Path, architecture: Architecture = "bert", *, seed: int = 0, layers: int = 2, tokenizer: bool = True
) -> Path:
    """The folder, made and filled. tokenizer: whether tokenizer.json is there; the plain vocabulary always is."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = BYTE_PIECES if architecture == "roberta" else WORD_PIECES
    _write_json(folder / "config.json", _config(architecture, layers, len(vocabulary)))
    if architecture == "roberta":
        _write_byte_pieces(folder, tokenizer)
    else:
        _write_word_pieces(folder, tokenizer)
    save_file(weights(architecture, seed, layers), folder / "model.safetensors")
    return folder


def weights(architecture: Architecture = "bert", seed: int = 0, layers: int = 2) -> dict[str, np.ndarray]:
    """name -> float32 values, drawn from the seed: kernels are (out, in), as PyTorch has them, and keep their input's
    scale, so that every token of a text tells in what comes out."""
    rng = np.random.default_rng(seed)
    return {name: _drawn(name, shape, rng) for name, shape in _shapes(architecture, layers).items()}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if "norm" in name.lower() and name.endswith("weight"):
        return rng.uniform(0.7, 1.3, shape).astype(np.float32)
    scale = 0.1 if name.endswith("bias") else 1.0 if "embeddings" in name else 1 / np.sqrt(shape[-1])
    return rng.normal(0, scale, shape).astype(np.float32)


def _shapes(architecture: Architecture, layers: int) -> dict[str, tuple[int, ...]]:
    """Names of both halves: a dense layer's or a norm's `weight` and `bias`, an embedding's `weight` alone."""
    prefix = {"bert": "", "distilbert": "distilbert.", "roberta": "roberta."}[architecture]
    roberta = architecture == "roberta"
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(BYTE_PIECES if roberta else WORD_PIECES), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS + (ROBERTA_OFFSET if roberta else 0), HIDDEN),
        **_pair("embeddings.LayerNorm", (HIDDEN,)),
    }
    if architecture != "distilbert":
        shapes["embeddings.token_type_embeddings.weight"] = (1 if roberta else 2, HIDDEN)
        shapes |= _pair("pooler.dense", (HIDDEN, HIDDEN))
    for i in range(layers):
        shapes |= _distilbert_layer(i) if architecture == "distilbert" else _bert_layer(i)
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def _bert_layer(i: int) -> dict[str, tuple[int, ...]]:
    layer = f"encoder.layer.{i}"
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= _pair(f"{layer}.{name}", (HIDDEN, HIDDEN))
    shapes |= _pair(f"{layer}.intermediate.dense", (INTERMEDIATE, HIDDEN))
    shapes |= _pair(f"{layer}.output.dense", (HIDDEN, INTERMEDIATE))
    return (
        shapes | _pair(f"{layer}.attention.output.LayerNorm", (HIDDEN,)) | _pair(f"{layer}.output.LayerNorm", (HIDDEN,))
    )


def _distilbert_layer(i: int) -> dict[str, tuple[int, ...]]:
    layer = f"transformer.layer.{i}"
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
        shapes |= _pair(f"{layer}.attention.{name}", (HIDDEN, HIDDEN))
    shapes |= _pair(f"{layer}.ffn.lin1", (INTERMEDIATE, HIDDEN)) | _pair(f"{layer}.ffn.lin2", (HIDDEN, INTERMEDIATE))
    return shapes | _pair(f"{layer}.sa_layer_norm", (HIDDEN,)) | _pair(f"{layer}.output_layer_norm", (HIDDEN,))


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _config(architecture: Architecture, layers: int, vocabulary_size: int) -> dict[str, Any]:
    common = {"model_type": architecture, "vocab_size": vocabulary_size, "hidden_act": "gelu"}
    if architecture == "distilbert":
        return common | {
            "architectures": ["DistilBertModel"], "activation": "gelu", "dim": HIDDEN, "hidden_dim": INTERMEDIATE,
            "n_heads": HEADS, "n_layers": layers, "max_position_embeddings": POSITIONS, "dropout": 0.1,
            "attention_dropout": 0.1, "pad_token_id": 0,
        }  # fmt: skip
    roberta = architecture == "roberta"
    return common | {
        "architectures": ["RobertaModel" if roberta else "BertModel"], "hidden_size": HIDDEN,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": POSITIONS + (ROBERTA_OFFSET if roberta else 0),
        "type_vocab_size": 1 if roberta else 2, "layer_norm_eps": 1e-5 if roberta else 1e-12,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 1 if roberta else 0,
    }  # fmt: skip


def _write_word_pieces(folder: Path, tokenizer: bool) -> None:
    (folder / "vocab.txt").write_text("\n".join(WORD_PIECES) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS}
    _write_json(folder / "tokenizer_config.json", settings)
    if tokenizer:
        vocabulary = {piece: i for i, piece in enumerate(WORD_PIECES)}
        BertWordPieceTokenizer(vocab=vocabulary, lowercase=True).save(str(folder / "tokenizer.json"))


def _write_byte_pieces(folder: Path, tokenizer: bool) -> None:
    vocabulary = {piece: i for i, piece in enumerate(BYTE_PIECES)}
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES))
    _write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", "model_max_length": POSITIONS}
    )
    if tokenizer:
        made = ByteLevelBPETokenizer(vocab=vocabulary, merges=MERGES)
        made.add_special_tokens([piece for piece in BYTE_PIECES if piece.startswith("<") and piece.endswith(">")])
        made.post_processor = RobertaProcessing(("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]))
        made.save(str(folder / "tokenizer.json"))


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
