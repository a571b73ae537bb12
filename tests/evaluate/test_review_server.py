"""The page of a review: who may talk to the server, and how the page works in a browser."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Pages, browser, expect, open_page, width_beyond_window  # noqa: F401
from evaluate_examples import pair, write_run

from t2c_jax.errors import UserError
from t2c_jax.evaluate.review.questions import Mode, questions_of
from t2c_jax.evaluate.review.ratings import RatingsFile, ratings_path, read_ratings
from t2c_jax.evaluate.review.review_server import TOKEN_HEADER, ReviewServer, stop_signals
from t2c_jax.evaluate.review.review_session import ReviewSession
from t2c_jax.evaluate.saved_evaluation import open_evaluations

CODES = [f"def f{n}(a):\n    return a + {n}" for n in range(3)]
PAIRS = [pair(f"id-{n}", f"<b>add</b> {n}", code) for n, code in enumerate(CODES)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "base", PAIRS, CODES)
    write_run(root / "new", PAIRS, [code.replace("return", "yield") for code in CODES])
    return [str(root / "base"), str(root / "new")]


def serving(runs: list[str], path: Path, mode: Mode) -> ReviewServer:
    questions = questions_of(open_evaluations(runs), mode, 10, seed=0)
    return ReviewServer(ReviewSession(questions, "ada", 0, RatingsFile(ratings_path(path, "ada"))))


@pytest.fixture
def server(runs: list[str], tmp_path: Path) -> Iterator[ReviewServer]:
    started = serving(runs, tmp_path, "preference")
    with started.running():
        yield started


def ask(
    server: ReviewServer, path: str, body: Any = None, method: str | None = None, **changed: str | None
) -> tuple[int, Any, http.client.HTTPMessage]:
    """Status, content and headers; ``changed`` replaces headers, or leaves them out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers = {"Host": f"127.0.0.1:{server.server_port}", TOKEN_HEADER: server.token}
    if body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}  # type: ignore[misc]
    connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(content)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.headers.get_content_type() == "application/json":
        return response.status, json.loads(answer), response.headers
    return response.status, answer, response.headers


def first(server: ReviewServer) -> str:
    return str(ask(server, "/api/question?number=0")[1]["id"])


def test_a_rating_through_the_server(server: ReviewServer, tmp_path: Path):
    status, state, headers = ask(server, "/api/state")
    assert (status, state["total"], state["rated"]) == (200, 3, 0)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    status, state, _ = ask(server, "/api/rating", {"id": first(server), "value": "tie"})
    assert (status, state["rated"], state["next"]) == (200, 1, 1)
    assert len(read_ratings(tmp_path / "reviews" / "ada.jsonl")) == 1


def test_it_listens_to_this_machine_alone(server: ReviewServer):
    assert server.server_address[0] == "127.0.0.1"
    other = serving_token = server.token
    assert len(serving_token) >= 32
    assert other in server.url.split("#")[1]
    assert other not in ask(server, "/")[1].decode()


REBOUND = {"Host": "attacker.example:80"}


@pytest.mark.parametrize(
    ("path", "body", "changed", "status"),
    [
        ("/", None, REBOUND, 403),  # DNS rebinding: the name is another's
        ("/api/state", None, REBOUND, 403),
        ("/api/state", None, {"Host": None}, 403),
        ("/api/state", None, {"Host": "127.0.0.1"}, 403),
        ("/api/state", None, {TOKEN_HEADER: None}, 403),
        ("/api/state", None, {TOKEN_HEADER: "guess"}, 403),
        ("/api/state", None, {TOKEN_HEADER: "\xe9"}, 403),
        ("/api/question?number=0", None, {TOKEN_HEADER: None}, 403),
        ("/api/rating", {"value": "tie"}, {TOKEN_HEADER: None}, 403),  # cross-site request forgery
        ("/api/rating", {"value": "tie"}, {"Origin": "http://attacker.example"}, 403),
        ("/api/rating", {"value": "tie"}, {"Origin": "null"}, 403),
        ("/api/rating", {"value": "tie"}, REBOUND, 403),
        ("/api/rating", {"value": "tie"}, {"Content-Type": "text/plain"}, 415),
        ("/api/rating", {"value": "tie"}, {"Content-Length": None}, 413),
        ("/api/rating", {"value": "tie"}, {"Content-Length": "999999999"}, 413),
        ("/api/rating", {"value": "tie"}, {"Content-Length": "-1"}, 413),
        ("/api/rating", {"value": "best"}, {}, 400),
        ("/api/rating", b"{", {}, 400),
        ("/api/rating", b"\xff", {}, 400),
        ("/api/elsewhere", {"value": "tie"}, {}, 404),
        ("/api/question?number=3", None, {}, 404),
        ("/api/question?number=x", None, {}, 404),
        ("/../../etc/passwd", None, {}, 404),
    ],
)
def test_what_is_refused(
    path: str, body: Any, changed: dict[str, str | None], status: int, server: ReviewServer, tmp_path: Path
):
    if isinstance(body, dict):
        body = {"id": first(server), **body}
    found, answer, headers = ask(server, path, body, **changed)
    assert found == status
    assert set(answer) == {"error"}
    assert "Access-Control-Allow-Origin" not in headers
    assert not (tmp_path / "reviews" / "ada.jsonl").exists()


def test_other_methods_change_nothing(server: ReviewServer, tmp_path: Path):
    for method in ("PUT", "OPTIONS", "DELETE"):
        assert ask(server, "/api/rating", {"id": first(server), "value": "tie"}, method)[0] == 501
    assert ask(server, f"/api/rating?id={first(server)}&value=tie")[0] == 404
    assert not (tmp_path / "reviews" / "ada.jsonl").exists()


def test_a_rating_that_cannot_be_written_is_said(server: ReviewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, answer, _ = ask(server, "/api/rating", {"id": first(server), "value": "tie"})
    assert status == 507
    assert "the disk is full" in answer["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_kept_until_somebody_waits(number: signal.Signals):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_signals() as wait:
        os.kill(os.getpid(), number)
        wait()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_port_that_is_taken(server: ReviewServer):
    with pytest.raises(UserError, match=r"cannot listen at port \d+: Address already in use; choose another --port"):
        ReviewServer(server.session, server.server_port)


def test_a_browser_reviews_without_a_mouse(server: ReviewServer, open_page: Pages, tmp_path: Path):  # noqa: F811
    page = open_page(server.url)
    expect(page.locator("#title")).to_have_text("Question 1 of 3")
    assert page.inner_text("#text").startswith("<b>add</b> ")
    assert page.locator("#save").is_disabled()
    assert not page.locator("#reference pre").is_visible()
    marked = page.locator("#answers mark")
    assert sorted(marked.all_inner_texts()) == ["return", "yield"]
    page.keyboard.press("m")
    assert marked.count() == 0
    page.keyboard.press("r")
    assert page.locator("#reference pre").is_visible()
    page.keyboard.press("b")
    assert page.locator("#answers > .chosen h3").inner_text() == "Answer B"
    page.focus("#note")
    page.keyboard.type("a better name, j")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Question 2 of 3")
    expect(page.locator("#progress")).to_have_text("ada: 1 of 3 rated")
    page.keyboard.press("Enter")  # nothing is chosen yet
    page.keyboard.press("j")
    expect(page.locator("#title")).to_have_text("Question 3 of 3")
    page.keyboard.press("t")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Question 2 of 3")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_be_visible()
    page.keyboard.press("Enter")  # the button that looks through them again
    expect(page.locator("#title")).to_have_text("Question 1 of 3")
    assert page.is_checked("input[value=right]")
    assert page.input_value("#note") == "a better name, j"
    records = [*read_ratings(tmp_path / "reviews" / "ada.jsonl").values()]
    assert [(each["choice"], each["reference_seen"]) for each in records] == [
        ("right", True),
        ("tie", False),
        ("left", False),
    ]
    assert records[0]["note"] == "a better name, j"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_a_browser_rates_single_answers(
    width: int,
    scheme: str,
    runs: list[str],
    tmp_path: Path,
    open_page: Pages,  # noqa: F811
):
    started = serving(runs[:1], tmp_path, "rating")
    with started.running():
        page = open_page(started.url, width, scheme)
        expect(page.locator("#ask")).to_have_text("How good is the answer?")
        assert page.locator("#answers > section").count() == 1
        assert not page.locator("#marking").is_visible()
        assert width_beyond_window(page) <= 0
        page.keyboard.press("4")
        page.click("#save")
        expect(page.locator("#title")).to_have_text("Question 2 of 3")
    (record,) = read_ratings(tmp_path / "reviews" / "ada.jsonl").values()
    assert (record["rating"], record["runs"]) == (4, ["base"])


def test_a_browser_says_what_is_wrong(runs: list[str], tmp_path: Path, browser: Any):  # noqa: F811
    """Without the token, and when the server has ended. The browser itself logs both as errors."""
    started = serving(runs, tmp_path, "preference")
    page = browser.new_page()
    with started.running():
        page.goto(started.url.split("#")[0])
        expect(page.locator("#problem")).to_contain_text("open the address that t2c review printed")
        page.goto("about:blank")
        page.goto(started.url)
        expect(page.locator("#title")).to_have_text("Question 1 of 3")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    assert page.is_checked("input[value=left]")
    page.close()
