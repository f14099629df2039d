"""Nonces: who knows them, what they change, and that runs from before they had a secret say what they said."""

import hashlib
import json
import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import Act, ScriptedServer, envelope, prompt_of

from h3eval import cli, nonces, registry, scoring
from h3eval.backends.replay import Replay
from h3eval.config import ModelSpec
from h3eval.errors import ConfigError
from h3eval.journal import plain
from h3eval.store import Reader, Store, call_key
from h3eval.text import digest, placeholder
from h3eval.types import Call, Generation, Reply, Request, Sample, Verdict

FIXTURES = Path(__file__).parents[1] / "fixtures"
SECRET = bytes(range(32))
TASKS = "xstest,honeset,mt_bench"
SIGN = re.compile(r"VERDICT ([0-9a-f]+):")


def unpacked(name: str, folder: Path) -> Path:
    """A run as it was stored before nonces had a secret."""
    folder.mkdir()
    (folder / "run.db").write_bytes(lzma.decompress((FIXTURES / name / "run.db.xz").read_bytes()))
    return folder


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """Every verdict, by task and role, by sample."""
    found: dict[str, dict[str, Any]] = {}
    with Reader(folder) as reader:
        plan = scoring.plan_of(reader)
        for task in plan.tasks:
            for item in scoring.items(reader, plan, task):
                for role, each in item.verdicts.items():
                    said = [each.reading.label, each.reading.score] if isinstance(each, Verdict) else [each.reason]
                    found.setdefault(f"{task.id} {role}", {})[item.sample.id] = said
    return found


def test_an_old_run_says_what_it_said_and_that_its_nonces_are_public(tmp_path: Path) -> None:
    folder = unpacked("public_nonce", tmp_path / "run")
    expected = json.loads((FIXTURES / "public_nonce" / "expected.json").read_text())
    assert told(folder) == expected["verdicts"]
    with Reader(folder) as reader:
        assert nonces.secret_of(reader) is None
        run = scoring.score(reader)
    found = {f"{r.task}/{r.protocol} {e.metric}": e.value for r in run.results for e in r.estimates}
    assert found == pytest.approx(expected["estimates"])
    assert sum("before nonces had a secret" in line for line in run.warnings) == 1


def test_an_old_run_with_its_labels_out_of_order_is_read_after_all(tmp_path: Path) -> None:
    """Its judge was paid, and its rubric's labels were sorted on the way into the store."""
    (verdicts,) = told(unpacked("unsorted_rubric", tmp_path / "run")).values()
    assert {tuple(each) for each in verdicts.values()} <= {("safe", 0.0), ("unsafe", 1.0), ("unreadable",)}
    assert len(verdicts) == 6
    assert sum(len(each) == 2 for each in verdicts.values()) >= 4


def judging(seen: Any) -> Act:
    """A judge that takes the first verdict it is offered, with whatever nonce the prompt has."""
    offered = re.findall(r"^VERDICT [0-9a-f]+: .+$", prompt_of(seen.body), re.MULTILINE)
    text = f"Because.\n{re.sub(r'=?N$', '7', offered[0].replace('=N', '=5'))}" if offered else "An answer."
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Act(body=envelope("chat.completion", seen.body, choice, ["x"], seen.n))


def h3(*arguments: str) -> int:
    return cli.main([*arguments, "--format", "results"])


def run_on(server: ScriptedServer, folder: Path) -> int:
    model = f"openai:g,base_url={server.url},api_key_env=none"
    roles = ("xstest", "honeset_honesty", "honeset_h2", "mt_bench")
    judges = [word for role in roles for word in ("--judge", f"{role}={model}")]
    flags = ["--data", "demo", "--limit", "4", "--out", str(folder)]
    return h3("run", "--model", model, "--tasks", TASKS, *flags, *judges)


def asked(server: ScriptedServer) -> dict[str, str]:
    """Each judge's prompt without its nonce, and its nonce."""
    found = {}
    for seen in server.seen:
        text = prompt_of(seen.body)
        if match := SIGN.search(text):
            assert set(SIGN.findall(text)) == {match[1]}
            assert f"[end {match[1]}]" in text
            found[text.replace(match[1], "")] = match[1]
    return found


def test_a_run_has_nonces_that_follow_from_its_secret_alone(tmp_path: Path) -> None:
    """Two runs ask with different nonces under the same keys; the secret is in no file that is written to be read."""
    signs = []
    for name in ("a", "b"):
        with ScriptedServer(judging) as server:
            assert run_on(server, tmp_path / name) == 0
            signs.append(asked(server))
            posts = server.posts
            assert run_on(server, tmp_path / name) == 0
            assert server.posts == posts
    assert signs[0].keys() == signs[1].keys()
    assert len(signs[0]) >= 12
    assert not set(signs[0].values()) & set(signs[1].values())
    verdicts = [told(tmp_path / name) for name in ("a", "b")]
    assert verdicts[0] == verdicts[1]
    assert all(len(said) == 2 for each in verdicts[0].values() for said in each.values())
    with Reader(tmp_path / "a") as reader:
        secret = nonces.secret_of(reader)
    assert secret
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file() and not file.name.startswith("run.db"):
            assert secret.hex() not in file.read_text(errors="replace"), file
    keys = [sorted(_keys(tmp_path / name)) for name in ("a", "b")]
    assert keys[0] == keys[1]


def _keys(folder: Path) -> list[str]:
    with Reader(folder) as reader:
        return [row[0] for row in reader._rows("SELECT hex(key) FROM answer")]


def test_the_secret_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(judging) as server:
        run_on(server, tmp_path / "a")
    with Reader(tmp_path / "a") as reader:
        secret = nonces.secret_of(reader)
    assert cli.main(["show", "run", str(tmp_path / "a")]) == 0
    shown = "".join(capsys.readouterr())
    assert secret
    assert secret.hex() not in shown
    assert "from a secret of the run" in shown
    cli.main(["show", "run", str(unpacked("public_nonce", tmp_path / "old"))])
    assert "public: the run began before" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("old", [False, True])
def test_a_recorded_run_is_replayed(tmp_path: Path, old: bool) -> None:
    """What was recorded with one secret, or none, is read in a run with another."""
    if old:
        first = unpacked("public_nonce", tmp_path / "a")
        roles, tasks = ["halueval_wild", "mt_bench"], "halueval_wild,mt_bench"
        limit = "6"
    else:
        first, roles, tasks, limit = tmp_path / "a", ["xstest", "mt_bench"], "xstest,mt_bench", "4"
        with ScriptedServer(judging) as server:
            run_on(server, first)
    judges = [word for role in roles for word in ("--judge", f"{role}=replay:{first}")]
    flags = ["--data", "demo", "--limit", limit, "--out", str(tmp_path / "b")]
    h3("run", "--model", f"replay:{first}", "--tasks", tasks, *flags, *judges)
    before, after = told(first), told(tmp_path / "b")
    assert len(after) == 2
    assert after == {name: before[name] for name in after}
    with Reader(first) as one, Reader(tmp_path / "b") as other:
        assert nonces.secret_of(one) != nonces.secret_of(other)


def test_a_users_own_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H3EVAL_SECRET", SECRET.hex())
    with Store.open(tmp_path / "a") as store:
        nonces.begin(store)
        assert nonces.secret_of(store) == SECRET
        monkeypatch.delenv("H3EVAL_SECRET")
        nonces.begin(store)
        assert nonces.secret_of(store) == SECRET
    monkeypatch.setenv("H3EVAL_SECRET", "secret")
    with Store.open(tmp_path / "b") as store, pytest.raises(ConfigError, match="64 of the digits"):
        nonces.begin(store)


SENT = Request(
    "complete", ({"role": "user", "content": "[end PP] PPP"},), "PP.", stop=("PP", "x"),
    options={"PP": ["PP", {"a": "xPP"}, 1]}, nonce="PP",
)  # fmt: skip


def test_what_is_sent_has_the_nonce_everywhere_and_goes_back(tmp_path: Path) -> None:
    call = Call(call_key("judge", {}, SENT), SENT)
    sealed = nonces.sealed(call, SECRET)
    sign = sealed.request.nonce
    assert re.fullmatch("[0-9a-f]{10}", sign)
    assert sealed.request.prompt == ({"role": "user", "content": f"[end {sign}] {sign}P"},)
    assert (sealed.request.continuation, sealed.request.stop) == (f"{sign}.", (sign, "x"))
    assert sealed.request.options == {"PP": [sign, {"a": f"x{sign}"}, 1]}
    assert sealed.key == call.key
    assert nonces.unsealed(sealed) == SENT
    assert nonces.sealed(call, None) is call
    assert nonces.sealed(Call(b"", replace(SENT, nonce="")), SECRET).request == replace(SENT, nonce="")
    assert nonces.nonce_for(SECRET, replace(SENT, repeat=1)) != sign
    assert nonces.nonce_for(SECRET[::-1], SENT) != sign


def test_keys_are_as_they_were_before_there_was_the_field() -> None:
    assert "nonce" not in plain(SENT)
    assert "nonce" not in plain(Reply("x", nonce="y"))
    assert call_key("judge", {}, SENT) == call_key("judge", {}, replace(SENT, nonce=""))


def test_the_placeholder_is_what_the_nonce_was() -> None:
    assert placeholder("t", "a", "b") == hashlib.sha256(b"t\0a\0b").hexdigest()[:10]


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4), st.integers(0, 3))
def test_the_placeholder_stands_in_nothing_that_is_judged(judged: Sequence[str], rounds: int) -> None:
    """Not even in an answer that was made to hold it."""
    first = placeholder("template", *judged)
    texts = [*judged, first]
    assert all(placeholder("template", *texts) not in text for text in texts)
    # As a search would find it: the placeholder of the whole is itself one of the texts.
    held = digest("\0".join(("template", *texts)))[:10]
    assert placeholder("template", *texts, held) != held


def test_a_placeholder_is_counted_on_where_it_collides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for an answer that holds its own takes 2^40 tries: here all digests begin alike but one."""
    text = placeholder.__globals__
    real = text["digest"]
    monkeypatch.setitem(text, "digest", lambda value: real(value) if value.endswith("\x002") else "0" * 64)
    assert placeholder("t", "an answer with [end 0000000000]") == real("t\0an answer with [end 0000000000]\x002")[:10]


@pytest.mark.parametrize("name", ["honeset_honesty", "xstest", "or_bench", "alpaca_eval_v1", "mt_bench_single"])
def test_a_verdict_with_the_public_placeholder_is_none_where_another_was_sent(name: str) -> None:
    judge = registry.judge(name)
    sample = Sample("s", ({"role": "user", "content": "How?"},), reference="So.", metadata={"question": "How?"})
    generation = Generation("s", (Reply("An answer."),))
    (request,) = judge.ask(sample, generation, ())
    (line, *_) = re.findall(r"^VERDICT \w+: .+$", str(request.prompt[-1]["content"]), re.MULTILINE)  # type: ignore[index]
    line = line.replace(": N", ": 5")
    sent = nonces.nonce_for(SECRET, request)
    assert judge.read(sample, generation, (Reply(line.replace(request.nonce, sent), nonce=sent),))
    with pytest.raises(Exception, match="no single verdict"):
        judge.read(sample, generation, (Reply(line, nonce=sent),))


def test_replay_reads_what_is_recorded_under_the_placeholder(tmp_path: Path) -> None:
    identity: Mapping[str, Any] = {"m": 1}
    with Store.open(tmp_path / "run") as store:
        nonces.begin(store)
        store.put_meta("manifest", {"model": {"identity": identity}, "judges": {"r": {"identity": identity}}})
        secret = nonces.secret_of(store)
        store.put("judge", call_key("judge", identity, SENT), Reply(f"VERDICT {nonces.nonce_for(secret, SENT)}: yes"))
    engine = Replay(ModelSpec("replay", str(tmp_path / "run")))
    call = nonces.sealed(Call(b"key", SENT), SECRET)
    ((back, reply),) = engine.answer([call], None)  # type: ignore[arg-type]
    assert back is call
    assert isinstance(reply, Reply)
    assert reply.text == f"VERDICT {call.request.nonce}: yes"
