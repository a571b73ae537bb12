import json
import re

from t2c_jax.pages.page import code_block, data_block, document, token_spans, visible


def test_a_page_names_all_that_it_applies_and_runs():
    page = document("a < b", ["<p>text</p>"])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "connect-src" not in policy
    assert "<title>a &lt; b</title>" in page


def test_hidden_characters_are_shown():
    assert visible("a\x00\r\n\t\x7f") == "a␀␍\n\t␡"
    assert visible("if x:\u202e\u2066") == "if x:⟨U+202E⟩⟨U+2066⟩"
    assert "⟨U+202E⟩" in code_block("x = 1 # \u202e", "python")


def test_spans_cover_the_code_in_utf_16():
    for code in ('def f():\n\treturn "😀" + "é"\n\n', "", "\ufeffx", "\n\n", "x = '", "\ud800"):
        for language in ("python", "bash", "no such language"):
            spans = [span.partition(":") for span in token_spans(code, language).split()]
            units = len(code.encode("utf-16-le", "surrogatepass")) // 2
            assert sum(int(length) for _, _, length in spans) == units, (code, language)
    assert token_spans("return 12", "python") == "k:6 :1 mi:2"


def test_data_cannot_end_its_element():
    value = {"text": "</script><!-- \u2028 \ud800"}
    block = data_block("data", value)
    content = block.removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert "<" not in content
    assert content.isascii()
    assert json.loads(content) == value
