"""`graft promote`: a model into MLflow's registry, as champion if it is better than the one that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from graft.cli import compare
from graft.cli.card import written
from graft.cli.predict import LAST
from graft.config.load import load
from graft.errors import StaleError
from graft.registry import decision
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.tracking.origin import Finished
    from graft.tracking.registry import Version

EXIT_CODE_NOT_BETTER = 1

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
    reason = None if force is None else decision.reason(force)
    from graft.tracking import origin, registry, server

    name = name or params.tracking.experiment
    registry.require_name(name)
    with server.faults():
        client = origin.connected(params.tracking.experiment)
        found = origin.runs_of(client, run)
        if len(found) > 1:
            say(f"note: {len(found)} runs have made this model; the newest is registered, {found[0].shown}")
        champion = registry.champion(client, name)
        if champion is not None and champion.run_id == found[0].id:
            typer.echo(f"{champion.shown} is this run's model, and champion already. Nothing was changed.")
            return
        card = written(found[0])
        decided = decision.first() if champion is None else _against(champion, found[0], params, reason)
        version = registry.register(found[0], name, card, decided.tags)
        if decided.promoted:
            registry.crown(client, version)
    typer.echo(_said(version, champion, decided))
    if not decided.promoted:
        raise typer.Exit(EXIT_CODE_NOT_BETTER)


def _against(champion: Version, run: Finished, params: Params, reason: str | None) -> decision.Decision:
    """Shows the comparison. Raises StaleError where there can be none, and no reason to promote it nevertheless."""
    from graft.registry import contest

    judged: dict[str, Any] | None = None
    try:
        matched, outcomes = contest.pair(champion, run, params.data.kind)
        judged = compare.judged(matched, outcomes, params.evaluate.confidence)
        compare.show(judged, compare.SHOWN, params.data.kind)
    except StaleError as error:
        if reason is None:
            raise StaleError(f"{error} {FORCE}") from None
        say(f"note: not compared. {error}")
    return decision.against(f"version {champion.number}, run {champion.run_id}", judged, reason)


def _said(version: Version, champion: Version | None, decided: decision.Decision) -> str:
    before = f"version {champion.number}" if champion else ""
    if not decided.promoted:
        return f"Not promoted: {version.shown} is registered, {before} stays champion ({decided.verdict}). {FORCE}"
    why = f"forced, {decided.verdict}: {decided.forced}" if decided.forced else decided.verdict
    was = f"; it was {before}" if champion else ""
    return f"Promoted: {version.shown} is champion ({why}{was}). models:/{version.name}@champion is its address."
