"""A server on loopback that speaks S3 (moto), and a bucket in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "not-to-be-said-by-anyone"


@dataclass(frozen=True)
class Server:
    """endpoint: its address. environment: what makes S3's clients go there."""

    endpoint: str
    environment: dict[str, str]

    def storage(self) -> Any:
        """Its files, through another client than graft's."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key=SECRET,
        )

    def make(self, bucket: str) -> None:
        self.storage().create_bucket(Bucket=bucket)

    def put(self, folder: Path, bucket: str, below: str = "") -> None:
        """All files below a folder."""
        client = self.storage()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                client.put_object(Bucket=bucket, Key=f"{below}/{name}".lstrip("/"), Body=file.read_bytes())


@contextmanager
def served() -> Iterator[Server]:
    """Started, with the environment that leads to it; gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        _wait(process, port)
        yield Server(endpoint, environment)
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert process.poll() is None, "moto's server has ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("moto's server does not answer")
