"""What a server counts and measures, in Prometheus' text format."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from t2c_jax.serve.scheduler import Observer, Scheduler

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Measures:
    """The metrics of one server; several in a process do not meet."""

    def __init__(self) -> None:
        """All at zero."""
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "t2c_requests", "Requests that were answered.", ("endpoint", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "t2c_request_seconds",
            "From a request to the end of its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.prompt_tokens = Counter("t2c_prompt_tokens", "Tokens of prompts.", ("model",), registry=self._registry)
        self.tokens = Counter("t2c_completion_tokens", "Tokens of answers.", ("model",), registry=self._registry)
        self.queue_seconds = Histogram(
            "t2c_queue_seconds",
            "From a prompt's arrival to its row.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.first_token_seconds = Histogram(
            "t2c_time_to_first_token_seconds",
            "From a prompt's arrival to the first token of its answer.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.steps = Counter("t2c_steps", "Steps of all rows together.", ("model",), registry=self._registry)
        self.step_seconds = Counter("t2c_step_seconds", "Time that they took.", ("model",), registry=self._registry)
        self.row_steps = Counter("t2c_row_steps", "Rows times steps.", ("model",), registry=self._registry)
        self.busy_row_steps = Counter(
            "t2c_busy_row_steps",
            "Rows with a prompt times steps; its share of t2c_row_steps is how full batches are.",
            ("model",),
            registry=self._registry,
        )
        self.failures = Counter(
            "t2c_batch_failures",
            "Batches that failed with all of their prompts.",
            ("model",),
            registry=self._registry,
        )
        self._waiting = Gauge("t2c_waiting_prompts", "Prompts without a row.", ("model",), registry=self._registry)
        self._running = Gauge("t2c_running_prompts", "Prompts with a row.", ("model",), registry=self._registry)

    def watch(self, model: str, scheduler: Callable[[], Scheduler]) -> None:
        """Reads the length of a queue when it is asked for; ``scheduler`` is the one that answers then."""
        self._waiting.labels(model).set_function(lambda: scheduler().waiting)
        self._running.labels(model).set_function(lambda: scheduler().running)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)


class Measured(Observer):
    """Puts down what a scheduler does."""

    def __init__(self, measures: Measures, model: str) -> None:
        """Nothing yet."""
        self._model = model
        self._queue = measures.queue_seconds.labels(model)
        self._first = measures.first_token_seconds.labels(model)
        self._steps, self._seconds = measures.steps.labels(model), measures.step_seconds.labels(model)
        self._rows, self._busy = measures.row_steps.labels(model), measures.busy_row_steps.labels(model)
        self._failures = measures.failures.labels(model)

    def started(self, waited: float) -> None:
        """Time in the queue."""
        self._queue.observe(waited)

    def first_token(self, seconds: float) -> None:
        """Time to the first token."""
        self._first.observe(seconds)

    def advanced(self, busy: int, rows: int, steps: int, seconds: float) -> None:
        """Steps, and how full the batch was."""
        self._steps.inc(steps)
        self._seconds.inc(seconds)
        self._rows.inc(rows * steps)
        self._busy.inc(busy * steps)

    def failed(self, error: BaseException) -> None:
        """Logs the error, which no client gets to see."""
        self._failures.inc()
        logging.getLogger("t2c.serve").error("a batch of '%s' failed", self._model, exc_info=error)
