"""Stopped anywhere, killed, or run twice at once: what stands in its place is whole, and the same call goes on."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from minimistral import CheckpointError, load
from minimistral.checkpoints import filling
from minimistral.checkpoints import hub as hub_module
from minimistral.checkpoints.hub import download, is_here
from minimistral.checkpoints.hub_client import Hub

REPO = "org/sharded"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are quick to start")


def in_a_child(work):
    """The process id of a copy of this process that does the work and ends: 0 when it is done, 130 when interrupted."""
    is_ready, ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        os.read(is_ready, 1)  # Python forgets a signal that reaches the copy before this
        os.close(is_ready)
        return pid
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(ready, b"!")
        work()
        status = 0
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def has_ended(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def is_right(server, folder, repo=REPO):
    record = filling.read_record(folder)
    return record.is_whole(folder) and all(
        (folder / name).read_bytes() == server.models[repo][name] for name in record.files
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_random_moments_it_goes_on_and_is_never_half_there(server, client, tmp_path, how):
    download(
        "org/native", to=tmp_path / "first", hub=client(), progress=False
    )  # whatever is imported late is there now
    chance, statuses = random.Random(0), []

    def work():
        hub = Hub(endpoint=server.endpoint, wait=0.01, timeout=5.0)
        download(REPO, to=tmp_path / "it", hub=hub, progress=False)

    while not (tmp_path / "it").exists():
        # a moment counted in bytes, where the server waits for it: a busy machine's clock would miss it
        server.pause_at = server.n_sent("cdn") + chance.randrange(2, 90_000)
        pid = in_a_child(work)
        while server.n_sent("cdn") < server.pause_at and not has_ended(pid):
            time.sleep(0.003)
        time.sleep(chance.uniform(0, 0.01))  # until what was sent is read, or half of it
        os.kill(pid, how)
        asked = time.monotonic()
        while not has_ended(pid):
            time.sleep(0.003)
            if time.monotonic() > asked + 2:  # Python drops an interrupt that meets it in a weak reference's callback
                os.kill(pid, how)
                asked = time.monotonic()
        statuses.append(status_of(pid))
        assert not (tmp_path / "it").exists() or is_right(server, tmp_path / "it")
        assert len(statuses) < 100
    assert is_right(server, tmp_path / "it")
    assert set(statuses) <= {0, 130, -how} and len(statuses) > 3
    assert is_here(tmp_path / "it", REPO)


def test_three_processes_at_once_fetch_everything_once(server, tmp_path):
    server.pause_at = 50_000  # until the two others have seen that they have to wait

    def say(text):
        with open(tmp_path / f"said-{os.getpid()}", "a") as file:
            file.write(text)

    def work():
        download(REPO, to=tmp_path / "it", hub=Hub(endpoint=server.endpoint, say=say, timeout=60.0), progress=False)

    def waiting():
        return sum("another process is downloading it" in path.read_text() for path in tmp_path.glob("said-*"))

    pids = [in_a_child(work) for _ in range(3)]
    while waiting() < 2 and not any(map(has_ended, pids)):
        time.sleep(0.01)
    assert waiting() == 2
    server.pause_at = float("inf")
    assert [status_of(pid) for pid in pids] == [0, 0, 0]
    assert is_right(server, tmp_path / "it")
    names = [request["file"] for request in server.requests if request["route"] == "cdn"]
    assert len(names) == len(set(names))


def test_one_waits_for_another_that_dies_and_goes_on_where_it_was(server, tmp_path):
    server.pause_at = 150_000  # the first gets so far and no further
    waits = tmp_path / "waits"

    def work():
        hub = Hub(endpoint=server.endpoint, wait=0.01, timeout=60.0, say=waits.write_text)
        download(REPO, to=tmp_path / "it", hub=hub, progress=False)

    first = in_a_child(work)
    while server.n_sent("cdn") < 150_000:
        time.sleep(0.003)
    second = in_a_child(work)
    while not waits.exists():
        time.sleep(0.003)
    os.kill(first, signal.SIGKILL)
    assert status_of(first) == -signal.SIGKILL
    server.pause_at = float("inf")
    assert status_of(second) == 0
    assert is_right(server, tmp_path / "it")


def test_another_process_that_puts_another_model_there_is_seen(server, client, tmp_path, monkeypatch):
    """It comes between the first look at the place and the lock: nothing of the two models may be mixed."""
    lock = hub_module.locked

    def late(target, say):
        monkeypatch.setattr(hub_module, "locked", lock)
        download("org/native", to=target, hub=client(), progress=False)
        return lock(target, say)

    monkeypatch.setattr(hub_module, "locked", late)
    with pytest.raises(CheckpointError, match="holds the whole org/native, and org/sharded is asked for"):
        download(REPO, to=tmp_path / "it", hub=client(), progress=False)
    assert is_right(server, tmp_path / "it", "org/native")


class Stop(BaseException):
    """As KeyboardInterrupt: no handler for errors may swallow it."""


@pytest.fixture
def stopping(monkeypatch):
    """stopping(n): the n-th step on the disk from now on does not happen, or happens and nothing after it does."""
    state = {"left": 10**9, "is_after": False}

    def counted(function):
        def step(*args, **kwargs):
            state["left"] -= 1
            if state["left"] == 0 and not state["is_after"]:
                raise Stop
            result = function(*args, **kwargs)
            if state["left"] == 0:
                raise Stop
            return result

        return step

    for name in ("replace", "rename", "unlink", "rmdir", "mkdir", "write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(filling, "flush", counted(filling.flush))
    monkeypatch.setattr(filling.Growing, "write", counted(filling.Growing.write))

    def start(n, is_after):
        state.update(left=n, is_after=is_after)

    return start


@pytest.mark.parametrize("is_after", [False, True])
def test_stopped_before_and_after_every_step_on_the_disk(server, client, tmp_path, stopping, is_after):
    """One run after the other, each going on from what the last one left, each stopped one step later."""
    for n in range(1, 400):
        stopping(n, is_after)
        try:
            download(REPO, to=tmp_path / "it", hub=client(), progress=False)
            break
        except Stop:
            assert (
                not (tmp_path / "it").exists()
                or not any((tmp_path / "it").iterdir())
                or is_right(server, tmp_path / "it")
            )
    stopping(10**9, False)
    assert n > 5 and is_right(server, tmp_path / "it")
    everything = sum(len(d) for name, d in server.models[REPO].items() if name.startswith(("model-", "tokenizer")))
    assert server.n_sent("cdn") < 2.5 * everything  # it goes on, and does not begin again


@pytest.mark.parametrize("is_after", [False, True])
def test_layers_that_are_added_leave_the_folder_loadable_at_every_step(server, client, tmp_path, stopping, is_after):
    folder = download(REPO, to=tmp_path / "it", layers=[1], hub=client(), progress=False)

    def logits(layers):
        model, _ = load(folder, device="cpu", layers=layers)
        with torch.inference_mode():
            return model(torch.arange(9)[None])

    before = logits([1])
    for n in range(1, 400):
        stopping(n, is_after)
        try:
            download(REPO, to=folder, layers=[0, 1, 3], hub=client(), progress=False)
            break
        except Stop:
            stopping(10**9, False)
            assert is_here(folder, REPO, [1]) and torch.equal(logits([1]), before)
            if is_here(folder, REPO, [0, 3]):
                logits([3, 0])
    stopping(10**9, False)
    assert n > 5 and is_here(folder, REPO, [0, 1, 3])
    whole = download(REPO, to=tmp_path / "whole", hub=client(), progress=False)
    model, _ = load(whole, device="cpu", layers=[3, 0])
    with torch.inference_mode():
        assert torch.equal(logits([3, 0]), model(torch.arange(9)[None]))


@pytest.mark.parametrize("is_after", [False, True])
def test_layers_that_are_moved_in_may_be_stopped_at_each_step(
    server, client, tmp_path, stopping, is_after, monkeypatch
):
    """Each time from the same start: what was here is still here, and the same call goes on."""
    folder, moving = tmp_path / "it", False
    start = download(REPO, to=tmp_path / "start", layers=[1], hub=client(), progress=False)
    publish = filling.Filling.publish

    def stopped(self, names):
        if moving:
            stopping(n, is_after)
        publish(self, names)

    monkeypatch.setattr(filling.Filling, "publish", stopped)
    for n in range(1, 40):  # noqa: B007
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder)
        moving = True
        try:
            download(REPO, to=folder, layers=[0, 1], hub=client(), progress=False)
            break
        except Stop:
            moving = False
            stopping(10**9, False)
            assert is_here(folder, REPO, [1])
            load(folder, device="cpu", layers=[1])
            download(REPO, to=folder, layers=[0, 1], hub=client(), progress=False)
            assert is_here(folder, REPO, [0, 1])
            load(folder, device="cpu", layers=[0, 1])
    stopping(10**9, False)
    assert n > 8
