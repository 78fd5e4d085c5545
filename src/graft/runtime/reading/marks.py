"""What tells that a file at an address has changed, and reading it so that this is seen.

A mark is the ETag, or what a storage has in its place: the MD5 of the content, or when it was written. It comes with
the answer that brings the content, so that seeing a change costs no request of its own where storages allow it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from graft.runtime.reading.storage import WEB

MD5 = "md5:"
WRITTEN = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created")
"""What file systems of fsspec's, and servers, call the time."""


class ChangedError(Exception):
    """A file is not what it was. Its text says in which way."""


def of(info: Mapping[str, Any]) -> str:
    """Of a file, as fsspec's `info` or a server's headers describe it; "" where nothing tells."""
    settings = info.get("content_settings")
    md5 = info.get("md5Hash") or (settings.get("content_md5") if isinstance(settings, Mapping) else None)
    if md5:
        return MD5 + (md5 if isinstance(md5, str) else base64.b64encode(bytes(md5)).decode())
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return str(etag).strip('"')
    return next((str(info[name]) for name in WRITTEN if info.get(name)), "")


def read(filesystem: Any, kind: str, path: str, mark: str) -> bytes:
    """The content of a file that has this mark. Raises ChangedError, and whatever the file system raises."""
    content: bytes
    asks = _of_s3 if kind == "s3" else _of_web if kind in WEB else None
    if asks is not None:
        from fsspec.asyn import sync

        content, headers = sync(filesystem.loop, asks, filesystem, path)
        told = of(headers)
    else:
        content = bytes(filesystem.cat_file(path))
        told = MD5 + _md5(content) if mark.startswith(MD5) else of(filesystem.info(path)) if mark else ""
    require(mark, told)
    return content


def require(mark: str, told: str) -> None:
    """Raises ChangedError where a file's mark is another one now. One that nothing tells of counts as the same."""
    if mark and told and mark != told:
        raise ChangedError(f"its mark was {mark}, and is {told}")


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


async def _of_s3(filesystem: Any, path: str) -> tuple[bytes, Mapping[str, Any]]:
    bucket, key, _ = filesystem.split_path(path)
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        return await body.read(), answer


async def _of_web(filesystem: Any, url: str) -> tuple[bytes, Mapping[str, Any]]:
    session = await filesystem.set_session()
    headers = {"Accept-Encoding": "identity"}  # as it was listed: compressed, it would have another ETag
    async with session.get(filesystem.encode_url(url), headers=headers) as answer:
        filesystem._raise_not_found_for_status(answer, url)
        return await answer.read(), answer.headers
