"""Files that lie at an address, `s3://bucket/photos` or `https://host/photos`, through fsspec.

Credentials are those that the storage's own tools take: environment, `~/.aws`, `~/.netrc`; more can be set as fsspec
has it (`FSSPEC_S3='{"anon": true}'`). None is taken from an address, and none is ever said.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any, NoReturn
from urllib.parse import quote

from graft.errors import DataError, without_credentials
from graft.runtime.reading import patience

PACKAGES = {
    "s3": "'graft-transfer[s3]'", "gs": "gcsfs", "az": "adlfs", "http": "aiohttp", "https": "aiohttp", "file": "fsspec",
}  # fmt: skip
"""How an address may begin -> what must be installed for it, as `pip install` takes it."""

WEB = ("http", "https")

AT_ONCE = 32
"""Requests on their way at a time: they wait for the network, not for a core."""

REFUSED = {"PermissionError", "NoCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}
"""Names of errors of those who may not read, or have not said who they are."""

OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"max_pool_connections": AT_ONCE, "retries": {"mode": "standard", "max_attempts": 3}},
    },
    **{name: {"use_listings_cache": False, "client_kwargs": {"trust_env": True}} for name in WEB},
}
"""What fsspec is told of a protocol: nothing of yesterday, and the web's credentials from `~/.netrc`."""

SECRET = re.compile("SECRET|TOKEN|PASSWORD|CREDENTIAL|KEY|CONNECTION_STRING|SAS_", re.IGNORECASE)
"""Names of variables of the environment, and of fsspec's settings in them, whose values are nobody's business."""

SHORTEST_SECRET = 6
"""Characters: shorter ones are words that stand in any message."""


def is_address(text: str) -> bool:
    """Whether a text is an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def protocol(address: str) -> str:
    """`s3` of `s3://bucket`."""
    return address.partition("://")[0].lower()


def cleaned(text: object) -> str:
    """One line without a user and password before a host, a signature behind a path, or a secret of the environment."""
    line = " ".join(str(text).split())
    for value in sorted(_secrets(), key=len, reverse=True):
        line = line.replace(value, "***")
    return without_credentials(line)


def _secrets() -> set[str]:
    """Values of the environment that must not be said."""
    found = {value for name, value in os.environ.items() if SECRET.search(name)}
    for name, value in os.environ.items():
        if name.startswith("FSSPEC_"):  # settings as JSON
            found |= set(re.findall(rf'"[^"]*(?:{SECRET.pattern})[^"]*"\s*:\s*"([^"]*)"', value, re.IGNORECASE))
    return {value for value in found if len(value) >= SHORTEST_SECRET}


def opened(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the address as that calls it.

    Raises DataError for an address of an unknown kind or with credentials in it, and where a package is missing.
    """
    kind = protocol(address)
    if kind not in PACKAGES:
        raise DataError(
            f"{cleaned(address)}: must begin with {', '.join(f'{name}://' for name in PACKAGES)}. Got {kind}://."
        )
    if without_credentials(address) != address:
        raise DataError(
            f"{cleaned(address)}: must be an address without a user, password or signature, since it is written into "
            "files that git holds. Give credentials as the storage's own tools take them (docs/data.md)."
        )
    filesystem = _filesystem(kind, os.getpid())
    return filesystem, str(filesystem._strip_protocol(address)).rstrip("/")


def below(root: str, path: str, web: bool) -> str:
    """A file as a file system calls it. root: as `opened` gives it. web: whether that is an address of the web."""
    return f"{root}/{quote(path) if web else path}"


@cache
def _filesystem(kind: str, process: int) -> Any:
    """process: whose it is: its connections are no other's."""
    import fsspec

    try:
        made = fsspec.filesystem(kind, **OPTIONS.get(kind, {}))
    except ImportError:
        raise DataError(
            f"{kind}://: must have a package that reads such addresses, which is not installed. "
            f"`pip install {PACKAGES[kind]}`."
        ) from None
    except Exception as error:  # credentials that are half there, or not at all; each storage raises its own
        fail(f"{kind}://", "opened", error)
    if kind == "s3":
        made.retries = 1  # it would wait as often again within each of our tries
    return made


def fail(address: str, done: str, error: BaseException) -> NoReturn:
    """Raises DataError: an address could not be `done` (read, listed) for `error`."""
    refused = patience.status(error) in (401, 403) or REFUSED & patience.names_of(error)
    if refused or "with credentials" in str(error):  # adlfs without any
        remedy = "Give credentials that may read there, as the storage's own tools take them (docs/data.md)."
    elif patience.is_gone(error):
        remedy = "Look whether the address is right."
    else:
        remedy = "Look whether the address is right and the network there, and run it again."
    said = "nothing there" if patience.is_gone(error) else cleaned(error.__cause__ or error) or type(error).__name__
    said = said.split(" RequestId:")[0]  # of Azure, which shows its whole answer behind that
    raise DataError(f"{cleaned(address)}: could not be {done}. Got: {said.rstrip('.!')}. {remedy}") from None
