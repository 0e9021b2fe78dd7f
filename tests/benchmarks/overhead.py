"""What the framework itself costs: seconds a no-op stage, seconds to plan 1,000 stages.

    python tests/benchmarks/overhead.py

Each figure stands beside a reference measured in the same run: a bare `python -c pass`, and 200 bare Ray tasks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOOP = "tests.support.toy_stages:Noop"


def chain_spec(folder: Path, stages: int, width: int = 10) -> Path:
    """A spec of no-op stages, `width` chains side by side; returns its path."""
    lines = ["sharpline: 1", "name: overhead", f"code: [{ROOT / 'tests'}]", "stages:"]
    for i in range(stages):
        lines += [f"  s{i:04d}:", f"    uses: {NOOP}", f"    with: {{n: {i}}}"]
        if i >= width:
            lines.append(f"    inputs: {{after: [s{i - width:04d}]}}")
    path = folder / f"chain{stages}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def timed(*command: str) -> float:
    """Wall seconds of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def sharpline(*arguments: str) -> float:
    code = "import sys; from pipelines.cli.main import main; sys.exit(main())"
    return timed(sys.executable, "-c", code, *arguments)


def bare_ray_tasks(count: int) -> tuple[float, float]:
    """Seconds to start Ray, and seconds for `count` no-op tasks."""
    code = (
        "import time, ray, json; t = time.perf_counter();"
        "ray.init(address='local', include_dashboard=False, log_to_driver=False, logging_level='ERROR');"
        "f = ray.remote(lambda: None); ray.get(f.remote()); a = time.perf_counter() - t; t = time.perf_counter();"
        f"ray.get([f.remote() for _ in range({count})]); print(json.dumps([a, time.perf_counter() - t]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    start, tasks = json.loads(done.stdout.splitlines()[-1])
    return start, tasks


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = min(timed(sys.executable, "-c", "pass") for _ in range(3))
        large = chain_spec(folder, 1000)
        plan = min(sharpline("plan", str(large), "--store", str(folder / "empty")) for _ in range(3))
        small = chain_spec(folder, 200)
        local = sharpline("run", str(small), "--store", str(folder / "local"), "--executor", "local", "--quiet")
        again = sharpline("run", str(small), "--store", str(folder / "local"), "--executor", "local", "--quiet")
        replan = sharpline("plan", str(small), "--store", str(folder / "local"))
        on_ray = sharpline("run", str(small), "--store", str(folder / "ray"), "--quiet")
        start, tasks = bare_ray_tasks(200)
        print(f"{'what':<44}{'seconds':>10}   reference")
        print(f"{'plan of 1,000 new stages':<44}{plan:>10.2f}   {plan / python:.0f}x `python -c pass` ({python:.3f} s)")
        print(f"{'200 no-op stages, local executor':<44}{local:>10.2f}   {1000 * local / 200:.1f} ms a stage")
        print(f"{'the same again, all cached':<44}{again:>10.2f}   {1000 * again / 200:.1f} ms a stage")
        print(f"{'plan of 200 cached stages':<44}{replan:>10.2f}")
        ours = on_ray - start
        print(f"{'200 no-op stages on Ray, less its start':<44}{ours:>10.2f}   {1000 * ours / 200:.1f} ms a stage;")
        print(f"{'':<54}   bare Ray: {1000 * tasks / 200:.1f} ms a task, {start:.1f} s to start")


if __name__ == "__main__":
    main()
