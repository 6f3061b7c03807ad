"""Marked secrets, and a search for them: whole, in parts, and in every encoding in which text travels."""

import base64
from collections.abc import Iterator, Mapping
from urllib.parse import quote

MARKS = {
    "code": "Qh3vXk9LmZpW2sRtY7uB",
    "access token": "aK8dJw5Nc+x1/qHyE4Tz",
    "refresh token": "rP6fSb0UoIl3MnDjC9Xe",
    "second access token": "bL9eKx6OdWy2HrIzF5Ua",
    "second refresh token": "sQ7gTc1Vp~m4.oEkD0Yf",
    "client secret": "cS5hUd2Wq&n8=pFlE1Zg",
    "API key": "kA4jYf7TrGm1BvNxW6Pd",
    "encryption key": "eK2mZc8RsHv5XqLtJ9Gn-eK2mZc8RsHv5XqLtJ9Gn",
}
PART = 8
"""Number of consecutive characters of a secret that count as a leak."""

STEP, BLOCK = 4, 5
"""Any text of eight characters or more contains a whole block of five that begins at a multiple of four."""


def pieces(mark: str) -> Iterator[str]:
    """Yield the parts of a mark: as it is, percent-encoded, in hex, and in base64 (both alphabets) at each of its three alignments."""
    yield from windows(mark, PART)
    yield from windows(quote(mark, safe=""), PART)
    yield from windows("".join(f"%{byte:02x}" for byte in mark.encode()), 3 * PART)
    yield from windows("".join(f"%{byte:02X}" for byte in mark.encode()), 3 * PART)
    yield from windows(mark.encode().hex(), 2 * PART)
    yield from windows(mark.encode().hex().upper(), 2 * PART)
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + mark.encode()).decode()[4:-4]
        yield from windows(encoded, PART)
        yield from windows(encoded.translate(str.maketrans("+/", "-_")), PART)


def windows(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


def hits(sinks: Mapping[str, str], marks: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each pair of a sink and a mark of which the sink contains a part."""
    wanted = {piece: name for name, mark in marks.items() for piece in pieces(mark)}
    blocks = {block for piece in wanted for block in windows(piece, BLOCK)}
    near = {
        (sink, text[max(0, at - 3 * PART) : at + 4 * PART])
        for sink, text in sinks.items()
        for at in range(0, len(text), STEP)
        if text[at : at + BLOCK] in blocks
    }
    return sorted({(sink, name) for sink, text in near for piece, name in wanted.items() if piece in text})
