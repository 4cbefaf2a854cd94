"""The one place where text from a model becomes text that is shown.

Names, paths and sentences come from whoever made the model, and may hold anything: codes
that a terminal obeys, marks that turn text around, commands to the runner of a pipeline.
Every form of a report lets them through here, and nothing else decides what is harmless.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

# A name is shown whole, in a file too, unless it is longer than anybody reads.
LONGEST = 1000

SHOWN_INSTEAD = "\ufffd"
# Controls; marks that are not seen but turn, join or hide; lone surrogates; line separators.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _is_harmful(character: str) -> bool:
    if character.isprintable():
        return False
    # XML and HTML forbid the noncharacters, however they are written.
    is_noncharacter = ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"
    return is_noncharacter or unicodedata.category(character) in _HARMFUL


def one_line(text: str, limit: int = LONGEST) -> str:
    """`text` on one line, with nothing in it that is obeyed, and at most `limit` characters."""
    # Cut first: a name may have a million characters, each of which stays one.
    text = cut(text, limit)
    if text.isprintable():
        return text
    return "".join(" " if c in "\n\t" else SHOWN_INSTEAD if _is_harmful(c) else c for c in text)


def cut(text: str, limit: int, share: float = 0.4) -> str:
    """A long name without its middle: /blocks/…/primary/Conv_fused.

    Names begin with the place in the network and end with the operator; both tell. `share`
    of what is kept is the beginning.
    """
    if len(text) <= limit:
        return text
    if limit < 4:
        return text[: limit - 1] + "…"
    room = limit - 1
    kept = int(room * share)
    head, tail = text[:kept], text[len(text) - room + kept :]
    # At a border between two parts, where one is near.
    end, start = head.rfind("/"), tail.find("/")
    head = head[: end + 1] if end >= len(head) // 2 else head
    tail = tail[start:] if 0 <= start <= len(tail) // 3 else tail
    return f"{head}…{tail}"


def labels(names: Iterable[str], limit: int) -> dict[str, str]:
    """Each name as a label of `limit` characters; different names have different ones.

    Labels that come out equal are cut around the place where their names part, and are
    longer where that does not do. Beyond what anybody reads they are numbered.
    """
    wanted = list(dict.fromkeys(names))
    shown = {name: one_line(name, limit) for name in wanted}
    counts = Counter(shown.values())
    same = [name for name in wanted if counts[shown[name]] > 1]
    return shown | dict(zip(same, _apart(same, limit), strict=True)) if same else shown


def _apart(names: list[str], limit: int) -> list[str]:
    # What the first and the last of sorted names have in common, all have.
    pairs = zip(min(names), max(names), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = names[0].rfind("/", 0, common) + 1
    room = limit
    while room <= LONGEST:
        for share in (0.4, 0.6, 0.8, 1.0):
            found = [_from(name, start, room, share) for name in names]
            if len(set(found)) == len(names):
                return found
        room += max(4, room // 8)
    return [f"{one_line(name, limit)} ({number})" for number, name in enumerate(names, 1)]


def _from(name: str, start: int, room: int, share: float) -> str:
    """A name without the parts that end at `start`."""
    if start <= 1 or len(name) <= room:
        return one_line(cut(name, room, share))
    return one_line(f"…/{cut(name[start:], max(room - 2, 4), share)}")


# JSON. Outside of its strings there are only brackets, commas, colons and numbers, so that
# what is harmful stands in a string, and can be written there by its number.
_IN_JSON = re.compile(r"[^ -~\n]|::|##(?=[\w-]*\[)")


def to_json(data: Any, *, indent: int | None = 2) -> str:
    """JSON that reads back as `data`, and in which no string is obeyed by what prints it.

    Raises ValueError for a number that JSON has none for.
    """
    separators = None if indent is not None else (",", ":")
    text = json.dumps(
        data, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
    )
    return _IN_JSON.sub(_numbered, text)


def _numbered(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) > 1:
        return f"{found[0]}\\u{ord(found[1]):04x}"
    if not _is_harmful(found):
        return found
    units = found.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


# What runners of pipelines obey: `::name::` at the start of a line, which they trim, and
# `##[name]`, `##vso[name]`, `##teamcity[name]` anywhere.
_COMMANDS = re.compile(r":(?=:)|#(?=#[\w-]*\[)")
_RUNNERS = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")


def in_pipeline() -> bool:
    """Whether what is printed is read by the runner of a pipeline."""
    return any(os.environ.get(name, "").lower() not in ("", "0", "false") for name in _RUNNERS)


def disarmed(text: str) -> str:
    """Text for a log, in which a runner finds no command: `::` becomes `: :`."""
    return _COMMANDS.sub(lambda m: f"{m[0]} ", text)


# Terminals that know ASCII only get marks that stay apart, each as wide as what it stands for.
_ASCII = str.maketrans("✓✗→−×·…■━±µ∣ˋ✅❌", "+x>-x.~#=+u|'+x")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end].translate(_ASCII)
    return "".join(c if c.isascii() else "?" for c in found), error.end


# The name of an error handler for streams, as "replace" is one.
MARKS = "onnxac-marks"
codecs.register_error(MARKS, _in_ascii)
