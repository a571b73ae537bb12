"""What people read in a pipe: lines of progress with the rate and the time left."""

import pytest

from t2c_jax import console


@pytest.fixture
def clock(monkeypatch):
    """The console's clock, in a list, and a pipe in the place of a terminal."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.console, "_force_terminal", False)
    return now


def test_a_line_in_a_pipe_has_rate_and_time_left(clock, capsys):
    """Two hundred steps at two a second, of which twenty were done before; a line at every tenth of the way."""
    with console.progress("train", 200, "steps", done=20) as bar:
        bar.note("loss 1.5")
        for _ in range(180):
            clock[0] += 0.5
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert lines[0] == "train: 40/200  2.0/s  0:01:20 left  loss 1.5"
    assert lines[-1] == "train: 200/200  2.0/s  loss 1.5"


def test_the_rate_of_quick_units_is_a_whole_number(clock, capsys):
    with console.progress("tokens", 100_000) as bar:
        clock[0] += 2.0
        bar.advance(50_000)
    assert capsys.readouterr().err == "tokens: 50,000/100,000  25,000/s  0:00:02 left\n"
