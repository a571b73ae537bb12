"""What ``t2c serve`` comes to over many requests, and what its clients see when it is killed.

    python benchmarks/serve_endurance.py --workdir runs/tiny --pairs nl2bash/dev.jsonl --requests 50000 --kills 5

Memory: ``--clients`` ask in a closed loop, every second load streamed. Each prompt has a number of its own, so that
none was seen before. The resident memory of the server's process is read after each load.

Kills: clients ask while the server gets SIGKILL, and another one is started at the same port once it is gone. Each
request must end with the answer that the server gives when it is left alone, or with an error that its client sees: a
connection that is refused or reset, a body that is shorter than its length, or a stream without its last event.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import itertools
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _rounds
from serve import HERE, Clients, Server, started

from t2c_jax import console

_LOADS = 20
_SECONDS_ALIVE = 3.0  # of a server that is killed


def command(options: argparse.Namespace, port: int = 0) -> list[str]:
    """Of the server."""
    run = [sys.executable, "-c", "import sys; from t2c_jax.cli import main; sys.exit(main())", "serve"]
    return [*run, "--workdir", options.workdir, f"--port={port}", "--json", *options.also]


def resident(process: subprocess.Popen[str]) -> int:
    """Bytes of a process in memory."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def memory(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """The memory after each load."""
    log = Path(options.scratch, "log")
    size, numbers, found = options.requests // _LOADS, itertools.count(), []
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(started(command(options), dict(_rounds.ours("").environment), log))
        clients = Clients(stack.enter_context(started([sys.executable, str(HERE / "_clients.py")])))
        server = Server(process)
        server.wait_until_ready()
        with console.progress("loads", _LOADS) as bar:
            for load in range(_LOADS):
                prompts = [f"{texts[number % len(texts)]} {number}" for number in itertools.islice(numbers, size)]
                result = clients.put(server, prompts, options.clients, streams=load % 2 == 1)
                found.append({"requests": (load + 1) * size, "bytes": resident(process), "rate": result.rate})
                bar.advance()
    rows = [(f"{row['requests']:,}", f"{row['bytes'] / 1e6:.1f} MB", f"{row['rate']:.0f}") for row in found]
    console.table("memory of the server", ("requests", "resident", "answers/s"), rows)
    half = found[_LOADS // 2 - 1 :]
    grown = half[-1]["bytes"] - half[0]["bytes"]
    console.say(f"{grown / 1e6:+.1f} MB over the last {half[-1]['requests'] - half[0]['requests']:,} requests")
    return {"loads": found, "grown_in_second_half": grown}


def ask(port: int, prompt: str, *, streams: bool) -> str:
    """The answer.

    Raises:
      OSError, http.client.HTTPException, EOFError: there is none.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        body = json.dumps({"prompt": prompt, "stream": streams})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"status {answer.status}")
    if not streams:
        return str(json.loads(content)["choices"][0]["text"])
    events = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
    if events[-1:] != [b"[DONE]"]:
        raise EOFError("the stream has no end")
    return "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])


def kills(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, int]:
    """Outcomes of requests while the server is killed again and again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked, outcomes = texts[:64], collections.Counter[str]()
    ends, lock = threading.Event(), threading.Lock()
    environment = dict(_rounds.ours("").environment)

    def begun(stack: contextlib.ExitStack, number: int) -> subprocess.Popen[str]:
        log = Path(options.scratch, f"log{number}")
        process = stack.enter_context(started(command(options, port), environment, log))
        Server(process).wait_until_ready()
        return process

    def client(seed: int) -> None:
        drawn = random.Random(seed)
        while not ends.is_set():
            prompt = drawn.choice(asked)
            try:
                outcome = "answered" if ask(port, prompt, streams=drawn.random() < 0.5) == expected[prompt] else "wrong"
            except (OSError, http.client.HTTPException, EOFError) as error:
                outcome = f"error: {type(error).__name__}"
                time.sleep(0.05)
            with lock:
                outcomes[outcome] += 1

    with contextlib.ExitStack() as stack:
        process = begun(stack, 0)
        expected = {prompt: ask(port, prompt, streams=False) for prompt in asked}
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(options.clients)]
        for thread in threads:
            thread.start()
        for number in range(options.kills):
            time.sleep(_SECONDS_ALIVE)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = begun(stack, number + 1)
        time.sleep(_SECONDS_ALIVE)
        ends.set()
        for thread in threads:
            thread.join()
    console.table(f"{options.kills} kills", ("outcome", "requests"), [(a, f"{b:,}") for a, b in outcomes.most_common()])
    return dict(outcomes)


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=1, steps=1)
    parser.add_argument("--workdir", default="runs/quickstart", help="a run's (default: %(default)s)")
    parser.add_argument("--pairs", required=True, help="a .jsonl file, whose texts are the prompts")
    parser.add_argument("--clients", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=50_000, help="of which memory is read (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="(default: %(default)s)")
    options, also = parser.parse_known_args()
    if wrong := [each for each in also if not each.startswith(("--config.", "--rows"))]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    options.also = also
    from t2c_jax.decode.prompts import read_prompts

    about, texts = _rounds.machine(), read_prompts(options.pairs, "text")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as options.scratch:
        if options.requests >= _LOADS:
            results["memory"] = memory(options, texts)
        if options.kills:
            results["kills"] = kills(options, texts)
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
