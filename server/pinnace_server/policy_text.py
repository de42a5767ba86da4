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
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
            if isinstance(event, yaml.AliasEvent):  # nine lines of them can mean a billion values
                raise Refused(f"expected no aliases in a policy, found *{event.anchor}{place}")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_MAX:
                raise Refused(f"expected lists and mappings {DEPTH_MAX} deep at most, found more{place}")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # as an impossible date
        raise Refused(f"expected YAML or JSON, found: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise Refused(f"expected a policy with keys as 'cohort' and 'waves', found {type(found).__name__}")
    return found


def written(tree: Mapping[str, object]) -> str:
    """Return a tree as YAML, in its own order."""
    import yaml

    return str(yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True))
