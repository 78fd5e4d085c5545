"""How far other seeds lie apart, measured here by the original's own `graft repeat`, where it costs seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from graft.pipeline.worktree import Worktree
from graft.reproduction.again import Again
from graft.runtime.progress import say

SEEDS = 5
MOST_SECONDS = 60.0
"""What one training may take, with its start, so that several are worth waiting for."""


def measured(tree: Worktree, again: Again, finetuned: bool) -> dict[str, dict[str, float]]:
    """model -> figure -> how far two seeds lie apart at most, 19 times of 20; nothing where it was not measured.

    finetuned: whether it must be told of the fine-tuned model, too, and not of the head alone.
    """
    if finetuned and not _is_cheap(again, "train", "finetune"):
        say("seed noise of the fine-tuned model is not measured; `graft repeat --finetune` does it at leisure")
        finetuned = False
    if not _is_cheap(again, "train"):
        return {}
    say(f"seed noise: the head{' and fine-tuning' if finetuned else ''} with {SEEDS} seeds")
    file = tree.beside / "noise.json"
    command = ["graft", "repeat", "--seeds", str(SEEDS), "--json", str(file), *(["--finetune"] if finetuned else [])]
    done = subprocess.run(command, cwd=tree.folder, env=tree.environment, check=False, stdout=2)
    if done.returncode != 0 or not file.is_file():
        say("note: `graft repeat` of the original's own code failed, so that seed noise is not known")
        return {}
    return read(file)


def _is_cheap(again: Again, *stages: str) -> bool:
    seconds = sum(again.seconds.get(stage, 0.0) for stage in stages)
    if seconds > MOST_SECONDS:
        say(f"{' and '.join(stages)} take {seconds:.0f} s: {SEEDS} times as long is not spent on seed noise")
    return seconds <= MOST_SECONDS


def read(file: Path) -> dict[str, dict[str, float]]:
    """Of what `graft repeat --json` wrote."""
    spread: Mapping[str, Mapping[str, Mapping[str, float]]] = json.loads(file.read_text(encoding="utf-8"))["spread"]
    return {
        model: {name: told["noise"] for name, told in figures.items() if "noise" in told}
        for model, figures in spread.items()
    }
