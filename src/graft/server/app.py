"""Routes, and what each answers. Whatever is wrong with a request is one sentence in JSON: `{"error": ...}`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from graft.errors import DataError, unknown
from graft.examining.text.limits import MOST_CHARACTERS
from graft.server import bodies, watched
from graft.server.kinds import KINDS, Explain, Kind
from graft.server.work import BusyError, LateError
from graft.serving.classifier import TOP_K, answers

if TYPE_CHECKING:
    from graft.server.work import Work

PAGES = Path(__file__).parent

RETRY_AFTER = "1"

MODEL = "model"
"""What an answer calls the sha256 of the weights that gave it, by which `graft lineage` finds their run."""

Handler = Callable[[Request], Awaitable[Response]]


class TooLargeError(Exception):
    """A body has more bytes than it may."""


def made(work: Work, explain: Explain | None = None) -> Starlette:
    """The application. explain: None where nothing can be explained."""
    predict = _watched("/predict", _predict(work))
    return Starlette(
        routes=[
            Route("/", _watched("/", _page(work, explain is not None))),
            Route("/predict", predict, methods=["POST"]),
            Route("/invocations", predict, methods=["POST"]),
            Route("/explain", _watched("/explain", _explain(work, explain)), methods=["POST"]),
            Route("/card", _watched("/card", _card(work))),
            Route("/health", _health),
            Route("/ping", _health),
            Route("/metrics", _metrics(work)),
        ]
    )


def _failed(status: int, message: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _watched(path: str, handler: Handler) -> Handler:
    """A handler whose errors are answers, and which is counted."""

    async def watched_handler(request: Request) -> Response:
        began = time.perf_counter()
        response = await _answered(handler, request)
        watched.SECONDS.labels(path).observe(time.perf_counter() - began)
        watched.REQUESTS.labels(path, str(response.status_code)).inc()
        return response

    return watched_handler


async def _answered(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except (DataError, bodies.BodyError) as error:
        return _failed(422, str(error))
    except TooLargeError as error:
        return _failed(413, str(error))
    except BusyError:
        return _failed(503, "as many requests wait as may (--most-waiting); try again", **{"Retry-After": RETRY_AFTER})
    except LateError:
        return _failed(504, "the request took longer than it may (--seconds)")
    except ClientDisconnect:
        return _failed(400, "the client went away")


async def _body(request: Request, most: int) -> bytes:
    """Read in pieces, so that no more than `most` bytes are held. Raises TooLargeError."""
    message = f"the body must be at most {most} bytes (--most-megabytes)"
    if int(request.headers.get("content-length") or 0) > most:
        raise TooLargeError(message)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLargeError(message)
    return bytes(body)


def _kind(work: Work) -> Kind:
    return KINDS[work.classifier.input.kind]


async def _asked(request: Request, work: Work) -> bodies.Asked:
    content = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        body = await asyncio.wait_for(_body(request, work.limits.body_bytes), work.limits.seconds)
    except TimeoutError:
        raise LateError from None
    kind, pair = _kind(work), bool(work.classifier.card["input"].get("pair"))
    asked = await asyncio.to_thread(kind.read, body, content, pair)  # megabytes of JSON would hold up the others
    most, n = work.limits.examples, len(asked.examples)
    if n > most:
        raise bodies.BodyError(f"a request must have at most {most} {kind.many} (--most-{kind.many}). Got {n}.")
    if not n:
        raise bodies.BodyError(f"a request must have {kind.one}. Got an empty list.")
    return asked


def _top_k(request: Request, asked: bodies.Asked) -> int:
    given = request.query_params.get("top_k", asked.top_k)
    try:
        top_k = TOP_K if given is None else int(given)
    except (TypeError, ValueError):
        top_k = 0
    if top_k < 1:
        raise bodies.BodyError(f"top_k: must be a whole number above 0. Got {given!r}.")
    return top_k


def _head(request: Request, work: Work) -> str | None:
    """The head that is asked for; None for all, where there are several."""
    given = request.query_params.get("head")
    if given is not None and given not in work.cards:
        raise bodies.BodyError(f"head: {unknown(given, work.cards)}")
    return next(iter(work.cards)) if given is None and len(work.cards) == 1 else given


def _predict(work: Work) -> Handler:
    async def predict(request: Request) -> Response:
        asked = await _asked(request, work)
        top_k, head = _top_k(request, asked), _head(request, work)
        probabilities = await work.probabilities(asked.examples)
        watched.EXAMPLES[work.classifier.input.kind].inc(len(asked.examples))
        said = {
            name: answers(card["classes"], one, top_k)
            for (name, card), one in zip(work.cards.items(), probabilities, strict=True)
        }
        made = {name: card["weights_sha256"] for name, card in work.cards.items()}
        if head is None:
            return JSONResponse({"predictions": said, MODEL: made})
        return JSONResponse({"predictions": said[head], MODEL: made[head]})

    return predict


def _explain(work: Work, explain: Explain | None) -> Handler:
    async def explained(request: Request) -> Response:
        asked = await _asked(request, work)
        if explain is None:
            return _failed(404, "this model's predictions cannot be explained")
        if len(asked.examples) > 1:
            raise bodies.BodyError(f"/explain takes one {work.classifier.input.kind}. Got {len(asked.examples)}.")
        (answer,) = await work.done([partial(explain, asked.examples[0])])
        return JSONResponse(answer)

    return explained


def _cards(work: Work) -> Mapping[str, object]:
    """The card; those of all heads by their names where there are several."""
    return work.cards if len(work.cards) > 1 else next(iter(work.cards.values()))


def _card(work: Work) -> Handler:
    async def card(_: Request) -> Response:
        return JSONResponse(_cards(work))

    return card


def _page(work: Work, explains: bool) -> Handler:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template(_kind(work).page).render(
        cards=work.cards,
        card=work.classifier.card,
        explains=explains,
        megabytes=work.limits.body_bytes // 2**20,
        characters=MOST_CHARACTERS,
    )

    async def page(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(html)
        return JSONResponse(_cards(work))

    return page


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _metrics(work: Work) -> Handler:
    async def metrics(_: Request) -> Response:
        watched.WAITING.set(work.waiting)
        content, kind = watched.text()
        return Response(content, media_type=kind)

    return metrics
