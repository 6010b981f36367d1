"""The API as it describes itself, fuzzed by schemathesis: nothing that the description allows, or forbids, is a bug."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.serve.browser.served import Served, serving

schemathesis = pytest.importorskip(
    "schemathesis", reason="the fuzzer of APIs is not installed (make interop)"
)

pytestmark = pytest.mark.slow
NUM_EXAMPLES = 25  # per address and kind of data


@pytest.fixture(scope="module")
def served(demo: Path) -> Iterator[Served]:
    with serving(demo / "store") as one:
        yield one


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_whatever_is_asked_is_no_bug(served: Served, mode: str) -> None:
    """Every address with data that fits its description, or breaks it: no status from 500 on but "too busy"."""
    page = urllib.request.urlopen(served.url, timeout=20).read().decode()
    found = re.search('name="vtr-secret" content="([^"]+)"', page)
    assert found is not None
    schema = schemathesis.openapi.from_url(f"{served.url}api/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    statuses = {operation.label: fuzz(operation, mode, served.url, found[1]) for operation in operations}
    print({label: sorted(seen) for label, seen in statuses.items()})
    assert len(statuses) >= 8 and sum(map(bool, statuses.values())) >= 7


def fuzz(operation: Any, mode: str, url: str, secret: str) -> set[int]:
    """The statuses of an address; none where nothing can break the description of what takes nothing."""
    seen = set()

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @settings(
        max_examples=NUM_EXAMPLES,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def is_no_bug(case: Any) -> None:
        answer = case.call(base_url=url.rstrip("/"), headers={"X-VTR-Secret": secret}, timeout=60)
        seen.add(answer.status_code)
        assert answer.status_code < 500 or answer.status_code == 503, case.as_curl_command()
        assert answer.status_code not in (401, 403), "the guard was in the way"

    with contextlib.suppress(Unsatisfiable):
        is_no_bug()
    return seen
