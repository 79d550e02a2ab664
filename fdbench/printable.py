"""Text of strangers, made safe to show: it can't move the cursor, hide, or switch direction."""

import unicodedata

# Control characters, half characters, line ends of Unicode, marks that are invisible or reverse
# the direction of writing. A zero-width joiner is among them: names need none.
_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escaped(character: str) -> str:
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def shown(text: str, keep: str = "\n\t") -> str:
    """The text with what a terminal would obey or hide written as an escape: `\\x1b`, `\\u202e`.

    Args:
        text: from anywhere.
        keep: control characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        _escaped(one) if unicodedata.category(one) in _UNSHOWN and one not in keep else one
        for one in text
    )


def one_line(text: str) -> str:
    """The text as `shown`, with its line breaks and tabs visible too."""
    return shown(text, keep="")
