"""Whether this processor and an emulated Haswell give the same features and the same ten steps of training.

    python tests/portable/compare.py            what CI runs: about five minutes
    python tests/portable/compare.py --all      every network of steps.py and features.py
    python tests/portable/compare.py --approximate   puts the approximate root back: it must fail

Needs qemu-user (`apt-get install qemu-user`). Exit code 1 where they differ.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
EMULATOR = "qemu-x86_64"
HASWELL = [EMULATOR, "-cpu", "Haswell"]


def hashes(emulated: bool, script: str, *arguments: str) -> dict[str, str]:
    """case -> what a script prints for it."""
    command = [*(HASWELL if emulated else []), sys.executable, str(HERE / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1] / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("STEPS ", "FEATURES "))]
    return {" ".join(words[:2]).lower(): " ".join(words[2:]) for words in lines}


def compared(script: str, arguments: list[str]) -> bool:
    """Whether all that a script prints is the same here and there."""
    began = time.monotonic()
    here, there = hashes(False, script, *arguments), hashes(True, script, *arguments)
    for case, expected in here.items():
        word = "same" if there.get(case) == expected else "DIFFERENT"
        print(f"{word}  {case}: here {expected}, Haswell {there.get(case)}", flush=True)
    print(f"{script}: {time.monotonic() - began:.0f} s", flush=True)
    return bool(here) and here == there


def main() -> None:
    if shutil.which(EMULATOR) is None:
        sys.exit(f"{EMULATOR} is not installed: apt-get install qemu-user")
    everything = "--all" in sys.argv
    approximate = ["--approximate"] if "--approximate" in sys.argv else []
    networks = ("mobilenet", "taps", "resnet", "mobilenet_v3", "convnext") if everything else ("mobilenet",)
    runs: list[tuple[str, list[str]]] = [("features.py", [name]) for name in networks]
    runs.append(("solved.py", []))
    runs += [("texts.py", []), ("vision.py", [])] if everything else []
    runs.append(("steps.py", [*([] if everything else ["finetune"]), *approximate]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # an emulated processor is little more than one core
        same = all(list(pool.map(lambda one: compared(*one), runs)))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
