"""What becomes of a run whose database is damaged: scored through the command line, in this process."""

import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from judging_server import judging
from scripted_server import ScriptedServer
from small_runs import data

from h3eval import cli
from h3eval.store import Store
from h3eval.types import Reply, Sample

WRITTEN = ("results.json", "costs.json")


@dataclass(frozen=True)
class Scored:
    """How `h3eval score` ended."""

    code: int
    said: str
    files: tuple[bytes, ...]


def judged_run(folder: Path, samples: int) -> Path:
    """A finished run, answered and judged by a priced endpoint: it holds two answers a sample."""
    out = folder / "run"
    with ScriptedServer(judging()) as server:
        endpoint = f"openai:own,base_url={server.url},price_in=1,price_out=2"
        command = [
            sys.executable, "-m", "h3eval.cli", "run", "--model", endpoint, "--judge", f"alpaca_eval={endpoint}",
            "--tasks", "alpaca_eval", "--data-dir", str(data(folder, samples)), "--out", str(out),
            "--format", "results",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out


def filled(folder: Path, answers: int) -> None:
    """A run of one task `t` with so many samples, each answered by a local engine."""
    with Store.open(folder) as store:
        store.put_meta("manifest", {"answers": answers})
        store.put_samples("t", 1, (Sample(str(n), f"question {n} " * 8) for n in range(answers)))
        for n in range(answers):
            key = sha256(str(n).encode()).digest()
            store.put("gen", key, Reply(f"{key.hex()} " * 8, tokens_in=50, tokens_out=n % 200))


def scored(folder: Path, database: bytes) -> Scored:
    """Score a folder that holds nothing but this database. Whatever is raised is raised."""
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "run.db").write_bytes(database)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(["score", str(folder), "--format", "results"])
    files = tuple((folder / name).read_bytes() for name in WRITTEN if (folder / name).exists())
    return Scored(code, said.getvalue(), files)


def flipped(database: bytes, place: int, bit: int) -> bytes:
    spoilt = bytearray(database)
    spoilt[place] ^= 1 << bit
    return bytes(spoilt)


def same_or_refused(whole: Scored, damaged: Scored) -> bool:
    """Was the damage harmless, or refused in one line that names the file? True where it was refused."""
    if damaged.code == whole.code:
        assert damaged.files == whole.files, "the numbers changed, and nothing was said"
        return False
    # 2: the bytes no longer say that this is a run, or they say that it is a newer h3eval's.
    assert damaged.code == 6 or ("not a run" in damaged.said or "newer h3eval" in damaged.said), damaged.said
    assert damaged.said.startswith("h3eval: "), damaged.said
    assert damaged.said.count("\n") == 1, damaged.said
    assert "run.db" in damaged.said
    assert not damaged.files
    return True
