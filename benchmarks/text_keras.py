"""The same network and texts with KerasHub alone: `BertBackbone.predict`, every text padded to the same length.

    python benchmarks/text_keras.py texts.csv number network max_tokens

A process of its own, since graft sets TensorFlow to one thread an operation; `workers` says how it is asked. Tokens
come from the tokenizers library, which is the fastest way to them. The mean over a text's tokens is not counted.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import keras_hub
import numpy as np
from tokenizers import Tokenizer

from workers import serve

BATCH_SIZE = 32


def main(file: Path, number: int, network: Path, max_tokens: int) -> None:
    tokenizer = Tokenizer.from_file(str(network / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(length=max_tokens)
    model = keras_hub.models.BertBackbone.from_preset(str(network))
    with file.open(newline="", encoding="utf-8") as opened:
        texts = [row["text"] for row in csv.DictReader(opened)][:number]

    def predict(texts: list[str]) -> None:
        found = tokenizer.encode_batch(texts)
        inputs = {
            "token_ids": np.array([one.ids for one in found], np.int32),
            "segment_ids": np.array([one.type_ids for one in found], np.int32),
            "padding_mask": np.array([one.attention_mask for one in found], np.int32),
        }
        model.predict(inputs, batch_size=BATCH_SIZE, verbose=0)

    predict(texts[: 2 * BATCH_SIZE])

    def extract() -> dict[str, float]:
        began = time.perf_counter()
        predict(texts)
        return {"rate": len(texts) / (time.perf_counter() - began)}

    serve({"extract": extract})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
