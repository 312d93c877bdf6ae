"""A webhook is told of a study: what it gets, that it is tried again, that it holds nothing up, and that nobody learns
its address."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small import created

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.tables import Tables
from mmssl.trackers import notify
from mmssl.trackers.notify import Notifier, check_url, notifying, request_of

SECRET = "T00/B00/correct-horse"  # noqa: S105 - nobody's


class Hook:
    """A server that keeps what it is sent, and answers as it is told."""

    def __init__(self, answers: list[int], seconds: float = 0) -> None:
        self.got: list[dict[str, str]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(json.loads(body))
                time.sleep(seconds)
                self.send_response(answers.pop(0) if answers else 204)
                self.end_headers()

            def log_message(self, *words: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hook]]:
    monkeypatch.setattr(notify, "_WAITS_S", (0.01, 0.01))
    opened: list[Hook] = []

    def make(*answers: int, seconds: float = 0) -> Hook:
        opened.append(Hook(list(answers), seconds))
        return opened[-1]

    yield make
    for one in opened:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> Study:
    return created(tmp_path, plan_of([1.0, 5.0], [25.0]))


def record(trial: PlannedTrial, status: str = "COMPLETE", cause: str = "") -> Record:
    facts = {"val.accuracy": 0.5} if status == "COMPLETE" else {}
    return Record.model_validate({"trial_id": trial.trial_id, "status": status, "cause": cause, "facts": facts})


def test_messages_are_sent_of_the_first_failure_and_of_the_end(study: Study, hook: Callable[..., Hook]) -> None:
    plan, there, said = study.plan(), hook(503, 429), list[str]()
    tables = Tables(study, plan)
    with notifying(there.url, study, plan, said.append) as notifier:
        assert notifier
        for i, trial in enumerate(plan.trials):
            ended = record(trial, "FAILED" if i in (1, 2) else "COMPLETE", "ValueError: no" * (i in (1, 2)))
            tables.put(ended)
            notifier.changed(trial, ended)
        tables.write()
    first = plan.trials[1]
    failure = f"study {plan.name}: FAILED lambda=1.0 mu=25.0 seed={first.seed} fold={first.fold}: ValueError: no"
    *tried, end = there.got
    assert tried == [{"text": failure, "study": plan.name, "event": "failure"}] * 3, "busy twice, then taken"
    assert end["event"] == "end"
    complete = len(plan.trials) - 2
    assert end["text"].startswith(f"study {plan.name} is over: {complete} COMPLETE, 2 FAILED. best: lambda=5.0")
    assert said == []


def test_the_last_message_names_what_interrupted_the_study(study: Study, hook: Callable[..., Hook]) -> None:
    there = hook()
    with pytest.raises(MemoryError), notifying(there.url, study, study.plan(), print):
        raise MemoryError
    (end,) = there.got
    total = len(study.plan().trials)
    assert end["text"].startswith(
        f"study study stopped with {total} of {total} trials to go (MemoryError): no trial has"
    )


def test_a_study_without_progress_gets_one_message(study: Study, hook: Callable[..., Hook]) -> None:
    there = hook()
    notifier = Notifier(there.url, study, study.plan(), print, still=0.2)
    notifier.start()
    deadline = time.monotonic() + 10
    while not there.got and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert [one["event"] for one in there.got] == ["still"]
    notifier.changed(study.plan().trials[0], record(study.plan().trials[0]))
    notifier.close()
    assert "end" in [one["event"] for one in there.got]


@pytest.mark.parametrize("answer", [404, 500])
def test_failed_delivery_is_reported_once_without_the_address(
    study: Study, hook: Callable[..., Hook], answer: int
) -> None:
    there, said = hook(*[answer] * 20), list[str]()
    notifier = Notifier(there.url, study, study.plan(), said.append)
    notifier.start()
    notifier.changed(study.plan().trials[0], record(study.plan().trials[0], "FAILED", "no"))
    notifier.close()
    assert said == [f"--notify: a message could not be delivered (HTTP status {answer}); the study goes on without"]
    assert len(there.got) == (2 if answer == 404 else 6), "what is wrong stays so; what is busy is tried again"


def test_nothing_there_and_nothing_answering_hold_nobody_up(study: Study, hook: Callable[..., Hook]) -> None:
    said: list[str] = []
    with notifying("http://127.0.0.1:9/" + SECRET, study, study.plan(), said.append):
        pass
    slow = hook(seconds=3)
    notifier = Notifier(slow.url, study, study.plan(), said.append)
    notifier.start()
    before = time.monotonic()
    notifier.changed(study.plan().trials[0], record(study.plan().trials[0], "FAILED", "no"))
    assert time.monotonic() - before < 0.5
    notifier.close(seconds=0.3)
    assert time.monotonic() - before < 2
    assert len(said) == 2 and SECRET not in "".join(said) and "127.0.0.1" not in "".join(said)


@pytest.mark.parametrize(
    ("url", "kind", "body"),
    [
        ("https://hooks.slack.com/services/T/B/x", "application/json", {"text": "a &lt;b&gt;"}),
        (
            "https://discord.com/api/webhooks/1/x",
            "application/json",
            {"content": "a <b>", "allowed_mentions": {"parse": []}},
        ),
        ("https://example.org/hook", "application/json", {"text": "a <b>", "study": "s", "event": "end"}),
    ],
)
def test_each_host_gets_its_form(url: str, kind: str, body: dict[str, object]) -> None:
    request = request_of(url, "s", "end", "a <b>")
    assert isinstance(request.data, bytes)
    assert (request.get_method(), request.get_header("Content-type")) == ("POST", kind)
    assert json.loads(request.data) == body


def test_ntfy_gets_text_and_a_title() -> None:
    for host in ("ntfy.sh", "ntfy.lab.example"):
        request = request_of(f"https://{host}/topic", "s", "end", "über")
        assert request.data == "über".encode() and request.get_header("Title") == "study s"


@pytest.mark.parametrize(
    "url", ["hooks.slack.com/x", "ftp://x/y", "https://:80/x", "http://x:port/", "file:///etc/passwd"]
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UserError) as refused:
        check_url(url)
    assert url not in str(refused.value)
