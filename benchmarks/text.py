"""What a text costs: `extract` against other ways to the same features, and ways to train on all of BANKING77.

    python benchmarks/text.py --texts data/banking77 --network data/minilm
    python benchmarks/text.py ... --torch some/python   # a Python with torch and sentence-transformers, to compare with

Each ratio compares ways in one run: `rounds` times in turn, the best of each. Each way is in a process that is ready
when it is asked: starting Python, building a network and compiling it are counted for no way. All read the same texts
and cut off what is beyond 64 tokens.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from graft.runtime.cores import available
from record import keep
from text_graft import BLOCKS, ENGINES, INPUT
from workers import READY, Worker

MAX_TOKENS = 64
EPOCHS = 6
"""Of `presets/banking77.yaml`."""

PADDED_SHARE = 4
"""KerasHub's way gets one of so many texts: each costs it the same, since all are as long, and it is the slowest."""

ALIKE = 0.9999
"""Cosine of graft's features and sentence-transformers' of each of 100 texts, at least."""

GOALS = {
    "vs_sentence_transformers": "above 1",
    "vs_keras_predict": "at least 3",
    "head_share": "at most 0.1",
    "blocks_share": "at most 0.45",
    "least_cosine": f"at least {ALIKE}",
}
"""By the end of a figure's name."""


def speeds(workers: dict[str, Worker], rounds: int) -> dict[str, float]:
    """Texts/s of each way, and their ratios: graft's first, the others' by name."""
    own = {f"{how}_{engine}": (workers[how], engine) for how, engines in ENGINES.items() for engine in engines}
    others = {name: (worker, "extract") for name, worker in workers.items() if name not in ENGINES}
    found: dict[str, list[float]] = {name: [] for name in own | others}
    for _ in range(rounds):
        for name, (worker, asked) in (own | others).items():
            answer = worker.ask(asked)
            found[name].append(answer["rate"])
            if "batch_size" in answer:
                print(f"{name}: {answer['rate']:.3g} texts/s in batches of {answer['batch_size']}, its fastest")
    best = {name: max(rates) for name, rates in found.items()}
    ratios = {f"{name}_vs_{other}": best[name] / best[other] for other in others for name in own}
    return {f"{name}_per_second": rate for name, rate in best.items()} | ratios


def least_cosine(workers: dict[str, Worker]) -> dict[str, float]:
    """Of the features of 100 texts, graft's as each `numerics` stores them last and sentence-transformers'."""
    theirs = np.array(workers["sentence_transformers"].ask("features"))
    found = {}
    for how in ENGINES:
        ours = np.array(workers[how].ask("features"))
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        found[f"{how}_least_cosine"] = float(((ours * theirs).sum(axis=1) / lengths).min())
    return found


def training(worker: Worker, how: str, rate: float, n_texts: int, tuned: int, rounds: int) -> dict[str, float]:
    """Seconds of the parts of three ways to train on all texts, and what each is of whole-network fine-tuning's.

    rate: texts/s of the extraction of features alone, from which that of all texts is extrapolated. Epochs are timed on
    `tuned` texts, and extrapolated by the number of texts. Extraction with activations, which two upper blocks begin
    with, and the head are timed on all texts.
    """
    extraction, head = worker.ask("everything"), worker.ask("head")
    epochs: dict[str, list[float]] = {INPUT: [], BLOCKS: []}
    for _ in range(rounds):
        for cut, seconds in epochs.items():
            seconds.append(worker.ask(cut))
    whole, blocks = (min(epochs[cut]) * n_texts / tuned for cut in (INPUT, BLOCKS))
    frozen = n_texts / rate + head
    figures = {
        "extraction_seconds": n_texts / rate,
        "extraction_with_activations_seconds": extraction,
        "head_seconds": head,
        "whole_epoch_seconds": whole,
        "blocks_epoch_seconds": blocks,
        "head_share": frozen / (EPOCHS * whole),
        "blocks_share": (extraction + EPOCHS * blocks) / (EPOCHS * whole),
        "blocks_share_with_head": (extraction + head + EPOCHS * blocks) / (EPOCHS * whole),
    }
    return {f"{how}_{name}": value for name, value in figures.items()}


def write_texts(folder: Path, number: int, file: Path) -> int:
    """`number` training texts or as many as there are, each once, in an order that knows no class; returns how many."""
    table = pd.read_csv(folder / "train.csv", dtype=str, keep_default_na=False)
    table["text"] = table["text"].str.strip()  # as graft reads it
    chosen = table.drop_duplicates("text").sample(frac=1, random_state=0)[:number]
    chosen.to_csv(file, index=False)
    return len(chosen)


def kept(figures: dict[str, float]) -> None:
    """Print figures, with the goals that they have, and keep them."""
    keep({f"text.{name}": value for name, value in figures.items()})
    for name in figures:
        for end, goal in GOALS.items():
            if name.endswith(end):
                print(f"  goal: text.{name} {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="folder with train.csv of BANKING77")
    parser.add_argument("--network", type=Path, required=True, help="folder of MiniLM in Hugging Face's layout")
    parser.add_argument("--torch", help="a Python that has torch and sentence-transformers")
    parser.add_argument("--all", type=int, default=9_003, help="texts to train on, as the preset has them")
    parser.add_argument("--number", type=int, default=2_000, help="texts in one round of extraction")
    parser.add_argument("--tuned", type=int, default=512, help="texts in a timed epoch")
    parser.add_argument("--rounds", type=int, default=3, help="of extraction; of epochs, one less")
    options = parser.parse_args()
    for file in (options.texts / "train.csv", options.network / "tokenizer.json"):
        if not file.is_file():
            parser.error(f"{file} must be a file: `make banking77` and `make minilm` bring both folders. Got none.")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ended:
        folder = Path(name)
        file = folder / "texts.csv"
        n_texts = write_texts(options.texts, options.all, file)
        number, tuned = min(options.number, n_texts), min(options.tuned, n_texts)
        network = str(options.network.resolve())

        def started(name: str, python: str, script: str, number: int, *more: object) -> Worker:
            command = [python, str(Path(__file__).with_name(script)), str(file), str(number), network, *map(str, more)]
            return ended.enter_context(Worker(command, folder / f"{name}.log", environment))

        workers = {how: started(how, sys.executable, "text_graft.py", number, how, tuned) for how in ENGINES}
        padded = max(1, number // PADDED_SHARE)
        workers["keras_predict"] = started("keras_predict", sys.executable, "text_keras.py", padded, MAX_TOKENS)
        if options.torch:
            more = (number, MAX_TOKENS, available())
            workers["sentence_transformers"] = started("torch", options.torch, "text_torch.py", *more)
        for worker in workers.values():
            worker.ask(READY)
        figures = speeds(workers, options.rounds)
        kept(figures)
        if options.torch:
            kept(least_cosine(workers))
        for how, (default, *_) in ENGINES.items():
            rate = figures[f"{how}_{default}_per_second"]
            kept(training(workers[how], how, rate, n_texts, tuned, max(1, options.rounds - 1)))


if __name__ == "__main__":
    main()
