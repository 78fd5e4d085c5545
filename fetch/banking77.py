"""`make banking77`: 13,083 questions of bank customers with their 77 intents (CC BY 4.0) into data/banking77.

Of I. Casanueva, T. Temčinas, D. Gerz, M. Henderson and I. Vulić, Efficient Intent Detection with Dual Sentence Encoders
(https://arxiv.org/abs/2003.04807), as their repository has them at REVISION: two tables with the columns text and
category.
"""

from __future__ import annotations

import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pinned

REVISION = "57ec275d8078af65b7731c2a98be812d844a6d6b"
ADDRESS = f"https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/{REVISION}/banking_data"
TARGET = Path("data/banking77")
PINS = {
    "train.csv": "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
    "test.csv": "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
}
PATIENCE_SECONDS = 60


def fetch(folder: Path, address: str = ADDRESS) -> None:
    """Both tables from the address."""
    for name in PINS:
        try:
            request = urllib.request.urlopen(f"{address}/{name}", timeout=PATIENCE_SECONDS)
            with request as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
        except (OSError, HTTPException) as error:
            pinned.fail(
                f"{address}/{name} must be within reach. It said: {error}. Is there a network? If not, put {name} of "
                f"that revision into {TARGET}; `make banking77` says whether it is the same."
            )


if __name__ == "__main__":
    print(pinned.put(TARGET, PINS, fetch))
