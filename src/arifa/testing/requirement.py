"""What a test lacks: a skip that says so, or a failure where it has to be there."""

from __future__ import annotations

import os
import re
from typing import Final, NoReturn

REQUIRE_VARIABLE: Final = "ARIFA_TEST_REQUIRE"


def skip_or_fail(reason: str, *, required: str, named: str | None = None) -> NoReturn:
    """Skip the test for this reason.

    A failure instead where `ARIFA_TEST_REQUIRE` has `required` among its words, or where an
    environment variable, `named`, tells of a server that is not there: whoever names one means it.
    """
    import pytest

    if required in re.split(r"[\s,]+", os.environ.get(REQUIRE_VARIABLE, "")):
        pytest.fail(f"{reason} ({REQUIRE_VARIABLE} asks for it)", pytrace=False)
    if named is not None:
        pytest.fail(f"{reason} ({named} names it)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
