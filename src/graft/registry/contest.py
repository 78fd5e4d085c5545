"""A run beside the champion: what both said of the same test examples, or why they cannot be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.errors import GraftError, StaleError
from graft.tracking import ledger, origin, outcomes
from graft.tracking.outcomes import Outcome
from graft.verdicts import matching

if TYPE_CHECKING:
    from graft.tracking.origin import Finished
    from graft.tracking.registry import Version
    from graft.verdicts.matching import Matched

TEST = "test"


def pair(champion: Version, run: Finished, kind: str) -> tuple[Matched, tuple[Outcome, Outcome]]:
    """The champion as A, the run as B, on the test split. kind: of the examples, for messages.

    Raises StaleError where they were not judged on the same test examples, or the champion's run is gone.
    """
    holder = _run_of(champion, run)
    _require_same_test(champion, holder, run, kind)
    a, b = (outcomes.of_run(one.client, one.run) for one in (holder, run))
    matched = matching.match(a.predictions, b.predictions, TEST)
    if matched.differences:
        raise StaleError(
            f"run {run.shown}: must have been judged on the test {kind}s of the champion, {champion.shown}, under the "
            f"same names. They differ, A being the champion: {'; '.join(matched.differences)}. "
            "Promote it under another --name."
        )
    return matched, (Outcome(f"{champion.shown}: {a.name}", a.predictions), b)


def _run_of(champion: Version, run: Finished) -> Finished:
    try:
        if champion.run_id is None:
            raise StaleError("it was registered by hand, without a run.")
        return origin.runs_of(run.client, f"runs:/{champion.run_id}")[0]
    except GraftError as error:
        raise StaleError(
            f"the champion, {champion.shown}: must be the model of a finished run that is there, to be compared with. "
            f"Got: {error} Promote under another --name."
        ) from None


def _require_same_test(champion: Version, holder: Finished, run: Finished, kind: str) -> None:
    tests = [one.run.data.tags.get(ledger.TEST_SPLIT) for one in (holder, run)]
    names = (f"the champion, {champion.shown}", f"run {run.shown}")
    without = [name for name, test in zip(names, tests, strict=True) if test is None]
    if without:
        raise StaleError(
            f"{' and '.join(without)}: must have been judged on test {kind}s, to be compared. There were none. Hold "
            f"some out (data.split in params.yaml) and run `dvc repro`."
        )
    if tests[0] != tests[1]:
        raise StaleError(
            f"run {run.shown}: must be judged on the same test {kind}s as the champion, {champion.shown}. It was "
            "judged on others, or with other labels. Run `dvc repro` with the champion's data and split (`graft "
            f"lineage {holder.id}` says which), or promote it under another --name."
        )
