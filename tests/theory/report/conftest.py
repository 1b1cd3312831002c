"""Pages are written with blank pictures, but where the pictures themselves are looked at."""

from __future__ import annotations

import io
from functools import cache

import pytest
from matplotlib.figure import Figure

from osdn_theory.report.page import pictures

WITH_PICTURES = ("test_gallery", "test_page")


@cache
def blank_png() -> bytes:
    buffer = io.BytesIO()
    Figure((3.5, 2.0)).savefig(buffer, format="png", dpi=pictures.DPI)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.module.__name__.endswith(WITH_PICTURES):
        monkeypatch.setattr(pictures, "png", lambda figure: blank_png())
