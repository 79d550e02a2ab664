"""--expect-clean: a percentage and its tolerance."""

import re

from fdbench.errors import BadValue


def expectation(text: str | None) -> tuple[float, float] | None:
    """Parses `65.3+-1` or `65.3`: a percentage and its tolerance (1 if left out)."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9.]+)\s*(?:(?:±|\+-|\+/-)\s*([0-9.]+))?\s*%?\s*", text)
    try:
        wanted, give = float(match[1]), float(match[2] or 1)  # type: ignore[index]
    except (TypeError, ValueError) as reason:
        raise BadValue(f"--expect-clean {text!r} is not a percentage: 65.3 or 65.3+-1.") from reason
    if not 0 <= wanted <= 100:
        raise BadValue(f"--expect-clean {text!r} is not in 0 .. 100 %.")
    return wanted, give
