"""Metadata as it arrives, in any order, and what the device makes of it.

Files of one signing travel as several retained messages; this keeps those that have come, asks ``trust`` whether they
fit, and says what changed. It decides nothing itself and touches neither disk nor network: the caller saves ``trusted``
before it acts on what it was told.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from pinnace_agent import trust
from pinnace_agent.errors import AgentError
from pinnace_agent.trust import MetadataMixed, Trusted
from pinnace_contract import topics
from pinnace_contract.desired import Desired
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, IncarnationId
from pinnace_contract.latest import AssignmentSet, Cause

MIXED_MAX_S: Final = 600.0  # files that do not fit together are waited for this long, then it is an error
RETRY_S: Final = 60.0  # until what was refused is looked at again, then twice as long each time
RETRY_S_MAX: Final = 900.0  # a clock that was set mends it; what a stranger left on the broker never gets better
DESIRED_MAX: Final = 8  # sets that came together; with more, the oldest go, and the broker has the newest
PUBLISHED_MAX: Final = 16  # metadata files kept while their timestamp is awaited
ROOTS_MAX: Final = 16  # that wait for one in between; the rest come again with the next connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why what arrived is not believed."""

    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of the files that are here: a set to apply, a refusal to report, or neither."""

    wanted: AssignmentSet | None = None
    refusal: Refusal | None = None
    changed: bool = False


class Belief:
    """The newest metadata of both repositories, and what has arrived of the next."""

    def __init__(self, trusted: Trusted, device: DeviceId, incarnation: IncarnationId) -> None:
        self.trusted = trusted
        self._device = device
        self._incarnation = incarnation
        self._desired: deque[bytes] = deque(maxlen=DESIRED_MAX)
        self._timestamp: bytes | None = None
        self._published: dict[tuple[str, int], bytes] = {}
        self._roots: dict[tuple[topics.Repository, int], bytes] = {}
        self._mixed_since_s: float | None = None
        self._mixed_told = False
        self._refused: bytes | None = None  # the newest set, where it was refused
        self._image_refused = False  # whether the newest image timestamp was
        self._again_s, self._retry_s = math.inf, RETRY_S  # when to look at both again, and how much later after that
        self._taken: tuple[bytes, AssignmentSet] | None = None  # the newest set that was not

    @property
    def busy(self) -> bool:
        """Whether something that has come is still to be settled."""
        return bool(self._desired) or (self._timestamp is not None and not self._image_refused)

    @property
    def unread(self) -> bool:
        """Whether sets have come that ``settle``, which takes one at a time, has not looked at."""
        return bool(self._desired)

    @property
    def due_s(self) -> float:
        """When what was refused is looked at again."""
        return self._again_s

    def arrived(self, topic: topics.Topic, payload: bytes) -> bool:
        """Keep a message if it is metadata; tell whether it was.

        An empty one only clears what a broker retained: what was believed stays believed.
        """
        match topic:
            case topics.DownTopic(channel=topics.Down.DESIRED) | topics.TimestampTopic() if not payload:
                pass
            case topics.MetadataTopic() | topics.RootTopic() if not payload:
                pass
            case topics.TimestampTopic() | topics.RootTopic() if len(payload) > trust.ROOT_BYTES_MAX:
                pass
            case topics.MetadataTopic() if len(payload) > trust.METADATA_BYTES_MAX:
                pass
            case topics.DownTopic(channel=topics.Down.DESIRED):
                self._desired.append(payload)  # each is looked at: the last to come need not be the newest
                self._refused, self._image_refused = None, False
                self._again_s, self._retry_s = math.inf, RETRY_S
            case topics.TimestampTopic():
                self._timestamp, self._image_refused = payload, False
            case topics.MetadataTopic(role=role, version=version):
                self._published[role, version] = payload
                # Anybody may publish: what is nearest above the believed versions is kept, not the largest number.
                while len(self._published) > PUBLISHED_MAX:
                    del self._published[max(self._published, key=lambda key: key[1])]
            case topics.RootTopic(repository=repository, version=version):
                if version <= trust.root_version(self._believed(repository)):
                    return True  # brokers repeat every root with each connection
                self._roots[repository, version] = payload
                while len(self._roots) > ROOTS_MAX:
                    del self._roots[max(self._roots, key=lambda key: key[1])]
            case _:
                return False
        return True

    def settle(self, *, now_s: float, awake_s: float) -> Settled:
        """Believe what can be believed of what is here.

        ``now_s`` is max(time floor, clock) for expiries, ``awake_s`` monotonic time for waiting.
        """
        before = self.trusted
        refusal = self._walk_roots()
        if self.trusted != before or awake_s >= self._again_s:
            self._again_s, self._image_refused = math.inf, False
            if not self._desired and self._refused is not None:
                self._desired.append(self._refused)
                self._refused = None
        refusal = refusal or self._settle_image(now_s, awake_s)
        wanted = None
        if self._desired:
            message = self._desired.popleft()
            try:
                wanted = self._director_wants(message, now_s)
                self._refused = None
            except ContractError as error:
                refusal = Refusal(cause=Cause.SIGNATURE_INVALID, detail=str(error))
            except AgentError as error:
                self._refused = message
                self._look_again(awake_s)
                refusal = Refusal(cause=error.cause, detail=str(error))
        return Settled(wanted=wanted, refusal=refusal, changed=self.trusted != before)

    def _director_wants(self, message: bytes, now_s: float) -> AssignmentSet:
        """Verify a set, or say again what the same bytes said: the broker repeats them with every connection."""
        if self._taken is not None and self._taken[0] == message:
            return self._taken[1]
        self.trusted, wanted = trust.update_director(
            self.trusted, Desired.from_bytes(message), device=self._device, incarnation=self._incarnation, now_s=now_s
        )
        self._taken = (message, wanted)
        return wanted

    def _walk_roots(self) -> Refusal | None:
        if not self._roots:
            return None  # most turns of the loop: reading the trusted roots again would be work for nothing
        try:
            self.trusted = replace(
                self.trusted,
                image=trust.update_root(self.trusted.image, "image", self._roots_of(topics.Repository.IMAGE)),
                director=trust.update_root(
                    self.trusted.director, "director", self._roots_of(topics.Repository.DIRECTOR)
                ),
            )
        except MetadataMixed:
            return None  # a root in between is still on its way
        except AgentError as error:
            self._roots.clear()
            return Refusal(cause=error.cause, detail=str(error))
        self._roots.clear()
        return None

    def _believed(self, repository: topics.Repository) -> trust.Repository:
        return self.trusted.image if repository is topics.Repository.IMAGE else self.trusted.director

    def _roots_of(self, repository: topics.Repository) -> list[bytes]:
        return [self._roots[key] for key in sorted(self._roots, key=lambda key: key[1]) if key[0] is repository]

    def _settle_image(self, now_s: float, awake_s: float) -> Refusal | None:
        if self._timestamp is None or self._image_refused:
            return None
        known = self.trusted.image
        if self._timestamp == known.timestamp:
            self._timestamp = None
            return None
        try:
            self.trusted = trust.update_image(self.trusted, self._timestamp, self._published, now_s=now_s)
        except MetadataMixed as error:
            if self._mixed_since_s is None:
                self._mixed_since_s = awake_s
            if self._mixed_told or awake_s - self._mixed_since_s <= MIXED_MAX_S:
                return None
            self._mixed_told = True
            return Refusal(cause=error.cause, detail=f"{error}, for 10 minutes now")
        except AgentError as error:
            self._image_refused = True
            self._look_again(awake_s)
            return Refusal(cause=error.cause, detail=str(error))
        self._forget_image()
        return None

    def _look_again(self, awake_s: float) -> None:
        """A clock that is set later, or a root that is still on its way, may mend what was refused.

        Set and image are looked at together: a set alone would wait for its release to be listed, and give up.
        """
        if self._again_s == math.inf:
            self._again_s = awake_s + self._retry_s
            self._retry_s = min(RETRY_S_MAX, 2 * self._retry_s)

    def _forget_image(self) -> None:
        self._timestamp, self._image_refused = None, False
        self._published.clear()
        self._mixed_since_s, self._mixed_told = None, False
