"""What the sandbox costs, beside EvalPlus's own evaluator on the same samples, both with two workers.

    python bench/sandbox.py --data-dir DIR [--only humaneval] [--least 4] [--flips 10]

DIR holds `evalplus/` with the two data sets and `samples/`. Whole processes are timed: cold, with no expected outputs
in the cache, and warm; both with Python's bytecode at hand, as installing leaves it, and with the same least time for
an input, which is EvalPlus's current source's (its release 0.3.1 gives one second: `--least 1`). `--flips N` scores
the samples N times under a second load and counts verdicts that change.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from _measure import bytecode, h3eval, measure, table

from h3eval.errors import NoSandbox
from h3eval.sandbox.evalplus import LEAST_S
from h3eval.sandbox.jobs import Job
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import NAMES, UNSAFE, tier

SETS = {"humaneval": ("humaneval_plus", "HumanEvalPlus"), "mbpp": ("mbpp_plus", "MbppPlus")}
WORKERS = 2
TRIVIAL = Job("def f(x): return x", "f", b"[1]\n" * 10, [2.0] * 10)
LOAD = "while True: pass"


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data-dir", type=Path, required=True)
    arguments.add_argument("--only", choices=list(SETS))
    arguments.add_argument("--least", type=float, default=LEAST_S, help="EvalPlus's --min-time-limit, seconds")
    arguments.add_argument("--flips", type=int, default=0)
    args = arguments.parse_args()
    names = [args.only] if args.only else list(SETS)
    starts()
    with tempfile.TemporaryDirectory() as folder:
        whole(Path(folder), args.data_dir, names, args.least)
        canonical(Path(folder), args.data_dir, names)
        if args.flips:
            flips(Path(folder), args.data_dir, names, args.flips)


def starts() -> None:
    """Milliseconds to start a jail, and for a program of ten trivial inputs in one that is warm."""
    rows = [["jail", "start, ms", "program, ms (p95)"]]
    for name in (*NAMES, UNSAFE):
        try:
            made = tier(name)
            began = [_timed(lambda: Jail(made).close()) for _ in range(7)]  # noqa: B023
        except NoSandbox as error:
            rows.append([name, str(error), "–"])
            continue
        with Jail(made) as jail:
            each = sorted(_timed(lambda: jail.run(TRIVIAL, lambda *heard: True)) for _ in range(200))
        rows.append([name, f"{median(began):.0f}", f"{median(each):.1f} ({each[190]:.1f})"])
    table(rows)
    print()


def _timed(act: object) -> float:
    began = time.perf_counter()
    act()  # type: ignore[operator]
    return (time.perf_counter() - began) * 1e3


def whole(folder: Path, data: Path, names: Sequence[str], least: float) -> None:
    """Whole processes, cold and warm, ours and theirs; ours can score both data sets' samples in one."""
    rows = [["data set", "cache", "h3eval, s", "evalplus, s", "ratio", "target"]]
    targets = {"cold": 0.6, "warm": 0.3}
    theirs = {}
    for name in names:
        (file,) = (data / "evalplus" / "samples").glob(f"*-{name}.jsonl")
        _compile(folder, data, name, file)
        for cache, target in targets.items():
            theirs[name, cache] = _theirs(folder, data, name, file, least)
            ours = _ours(folder, data, SETS[name][0], file, f"{name}-{cache}")
            rows.append(_row(name, cache, ours, theirs[name, cache], target))
    if len(names) > 1:
        both = folder / "both.jsonl"
        files = sorted((data / "evalplus" / "samples").glob("*.jsonl"))
        both.write_text("".join(file.read_text().rstrip() + "\n" for file in files))
        shutil.rmtree(folder / "ours")
        for cache, target in targets.items():
            ours = _ours(folder, data, ",".join(SETS[name][0] for name in names), both, f"both-{cache}")
            rows.append(_row("both", cache, ours, sum(theirs[name, cache] for name in names), target))
    table(rows)
    print()


def _row(name: str, cache: str, ours: float, theirs: float, target: float) -> list[str]:
    return [name, cache, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}", f"{target}"]


def _compile(folder: Path, data: Path, name: str, file: Path) -> None:
    """Have Python keep the bytecode of all that either imports; no expected outputs of any other problem."""
    _ours(folder, data, SETS[name][0], file, f"{name}-first", "--limit", "1")
    shutil.rmtree(folder / "ours")
    imports = "import evalplus.evaluate, evalplus.data"
    measure([sys.executable, "-c", imports], folder / "evalplus.log", bytecode(folder))


def _ours(folder: Path, data: Path, tasks: str, file: Path, out: str, *more: str) -> float:
    """Seconds of a whole run, reports and all."""
    command = h3eval(
        "run", "--model", f"outputs:{file}", "--tasks", tasks, "--data-dir", str(data), "--out", str(folder / out),
        "--judge", f"sandbox=sandbox:auto,workers={WORKERS}", *more,
    )  # fmt: skip
    cost = measure(command, folder / "log", {"XDG_CACHE_HOME": str(folder / "ours"), **bytecode(folder)})
    if cost.code:
        sys.exit((folder / "log").read_text()[-2000:])
    return cost.wall_s


def _theirs(folder: Path, data: Path, name: str, file: Path, least: float) -> float:
    """Seconds of EvalPlus's own evaluator."""
    samples = folder / file.name
    for each in folder.glob(f"{file.stem}*"):
        each.unlink()
    shutil.copyfile(file, samples)
    rows = folder / f"{name}.data.jsonl"
    if not rows.exists():
        rows.write_bytes(gzip.decompress((data / "evalplus" / f"{SETS[name][1]}.jsonl.gz").read_bytes()))
    command = [
        sys.executable, "-m", "evalplus.evaluate", name, "--samples", str(samples), "--parallel", str(WORKERS),
        "--min-time-limit", str(least),
    ]  # fmt: skip
    variables = {f"{name.upper()}_OVERRIDE_PATH": str(rows), "XDG_CACHE_HOME": str(folder / "theirs")}
    variables |= bytecode(folder)
    cost = measure(command, folder / "evalplus.log", variables)
    if cost.code:
        sys.exit((folder / "evalplus.log").read_text()[-2000:])
    return cost.wall_s


def canonical(folder: Path, data: Path, names: Sequence[str]) -> None:
    """Does every canonical solution pass?"""
    rows = [["data set", "canonical solutions", "pass base", "pass plus"]]
    for name in names:
        with gzip.open(data / "evalplus" / f"{SETS[name][1]}.jsonl.gz", "rt") as lines:
            problems = [json.loads(line) for line in lines]
        file = folder / f"canonical-{name}.jsonl"
        made = [{"task_id": p["task_id"], "solution": p["prompt"] + p["canonical_solution"]} for p in problems]
        file.write_text("".join(json.dumps(each) + "\n" for each in made))
        _ours(folder, data, SETS[name][0], file, f"canonical-{name}")
        told = _statuses(folder / f"canonical-{name}")
        rows.append([name, str(len(problems)), *(str(sum(each[s] == "pass" for each in told)) for s in (0, 1))])
    table(rows)


def _statuses(run: Path) -> list[tuple[str, str]]:
    """Base and plus status of each problem, from the run's sample file."""
    (file,) = run.glob("samples_*.jsonl")
    found = []
    for line in file.read_text().splitlines():
        program = json.loads(line)["h3eval_verdicts"]["sandbox"]["details"]["programs"][0]
        found.append((program["base"]["status"], program["plus"]["status"]))
    return found


def flips(folder: Path, data: Path, names: Sequence[str], repeats: int) -> None:
    """Verdicts that change between repeats while both processors are busy with something else."""
    busy = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(os.cpu_count() or 1)]
    rows = [["data set", "repeats under load", "verdicts that flip"]]
    try:
        for name in names:
            (file,) = (data / "evalplus" / "samples").glob(f"*-{name}.jsonl")
            found = []
            for n in range(repeats):
                _ours(folder, data, SETS[name][0], file, f"flip-{name}-{n}")
                found.append(_statuses(folder / f"flip-{name}-{n}"))
            rows.append([name, str(repeats), str(sum(len(set(each)) > 1 for each in zip(*found, strict=True)))])
    finally:
        for process in busy:
            process.kill()
    table(rows)


if __name__ == "__main__":
    main()
