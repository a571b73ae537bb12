"""The page of a corpus, in a browser."""

import numpy as np
import pytest
from browser import Pages, browser, open_page, width_beyond_window  # noqa: F401  (fixtures)

from t2c_jax.corpus.card_page import card_page
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.rules.redaction import shown_to_people
from t2c_jax.corpus.tally import Tally

TOKEN = "ghp" + "_" + "k3Jd8fGh2Lq9Zx7Wc5Vb1Nm4Rt6Yp0AsDfGh"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    drops = Tally()
    code = f'<script>document.title = "run"</script>\ntoken = "{TOKEN}"\n' + "x" * 300
    pair = Pair("id", "", code, "python", "function", Source("r", "", "a.py", 1, 2, ""))
    for line in range(5):
        drops.add("near-duplicate", f"r/{'long_directory/' * 12}a.py:{line} as r/b.py:3", lambda: shown_to_people(pair))
    replaced = Tally()
    replaced.add("GitHub token", "r/a.py:7")
    source = {"name": "a/<b>", "commit": "0" * 40, "licence": "MIT", "files": 3, "pairs": 1200, "skipped": {}}
    skipped = {"minified file": {"count": 2, "examples": ["x.min.js"]}}
    card = {
        "splits": {"train": 1000, "dev": 50, "test": 0},
        "languages": {f"language{number}": 1 + number for number in range(30)},
        "kinds": {"function": 1050},
        "licences": {"unknown": 1050},
        "dropped": drops.to_dict(),
        "replaced": replaced.to_dict(),
        "sources": [source, source | {"skipped": skipped}],
    }
    path = tmp_path_factory.mktemp("card") / "card.html"
    lengths = {"texts": np.array([10, 20, 2000] * 10), "codes": np.zeros(0)}
    path.write_text(card_page(card, lengths, drops), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_window_and_runs_nothing(page, open_page: Pages, width, scheme):  # noqa: F811
    opened = open_page(page.as_uri(), width=width, scheme=scheme)
    for details in opened.locator("summary").all():
        details.click()
    assert width_beyond_window(opened) <= 0
    assert opened.title() == "Corpus card"
    assert opened.locator("pre").count() == 3
    assert "document.title" in opened.locator("pre").first.inner_text()
    assert opened.locator("svg.bar").count() == 3 + 20 + 1 + 1
    assert opened.get_by_text("11 others").count() == 1


def test_examples_show_no_secret(page):
    text = page.read_text("utf-8")
    assert TOKEN not in text
    assert "REDACTED_" in text
    assert "1,200" in text
    assert "x.min.js" in text
