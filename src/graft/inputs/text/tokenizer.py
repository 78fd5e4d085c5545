"""From a text to the numbers of its tokens, by Hugging Face's `tokenizers`; a tokenizer is the text of its JSON.

So it can be a value like any other: it stands in a model's card, and the model tells its own words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import BackboneError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MASKS = ("[MASK]", "<mask>")
"""How networks call the token that stands for a hidden one."""


@lru_cache(8)
def read(weights: str) -> str:
    """The JSON of the tokenizer that belongs to a network's weights. weights: a folder, or a preset of KerasHub's.

    Raises BackboneError where there is none that can be read.
    """
    find = _in_folder(Path(weights)) if Path(weights).is_dir() else _in_preset(weights)
    try:
        for reader in (_whole, _word_pieces, _byte_pairs):
            if (found := reader(find)) is not None:
                found.no_padding()
                found.no_truncation()
                return str(found.to_str())
        fault = "none of tokenizer.json, vocab.txt, vocabulary.txt, or vocab.json with merges.txt is there"
    except ImportError as error:
        raise BackboneError(
            f"backbone.name: text networks need tokenizers ({error}). Install it: pip install 'graft-transfer[text]'."
        ) from None
    except Exception as error:  # tokenizers raises bare Exceptions
        fault = " ".join(str(error).split())[:300]
    raise BackboneError(
        f"backbone.weights: {weights!r} must hold the network's tokenizer. Got: {fault}. Networks with a SentencePiece "
        "vocabulary need tokenizer.json beside it, as Hugging Face's hub has it."
    )


Find = Callable[[str], Path | None]
"""The name of a file -> where it is; None where there is none."""


def _in_folder(folder: Path) -> Find:
    def find(name: str) -> Path | None:
        return next((path for path in (folder / name, folder / "assets/tokenizer" / name) if path.is_file()), None)

    return find


def _in_preset(weights: str) -> Find:
    """KerasHub downloads a file of a preset once."""

    def find(name: str) -> Path | None:
        from keras_hub.src.utils.preset_utils import get_file

        for path in (name, f"assets/tokenizer/{name}"):
            try:
                return Path(get_file(weights, path))
            except FileNotFoundError:
                continue
        return None

    return find


def _settings(find: Find, name: str) -> dict[str, Any]:
    file = find(name)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file else {}
    return found


def _whole(find: Find) -> Tokenizer | None:
    """Hugging Face's own file; KerasHub's of the same name says other things."""
    from tokenizers import Tokenizer

    file = find("tokenizer.json")
    if file is None or "model" not in json.loads(file.read_text(encoding="utf-8")):
        return None
    return Tokenizer.from_file(str(file))


def _word_pieces(find: Find) -> Tokenizer | None:
    """BERT's, of a vocabulary with a line for each token."""
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    file = find("vocab.txt") or find("vocabulary.txt")
    if file is None:
        return None
    theirs = _settings(find, "tokenizer_config.json").get("do_lower_case")
    hubs = _settings(find, "tokenizer.json").get("config", {}).get("lowercase")
    whole = BertWordPieceTokenizer(str(file), lowercase=bool(hubs if theirs is None else theirs))
    return Tokenizer.from_str(whole.to_str())


def _byte_pairs(find: Find) -> Tokenizer | None:
    """RoBERTa's, of a vocabulary and the pairs that are merged."""
    from tokenizers import ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import RobertaProcessing

    vocabulary, merges = find("vocab.json") or find("vocabulary.json"), find("merges.txt")
    if vocabulary is None or merges is None:
        return None
    found = Tokenizer.from_str(ByteLevelBPETokenizer(str(vocabulary), str(merges)).to_str())
    end, start = ((name, int(found.token_to_id(name) or 0)) for name in ("</s>", "<s>"))
    found.post_processor = RobertaProcessing(end, start, add_prefix_space=False)
    return found


@lru_cache(8)
def opened(text: str, max_tokens: int) -> Tokenizer:
    """The tokenizer whose JSON `text` is. What is beyond `max_tokens` is cut off, of a pair from the longer one."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BackboneError(
            f"a model on texts needs tokenizers ({error}). Install it: pip install 'graft-transfer[text]'."
        ) from None
    found = Tokenizer.from_str(text)
    found.enable_truncation(max_tokens, strategy="longest_first")
    return found


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoding:
    """texts: of an example, one or two."""
    first, *second = texts
    return tokenizer.encode(first, second[0] if second else None)


def mask(tokenizer: Tokenizer) -> int | None:
    """The number of the token that hides another; None where the network was not trained with one."""
    return next((number for name in MASKS if (number := tokenizer.token_to_id(name)) is not None), None)
