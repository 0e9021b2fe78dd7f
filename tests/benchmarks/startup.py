"""What starting costs: CPU seconds of commands, and wall time from a 1,000-stage spec to its checked graph.

``python tests/benchmarks/startup.py [--json]`` prints the numbers with their budgets and exits 1 when one is missed.
Each number is the best of a few tries: the budget is about our code, not about the neighbours of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "cv2", "pyarrow")
TOY = "tests.support.toy_stages"
PROBE = f"""
import sys, time
from pipelines.cli.main import main
code = main(sys.argv[1:])
print(time.process_time(), *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
BUDGETS = {"help": 0.4, "validate": 0.6, "load_and_graph_1000": 1.2}


def large_spec(stages: int) -> str:
    """A spec with chains, nested configs, insertions and a wide fan-in: about ten lines a stage."""
    lines = ["sharpline: 1", "name: large", "params: {scale: 4, seed: 7, rate: 1e-4}", "stages:"]
    lines += ["  photos:", f"    uses: {TOY}:Texts", "    with: {source: ./texts, scale: $(params.scale)}"]
    for number in range(1, stages - 1):
        trainer = number % 10 == 9
        before = "photos" if number <= 10 or (number - 10) % 10 == 9 else f"s{number - 10}"
        lines += [f"  s{number}:", f"    uses: {TOY}:{'Trainer' if trainer else 'Upper'}", "    inputs:"]
        lines += [f"      texts: {before}"]
        if trainer:
            lines += ["    with:", "      steps: 1000", "      seed: $(params.seed)", "      optimizer:"]
            lines += ["        rate: 0.25", "        milestones: [100, 200, 300]", "    resources: {cpus: 1, gpus: 0}"]
        else:
            lines += ["    with:", f"      suffix: part-{number}-$(params.seed)", "      only: [a.txt, b.txt]"]
            lines += ["      delay: 0.0", "    retries: 1", "    notes: one of many"]
    models = ", ".join(f"s{number}" for number in range(9, stages - 1, 10))
    lines += ["  score:", f"    uses: {TOY}:Score", f"    inputs: {{models: [{models}], texts: photos}}", ""]
    return "\n".join(lines)


def command(*argv: str, tries: int = 3) -> tuple[float, list[str]]:
    """CPU seconds of a command in a process of its own, and the heavy modules that it imported."""
    seconds, modules = float("inf"), []
    for _ in range(tries):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *argv], cwd=ROOT, capture_output=True, text=True, check=True
        )
        cpu, *modules = done.stderr.splitlines()[-1].split()
        seconds = min(seconds, float(cpu))
    return seconds, modules


def load_and_graph(stages: int, tries: int = 3) -> float:
    """Wall seconds of `load_spec` and `build_graph` on a spec with that many stages."""
    from pipelines.graph import build_graph
    from pipelines.spec.load import load_spec

    best = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(large_spec(stages))
        for _ in range(tries):
            started = time.perf_counter()
            graph = build_graph(load_spec(file))
            best = min(best, time.perf_counter() - started)
    assert len(graph.order) == stages
    return best


def main() -> int:
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.yaml"
        file.write_text(large_spec(12))
        help_seconds, help_modules = command("--help")
        validate_seconds, validate_modules = command("validate", str(file))
    found = {"help": help_seconds, "validate": validate_seconds, "load_and_graph_1000": load_and_graph(1000)}
    heavy = sorted({*help_modules, *validate_modules})
    if "--json" in sys.argv:
        print(json.dumps({"seconds": found, "budgets": BUDGETS, "heavy_modules": heavy}, indent=2))
    else:
        for name, seconds in found.items():
            print(f"{name:<22} {seconds:6.3f} s   (budget {BUDGETS[name]} s)")
        print(f"heavy modules imported: {', '.join(heavy) or 'none'}")
    return 1 if heavy or any(seconds > BUDGETS[name] for name, seconds in found.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
