"""Whether a model takes the champion's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graft.errors import GraftError
from graft.verdicts.words import NOT_COMPARABLE, Compared

FIRST = "first"
"""The verdict on a model where there is no champion yet."""

MOST_CHARACTERS = 500
"""Of a reason: it stands in a tag."""


@dataclass(frozen=True)
class Decision:
    """promoted: whether it becomes champion. verdict: FIRST, or what `graft compare` says of it against the champion.

    tags: what the version in the registry is tagged with.
    """

    promoted: bool
    verdict: str
    tags: Mapping[str, str]

    @property
    def forced(self) -> str | None:
        """The reason, where the comparison did not say that it is better."""
        return self.tags.get("graft.forced")


def reason(given: str) -> str:
    """Without blanks around it. Raises GraftError where it says nothing or too much."""
    text = given.strip()
    if not 0 < len(text) <= MOST_CHARACTERS:
        raise GraftError(
            f"--force: must be followed by a reason of 1 to {MOST_CHARACTERS} characters, which the registry keeps. "
            f"Got {len(text)}. Say why it is to be champion."
        )
    return text


def first() -> Decision:
    """Without a champion."""
    return Decision(True, FIRST, {"graft.verdict": FIRST, "graft.promoted": "true"})


def against(champion: str, judged: Mapping[str, Any] | None, reason: str | None) -> Decision:
    """champion: as a reader is told of it. judged: what `graft compare` found, the champion as A; None where the two
    cannot be compared. reason: why it is promoted whatever was found; None where it is not.
    """
    verdict = NOT_COMPARABLE if judged is None else str(judged["verdict"])
    promoted = verdict == Compared.BETTER or reason is not None
    tags = {"graft.verdict": verdict, "graft.promoted": str(promoted).lower(), "graft.against": champion}
    if judged is not None and verdict != NOT_COMPARABLE:
        gap = judged["difference"]
        tags |= {
            "graft.difference": f"{gap['value']:+.4f}",
            "graft.difference_interval": f"{gap['low']:+.4f} to {gap['high']:+.4f} ({gap['confidence']:.0%})",
            "graft.p": f"{judged['p']:.3g}",
        }
    if reason is not None and verdict != Compared.BETTER:
        tags["graft.forced"] = reason
    return Decision(promoted, verdict, tags)
