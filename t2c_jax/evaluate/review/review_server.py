"""The page of a review, served to this machine's browser alone.

Other pages in the same browser could send requests to a port of this machine (cross-site request forgery), or give it a
name of their own (DNS rebinding). So a request needs the right ``Host``, and all but the empty page needs a token in a
header, which another site cannot know and may not send without asking first.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from t2c_jax.errors import UserError
from t2c_jax.evaluate.review.review_session import InvalidRating, ReviewSession
from t2c_jax.pages.page import document

ADDRESS = "127.0.0.1"
TOKEN_HEADER = "X-Review-Token"
LARGEST_BODY = 65_536  # bytes


class ReviewServer(ThreadingHTTPServer):
    """Serves one session.

    Attributes:
      token: what requests need.
      url: of the page, with the token in its fragment, which browsers keep to themselves.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, session: ReviewSession, port: int = 0) -> None:
        """Starts to listen.

        Raises:
          UserError: the port is taken or not allowed.
        """
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.page = document(
            "Review",
            [_BODY],
            styles=["review.css"],
            scripts=["words.js", "review.js"],
            may_connect=True,
            package="t2c_jax.evaluate",
        ).encode()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UserError(
                f"cannot listen at port {port}: {error.strerror}; choose another --port, or leave it out"
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        self.url = f"http://{ADDRESS}:{self.server_port}/#{self.token}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answers requests in the background."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], object]]:
    """Gives what waits for SIGINT (Ctrl-C) or SIGTERM, which both end a review as it is meant to end.

    A signal at any time within the block is kept until somebody waits for it, and interrupts nothing. The system may
    hand it to a thread of some library; the wakeup descriptor tells the waiting one all the same.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda: reader.recv(1)
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "t2c"
    sys_version = ""
    timeout = 30  # seconds for a request to arrive

    def do_GET(self) -> None:
        """The page, the state, or a question."""
        if not self._is_local():
            return
        path, _, query = self.path.partition("?")
        if path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")
        elif path not in ("/api/state", "/api/question"):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        elif not self._is_allowed():
            return
        elif path == "/api/state":
            self._send_json(self.server.session.state())
        else:
            try:
                question = self.server.session.question(int(query.removeprefix("number=")))
            except (ValueError, IndexError):
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such question")
            else:
                self._send_json(question)

    def do_POST(self) -> None:
        """A rating."""
        if not self._is_local():
            return
        if self.path != "/api/rating":
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        if not self._is_allowed():
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a rating is application/json")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the rating is too long, or its length is missing")
            return
        try:
            values = json.loads(self.rfile.read(int(length)))
            self._send_json(self.server.session.rate(values))
        except InvalidRating as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "the rating is no JSON")
        except UserError as error:
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, str(error))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Prints nothing: the terminal shows what the reviewer should read."""

    def _is_local(self) -> bool:
        """Whether the request names this server, and comes from its own page if it names a page."""
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in self.server.hosts and (
            origin is None or origin.removeprefix("http://") in self.server.hosts
        ):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that t2c review printed")
        return False

    def _is_allowed(self) -> bool:
        if hmac.compare_digest(self.headers.get(TOKEN_HEADER, "").encode(), self.server.token.encode()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that t2c review printed, with what follows the #")
        return False

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), "application/json")

    def _send_json(self, value: Any) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the browser has left
            self.wfile.write(content)


_BODY = """
<header>
  <h1>Review</h1>
  <p class="faint" id="progress" role="status"></p>
  <progress id="bar" aria-label="questions rated"></progress>
</header>
<p id="problem" role="alert" hidden></p>
<main id="done" hidden>
  <h2>All questions are rated</h2>
  <p>Thank you. Stop <code>t2c review</code> with Ctrl-C, or look through the questions again.</p>
  <button type="button" id="again">First question</button>
</main>
<form id="form" hidden>
  <h2 id="title" tabindex="-1"></h2>
  <pre class="text" id="text" tabindex="0"></pre>
  <div class="codes" id="answers"></div>
  <details id="reference"><summary>Reference <kbd>r</kbd></summary><div></div></details>
  <fieldset id="choices"><legend id="ask"></legend></fieldset>
  <label class="note">Note <textarea id="note" rows="2" maxlength="4000"></textarea></label>
  <div class="buttons">
    <button type="submit" id="save">Save and go on <kbd>Enter</kbd></button>
    <button type="button" id="previous">Previous <kbd>k</kbd></button>
    <button type="button" id="following">Next <kbd>j</kbd></button>
    <label class="toggle" id="marking">
      <input type="checkbox" id="mark" checked autocomplete="off"> Mark words that differ <kbd>m</kbd>
    </label>
  </div>
</form>
<noscript><p>This page needs JavaScript.</p></noscript>
"""
