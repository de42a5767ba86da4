"""A transcript for readers: when, who, what, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

_WORDS: Final = {
    "acknowledged": "the server has the receipt of generation {generation}",
    "boot": "boots",
    "boot_failed": "does not boot: {problem}",
    "calm": "everything that is wrong ends",
    "connected": "connects (connection {number}, session kept: {session})",
    "contact": "has contact: a report of after the activation is acknowledged",
    "desired": "is sent its desired state, generation {generation}",
    "disconnected": "loses connection {number}: {reason}",
    "exited": "a worker of version {version} ends: {why}",
    "fault": "fault: {kind}",
    "not_loaded": "version {version} cannot be loaded: {why}",
    "order": "order: {kind} {version}",
    "order_refused": "order refused: {problem}",
    "phase": "phase {phase}, generation {generation}",
    "power_cut": "loses its power",
    "receipt": "receipt of generation {generation}, version {version}: {outcome}",
    "refused": "what it was sent last is refused: {why}",
    "retired": "is switched off for good",
    "rollout_waits": "the rollout of version {version} waits, wave {wave} on {on}; devices: {devices}",
    "server_killed": "the server is killed",
    "server_says": "server: {text}",
    "server_started": "the server starts",
    "serves": "serves version {version}",
    "starts": "starts a worker of version {version}",
    "stopped": "stops in order",
    "violation": "RULE BROKEN: {rule}: {text}",
    "waits": "waits in {phase}: {why}",
    "will": "the broker publishes the will of connection {number}",
}
_MORE: Final = {
    "fault": {"lasts_s": "for {} s"},
    "phase": {"why": "{}"},
    "power_cut": {"before": "before {}"},
    "receipt": {"cause": "{}", "text": "{}", "active": "active is {}", "evidence": "evidence: {}"},
    "server_killed": {"when": "{}"},
}
_NOTHING: Final = (None, "NONE", 0)


def told(transcript: Sequence[str]) -> Iterator[str]:
    """Yield a line for each of a transcript's."""
    for text in transcript:
        line = json.loads(text)
        if "what" in line:
            yield f"{_clock(float(line['at'])):>12}  {line.get('who', ''):<16} {_words(line)}".rstrip()
        else:
            yield ", ".join(f"{name} {value}" for name, value in line.items())


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    return f"{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"


def _words(line: dict[str, object]) -> str:
    what = str(line["what"])
    if what == "refused" and "why" not in line:
        return "has nothing to refuse any more"
    pattern = _WORDS.get(what)
    if pattern is None:
        facts = (f"{name} {value}" for name, value in line.items() if name not in ("at", "what", "who"))
        return f"{what.replace('_', ' ')}: {', '.join(facts)}".rstrip(": ")
    more = [form.format(line[name]) for name, form in _MORE.get(what, {}).items() if line.get(name) not in _NOTHING]
    words = pattern.format_map(_Blank({name: _counted(value) for name, value in line.items()})).rstrip()
    return f"{words} ({'; '.join(more)})" if more else words


def _counted(value: object) -> object:
    """Return numbers by name in words."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{n} {name}" for name, n in value.items()) or "none"


class _Blank(dict[str, object]):
    """Facts, with nothing where one is missing."""

    def __missing__(self, key: str) -> str:
        return ""
