"""What is archived is hidden and never assigned anew; what is in use is not archived."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import VersionName
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import EventKind
from pinnace_server.errors import Code, Conflict, NotFound
from tests.server.world import MODEL, Server

ONE, TWO = VersionName("1"), VersionName("2")


def shown(server: Server, *, archived: bool = False) -> list[str]:
    return [each.version for each in server.catalogue.versions(MODEL, Page(), archived=archived).rows]


class TestVersion:
    def test_archived_version_is_hidden_and_kept(self, server: Server) -> None:
        server.version("1")
        server.version("2")
        archived = server.archive.put_away(MODEL, TWO, "ann", "superseded")
        assert archived.archived_at_s == server.clock.now()
        assert (shown(server), shown(server, archived=True)) == (["1"], ["2", "1"])
        assert server.catalogue.model(MODEL).latest == "1"
        assert server.catalogue.version(MODEL, "2") == archived
        assert server.catalogue.release_file(MODEL, "2")
        assert "superseded" in server.events(EventKind.VERSION_ARCHIVED)[0].summary

    def test_sequence_goes_on_after_an_archived_version(self, server: Server) -> None:
        server.version("1")
        server.version("2")
        server.archive.put_away(MODEL, TWO, "ann")
        assert server.version("3").sequence == 3
        with pytest.raises(Conflict, match="there already"):
            server.version("2")

    def test_archived_version_is_not_assigned_and_no_alias_points_at_it(self, server: Server) -> None:
        server.version("1")
        server.device()
        server.archive.put_away(MODEL, ONE, "ann")
        for attempt in (
            lambda: server.rollouts.assign(model=MODEL, version="1", selected="", actor="ann"),
            lambda: server.aliases.point(MODEL, "production", "1", "ann"),
        ):
            with pytest.raises(Conflict, match="is archived") as refused:
                attempt()
            assert refused.value.code is Code.ARCHIVED
        server.archive.take_back(MODEL, ONE, "ann")
        server.aliases.point(MODEL, "production", "1", "ann")
        server.rollouts.assign(model=MODEL, version="1", selected="", actor="ann")
        assert len(server.events(EventKind.VERSION_UNARCHIVED)) == 1

    def test_doing_it_again_changes_nothing(self, server: Server) -> None:
        server.version("1")
        server.archive.take_back(MODEL, ONE, "ann")
        first = server.archive.put_away(MODEL, ONE, "ann")
        server.clock.move(5)
        assert server.archive.put_away(MODEL, ONE, "ann") == first
        assert len(server.events(EventKind.VERSION_ARCHIVED)) == 1
        assert server.events(EventKind.VERSION_UNARCHIVED) == []

    def test_version_that_an_alias_points_at_is_in_use(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "production", "1", "ann")
        with pytest.raises(Conflict, match="alias production points at 1") as refused:
            server.archive.put_away(MODEL, ONE, "ann")
        assert refused.value.code is Code.IN_USE

    def test_version_of_an_active_rollout_or_an_assignment_is_in_use(self, server: Server) -> None:
        version, device = server.version("1"), server.device()
        rollout = server.assign(version)
        with pytest.raises(Conflict) as refused:
            server.archive.put_away(MODEL, ONE, "ann")
        assert f"rollout {rollout.id} is active" in refused.value.message
        assert f"1 device is assigned it ({device.id})" in refused.value.message
        device.commit()
        server.controller.tick()
        with pytest.raises(Conflict, match="in use: 1 device is assigned it"):
            server.archive.put_away(MODEL, ONE, "ann")
        server.fleet.decommission(device.id, "ann")
        server.archive.put_away(MODEL, ONE, "ann")

    def test_devices_can_still_go_back_to_what_was_archived(self, server: Server) -> None:
        """The archive is order; the way back is safety."""
        device = server.device()
        for name in ("1", "2"):
            rollout = server.assign(server.version(name))
            device.commit()
            server.controller.tick()
        server.archive.put_away(MODEL, ONE, "ann")
        back = server.rollouts.roll_back(rollout.id, reason="worse", actor="ann")
        assert back.version == "1"
        with pytest.raises(NotFound):
            server.archive.put_away(MODEL, VersionName("3"), "ann")

    def test_version_that_devices_are_on_their_way_back_to_is_in_use(self, server: Server) -> None:
        device = server.device()
        for name in ("1", "2"):
            rollout = server.assign(server.version(name))
            device.commit()
            server.controller.tick()
        back = server.rollouts.roll_back(rollout.id, reason="worse", actor="ann")
        with pytest.raises(Conflict, match=f"rollout {back.id} is active"):
            server.archive.put_away(MODEL, ONE, "ann")


class TestModel:
    def test_archived_model_is_hidden_and_takes_nothing_new(self, server: Server) -> None:
        server.version("1")
        server.device()
        server.archive.put_model_away(MODEL, "ann", "not built any more")
        assert server.catalogue.models(Page()).total == 0
        assert server.catalogue.models(Page(), archived=True).total == 1
        for attempt in (
            lambda: server.version("2"),
            lambda: server.aliases.point(MODEL, "production", "1", "ann"),
            lambda: server.rollouts.assign(model=MODEL, version="1", selected="", actor="ann"),
        ):
            with pytest.raises(Conflict, match="is archived"):
                attempt()
        server.archive.take_model_back(MODEL, "ann")
        assert server.version("2").sequence == 2
        assert len(server.events(EventKind.MODEL_UNARCHIVED)) == 1

    def test_model_in_use_is_not_archived(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "production", "1", "ann")
        with pytest.raises(Conflict, match="alias production points at 1"):
            server.archive.put_model_away(MODEL, "ann")
        server.aliases.unpoint(MODEL, "production", "ann")
        server.archive.put_model_away(MODEL, "ann")
