"""Reliability and risk by coverage as a part of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SIZE = 200  # of a figure's axes


def confidence_section(confidence: Mapping[str, Any]) -> str:
    """HTML of what ``calibration.calibration`` found, with ``of``, the name of what confidence is of."""
    reliability = [(each["confidence"], each["right"]) for each in confidence["reliability"]]
    risk = [(each["coverage"], each["risk"]) for each in confidence["risk_coverage"]]
    error, bins = confidence["expected_calibration_error"], confidence["bins"]
    return (
        f'<h2>Confidence</h2><p class="faint">Of {confidence["of"]}, from 0 to 1. Expected calibration error'
        f" {error:.3f} over {bins} bins of equal width (Guo et al. 2017).</p>"
        '<div class="figures">'
        + _figure("Reliability", "mean confidence of a bin", "mean of what was right", reliability, diagonal=True)
        + _figure("Risk by coverage", "share of the answers, most confident first", "mean of 1 - right", risk)
        + "</div>"
    )


def _figure(title: str, across: str, up: str, points: Sequence[tuple[float, float]], *, diagonal: bool = False) -> str:
    placed = [(_SIZE * x, _SIZE * (1 - y)) for x, y in points]
    line = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(placed))
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed)
    axes = f"M0 0V{_SIZE}H{_SIZE}" + (f"M0 {_SIZE}L{_SIZE} 0" if diagonal else "")
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<svg class="figure" viewBox="-8 -8 {_SIZE + 16} {_SIZE + 16}" role="img">'
        f'<path class="axis" d="{axes}"/><g class="model"><path d="{line}"/>{dots}</g></svg>'
        f'<p class="faint">Across, 0 to 1: {across}. Up, 0 to 1: {up}.</p></figure>'
    )
