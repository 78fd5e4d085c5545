"""`graft promote`: a model into MLflow's registry, as champion if it is better than the one that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from graft.cli import compare
from graft.cli.card import written
from graft.cli.predict import LAST
from graft.config.load import load
from graft.errors import GraftError, StaleError
from graft.registry import decision
from graft.runtime.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from graft.config.schema import Params

EXIT_CODE_NOT_BETTER = 1
TEST = "test"
FORCE = "`--force REASON` promotes it all the same and records why."


def promote(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run in MLflow, by its id or name; or a model's file or address.",
            show_default=f"the run that made {LAST}",
        ),
    ] = LAST,
    name: Annotated[
        str | None, typer.Option(help="Of the model in the registry.", show_default="tracking.experiment")
    ] = None,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote it whatever the comparison says, and record why.")
    ] = None,
) -> None:
    """Register a run's model, with its card. It becomes the champion (models:/NAME@champion) if `graft compare` says
    that it is better than the present one on the same test split, or if there is none.

    Exit code 1: it is not better.
    """
    params = load()
    if force is not None and not 0 < len(force.strip()) <= decision.MOST_CHARACTERS:
        raise GraftError(
            f"--force: must be a reason, 1 to {decision.MOST_CHARACTERS} characters long, which the registry keeps. Got "
            f"{len(force.strip())} characters."
        )
    name = name or params.tracking.experiment
    from graft.tracking import origin, registry, server

    registry.require_name(name)
    client = origin.connected(params.tracking.experiment)
    with server.faults():
        found = origin.runs_of(client, run)
        if len(found) > 1:
            say(f"note: {len(found)} runs have made this model; the newest is registered, {found[0].info.run_id}")
        promoted = _promoted(client, name, found[0], params, force)
    if not promoted:
        raise typer.Exit(EXIT_CODE_NOT_BETTER)


def _promoted(client: MlflowClient, name: str, run: Run, params: Params, reason: str | None) -> bool:
    """Whether it is champion now."""
    from graft.tracking import registry

    holder = registry.champion(client, name)
    if holder is not None and holder.run_id == run.info.run_id:
        typer.echo(f"{name} version {holder.version} is this run's model, and champion already. Nothing was changed.")
        return True
    card = written(client, run)
    if holder is None:
        decided = decision.first()
    else:
        judged = _judged(client, name, holder, run, params, reason is not None)
        if judged is not None:
            compare.show(judged, compare.SHOWN, params.data.kind)
        champion = f"version {holder.version}, run {holder.run_id}"
        decided = decision.against(champion, judged, reason.strip() if reason else None)
    version = registry.register(client, name, run, card, decided.tags)
    if decided.promoted:
        registry.crown(client, name, version)
    _say(name, version, holder, decided)
    return decided.promoted


def _judged(
    client: MlflowClient, name: str, holder: ModelVersion, run: Run, params: Params, forced: bool
) -> dict[str, Any] | None:
    """What `graft compare` finds, the champion as A; None where they cannot be compared and need not be.

    Raises StaleError where they cannot be compared on the same test examples.
    """
    from graft.tracking import ledger, outcomes
    from graft.tracking.outcomes import Outcome
    from graft.verdicts import matching

    called = f"the champion, {name} version {holder.version}"
    try:
        champion = _run_of(client, holder, called)
        tests = [one.data.tags.get(ledger.TEST_SPLIT) for one in (champion, run)]
        if None in tests or tests[0] != tests[1]:
            raise StaleError(_apart(called, champion, run, tests, params.data.kind))
        pair = [outcomes.of_run(client, one) for one in (champion, run)]
        matched = matching.match(pair[0].predictions, pair[1].predictions, TEST)
        if matched.differences:
            raise StaleError(
                f"{called}, and {pair[1].name}: must have been judged on the same test {params.data.kind}s under the "
                f"same names. Different: {'; '.join(matched.differences)}, where A is the champion. {FORCE}"
            )
    except StaleError as error:
        if not forced:
            raise
        say(f"note: not compared, since it is forced. {error}")
        return None
    named = Outcome(f"{name} version {holder.version}: {pair[0].name}", pair[0].predictions)
    return compare.judged(matched, (named, pair[1]), params.evaluate.confidence)


def _run_of(client: MlflowClient, holder: ModelVersion, called: str) -> Run:
    from graft.tracking import origin

    try:
        if not holder.run_id:
            raise GraftError("it was registered without one")
        return origin.runs_of(client, f"runs:/{holder.run_id}")[0]
    except GraftError as error:
        raise StaleError(
            f"{called}: must be the model of a finished run of graft's that is there, to be compared with. Got: {error} "
            f"Name another model with --name. {FORCE}"
        ) from None


def _apart(called: str, champion: Run, run: Run, tests: list[str | None], kind: str) -> str:
    """Why two runs have no test in common, and what to do."""
    names = (called, f"run {run.info.run_name} ({run.info.run_id})")
    without = [name for name, test in zip(names, tests, strict=True) if test is None]
    if without:
        return (
            f"{' and '.join(without)}: must have been judged on test {kind}s, to be compared. There were none. Hold some "
            f"out (data.split in params.yaml) and run `dvc repro`. {FORCE}"
        )
    return (
        f"{names[1]}: must be judged on the same test {kind}s as {called} (run {champion.info.run_id}). It was judged on "
        "others, or with other labels. Run `dvc repro` with the champion's data and data.split (`graft lineage "
        f"{champion.info.run_id}` says which), or promote it under another --name. {FORCE}"
    )


def _say(name: str, version: ModelVersion, holder: ModelVersion | None, decided: decision.Decision) -> None:
    what = f"{name} version {version.version}"
    before = f"version {holder.version}" if holder else ""
    if not decided.promoted:
        typer.echo(f"Not promoted: {what} is registered, and {before} stays champion: {decided.verdict}. {FORCE}")
        return
    why = f"{decided.verdict} than {before}" if decided.verdict == "better" else f"forced, {decided.verdict}; {before} was"
    typer.echo(f"Promoted: {what} is champion ({why if holder else 'the first'}). models:/{name}@champion is its address.")
