"""What becomes of a test whose component is missing."""

from __future__ import annotations

import pytest

from tests.conftest import missing


def test_without_a_component_a_test_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="run this"):
        missing("run this")


def test_where_ci_is_true_a_missing_component_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would see that the real tests no longer run."""
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="run this"):
        missing("run this")
