"""The page, in a real browser."""

import json

import pytest
from browser import browser, expect, open_page, width_beyond_window  # noqa: F401
from served import KEY, serving
from tiny_generators import PAIRS

from t2c_jax.serve.api_keys import ApiKeys
from t2c_jax.serve.serve_page import page
from t2c_jax.serve.server_settings import ServerSettings

FIRST, CODE = next(iter(PAIRS.items()))


@pytest.fixture(scope="module")
def served(generators, browser):  # noqa: F811 - without a browser nothing is compiled
    with serving(generators("learned", beam_size=2, max_tokens=48), page=page(), language="python") as found:
        found.model.warm_up()
        yield found


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_asking_by_keyboard(served, open_page, width, scheme):  # noqa: F811
    shown = open_page(served.url, width, scheme)
    expect(shown.locator("#model option")).to_have_count(1)
    shown.keyboard.press("Tab")
    shown.keyboard.type(FIRST)
    shown.keyboard.press("Control+Enter")
    expect(shown.locator("#progress")).to_have_text("1 answer")
    expect(shown.locator("#answers pre")).to_have_text(CODE, use_inner_text=True)
    expect(shown.locator("#answers .faint")).to_contain_text("log-probability")
    assert shown.locator("#answers pre .k").count(), "keywords have a colour"
    assert width_beyond_window(shown) == 0


def test_several_answers_and_what_is_refused(served, open_page):  # noqa: F811
    shown = open_page(served.url)
    shown.fill("#prompt", FIRST)
    shown.fill("#count", "3")
    shown.fill("#temperature", "1")
    shown.click("#ask")
    expect(shown.locator("#answers article")).to_have_count(3)
    expect(shown.locator("#progress")).to_have_text("3 answers")


def test_a_key_is_asked_for(generators, browser, open_page):  # noqa: F811
    with serving(generators("learned", beam_size=2, max_tokens=48), ServerSettings(ApiKeys([KEY])), page()) as served:
        shown = browser.new_page()
        shown.goto(served.url)
        expect(shown.locator("#problem")).to_contain_text("API key")
        shown.fill("#key", KEY)
        shown.locator("#key").blur()
        expect(shown.locator("#model option")).to_have_count(1)
        expect(shown.locator("#problem")).to_be_hidden()
        shown.close()


def test_what_was_retrieved_has_a_link_to_its_lines(served, open_page):  # noqa: F811
    url = "https://github.com/a/b/blob/0123456/c.py#L1-L2"
    near = {"text": "A text.", "code": "x = 1", "similarity": 0.5}
    neighbours = [
        {**near, "id": "1", "place": "github.com/a/b/c.py:1", "url": url},
        {**near, "id": "2"},
        {**near, "id": "3", "place": "elsewhere", "url": "javascript:alert(1)"},
    ]
    shares = {"generated": 1.0, "prompt": 0.0, "neighbours": 0.0}
    choice = {"index": 0, "text": "x", "finish_reason": "stop", "log_probability": -1.0, "confidence": 0.5}
    event = {"choices": [{**choice, "provenance": shares, "neighbours": neighbours, "spans": ""}]}
    shown = open_page(served.url, 360)
    answer = {"content_type": "text/event-stream", "body": f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n"}
    shown.route("**/v1/completions", lambda route: route.fulfill(**answer))
    shown.fill("#prompt", "Anything.")
    shown.click("#ask")
    expect(shown.locator("#answers .faint")).to_contain_text("confidence 50 %")
    expect(shown.locator("#neighbours details")).to_have_count(3)
    for summary in shown.locator("#neighbours summary").all():
        summary.click()
    expect(shown.locator("#neighbours a")).to_have_count(1)
    expect(shown.locator("#neighbours a")).to_have_attribute("href", url)
    expect(shown.locator("#neighbours a")).to_have_text("github.com/a/b/c.py:1")
    expect(shown.locator("#neighbours .origin").nth(1)).to_have_text("2")
    assert width_beyond_window(shown) == 0
