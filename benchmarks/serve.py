"""``t2c serve`` under load, beside the plain server that one would write around CTranslate2, in turn on the same cores.

    python benchmarks/serve.py --workdir runs/nl2bash --pairs nl2bash/dev.jsonl

Clients are one process (``_clients.py``). They send the texts of a file of pairs, in an order that the seed draws, each
once. Both sides have the same weights, beam size, patience, length penalty and limit of tokens; neither follows a
grammar. The plain server (``_plain_server.py``) gathers requests for up to 10 ms or 16 prompts. It is measured with one
batch on all cores ("1 x 2") and with a batch on each core ("2 x 1"); ratios are to the better of the two. Loads begin
when all programs are compiled.

Loads: a closed loop of ``--clients``, each of which asks again once it is answered, for whole answers and for streamed
ones; and Poisson arrivals of streamed requests, at shares of the better plain server's throughput in the closed loop.
In a closed loop, only requests that were sent while all clients had one are counted. A time to first token goes from a
request's arrival at the client to the first piece of its answer there, or to its end where it is empty. A plain server
streams no beam search, so there it is the time of the answer.

Start: from the start of the process until ``/ready``, with a warm cache of compiled programs, beside the start of a
process that imports JAX and Orbax alone.

Overhead of HTTP: CPU time of the server's process for each request of a closed loop of 16 clients, beside a process in
which one thread keeps 16 prompts in the same scheduler, encodes them and makes choices of what is found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _ctranslate2
import _rounds

from t2c_jax import console

OURS = "t2c serve"
AT_ONCE = 16  # of the overhead
PARTS = ("load", "overhead", "start")
HERE = Path(__file__).resolve().parent


class Search(NamedTuple):
    """Of both sides; patience as CTranslate2 counts it."""

    name: str
    beams: int
    patience: int


class Server:
    """A process that answers at ``host`` and ``port``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Waits until it listens."""
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"a server ended with status {process.wait()}; its output is above")
        self.url: str = json.loads(line)["url"]
        self.host, _, port = self.url.removeprefix("http://").partition(":")
        self.port = int(port)
        self._process = process

    @property
    def cpu_seconds(self) -> float:
        """Of all threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_ready(self) -> None:
        """Of ours: until its programs are compiled."""
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/ready", timeout=10):
                return
            if self._process.poll() is not None:
                raise SystemExit(f"the server ended with status {self._process.returncode}")
            time.sleep(0.05)

    def wait_until_idle(self) -> None:
        """Ours is ready before the programs for many rows are compiled."""
        before = -1.0
        while (now := self.cpu_seconds) - before > 0.05:
            before = now
            time.sleep(1.0)


class Result(NamedTuple):
    """What came of a load, in seconds.

    Attributes:
      rate: requests answered a second.
      first: times to first token.
      whole: times to the end of the answer.
      cpu: of the server, a request.
      clients: cores that the clients took.
      texts: the answers.
    """

    rate: float
    first: list[float]
    whole: list[float]
    cpu: float
    clients: float
    texts: list[str]


class Clients:
    """The process of the clients."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """It waits for loads."""
        self._process = process

    def put(
        self, server: Server, prompts: Sequence[str], count: int, *, streams: bool, arrivals: list[float] | None = None
    ) -> Result:
        """A load; ``arrivals`` are those of an open loop."""
        load = {"host": server.host, "port": server.port, "prompts": prompts, "clients": count}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        cpu = server.cpu_seconds
        self._process.stdin.write(json.dumps({**load, "streams": streams, "arrivals": arrivals}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a request failed; see above")
        found = json.loads(line)
        cpu = server.cpu_seconds - cpu
        times = found["times"]
        last = found["ran_out"] or found["seconds"]
        ended = sum(end <= last for _, _, end in times)
        times = times if arrivals is not None else [each for each in times if each[0] < last]
        return Result(
            ended / last,
            [first - begin for begin, first, _ in times],
            [end - begin for begin, _, end in times],
            cpu / len(prompts),
            found["cpu_seconds"] / found["seconds"],
            found["texts"],
        )


@contextlib.contextmanager
def started(
    command: Sequence[str], environment: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the context; its standard error goes to ``log``, by default where this one's does."""
    variables = {**os.environ, **(environment or {})}
    with contextlib.ExitStack() as stack:
        errors = None if log is None else stack.enter_context(log.open("w"))
        pipe = subprocess.PIPE
        process = stack.enter_context(
            subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        )
        stack.callback(process.terminate)
        yield process


def settings_of(search: Search, options: argparse.Namespace) -> list[str]:
    """Overrides of a run for a search, which the plain server can make as well."""
    fields = {"beam_size": search.beams, "patience": float(search.patience if search.beams > 1 else 0), "grammar": ""}
    return [f"--config.decode.{name}={value}" for name, value in fields.items()] + options.also


def our_server(options: argparse.Namespace, search: Search, rows: int) -> list[str]:
    """The command of ours."""
    program = "import sys; from t2c_jax.cli import console_script; sys.exit(console_script())"
    command = [sys.executable, "-c", program, "serve"]
    return [
        *command,
        "--workdir",
        options.workdir,
        "--port=0",
        "--json",
        f"--rows={rows}",
        *settings_of(search, options),
    ]


def plain_servers(options: argparse.Namespace, search: Search) -> dict[str, list[str]]:
    """The commands of the peer, for each of its thread settings."""
    command = [sys.executable, str(HERE / "_plain_server.py"), "--workdir", options.workdir]
    command += [f"--exported={options.exported}", f"--beams={search.beams}", f"--patience={search.patience}"]
    cores = options.threads
    found = {f"plain, 1 x {cores}": [*command, "--workers=1", f"--worker-threads={cores}"]}
    if cores > 1:
        found[f"plain, {cores} x 1"] = [*command, f"--workers={cores}", "--worker-threads=1"]
    return found


def prompts_of(options: argparse.Namespace) -> tuple[list[str], int]:
    """Texts that the encoder has room for, in an order of the seed; and how many it has none for."""
    from t2c_jax.decode.prompts import read_prompts

    vocabulary = _ctranslate2.Vocabulary(options.workdir, options.exported)
    texts = read_prompts(options.pairs, "text")
    fits = [len(ids) <= vocabulary.room for ids in vocabulary.tokenizer.encode_batch(texts)]
    found = [text for text, is_short in zip(texts, fits, strict=True) if is_short]
    random.Random(options.seed).shuffle(found)
    return found, len(texts) - len(found)


def measure(options: argparse.Namespace, search: Search, prompts: list[str]) -> dict[str, Any]:
    """All loads of a search: results of each side by load."""
    found: dict[str, dict[str, list[Result]]] = {}
    drawn = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        clients = Clients(stack.enter_context(started([sys.executable, str(HERE / "_clients.py")])))
        console.say(f"{search.name}: starting the servers")
        environment = dict(_rounds.ours("").environment)
        ours = our_server(options, search, options.rows)
        servers = {OURS: Server(stack.enter_context(started(ours, environment, options.log)))}
        servers[OURS].wait_until_ready()
        servers[OURS].wait_until_idle()
        for name, command in plain_servers(options, search).items():
            servers[name] = Server(stack.enter_context(started(command)))
        for server in servers.values():
            clients.put(server, prompts[: 2 * options.clients], options.clients, streams=True)

        def rounds(load: str, **how: Any) -> None:
            results: dict[str, list[Result]] = {name: [] for name in servers}
            for number in range(options.rounds):
                begin = number * options.requests % len(prompts)
                chosen = (prompts[begin:] + prompts[:begin])[: options.requests]
                arrivals, rate = None, how.get("rate")
                if rate:
                    gaps = [drawn.expovariate(rate) for _ in chosen]
                    arrivals = [sum(gaps[: i + 1]) for i in range(len(gaps))]
                for name, server in servers.items():
                    time.sleep(_rounds.PAUSE)
                    results[name].append(
                        clients.put(server, chosen, options.clients, streams=how["streams"], arrivals=arrivals)
                    )
            found[load] = results
            show(f"{search.name}, {load}", results, is_open=bool(rate))

        rounds("closed loop, whole answers", streams=False)
        rounds("closed loop, streamed", streams=True)
        full = max(median_rate(found["closed loop, streamed"][name]) for name in servers if name != OURS)
        for share in options.shares:
            rounds(f"Poisson, {share:g} of {full:.0f}/s", streams=True, rate=share * full)
    return {load: summarised(results) for load, results in found.items()}


def median_rate(results: Sequence[Result]) -> float:
    """Of rounds."""
    return statistics.median(result.rate for result in results)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least a share of the values does not exceed."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def summarised(results: dict[str, list[Result]]) -> dict[str, Any]:
    """Medians over rounds; percentiles over the requests of all rounds; ratios of rates to the better peer's."""
    peers = [name for name in results if name != OURS]
    better = max(peers, key=lambda name: median_rate(results[name]))
    found: dict[str, Any] = {}
    for name, rounds in results.items():
        first = [value for result in rounds for value in result.first]
        whole = [value for result in rounds for value in result.whole]
        found[name] = {
            "requests_per_second": median_rate(rounds),
            "rates": [result.rate for result in rounds],
            "first_p50": percentile(first, 0.5),
            "first_p99": percentile(first, 0.99),
            "whole_p50": percentile(whole, 0.5),
            "whole_p99": percentile(whole, 0.99),
            "cpu_seconds_per_request": statistics.median(result.cpu for result in rounds),
            "clients_cores": statistics.median(result.clients for result in rounds),
            "equal_to_ours": sum(
                a == b
                for mine, theirs in zip(results[OURS], rounds, strict=True)
                for a, b in zip(mine.texts, theirs.texts, strict=True)
            ),
            "answers": sum(len(result.texts) for result in rounds),
        }
    pairs = zip(results[OURS], results[better], strict=True)
    found[OURS]["ratio"] = statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)
    found[OURS]["against"] = better
    return found


def show(title: str, results: dict[str, list[Result]], *, is_open: bool) -> None:
    """A table of a load: milliseconds to the first token and to the end, and the server's CPU time for a request."""
    found = summarised(results)
    console.table(
        title,
        ("", "answers/s", "first p50", "p99", "whole p50", "p99", "CPU ms", "equal"),
        [
            (
                name,
                f"{side['requests_per_second']:.1f}",
                *(f"{1000 * side[key]:.0f}" for key in ("first_p50", "first_p99", "whole_p50", "whole_p99")),
                f"{1000 * side['cpu_seconds_per_request']:.2f}",
                f"{side['equal_to_ours'] / side['answers']:.1%}",
            )
            for name, side in found.items()
        ],
    )
    cores = max(side["clients_cores"] for side in found.values())
    ratio = "" if is_open else f"{found[OURS]['ratio']:.2f} x the answers a second of '{found[OURS]['against']}'; "
    console.say(f"{ratio}the clients took {cores:.2f} of a core at most")


def overhead(options: argparse.Namespace, search: Search, prompts: list[str]) -> dict[str, Any]:
    """CPU time a request with HTTP and without."""
    with contextlib.ExitStack() as stack:
        environment = dict(_rounds.ours("").environment)
        library = [sys.executable, *sys.argv, "--worker=library", *settings_of(search, options)]
        inside = stack.enter_context(started(library, environment))
        assert inside.stdin is not None
        assert inside.stdout is not None
        clients = Clients(stack.enter_context(started([sys.executable, str(HERE / "_clients.py")])))
        ours = our_server(options, search, AT_ONCE)
        server = Server(stack.enter_context(started(ours, environment, options.log)))
        server.wait_until_ready()
        rows: dict[str, list[float]] = {"library": [], "whole answers": [], "streamed": []}
        for _ in range(options.rounds + 1):
            chosen = prompts[: options.requests]
            inside.stdin.write(json.dumps(chosen) + "\n")
            inside.stdin.flush()
            rows["library"].append(json.loads(inside.stdout.readline()))
            rows["whole answers"].append(clients.put(server, chosen, AT_ONCE, streams=False).cpu)
            rows["streamed"].append(clients.put(server, chosen, AT_ONCE, streams=True).cpu)
    found = {name: statistics.median(values[1:]) for name, values in rows.items()}  # the first one warms up
    shares = {name: 1 - found["library"] / found[name] for name in rows}
    console.table(
        f"{search.name}: CPU time with {AT_ONCE} prompts at once",
        ("", "CPU ms a request", "share of HTTP"),
        [(name, f"{1000 * found[name]:.2f}", f"{shares[name]:.1%}") for name in rows],
    )
    return {"cpu_seconds_per_request": found, "share": shares}


def start(options: argparse.Namespace, search: Search) -> dict[str, Any]:
    """Time from the start of the process until it is ready, beside that of importing JAX and Orbax."""
    environment = dict(_rounds.ours("").environment)
    rows: dict[str, list[float]] = {"imports": [], "ready": []}
    imports = [sys.executable, "-c", "import jax, orbax.checkpoint"]
    for _ in range(options.rounds + 1):  # the first one fills the caches
        begin = time.perf_counter()
        subprocess.run(imports, env={**os.environ, **environment}, check=True)
        rows["imports"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        with started(our_server(options, search, options.rows), environment, options.log) as process:
            Server(process).wait_until_ready()
            rows["ready"].append(time.perf_counter() - begin)
    found = {name: statistics.median(values[1:]) for name, values in rows.items()}
    beyond = statistics.median(a - b for a, b in zip(rows["ready"][1:], rows["imports"][1:], strict=True))
    console.say(f"{search.name}: ready after {found['ready']:.2f} s, {beyond:.2f} s beyond importing JAX and Orbax")
    return {**found, "beyond_imports": beyond}


def library(options: argparse.Namespace) -> None:
    """The worker of the overhead: prompts through the scheduler in one thread."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import queue

    from t2c_jax import open_run, runtime
    from t2c_jax.library.serving import served_model
    from t2c_jax.serve import api_fields
    from t2c_jax.serve.scheduler import Found

    runtime.quiet()
    overrides = [each.removeprefix("--config.") for each in options.also]
    model = served_model("library", open_run(options.workdir, overrides=overrides), 256, rows=AT_ONCE)
    model.warm_up()
    while model.scheduler.is_compiling:
        time.sleep(0.05)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(prompt: str) -> None:
        asked = api_fields.completion({"prompt": prompt}, model.settings, 0)
        (served,) = model.prompts_of(asked)
        deadline = time.monotonic() + 600
        job = model.job(served, 0, "", deadline, lambda event: events.put((served, event)), streams=False)
        model.scheduler.submit([job])

    for line in sys.stdin:
        prompts = iter(json.loads(line))
        begin, count, open_ = time.process_time(), 0, 0
        for _, prompt in zip(range(AT_ONCE), prompts, strict=False):
            submit(prompt)
            open_ += 1
        while open_:
            served, event = events.get()
            assert isinstance(event, Found)
            model.choices(served, event.hypotheses)
            count, open_ = count + 1, open_ - 1
            for prompt in prompts:
                submit(prompt)
                open_ += 1
                break
        print(json.dumps((time.process_time() - begin) / count), file=answers)


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=5, steps=1)
    parser.add_argument("--workdir", default="runs/nl2bash", help="a run's (default: %(default)s)")
    parser.add_argument("--pairs", help="a .jsonl file, whose texts are the prompts")
    parser.add_argument("--exported", type=Path, help="the run in CTranslate2's format (default: it is exported)")
    parser.add_argument("--clients", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=64, help="of t2c serve (default: its own, %(default)s)")
    parser.add_argument("--requests", type=int, default=512, help="of each load and round (default: %(default)s)")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4], help="of the searches (default: 1 4)")
    parser.add_argument(
        "--patience", type=int, default=1, help="of beam searches (default: CTranslate2's, %(default)s)"
    )
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.8], help="of full load (default: 0.5 0.8)")
    parser.add_argument("--seed", type=int, default=0, help="of the order and of the arrivals")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS), help="(default: all)")
    options, also = parser.parse_known_args()
    if wrong := [each for each in also if not each.startswith("--config.")]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    options.also = also
    if options.worker:
        library(options)
        return
    if not options.pairs:
        parser.error("--pairs FILE.jsonl is needed")
    about = _rounds.machine()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        options.log = Path(scratch) / "log"  # a line a request
        prompts: list[str] = []
        if options.part != ["start"]:  # which asks nothing, so that any run will do
            if options.exported is None:
                options.exported = Path(scratch) / "exported"
                _ctranslate2.export(options.workdir, options.exported)
            prompts, left_out = prompts_of(options)
            console.say(f"{len(prompts):,} prompts; {left_out:,} are longer than the encoder reads and left out")
        for beams in options.beams:
            name = "greedy" if beams == 1 else f"beam {beams}, patience {options.patience}"
            search = Search(name, beams, options.patience)
            results[name] = {}
            if "load" in options.part:
                results[name] |= measure(options, search, prompts)
            if "start" in options.part:
                results[name]["start"] = start(options, search)
            if "overhead" in options.part:
                results[name]["overhead"] = overhead(options, search, prompts)
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
