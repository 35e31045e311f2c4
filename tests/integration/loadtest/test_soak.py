"""A soak of a few seconds: it says what it saw of each series, and counts every reading."""

import pytest

from loadtest.soak.__main__ import run, show
from loadtest.soak.sampler import SERIES


@pytest.mark.slow
def test_a_short_soak_reports_every_series_and_a_balanced_ledger(capsys):
    report = run(duration_s=6.0, load="single_64_batch", share=0.05, period_s=1.0, capacity_s=0.5)
    assert report["ledger"] == "sent = stored"
    assert report["readings"] > 1000
    assert {verdict["name"] for verdict in report["verdicts"]} == set(SERIES)
    for name in ("store_rss", "ingest_fds", "parts", "puback_p99"):
        assert len(report["samples"][name]) >= 3, name
        assert all(value > 0 for _, value in report["samples"][name]), name
    show(report)
    assert "all stored, once" in capsys.readouterr().out
