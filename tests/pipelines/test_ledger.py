"""What a cluster can never run is known before anything starts: by what it has in all, and on each node."""

from __future__ import annotations

import pytest

from pipelines.errors import UsageError
from pipelines.ledger import Ledger, needs_of
from pipelines.stage import Resources

SMALL = {"CPU": 8.0, "GPU": 4.0}
CLUSTER = Ledger({"CPU": 80.0, "GPU": 8.0}, [SMALL, SMALL, {"CPU": 64.0}])


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        (Resources(cpus=1, gpus=8), "one unit needs 8 GPU, and no node of ray has more than 4"),
        (Resources(cpus=65), "one unit needs 65 CPU, and no node of ray has more than 64"),
        (Resources(cpus=1, gpus=5, ranks=1), "one unit needs 5 GPU, and no node of ray has more than 4"),
        (Resources(cpus=9, gpus=1), "one unit needs 9 CPU and 1 GPU, and no node of ray has both"),
        (Resources(cpus=33, ranks=2), "2 ranks needs 33 CPU for each, and ray has room for 1 of them"),
        (Resources(cpus=1, gpus=9), "one unit needs 9 GPU, and ray has 8 in all"),
    ],
)
def test_what_no_node_has_is_refused_although_all_together_have_it(resources: Resources, why: str) -> None:
    with pytest.raises(UsageError, match=f"one: .*{why}"):
        CLUSTER.refuse_infeasible("one", needs_of(resources), "ray")


@pytest.mark.parametrize(
    "resources",
    [
        Resources(cpus=1, gpus=4, ranks=2),
        Resources(cpus=0.1, gpus=0.1, ranks=80),
        Resources(cpus=32, ranks=2),
        Resources(cpus=64),
    ],
)
def test_ranks_are_spread_over_nodes(resources: Resources) -> None:
    CLUSTER.refuse_infeasible("one", needs_of(resources), "ray")


def test_a_machine_is_one_node() -> None:
    Ledger({"CPU": 4.0}).refuse_infeasible("one", needs_of(Resources(cpus=2, ranks=2)), "local")
