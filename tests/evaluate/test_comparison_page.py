"""The page of a comparison, as text and in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Pages, browser, expect, open_page, width_beyond_window  # noqa: F401
from evaluate_examples import pair, write_run

from t2c_jax.evaluate.comparison_page import render_comparison, write_comparison
from t2c_jax.evaluate.run_comparison import RunComparison, compare_runs
from t2c_jax.evaluate.saved_evaluation import open_evaluations

HOSTILE = "</script><img src=x onerror=alert(1)><!--\x00\u202e\ud800 '\"&\u2028"
CODES = [f"def f{n}(a):\n    return a + {n}" for n in range(100)]
PAIRS = [
    pair(
        f"id-{n}",
        HOSTILE if n == 7 else f"add {n} to a number",
        code,
        kind="function" if n % 2 else "method",
        language="python" if n < 90 else "bash",
    )
    for n, code in enumerate(CODES)
]
OURS = [HOSTILE if n == 7 else code.replace("a", "b") if n % 3 == 0 else code for n, code in enumerate(CODES)]
THEIRS = [code.replace("return", "yield") if n % 4 == 0 else code for n, code in enumerate(CODES)]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> RunComparison:
    root = tmp_path_factory.mktemp("runs")
    for name, answers in (("base", THEIRS), ("new", OURS), ("third", CODES)):
        write_run(root / name, PAIRS, answers)
    names = [str(root / name) for name in ("base", "new", "third")]
    return compare_runs(open_evaluations(names), resamples=100, seed=0)


@pytest.fixture(scope="module")
def url(comparison: RunComparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "compare.html"
    write_comparison(path, comparison)
    return path.as_uri()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in ("meta", "line", "circle", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(comparison: RunComparison):
    source = render_comparison(comparison)
    page = _Page()
    page.feed(source)
    page.close()
    assert not page.open
    assert not page.tags & {"img", "link", "iframe", "object", "form"}
    assert not page.names & {"src", "href", "style", "onerror"}
    assert not re.search(r"https?:|url\(|@import", source)
    assert source.count("</script>") == 2


def test_a_few_pairs_show_no_clear_difference(tmp_path: Path):
    """Also where the metric is no percentage, lower is better, and nothing is known of kind and language."""
    for count, shown in ((1, set()), (5, set()), (6, {"better"})):
        pairs = [pair(f"{n}", "t", "open json.load len", language="", kind="") for n in range(count)]
        root = tmp_path / str(count)
        write_run(root / "a", pairs, [""] * count, metrics=("frank",))
        write_run(root / "b", pairs, ["open json.load len"] * count, metrics=("frank",))
        few = compare_runs(open_evaluations([str(root / "a"), str(root / "b")]), resamples=100, seed=0)
        found = few.result["against_baseline"]["b"]["metrics"]["frank"]
        assert (found["interval"] is None) == (found["standard_error"] is None) == (count == 1)
        assert set(re.findall(r'class="track (better|worse)"', render_comparison(few))) == shown


def test_a_browser_shows_wins_and_losses(url: str, open_page: Pages):  # noqa: F811
    page = open_page(url)
    assert page.inner_text("h1") == "2 runs against base"
    assert page.inner_text("#count") == "100 of 100 pairs"
    assert page.locator("#list > details").count() == 40  # the others when they come into view
    page.check("input[value=lost]", force=True)
    # 34 of three that new has wrong, but for those that base has wrong too and that are no worse.
    lost = int(page.inner_text("[data-count=lost]"))
    won = int(page.inner_text("[data-count=won]"))
    tied = int(page.inner_text("[data-count=tied]"))
    assert won + lost + tied == 100
    assert page.inner_text("#count") == f"{lost} of 100 pairs"
    assert set(page.locator(".badge").all_text_contents()) == {"lost"}
    page.select_option("#run", "1")  # third is right everywhere
    assert page.inner_text("[data-count=lost]") == "0"
    assert page.inner_text("[data-count=won]") == "25"
    page.check("input[value=all]", force=True)
    page.select_option("#metric", "exact_match")
    assert page.locator(".view:visible figcaption").all_inner_texts()[-1] == "Exact match: who is right"
    page.select_option("#kind", "method")
    page.select_option("#language", "bash")
    assert page.inner_text("#count") == "5 of 100 pairs"
    page.select_option("#kind", "*")
    page.select_option("#language", "*")
    page.fill("#search", "ADD 5")
    expect(page.locator("#count")).to_have_text("19 of 100 pairs")  # the numbers with a 5


def test_a_browser_marks_the_words_that_differ(url: str, open_page: Pages):  # noqa: F811
    page = open_page(url)
    page.select_option("#order", "corpus")
    page.locator("summary").first.click()
    row = page.locator("#list > details").first
    codes = row.locator("pre.code")
    assert [codes.nth(number).inner_text() for number in range(3)] == [THEIRS[0], OURS[0], CODES[0]]
    assert codes.nth(0).locator("mark").all_inner_texts() == ["yield"]
    assert codes.nth(1).locator("mark").all_inner_texts() == ["b", "b"]
    reference = codes.nth(2)
    assert reference.locator(".lacks-1").all_inner_texts() == ["return"]
    assert reference.locator(".lacks-2").all_inner_texts() == ["a", "a"]
    assert reference.locator("span.k").all_inner_texts()[:1] == ["def"]
    page.select_option("#mark", "none")
    page.locator("summary").first.click()
    assert page.locator("pre.code mark").count() == 0


def test_a_browser_runs_nothing_of_an_answer(url: str, open_page: Pages):  # noqa: F811
    page = open_page(url)
    page.fill("#search", "onerror")
    expect(page.locator("#list > details")).to_have_count(1)
    page.locator("summary").click()
    shown = page.locator("pre.text").inner_text()
    assert shown.startswith("</script><img src=x onerror=alert(1)><!--␀⟨U+202E⟩")
    assert page.locator("pre.code").nth(1).inner_text() == shown
    assert page.locator("img").count() == 0


def test_a_browser_needs_no_mouse(url: str, open_page: Pages):  # noqa: F811
    page = open_page(url)

    def focused() -> str:
        return str(
            page.evaluate("document.activeElement.closest('details')?.dataset.index ?? document.activeElement.id")
        )

    visited = []
    for _ in range(12):
        page.keyboard.press("Tab")
        visited.append(focused())
    controls = ["run", "metric", "", "kind", "language", "order", "mark", "search"]
    start = visited.index("run")
    assert visited[start : start + len(controls)] == controls  # the unnamed one is the outcome
    page.evaluate("document.activeElement.blur()")
    order = page.locator("#list > details").evaluate_all("rows => rows.slice(0, 50).map(row => row.dataset.index)")
    for step, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(step)
        assert focused() == order[place]
    page.keyboard.press("Enter")
    assert page.locator("details[open] pre.code").count() == 3
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("/")
    assert focused() == "search"
    page.keyboard.type("j")
    assert page.input_value("#search") == "j"
    page.keyboard.press("Escape")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (360, "light"), (1600, "dark")])
def test_a_browser_fits_the_page_to_its_window(url: str, open_page: Pages, width: int, scheme: str):  # noqa: F811
    page = open_page(url, width, scheme)
    page.locator("summary").first.click()
    assert width_beyond_window(page) <= 0
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]


def test_a_browser_lists_many(comparison: RunComparison, tmp_path: Path, open_page: Pages):  # noqa: F811
    """Rows appear as they are scrolled to, so the page has few of them however many examples there are."""
    many = RunComparison(
        comparison.result,
        comparison.metrics,
        [*comparison.pairs] * 10,
        {run: [*answers] * 10 for run, answers in comparison.answers.items()},
        {name: {run: scores.repeat(10) for run, scores in by_run.items()} for name, by_run in comparison.alone.items()},
    )
    write_comparison(tmp_path / "compare.html", many)
    page = open_page((tmp_path / "compare.html").as_uri())
    assert page.inner_text("#count") == "1,000 of 1,000 pairs"
    rows = page.locator("#list > details")
    assert rows.count() == 40
    for _ in range(41):
        page.keyboard.press("j")
    assert page.locator("#list > details").count() >= 80
    assert page.evaluate("document.activeElement.closest('details') === document.querySelectorAll('details')[40]")
    # Scrolling shows more too, and so does a window that is taller than what comes at once.
    page.locator("#end").scroll_into_view_if_needed()
    expect(rows.nth(90)).to_be_attached()
    tall = open_page((tmp_path / "compare.html").as_uri(), height=9000)
    expect(tall.locator("#list > details").nth(90)).to_be_attached()
