"""What aliases pointed at, the rules that let them move, and who approved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pinnace_contract.ids import ModelName, VersionName
from pinnace_server.domain.aliases import AliasRule, Approval, Pointing
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import AliasName
from pinnace_sim.memory.lists import cut
from pinnace_sim.memory.tables import Disk


class MemoryAliases:
    """``ports.Aliases``: the stretch of number ``n`` is under ``n``; approvals that wait are apart from used ones."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def begin(self, pointing: Pointing) -> int:
        self._disk.need_model(pointing.model)
        if pointing.until_s is None and self._open(pointing.model, pointing.alias) is not None:
            raise self._disk.undo.violated(f"the alias {pointing.alias!r} of {pointing.model!r} points already")
        number = len(self._disk.pointings) + 1
        self._disk.undo.put(self._disk.pointings, number, replace(pointing, number=number))
        return number

    def end(self, model: ModelName, alias: AliasName, *, at_s: float, actor: str, reason: str) -> None:
        found = self._open(model, alias)
        if found is not None:
            ended = replace(found, until_s=at_s, ended_by=actor, ended_reason=reason)
            self._disk.undo.put(self._disk.pointings, found.number, ended)

    def history(
        self, model: ModelName, page: Page, *, alias: AliasName | None = None, version: VersionName | None = None
    ) -> Listing[Pointing]:
        found = [
            each
            for _, each in sorted(self._disk.pointings.items(), reverse=True)
            if each.model == model
            and (alias is None or each.alias == alias)
            and (version is None or each.version == version)
        ]
        return cut(found, page)

    def rules(self, model: ModelName) -> Sequence[AliasRule]:
        return [rule for (of, _), rule in sorted(self._disk.alias_rules.items()) if of == model]

    def rule(self, model: ModelName, alias: AliasName) -> AliasRule | None:
        return self._disk.alias_rules.get((model, alias))

    def save_rule(self, rule: AliasRule) -> None:
        self._disk.need_model(rule.model)
        self._disk.undo.put(self._disk.alias_rules, (rule.model, rule.alias), rule)

    def remove_rule(self, model: ModelName, alias: AliasName) -> bool:
        if (model, alias) not in self._disk.alias_rules:
            return False
        self._disk.undo.drop(self._disk.alias_rules, (model, alias))
        return True

    def approve(self, approval: Approval) -> None:
        self._disk.need_model(approval.model)
        had = [each for each in self._disk.approvals if not _is_same(each, approval)]
        self._save([*had, approval])

    def withdraw(self, model: ModelName, alias: AliasName, version: VersionName, person: str) -> bool:
        asked = Approval(model=model, alias=alias, version=version, person=person, at_s=0)
        left = [each for each in self._disk.approvals if not _is_same(each, asked)]
        if len(left) == len(self._disk.approvals):
            return False
        self._save(left)
        return True

    def waiting(self, model: ModelName, alias: AliasName, version: VersionName) -> Sequence[Approval]:
        found = [each for each in self._disk.approvals if _waits(each, model, alias, version)]
        return sorted(found, key=lambda each: (each.at_s, each.person))

    def use(self, model: ModelName, alias: AliasName, version: VersionName, pointing: int) -> None:
        if not self.waiting(model, alias, version):
            return
        if pointing not in self._disk.pointings:
            raise self._disk.undo.violated(f"a row names the stretch {pointing}, which is not there")
        self._save(
            replace(each, pointing=pointing) if _waits(each, model, alias, version) else each
            for each in self._disk.approvals
        )

    def used(self, pointings: Iterable[int]) -> Sequence[Approval]:
        asked = set(pointings)
        found = [(each.pointing, each) for each in self._disk.approvals if each.pointing is not None]
        kept = [(number, each.at_s, each.person, n) for n, (number, each) in enumerate(found) if number in asked]
        return [found[n][1] for *_, n in sorted(kept)]

    def _open(self, model: ModelName, alias: AliasName) -> Pointing | None:
        found = (each for each in self._disk.pointings.values() if (each.model, each.alias) == (model, alias))
        return next((each for each in found if each.until_s is None), None)

    def _save(self, approvals: Iterable[Approval]) -> None:
        self._disk.undo.replace_all(self._disk.approvals, list(approvals))


def _waits(approval: Approval, model: ModelName, alias: AliasName, version: VersionName) -> bool:
    return approval.pointing is None and (approval.model, approval.alias, approval.version) == (model, alias, version)


def _is_same(one: Approval, other: Approval) -> bool:
    return one.person == other.person and _waits(one, other.model, other.alias, other.version)
