"""A model in use: `graft predict` and `graft serve` against the bare engine and against extraction, in one run.

    python benchmarks/serve.py --model models --photos some/directory        # models: with model.keras and card.json;
                                                                             # a directory per class, or splits above
    python benchmarks/serve.py --model models --photos ... --requests 50000  # and memory over as many, 5 % of them bad

The load tool is wrk (32 connections, one thread), whose own share of the processor is told; it runs on the same cores
as the server. Needs `graft-transfer[serve]` and wrk.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from extract import rates as extraction
from record import keep

CLIENTS = 32
BAD_SHARE = 0.05
SECONDS = 30
ROUNDS = 3

SCRIPT = """
local bodies, bad = {}, {}
for path in io.lines(os.getenv("GRAFT_FILES")) do
  local file = io.open(path, "rb"); table.insert(bodies, file:read("*a")); file:close()
end
local share, i = tonumber(os.getenv("GRAFT_BAD")), 0
request = function()
  i = i + 1
  local body = bodies[i % #bodies + 1]
  if i % 100 < 100 * share then body = body:sub(1, 500) end
  return wrk.format("POST", "/predict", {["Content-Type"] = "image/jpeg"}, body)
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "not_200": %d, "broken": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=0, help="in the run that watches the server's memory")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed (Debian: apt install wrk)")
    files = sorted(options.photos.rglob("*.jpg"))
    found = rates(options.model, files)
    found["extraction"] = extraction(options.photos, len(files), ROUNDS, "portable", {})["graft"]
    with Server(options.model, options.workers) as server:
        runs = [load(server, files, SECONDS, 0.0) for _ in range(ROUNDS)]
        best = max(runs, key=lambda run: run["requests"] / run["seconds"])
        found |= {
            "serve": best["requests"] / best["seconds"],
            "serve_p50_ms": best["p50_ms"],
            "serve_p99_ms": best["p99_ms"],
            "load_tool_cores": best["tool_seconds"] / best["seconds"],
            "serve_peak_gb": server.memory() / 1e9,
        }
        if options.requests:
            found |= flat(server, files, options.requests)
    found["serve_vs_predict"] = found["serve"] / found["predict"]
    found["serve_vs_engine"] = found["serve"] / found["engine"]
    found["predict_vs_extraction"] = found["predict"] / found["extraction"]
    found["predict_vs_engine"] = found["predict"] / found["engine"]
    keep({f"use.{name}": value for name, value in found.items()})


def rates(model: Path, files: list[Path]) -> dict[str, float]:
    """Images/s of the bare engine on decoded images, and of what `graft predict` does."""
    from graft.runtime.computing.tensorflow import start_tensorflow

    start_tensorflow()
    from graft.inputs.batches import stacked
    from graft.prediction import engine, kinds, stream
    from graft.prediction import files as named
    from graft.runtime.cores import available
    from graft.serving.classifier import Classifier

    classifier = Classifier.read(model)
    kind = kinds.of(classifier)
    forward = engine.forward(classifier)
    decoded = [classifier.arrays(path.read_bytes()) for path in files[: forward.batch_size]]
    batch = stacked([(("", 0), one) for one in decoded])[1]
    names = [str(path) for path in files]
    best = {"engine": 0.0, "predict": 0.0}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        calls = max(1, len(files) // forward.batch_size)
        with ThreadPoolExecutor(available()) as pool:
            list(pool.map(lambda _: forward.run(batch), range(calls)))
        best["engine"] = max(best["engine"], calls * forward.batch_size / (time.perf_counter() - began))
        began = time.perf_counter()
        seen = sum(1 for _ in stream.seen(named.found(names, kind), classifier, forward))
        best["predict"] = max(best["predict"], seen / (time.perf_counter() - began))
    return best


class Server:
    """`graft serve` in processes of its own."""

    def __init__(self, model: Path, workers: int) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        command = [sys.executable, "-m", "graft", "serve", "--model", str(model), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--workers", str(workers)])

    def __enter__(self) -> Server:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return self
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    sys.exit("the server did not start")
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        parent = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])


def load(server: Server, files: list[Path], seconds: int, bad: float) -> dict[str, Any]:
    """What wrk says, and the seconds of processor time that it took itself."""
    with tempfile.TemporaryDirectory() as folder:
        script, listed = Path(folder) / "load.lua", Path(folder) / "files"
        script.write_text(SCRIPT)
        listed.write_text("".join(f"{path}\n" for path in files))
        environment = os.environ | {"GRAFT_FILES": str(listed), "GRAFT_BAD": str(bad)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{server.port}/"], env=environment, capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if found is None:
        sys.exit(done.stdout + done.stderr)
    run: dict[str, Any] = json.loads(found[0])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return run | {"tool_seconds": spent}


def flat(server: Server, files: list[Path], requests: int) -> dict[str, float]:
    """Resident memory after a tenth of so many requests and at their end."""
    done, memory, broken = 0, [], 0
    while done < requests:
        run = load(server, files, SECONDS, BAD_SHARE)
        done += run["requests"]
        broken += run["broken"]
        memory.append((done, server.memory()))
        print(f"{done} requests, {memory[-1][1] / 1e6:.0f} MB, {run['not_200']} answered with an error", flush=True)
    early = next(used for n, used in memory if n >= requests / 10)
    answer = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/invocations",
        json.dumps({"inputs": [base64.b64encode(files[0].read_bytes()).decode()]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(answer, timeout=30) as said:
        np.testing.assert_equal(len(json.load(said)["predictions"]), 1)
    return {"requests": done, "broken": broken, "early_gb": early / 1e9, "late_gb": memory[-1][1] / 1e9}


if __name__ == "__main__":
    main()
