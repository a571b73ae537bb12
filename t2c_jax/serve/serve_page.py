"""The page of a server: ask, and see the answers side by side."""

from __future__ import annotations

from t2c_jax.pages.page import document


def page() -> str:
    """One HTML file that loads nothing; it asks the server that it is from."""
    return document(
        "t2c",
        [_BODY],
        styles=["serve.css"],
        scripts=["words.js", "serve.js"],
        may_connect=True,
        package=__package__,
    )


_BODY = """
<header><h1>Ask for code</h1></header>
<main>
<form id="form">
  <label class="wide">Prompt <textarea id="prompt" rows="4" required spellcheck="false"></textarea></label>
  <div class="fields">
    <label>Model <select id="model"></select></label>
    <label>Answers <input id="count" type="number" min="1" max="16" value="1" required></label>
    <label>Temperature <input id="temperature" type="number" min="0" max="2" step="0.1" placeholder="search"></label>
    <label>API key <input id="key" type="password" autocomplete="off" placeholder="none"></label>
  </div>
  <div class="buttons">
    <button type="submit" id="ask">Ask <kbd>Ctrl Enter</kbd></button>
    <button type="button" id="stop" disabled>Stop <kbd>Esc</kbd></button>
  </div>
</form>
<p id="problem" role="alert" hidden></p>
<p class="faint" id="progress" role="status"></p>
<div class="codes" id="answers"></div>
<section id="read" hidden>
  <h2>What was retrieved</h2>
  <div id="neighbours"></div>
</section>
</main>
<noscript><p>This page needs JavaScript.</p></noscript>
"""
