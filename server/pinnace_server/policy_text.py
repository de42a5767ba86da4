"""A rollout's policy as people write it: YAML, of which JSON is a part, to the plain tree that ``reading.read`` takes.

The command line reads it from a file, the console from a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pinnace_server.errors import Refused

BYTES_MAX: Final = 1024 * 1024  # 32 waves and 64 approvals, each with comments, are a tenth of it
DEPTH_MAX: Final = 32  # lists and mappings in each other; policies have six, and a thousand take the reader a minute


def parse(text: str | bytes) -> dict[str, object]:
    """Return the tree of a policy. What its keys mean is not looked at.

    Raises:
        Refused: what was expected, and what was found where.
    """
    import yaml

    size = len(text if isinstance(text, bytes) else text.encode(errors="replace"))
    if size > BYTES_MAX:
        raise Refused(f"expected a policy of at most {BYTES_MAX} bytes, found {size}")
    try:
        _check(text)
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # as an impossible date
        raise Refused(f"expected YAML or JSON, found: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        what = "nothing" if found is None else type(found).__name__
        raise Refused(f"expected a policy with keys as 'cohort' and 'waves', found {what}")
    return found


def _check(text: str | bytes) -> None:
    """Refuse what a reader would take a minute for, or take silently: depth, aliases, and a key that is there twice."""
    import yaml

    keys: list[set[str] | None] = []  # of the lists (None) and mappings that are open
    nodes: list[int] = []  # in each of them; of a mapping every other one is a key
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent):  # nine lines of them can mean a billion values
            raise Refused(f"expected no aliases in a policy, found *{event.anchor}{place}")
        if isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
            nodes.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        if nodes:
            here = keys[-1]
            if here is not None and nodes[-1] % 2 == 0 and isinstance(event, yaml.ScalarEvent):
                if event.value in here:
                    raise Refused(f"expected each key once, found {event.value!r} again{place}")
                here.add(event.value)
            nodes[-1] += 1
        if isinstance(event, yaml.CollectionStartEvent):
            keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            nodes.append(0)
            if len(nodes) > DEPTH_MAX:
                raise Refused(f"expected lists and mappings {DEPTH_MAX} deep at most, found more{place}")


def written(tree: Mapping[str, object]) -> str:
    """Return a tree as YAML, in its own order."""
    import yaml

    return str(yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True))
