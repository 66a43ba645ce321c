"""What the comparisons with the libraries share."""

import pytest


@pytest.fixture
def few_resamples(monkeypatch):
    """Sixty, because the libraries' functions take a millisecond each; the first of the usual thousand."""
    monkeypatch.setattr("platon_compress.scoring.RESAMPLES", 60)
