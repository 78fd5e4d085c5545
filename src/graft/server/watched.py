"""What /metrics says, in Prometheus' format: of this process, or of all workers together."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The folder through which several workers share what they count; the library reads it as it is imported."""

REQUESTS = Counter("graft_requests", "Requests, by path and status.", ["path", "status"])
EXAMPLES = {
    "image": Counter("graft_images", "Images that were predicted."),
    "text": Counter("graft_texts", "Texts, or pairs of them, that were predicted."),
}
"""Kind of a card's input -> what counts its examples."""
SECONDS = Histogram(
    "graft_request_seconds",
    "From the last byte of a request to its answer.",
    ["path"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
WAITING = Gauge("graft_waiting", "Requests that wait or run.", multiprocess_mode="livesum")


def text() -> tuple[bytes, str]:
    """The body and its content type."""
    if SHARED not in os.environ:
        return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
