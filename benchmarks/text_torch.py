"""The same network and texts in sentence-transformers: `SentenceTransformer.encode`, on the CPU.

    python benchmarks/text_torch.py texts.csv number network max_tokens threads

Run with a Python that has torch and sentence-transformers; `workers` says how it is asked. The first round tries each
of a few batch sizes, and the following ones keep to the fastest.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from workers import serve

BATCH_SIZES = (8, 16, 32, 64, 128)


def main(file: Path, number: int, network: str, max_tokens: int, threads: int) -> None:
    torch.set_num_threads(threads)
    model = SentenceTransformer(network, device="cpu")
    model.max_seq_length = max_tokens
    with file.open(newline="", encoding="utf-8") as opened:
        texts = [row["text"] for row in csv.DictReader(opened)][:number]
    model.encode(texts[:64], batch_size=32, show_progress_bar=False)
    sizes = list(BATCH_SIZES)

    def rate(size: int) -> float:
        began = time.perf_counter()
        model.encode(texts, batch_size=size, show_progress_bar=False)
        return len(texts) / (time.perf_counter() - began)

    def extract() -> dict[str, float]:
        """Texts/s, and the batch size with which they were reached."""
        rates = {size: rate(size) for size in sizes}
        sizes[:] = [max(rates, key=lambda size: rates[size])]
        return {"rate": rates[sizes[0]], "batch_size": sizes[0]}

    def features() -> Any:
        return model.encode(texts[:100], batch_size=32, show_progress_bar=False).tolist()

    serve({"extract": extract, "features": features})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
