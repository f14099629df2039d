"""Money, transport and the flow of calls of the openai backend, against a real server on 127.0.0.1."""

import asyncio
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_journal import MemoryJournal
from openai_engine import KEY, ask, ask_one, backend, calls, replaced
from scripted_server import Act, ScriptedServer, error, faulty, prompt_of, text_answer

from h3eval.errors import BackendError, DiskFull, ProviderStopped
from h3eval.types import Call, Fault, Reply, Request

pytestmark = pytest.mark.usefixtures("no_openai_environment")


def test_f26_an_absurd_bill_stops_the_run(server: ScriptedServer) -> None:
    server.behave = replaced(lambda d: d.update(usage={"prompt_tokens": 10**15, "completion_tokens": 1}))
    with pytest.raises(ProviderStopped, match="max_cost"):
        list(backend(server.url, price_in=1, price_out=1, max_cost=1).answer(calls(50), MemoryJournal()))
    assert server.posts == 1


def test_f27_the_cap_holds_and_the_bill_adds_up(server: ScriptedServer) -> None:
    server.behave = lambda seen: Act(delay_s=0.005)
    engine, journal = backend(server.url, price_in=3, price_out=15, max_cost=0.005, concurrency=16), MemoryJournal()
    answered: list[object] = []
    with pytest.raises(ProviderStopped, match=r"max_cost is \$0.005: spent \$0.00"):
        answered.extend(engine.answer(calls(1000), journal))
    bill = (3 * server.billed[0] + 15 * server.billed[1]) / 1e6
    assert 0.004 < bill <= 0.005
    assert engine.usd_spent == pytest.approx(bill)  # type: ignore[attr-defined]
    assert journal.cost_micro() == round(bill * 1e6)
    assert len(answered) == server.posts == len(journal.attempts)
    assert not journal.open


def test_f29_redirects_are_refused(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    away = Act(307, b"", {"location": f"{server.url}/chat/completions"})
    with ScriptedServer(lambda seen: away) as first, pytest.raises(BackendError, match="redirects to"):
        list(backend(first.url).answer(calls(5), MemoryJournal()))
    assert server.posts == 0


def test_f30_no_downgrade_from_tls(server: ScriptedServer) -> None:
    answer = ask_one(backend(server.url.replace("http:", "https:"), attempts=2))
    assert isinstance(answer, Fault)
    assert answer.reason == "connection"
    assert server.posts == 0


def test_f30_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl program to make a certificate")
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*make, *files, *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, about: None)
    listening = loop.run_until_complete(asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context))
    port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with pytest.raises(BackendError, match="certificate"):
            list(backend(f"https://localhost:{port}/v1").answer(calls(5), MemoryJournal()))
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(120)
        loop.close()


def test_f33_a_full_disk_stops_before_the_next_paid_call(server: ScriptedServer) -> None:
    server.behave = lambda seen: Act(delay_s=0.05)
    journal = MemoryJournal(fail_at=10, error=DiskFull("no room"))
    answered: list[object] = []
    with pytest.raises(DiskFull, match="no room"):
        answered.extend(backend(server.url, concurrency=4).answer(calls(100), journal))
    assert server.posts <= 10
    assert len(answered) == server.posts
    assert not journal.open


def test_the_limit_on_tokens_is_renamed_once(server: ScriptedServer) -> None:
    wrong = error(400, "Use 'max_completion_tokens' instead.", "unsupported_parameter", param="max_tokens")
    server.behave = lambda seen: wrong if "max_tokens" in seen.body else None
    answers = ask(backend(server.url), calls(20), MemoryJournal())
    assert all(isinstance(answer, Reply) for answer in answers)
    assert server.posts == 21
    assert server.seen[-1].body["max_completion_tokens"] == 16


def test_ten_percent_of_faults_leave_no_gap(server: ScriptedServer) -> None:
    server.behave = faulty(0.1)
    journal = MemoryJournal()
    engine = backend(server.url, price_in=3, price_out=15)
    assert all(isinstance(answer, Reply) for answer in ask(engine, calls(500), journal))
    assert 20 < len(journal.faults()) < 90
    assert server.posts == len(journal.attempts)
    assert journal.cost_micro() == 3 * server.billed[0] + 15 * server.billed[1]


def test_calls_are_pulled_lazily(server: ScriptedServer) -> None:
    pulled = taken = 0

    def source() -> Iterator[Call]:
        nonlocal pulled
        for call in calls(300):
            pulled += 1
            assert pulled - taken <= 2 * 8 + 1
            yield call

    for _ in backend(server.url, concurrency=8).answer(source(), MemoryJournal()):
        taken += 1
    assert taken == 300
    assert server.peak <= 8


def test_answers_come_while_the_source_waits(server: ScriptedServer) -> None:
    first, second = calls(2)
    got_first = threading.Event()

    def source() -> Iterator[Call]:
        yield first
        assert got_first.wait(120)
        yield second

    answers = backend(server.url).answer(source(), MemoryJournal())
    assert next(answers)[0] == first
    got_first.set()
    assert next(answers)[0] == second


def test_an_error_of_the_source_is_raised_and_the_source_closed(server: ScriptedServer) -> None:
    closed = []

    def source() -> Iterator[Call]:
        try:
            yield from calls(3)
            raise LookupError("no more samples")
        finally:
            closed.append(threading.current_thread().name)

    journal = MemoryJournal()
    with pytest.raises(LookupError, match="no more samples"):
        list(backend(server.url).answer(source(), journal))
    assert not journal.open
    assert closed == ["h3eval-openai-calls"]


def test_closing_waits_for_what_is_under_way(server: ScriptedServer) -> None:
    server.behave = lambda seen: Act(delay_s=1.0 if seen.n else 0.0)
    journal = MemoryJournal()
    answers = backend(server.url, concurrency=8).answer(calls(100), journal)
    next(answers)
    until = time.monotonic() + 120
    while server.posts < 1 + 8 and time.monotonic() < until:
        time.sleep(0.01)
    answers.close()  # type: ignore[attr-defined]
    posts = server.posts
    assert posts == 1 + 8
    assert not journal.open
    time.sleep(0.2)
    assert server.posts == posts
    assert sum(isinstance(each.answer, Reply) for each in journal.attempts.values()) == posts


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where the shell started the tests with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_what_is_under_way(server: ScriptedServer) -> None:
    server.behave = lambda seen: Act(delay_s=0.4 if seen.n else 0.0)
    journal = MemoryJournal()
    main = threading.get_ident()
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(backend(server.url, concurrency=8).answer(calls(100), journal))
    timer.join()
    assert server.posts == 9
    assert not journal.open


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_leaves_open_attempts(server: ScriptedServer) -> None:
    server.behave = lambda seen: Act(hang=True) if seen.n else None
    journal, main = MemoryJournal(), threading.get_ident()
    timers = [threading.Timer(at, lambda: signal.pthread_kill(main, signal.SIGINT)) for at in (0.2, 0.4)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(backend(server.url, concurrency=8).answer(calls(100), journal))
    assert len(journal.open) == 8


def test_loglikelihood_is_the_sum_over_the_continuation(server: ScriptedServer) -> None:
    request = Request("loglikelihood", "The capital of France", " is Paris")
    answer = ask(backend(server.url, api="completions"), [Call(b"k", request)], MemoryJournal())[0]
    assert isinstance(answer, Reply)
    echoed = text_answer({"prompt": "The capital of France is Paris", "echo": True, "logprobs": 1, "max_tokens": 0})
    values = echoed["choices"][0]["logprobs"]["token_logprobs"]
    assert answer.logprob == pytest.approx(values[-1] + values[-2])
    assert server.seen[0].path == "/v1/completions"


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_first_tokens_are_reported(server: ScriptedServer, api: str) -> None:
    answer = ask_one(backend(server.url, api=api), candidates=("Yes", "No"))
    assert isinstance(answer, Reply)
    assert len(answer.first_token) >= 2
    assert answer.first_token["Answer"] == -0.1 or api == "completions"


def test_plain_text_and_messages_go_where_they_belong(server: ScriptedServer) -> None:
    messages = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    asked = [Call(b"1", Request("complete", "plain")), Call(b"2", Request("complete", messages))]
    ask(backend(server.url, api="completions"), asked, MemoryJournal())
    ask(backend(server.url, api="chat"), asked[:1], MemoryJournal())
    paths = sorted((seen.path, prompt_of(seen.body)) for seen in server.seen)
    assert paths == [("/v1/chat/completions", "plain"), ("/v1/chat/completions", "s\nu"), ("/v1/completions", "plain")]


@pytest.mark.parametrize(("kind", "api"), [("classify", "completions"), ("loglikelihood", "chat")])
def test_what_it_can_not_answer_is_refused(server: ScriptedServer, kind: str, api: str) -> None:
    engine = backend(server.url, api=api)
    assert kind not in engine.can
    with pytest.raises(BackendError, match=f"can't answer {kind}"):
        list(engine.answer([Call(b"k", Request(kind, "p"))], MemoryJournal()))  # type: ignore[arg-type]
    assert server.posts == 0
