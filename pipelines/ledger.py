"""The driver's own account of resources: what is there, what is taken, what can never be had.

Ray queues an infeasible request for ever and says nothing; the ledger refuses it before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipelines.errors import UsageError
from pipelines.executors.task import Needs
from pipelines.stage import Resources

EPSILON = 1e-9  # amounts such as 0.1 are added and subtracted many times


def needs_of(resources: Resources) -> Needs:
    """What one unit of a stage occupies. A unit without any amount still counts as one CPU."""
    cpus = 1.0 if resources.cpus is None else float(resources.cpus)
    custom = dict(resources.custom)
    needs = Needs(cpus, float(resources.gpus or 0), resources.memory or 0, custom, resources.ranks or 1)
    return needs if needs.as_dict() else replace(needs, cpus=1.0)


class Ledger:
    """Free amounts by resource name. `nodes` are the amounts of each machine, where there are several."""

    def __init__(self, capacity: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()) -> None:
        self.capacity, self._nodes = dict(capacity), nodes or (capacity,)
        self._free = dict(capacity)

    def refuse_infeasible(self, stage: str, needs: Needs, where: str) -> None:
        """Raise UsageError when `needs` exceed everything there is."""
        short = self.shortage(stage, needs, where)
        if short is not None:
            raise UsageError(f"{stage}: {short[0]}; {short[1]}")

    def shortage(self, stage: str, needs: Needs, where: str) -> tuple[str, str] | None:
        """What of `needs` exceeds everything there is, and what to do about it, in words; None when nothing does."""
        for name, amount in needs.as_dict().items():
            have = self.capacity.get(name, 0.0)
            if amount > have + EPSILON:
                who = "one unit needs" if needs.ranks == 1 else f"a gang of {needs.ranks} ranks needs"
                what = f"{who} {amount:g} {name}, and {where} has {have:g} in all"
                return what, _advice(stage.split("@")[0], name, needs, have)
        return self._split(needs, where)

    def _split(self, needs: Needs, where: str) -> tuple[str, str] | None:
        """The same of what the nodes have only together: a unit, or one rank of a gang, runs on one of them."""
        one, unit = needs.of_one_rank(), "unit" if needs.ranks == 1 else "rank"
        each = " and ".join(f"{amount:g} {name}" for name, amount in one.items())
        room = sum(min(int((node.get(n, 0.0) + EPSILON) / a) for n, a in one.items()) for node in self._nodes)
        if room >= needs.ranks:
            return None
        largest = {name: max(node.get(name, 0.0) for node in self._nodes) for name in one}
        short = [name for name, amount in one.items() if amount > largest[name] + EPSILON]
        if room:
            what = f"a gang of {needs.ranks} ranks needs {each} for each, and {where} has room for {room} of them"
        elif short:
            what = f"one {unit} needs {one[short[0]]:g} {short[0]}, and no node of {where} has more than"
            what += f" {largest[short[0]]:g}"
        else:
            what = f"one {unit} needs {each}, and no node of {where} has both"
        return what, "lower its `resources`, or add nodes that are large enough"

    def take(self, needs: Needs) -> bool:
        """Occupy `needs` if they are free now; False otherwise."""
        wanted = needs.as_dict()
        if any(amount > self._free.get(name, 0.0) + EPSILON for name, amount in wanted.items()):
            return False
        for name, amount in wanted.items():
            self._free[name] -= amount
        return True

    def give(self, needs: Needs) -> None:
        """Return what `take` occupied."""
        for name, amount in needs.as_dict().items():
            self._free[name] += amount


def _advice(stage: str, name: str, needs: Needs, have: float) -> str:
    if name == "GPU" and not have:
        return (
            "run it on a machine that has one (CUDA_VISIBLE_DEVICES may hide it) or on a cluster (--address "
            f"HOST:PORT); a stage that can do without takes --set stages.{stage}.with.device=cpu"
        )
    field = {"CPU": "cpus", "GPU": "gpus"}.get(name, name) if needs.ranks == 1 else "ranks"
    return f"lower it with --set stages.{stage}.resources.{field}=… or use a larger cluster"
