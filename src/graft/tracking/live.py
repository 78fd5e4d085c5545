"""A training stage in MLflow while it runs: the pass's run is opened, and each epoch is there as it ends.

Training waits for neither. MLflow takes two seconds to start, and most heads are trained by then: so a thread of its
own starts it, and only where training takes longer than `SOON_SECONDS`. `evaluate` logs the rest from the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING

from graft.pipeline import session
from graft.runtime.progress import say
from graft.tracking import server

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.tracking.mirror import Tracked
    from graft.training.fit import OnEpoch

SOON_SECONDS = 10.0
"""What ends sooner leaves it to a later stage to open the run, unless it fails. 0: it is opened before training."""


@contextmanager
def live(stage: str, params: Params, paths: Paths) -> Iterator[OnEpoch]:
    """Around a training stage: yields what to call as each epoch ends.

    Raises TrackingError before anything is trained where a server does not let the run be opened, or a SQLite file is
    no store. A run that is complete is left alone: training again is a check of it, and `run.complete` compares. If
    the store fails later, training goes on: `run.complete` logs from the files.
    """
    session.note_execution(stage)
    server.require_usable()
    following = _Following(stage, params, paths)
    if server.store_file() is None or not SOON_SECONDS:
        following.open_now()
    else:
        following.open_in_time()
    try:
        yield following.on_epoch
    except BaseException as error:
        following.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    following.end("FINISHED")


class _Following:
    """Opens the run and logs epochs, in this order, on one thread. The first failure ends it, with a line."""

    def __init__(self, stage: str, params: Params, paths: Paths) -> None:
        self._stage, self._params, self._paths = stage, params, paths
        self._status, self._ended, self._failed = "RUNNING", Event(), False
        self._tracked: Tracked | None = None
        self._thread = ThreadPoolExecutor(1)

    def open_now(self) -> None:
        """Raises TrackingError where the run cannot be opened."""
        from graft.tracking import run

        self._tracked = run.opened(self._params, self._paths)

    def open_in_time(self) -> None:
        """Unless the stage ends before; one that fails before is told of nevertheless."""
        self._thread.submit(self._open)

    def on_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        self._thread.submit(self._log, epoch, metrics)

    def end(self, status: str) -> None:
        """The stage has ended. What it has not opened by then stays so, but for a stage that failed."""
        self._status = status
        self._ended.set()
        self._thread.shutdown(wait=True, cancel_futures=self._failed)
        if self._tracked is not None:
            with suppress(Exception):  # the store may be what failed
                self._tracked.client.set_terminated(self._tracked.run_id, status)

    def _open(self) -> None:
        if self._ended.wait(SOON_SECONDS) and self._status != "FAILED":
            return
        try:
            self.open_now()
        except Exception as error:  # the training is worth more, and `evaluate` needs the store: it says so again
            self._failed = True
            say(f"note: {error} Training goes on; `evaluate` will log it from the files.")

    def _log(self, epoch: int, metrics: dict[str, float]) -> None:
        if self._failed or self._tracked is None:
            return
        from graft.tracking import mirror

        try:
            self._tracked.metrics(mirror.curve(self._stage, metrics), epoch)
        except Exception as error:  # whatever the store raises, the training is worth more
            self._failed = True
            say(
                f"note: MLflow failed in epoch {epoch} ({server.reason(error)}); training goes on, `evaluate` will log "
                "the curves from the files"
            )
