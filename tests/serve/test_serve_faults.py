"""What goes wrong between a client and a server, and what comes of it."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import logging
import socket
import struct
import threading
import time

import openai
import pytest
from served import KEY, serving, until
from tiny_generators import PAIRS

from t2c_jax.decode.live_search import LiveSearch
from t2c_jax.errors import UserError
from t2c_jax.serve import http_app
from t2c_jax.serve.api_keys import ApiKeys
from t2c_jax.serve.http_server import listening
from t2c_jax.serve.measures import Measures
from t2c_jax.serve.server_settings import ServerSettings

FIRST, CODE = next(iter(PAIRS.items()))
SETTINGS = ServerSettings(keys=ApiKeys([KEY, "another-key-of-letters"]), largest_body=10_000)
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def served(generators):
    generator = generators("learned", beam_size=2, max_tokens=48)
    with serving(generator, SETTINGS, most_waiting=8, rows=8) as found:  # so few are stepped by one thread
        found.model.warm_up()
        yield found


@pytest.fixture
def slow(monkeypatch):
    """Steps that take a while, one at a time; cleared, they wait."""
    gate, advance = threading.Event(), LiveSearch.advance
    gate.set()

    def slowly(self, steps, enough):
        gate.wait(60)
        time.sleep(0.01)
        return advance(self, 1)

    monkeypatch.setattr(LiveSearch, "advance", slowly)
    yield gate
    gate.set()


def ask(served, body, headers=HEADERS, path="/v1/completions", method="POST"):
    """Status, headers and content of a request."""
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def connected(served, **fields):
    """A connection on which a request was sent."""
    host, port = served.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=60)
    body = json.dumps({"prompt": FIRST, **fields}).encode()
    headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    found.sendall(head.encode() + body)
    return found


def is_idle(served):
    return served.model.scheduler.running == served.model.scheduler.waiting == 0


def still_answers(served):
    return json.loads(ask(served, json.dumps({"prompt": FIRST}))[2])["choices"][0]["text"] == CODE


def streamed():
    sent = 0

    def parts():
        nonlocal sent
        for _ in range(400):
            sent += 100
            yield b" " * 100

    return parts()


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", HEADERS, 400, "invalid_json"),
        (b"[1]", HEADERS, 400, "invalid_json"),
        (b"[" * 9000, HEADERS, 400, "invalid_json"),
        (b'{"prompt": "\xff"}', HEADERS, 400, "invalid_utf8"),
        (b"", HEADERS, 400, "invalid_json"),
        (b" " * 20_000, HEADERS, 413, "body_too_large"),
        (b"{}", {"Content-Type": "application/json"}, 401, "invalid_api_key"),
        (b"{}", {**HEADERS, "Authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        (b"{}", {**HEADERS, "Authorization": "Basic \xe9"}, 401, "invalid_api_key"),
        (b"{}", {**HEADERS, "Content-Type": "text/plain"}, 415, None),
        (b"{}", {**HEADERS, "Host": "evil.example"}, 403, None),
    ],
)
def test_a_bad_request_is_refused_in_openais_shape(served, body, headers, status, code):
    found, sent, content = ask(served, body, headers)
    assert found == status
    error = json.loads(content)["error"]
    assert error["code"] == code
    assert error["message"]
    assert sent["x-request-id"]
    assert still_answers(served)


def test_a_body_without_a_length_is_cut_off(served):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        status, _, content = ask(served, streamed(), HEADERS)
        assert (status, json.loads(content)["error"]["code"]) == (413, "body_too_large")
    assert still_answers(served)


def test_unknown_paths_and_methods(served):
    assert ask(served, None, path="/v1/nothing", method="GET")[0] == 404
    status, _, content = ask(served, None, method="GET")
    assert (status, json.loads(content)["error"]["type"]) == (405, "invalid_request_error")
    assert ask(served, None, {}, "/health", "GET")[0] == 200
    assert ask(served, None, {}, "/metrics", "GET")[0] == 401


def test_a_client_that_goes_gives_its_row_back(served, slow):
    for fields in ({"stream": True}, {}):
        gone = connected(served, **fields)
        until(lambda: served.model.scheduler.running == 1)
        # Reset, as a killed process's connection is.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        until(lambda: is_idle(served), 5)
    assert still_answers(served)


def test_a_client_that_does_not_read_keeps_nobody_waiting(served):
    with contextlib.closing(connected(served, stream=True)):
        until(lambda: is_idle(served))
        assert still_answers(served)


def test_a_client_that_stops_reading_is_let_go(served, monkeypatch):
    monkeypatch.setattr(http_app, "_READ_SECONDS", 0.05)
    app = http_app.application(served.models, SETTINGS, Measures())
    body = json.dumps({"prompt": FIRST, "stream": True}).encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in {**HEADERS, "Host": "localhost"}.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "headers": headers}
    messages, sent = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.get_running_loop().create_future()

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert b"[DONE]" not in sent[-1]["body"]
    until(lambda: is_idle(served))
    assert still_answers(served)


def test_a_full_queue_says_when_to_come_again(served, slow):
    slow.clear()
    with served.client() as client, concurrent.futures.ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(client.completions.create, model="tiny", prompt=FIRST)]
        until(lambda: served.model.scheduler.running == 1)  # its first step waits
        asked += [pool.submit(client.completions.create, model="tiny", prompt=FIRST) for _ in range(8)]
        until(lambda: served.model.scheduler.waiting == 8)
        status, headers, content = ask(served, json.dumps({"prompt": FIRST}))
        assert (status, json.loads(content)["error"]["code"]) == (429, "queue_full")
        assert int(headers["retry-after"]) >= 1
        slow.set()
        assert all(each.result().choices[0].text == CODE for each in asked)


def test_an_answer_that_takes_too_long(served, slow):
    slow.clear()
    with served.client() as client:
        threading.Timer(0.3, slow.set).start()
        with pytest.raises(openai.APIStatusError) as late:
            client.completions.create(model="tiny", prompt=FIRST, extra_body={"timeout": 0.05})
        assert late.value.status_code == 504
        slow.clear()
        threading.Timer(0.3, slow.set).start()
        with pytest.raises(openai.APIError, match="too long"):  # after the status was sent
            list(client.completions.create(model="tiny", prompt=FIRST, stream=True, extra_body={"timeout": 0.05}))


def test_a_batch_without_memory_is_an_error_and_the_next_one_is_answered(served, monkeypatch, caplog):
    advance, admit, gate, failed = LiveSearch.advance, LiveSearch.admit, threading.Event(), []

    def admits(self, entries, ahead):
        assert gate.wait(60)
        admit(self, entries, ahead)

    def fails_once(self, steps, enough):
        if not failed and self.busy == 3:
            failed.append(True)
            raise MemoryError("RESOURCE_EXHAUSTED")
        return advance(self, 1)

    monkeypatch.setattr(LiveSearch, "admit", admits)
    monkeypatch.setattr(LiveSearch, "advance", fails_once)
    with caplog.at_level(logging.CRITICAL, "t2c.serve"), concurrent.futures.ThreadPoolExecutor(3) as pool:
        bodies = [json.dumps({"prompt": FIRST, "stream": streams}) for streams in (False, True, False)]
        asked = [pool.submit(ask, served, body) for body in bodies]
        until(lambda: served.model.scheduler.running + served.model.scheduler.waiting == 3)
        gate.set()
        (one, _, first), (_, _, stream), (other, _, second) = (each.result() for each in asked)
    assert one == other == 500
    assert b"error" in stream
    assert b"[DONE]" not in stream
    assert b"RESOURCE" not in first + second + stream
    assert still_answers(served)


def test_requests_that_run_are_answered_before_the_end(generators, slow):
    with serving(generators("learned", beam_size=2, max_tokens=48)) as served:
        served.model.warm_up()
        connection = connected(served, stream=True)
        until(lambda: served.model.scheduler.running == 1)
    with contextlib.closing(connection):
        content = b""
        while part := connection.recv(65_536):
            content += part
    assert b"data: [DONE]" in content


def test_what_is_not_answered_before_the_end_is_refused(generators, slow):
    def end_of(connection):
        content = b""
        with contextlib.closing(connection):
            while part := connection.recv(65_536):
                content += part
        return content

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with serving(generators("learned", beam_size=2, max_tokens=48), drain=0.1) as served:
            served.model.warm_up()
            slow.clear()
            ends = [pool.submit(end_of, connected(served, stream=streams)) for streams in (False, True)]
            scheduler = served.model.scheduler
            until(lambda: scheduler.running + scheduler.waiting == 2)
            threading.Timer(1, slow.set).start()
        whole, stream = (each.result(60) for each in ends)
    assert whole.startswith(b"HTTP/1.1 503")
    assert b"shutting down" in whole
    assert b"shutting down" in stream
    assert b"[DONE]" not in stream


def test_log_lines_hold_no_prompt(served, caplog):
    with caplog.at_level(logging.INFO, "t2c.serve"):
        assert still_answers(served)
        until(lambda: any("completion_tokens" in record.message for record in caplog.records))
    (line,) = [json.loads(record.message) for record in caplog.records if "completion_tokens" in record.message]
    assert line["status"] == 200
    assert line["model"] == "tiny"
    assert line["client"].startswith("key-")
    assert FIRST not in caplog.text
    assert CODE not in caplog.text
    assert KEY not in caplog.text


def test_keys_of_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n{KEY}\n")
    keys = ApiKeys.read(str(path))
    assert keys.client(KEY)
    assert keys.client("# ours") is keys.client("") is keys.client("\udcff") is None
    for content, message in (("", "no key"), ("short", "keys:1"), ("# none", "no key")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            ApiKeys.read(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        ApiKeys.read(str(tmp_path / "none"))


def test_an_address_that_is_taken(served):
    port = int(served.url.rpartition(":")[2])
    with pytest.raises(UserError, match="choose another"):
        listening("127.0.0.1", port)
