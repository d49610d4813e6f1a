"""Every way in which a network, a hub, a disk or a person can stop a download; after each the model is whole or not there."""

import errno
import os
import shutil
import sys

import pytest

from minimistral import CheckpointError
from minimistral.checkpoints import filling
from minimistral.checkpoints.hub import download

REPO, SHARD = "org/sharded", "model-00002-of-00004.safetensors"


@pytest.fixture
def fetch(server, client, tmp_path):
    """Downloads the sharded model, and says whether all of it is there."""

    def run(repo=REPO, layers=None, **changes):
        return download(repo, to=tmp_path / "it", layers=layers, hub=client(**changes), progress=False)

    return run


def is_right(server, folder, repo=REPO):
    record = filling.read_record(folder)
    assert record.is_whole(folder)
    return all((folder / name).read_bytes() == server.models[repo][name] for name in record.files)


def refused(fetch, *texts, **options):
    with pytest.raises(CheckpointError) as caught:
        fetch(**options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert all(text in message for text in texts), message
    return message


# What another try cures


@pytest.mark.parametrize(
    "route, faults",
    [
        ("cdn", [{"cut": 30_000}]),
        ("cdn", [{"cut": 30_000}, {"cut": 0}, {"cut": 1}]),
        ("cdn", [{"stall": 20_000}]),
        ("cdn", [{"hang": 1}]),
        ("cdn", [{"status": 403}]),
        ("cdn", [{"status": 403, "page": b"<Error><Message>Request has expired</Message></Error>"}]),
        ("cdn", [{"cut": 30_000}, {"status": 403}, {"status": 400}]),
        ("cdn", [{"status": 503}, {"cut": 10}, {"status": 500}]),
        ("cdn", [{"length": 30_000}]),
        ("cdn", [{"length": 900_000}]),
        ("cdn", [{"cut": 25_000}, {"ignore_range": True}]),
        ("cdn", [{"cut": 25_000}, {"ignore_range": True, "cut": 35_000}]),
        ("cdn", [{"page": b"<html>log in</html>"}]),
        ("cdn", [{"flip": 20_000}]),
        ("cdn", [{"flip": 3, "cut": 25_000}]),
        ("cdn", [{"status": 520}]),
        ("cdn", [{"page": b"no gzip at all", "headers": {"Content-Encoding": "gzip"}}]),
        ("resolve", [{"status": 429, "headers": {"Retry-After": "0"}}]),
        ("resolve", [{"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}}]),
        ("resolve", [{"status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=0'}}]),
        ("resolve", [{"status": 502}, {"status": 504}]),
        ("list", [{"status": 500}, {"status": 429, "headers": {"Retry-After": "soon"}}]),
        ("list", [{"hang": 1}]),
    ],
    ids=str,
)
def test_what_another_try_cures_is_tried_again(server, fetch, route, faults):
    server.faults[route] = [fault | ({"file": SHARD} if route == "cdn" else {}) for fault in faults]
    said = []
    assert is_right(server, fetch(timeout=0.3, say=said.append))
    assert not server.faults[route]
    assert any("wrong bytes" in text for text in said) == any("flip" in fault for fault in faults)


def test_a_connection_that_is_cut_again_and_again_goes_on_as_long_as_bytes_come(server, fetch):
    server.always["cdn"] = {"cut": 30_000}
    assert is_right(server, fetch(tries=2))
    total = sum(len(data) for data in server.models[REPO].values())
    assert server.n_sent("cdn") < total  # nothing came twice


def test_a_renamed_model_is_followed_to_its_new_name_and_still_checked(server, fetch):
    there = f"/{REPO}/resolve/{server.commit(REPO)}/{SHARD}"
    server.tokens = {"hf_mine": set()}
    moved = {"status": 307, "headers": {"Location": there}, "file": SHARD}
    server.faults["resolve"] = [moved, {"etag": "0" * 64, "file": SHARD}]
    refused(fetch, "has changed on the hub", token="hf_mine")
    server.faults["resolve"] = [moved]
    assert is_right(server, fetch(token="hf_mine"))


def test_a_hub_that_gives_large_files_itself(server, fetch):
    server.always["resolve"] = {"straight": True}
    assert is_right(server, fetch())
    assert not server.n_sent("cdn")


def test_a_small_file_that_came_wrong_is_fetched_again(server, fetch):
    server.always["resolve"] = {"flip": 7}
    refused(fetch, "config.json came twice with other bytes")
    server.always.clear()
    server.faults["resolve"] = [{"flip": 7, "file": "config.json"}]
    assert is_right(server, fetch())
    assert not server.faults["resolve"]


def test_small_files_may_come_packed(server, fetch):
    server.always["resolve"] = {"gzip": True}
    assert is_right(server, fetch())


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"Retry-After": "7"}, 7),
        ({"RateLimit": '"resolvers";r=0;t=287', "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}, 287),
        ({"RateLimit": '"api"; r = 0; t = 55'}, 55),
        ({"RateLimit": '"api";r=480;t=287'}, 0.01),  # stands on every answer; this one was refused for another reason
    ],
    ids=str,
)
def test_a_server_asks_to_wait_and_is_obeyed(server, fetch, monkeypatch, headers, seconds):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    server.faults["list"] = [{"status": 429, "headers": headers}]
    fetch()
    assert max(slept) == seconds


# What no other try cures


@pytest.mark.parametrize(
    "route, fault, texts",
    [
        ("cdn", {"status": 503}, [SHARD, "answered 503, 6 times in a row", "later"]),
        ("cdn", {"cut": 0}, [SHARD, "failed", "6 times in a row"]),
        ("cdn", {"stall": 0, "seconds": 0.5}, [SHARD, "sent nothing for 0.2 s"]),
        ("cdn", {"page": b"<html>log in</html>"}, ["announced 19 bytes", "a web page", "proxy"]),
        ("cdn", {"length": 30_000, "cut": 0}, ["the server announced 30000 bytes", "and the file has"]),
        ("cdn", {"flip": 20_000}, ["twice with other bytes", "hash", "Try another connection"]),
        ("cdn", {"status": 404}, ["the link that the hub gave to http://127.0.0.1:", "refused (404), 6 times"]),
        (
            "cdn",
            {"status": 403, "page": b"<?xml?><Error><Message>Request has expired</Message></Error>"},
            ["refused (403: Request has expired), 6 times"],
        ),
        (
            "cdn",
            {"status": 403, "page": b"Auth failed: invalid range\n"},
            ["refused (403: Auth failed: invalid range)"],
        ),
        ("cdn", {"status": 403, "page": b"<html>blocked</html>"}, ["refused (403), 6 times"]),
        (
            "resolve",
            {"status": 302, "headers": {"Location": "http://127.0.0.1:9/signed"}},
            ["the connection to http://127.0.0.1:9, which the hub refers to, failed"],
        ),
        ("resolve", {"etag": "0" * 64}, ["has changed on the hub", "000000000000"]),
        ("resolve", {"straight": True, "etag": "0" * 64}, ["has changed on the hub", "000000000000"]),
        (
            "resolve",
            {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}},
            ["has changed", "Run the same again"],
        ),
        ("resolve", {"status": 403}, ["answered 403", "permission", f"/{REPO}"]),
        ("resolve", {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}}, ["has no file " + SHARD]),
        ("resolve", {"status": 418, "headers": {"X-Error-Message": "short and stout"}}, ["418", "short and stout"]),
        ("resolve", {"status": 429, "headers": {"Retry-After": "4000"}}, ["asks to wait 4000 s", "again then"]),
    ],
    ids=str,
)
def test_what_no_try_cures_is_told_and_nothing_half_is_left(server, fetch, tmp_path, route, fault, texts):
    server.faults[route] = [fault | {"file": SHARD}] * 40
    refused(fetch, REPO, *texts, timeout=0.2)
    assert not (tmp_path / "it").exists()
    server.faults.clear()
    assert is_right(server, fetch())


def test_after_a_failure_only_the_rest_is_fetched(server, fetch, tmp_path):
    server.faults["cdn"] = [{"file": SHARD, "cut": 25_000}, *[{"file": SHARD, "cut": 0}] * 40]
    message = refused(fetch, SHARD, "what has come is kept")
    assert "6 times" in message
    sent = server.n_sent("cdn")
    server.faults.clear()
    assert is_right(server, fetch())
    everything = sum(len(d) for n, d in server.models[REPO].items() if n.startswith(("model-", "tokenizer")))
    assert server.n_sent("cdn") == everything and sent > 25_000


@pytest.mark.parametrize(
    "repo, fault, texts",
    [
        ("org/none", {}, ["org/none", "no such model", "Check the name"]),
        ("no id", {}, ["no model of that name is known", "mistral-7b-v0.1"]),
        ("a..b/c", {}, ["is no hub id"]),
        (REPO, {"page": b"<html>log in</html>"}, ["does not answer as a hub does"]),
        (REPO, {"page": b'{"id": 3}'}, ["does not answer as a hub does"]),
        (REPO, {"page": b"\xff\xfe\xfd"}, ["does not answer as a hub does"]),
        (REPO, {"page": b'{"id": "a/b", "sha": "0", "siblings": [{"rfilename": 7}]}'}, ["not answer as a hub does"]),
        (REPO, {"status": 302, "headers": {"Location": "ftp://elsewhere"}}, ["ftp://elsewhere cannot be asked"]),
        (REPO, {"status": 503}, ["its list of files", "answered 503, 3 times in a row"]),
        (REPO, {"hang": 0.4}, ["its list of files", "sent nothing for 0.2 s"]),
    ],
    ids=str,
)
def test_lists_that_do_not_come(server, fetch, repo, fault, texts):
    server.always["list"] = fault
    refused(fetch, *texts, repo=repo, timeout=0.2)


def test_nobody_answers(fetch):
    refused(fetch, "connection to http://127.0.0.1:9 failed", "Check the connection", endpoint="http://127.0.0.1:9")
    refused(fetch, "cannot be asked", endpoint="hppt://127.0.0.1")


def test_what_the_environment_asks_for_and_cannot_be_made(fetch, monkeypatch):
    from huggingface_hub import close_session

    for name, value, text in (
        ("ALL_PROXY", "socks5://127.0.0.1:9", "pip install socksio"),
        ("ALL_PROXY", "ftp://127.0.0.1:9", "Look at HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/nowhere/at/all.pem", "SSL_CERT_FILE"),
    ):
        with monkeypatch.context() as context:
            for proxy in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
                context.delenv(proxy, raising=False)
                context.delenv(proxy.lower(), raising=False)
            context.setenv(name, value)
            if "socks" in value:
                context.setitem(sys.modules, "socksio", None)
            close_session()
            refused(fetch, "No connection can be made", text)
    close_session()


def test_a_certificate_that_is_not_trusted_is_no_matter_of_patience(server, fetch, monkeypatch):
    from huggingface_hub import get_session

    session, n = get_session(), 0

    def distrust(url, *args, **options):
        nonlocal n
        n += str(url).startswith(server.endpoint)  # the library asks once a process for something of its own, elsewhere
        http = sys.modules[type(session).__module__.partition(".")[0]]
        raise http.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in certificate chain")

    monkeypatch.setattr(session, "get", distrust)
    refused(fetch, f"the certificate of {server.endpoint} is not trusted", "SSL_CERT_FILE")
    assert n == 1


def test_a_client_of_the_users_own(fetch):
    from huggingface_hub import close_session, get_session, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    kind = type(get_session())
    set_client_factory(type("Mine", (kind,), {"__module__": "__main__"}))
    try:
        refused(fetch, "connection to http://127.0.0.1:9 failed", endpoint="http://127.0.0.1:9")
    finally:
        set_client_factory(default_client_factory)
        close_session()


def test_offline(fetch, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(fetch, "HF_HUB_OFFLINE is set", "Unset it")


def test_a_model_without_weights(server, fetch):
    server.models["org/words"] = {"README.md": b"# Words", "config.json": b"{}"}
    refused(fetch, "org/words: holds no weights", "README.md", repo="org/words")


def test_what_load_would_refuse_is_refused_before_the_weights_come(server, fetch, tmp_path):
    files = server.models[REPO]
    for name, data, texts in (
        ("config.json", b'{"model_type": "llama"}', ["org/sharded/config.json", "model_type = 'llama'"]),
        ("config.json", None, ["holds no weights, with their config"]),
        (SHARD, None, [f"model.safetensors.index.json names {SHARD}, which the hub does not list"]),
    ):
        kept = files.pop(name)
        if data is not None:
            files[name] = data
        files.pop("consolidated.safetensors", None)
        refused(fetch, *texts)
        files[name] = kept
    assert not server.n_sent("cdn") and not (tmp_path / "it").exists()


def test_a_hub_like_server_that_lists_names_only_is_asked_for_each_file(server, fetch):
    server.lists_names_only = True
    server.gated[REPO], server.tokens = "auto", {"hf_mine": {REPO}}
    refused(fetch, "a click on their conditions", token=False)
    server.faults["resolve"] = [{"status": 302, "headers": {"Location": "http://["}}]
    refused(fetch, "does not answer as a hub does", token="hf_mine")
    server.faults["resolve"] = [{"status": 503}]
    assert is_right(server, fetch(token="hf_mine"))
    assert {r["token"] for r in server.requests if r["route"] == "cdn"} == {None}


def test_what_cannot_be_verified_is_not_fetched(server, fetch):
    server.lists_names_only = True
    server.always["resolve"] = {"etag": "of-its-own"}
    refused(fetch, "has no hash of model-0000", "could not be verified")
    assert not server.n_sent("cdn")


# Licences and tokens


def test_a_token_that_cannot_be_one(server, fetch):
    for token in ("hf_\u00e4", "hf_\u200bx", "hf_\x07"):
        refused(fetch, "holds characters that no token has", f"{server.endpoint}/settings/tokens", token=token)
    assert not server.requests


def test_a_token_that_cannot_be_had(server, fetch, tmp_path):
    refused(fetch, "no token found", "hf auth login", token=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").mkdir()
    refused(fetch, "cannot be had", "hf auth login", "HF_TOKEN")
    assert not server.requests


def test_a_gated_model(server, fetch):
    server.gated[REPO] = "auto"
    server.tokens = {"hf_agreed": {REPO}, "hf_other": set()}
    refused(fetch, "a click on their conditions", f"{server.endpoint}/{REPO}", "hf auth login", "HF_TOKEN", token=False)
    refused(fetch, "its account has not agreed", f"Open {server.endpoint}/{REPO}", "restricted", token="hf_other")
    message = refused(fetch, "does not take your token", "hf auth login", f"/{REPO}", token="hf_wrong")
    assert "click" not in message
    assert is_right(server, fetch(token="hf_agreed"))


@pytest.mark.parametrize(
    "words, texts",
    [
        ("Your request to access model org/sharded is awaiting a review from the repo authors.", ["not answered yet"]),
        (
            "Please enable access to public gated repositories in your fine-grained token settings to view this repository.",
            ["your token may not read gated models", "/settings/tokens"],
        ),
    ],
)
def test_why_a_good_token_may_not(server, fetch, words, texts):
    server.gated[REPO], server.tokens, server.words = "manual", {"hf_mine": set()}, {"hf_mine": words}
    assert "has not agreed" not in refused(fetch, *texts, words, token="hf_mine")


def test_a_token_that_is_not_taken(server, fetch, monkeypatch, tmp_path):
    refused(
        fetch, "does not take your token", "said: Invalid credentials in Authorization header. Make", token="hf_wrong"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    refused(fetch, "does not take your token", "unset HF_TOKEN, which goes before what `hf auth login` keeps")
    refused(fetch, "does not take your token", repo="org/none")
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_expired\n")
    refused(fetch, "does not take your token", "log in with it: `hf auth login`")
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    server.tokens = {"hf_old": set()}
    refused(fetch, "org/none", "no such model", "404", repo="org/none")


def test_a_renamed_model_that_is_private_is_not_taken_for_a_link_that_expired(server, fetch):
    there = f"/{REPO}/resolve/{server.commit(REPO)}/{SHARD}"
    words = {"X-Error-Message": "Invalid username or password."}
    moved = {"status": 307, "headers": {"Location": there}, "file": SHARD}
    server.faults["resolve"] = [moved, {"status": 401, "headers": words, "file": SHARD}]
    refused(fetch, "no such model", "private and needs a token")
    assert not server.faults["resolve"]


def test_a_mirror_that_passes_on_to_the_hub(server, fetch):
    mirror = type(server)()
    mirror.always = {route: {"moved": server.endpoint} for route in ("list", "resolve")}
    options = {"endpoint": mirror.endpoint, "token": "hf_mine"}
    server.tokens, server.gated["org/native"] = {"hf_mine": {"org/native"}}, "auto"
    try:
        texts = ["passes on to", f"Set HF_ENDPOINT={server.endpoint}"]
        refused(fetch, *texts, repo="org/native", layers=1, **options)
        refused(fetch, f"Open {server.endpoint}/org/native", repo="org/native", layers=1, **options | {"token": False})
        refused(fetch, f"no such model on {server.endpoint}", repo="org/none", layers=1, **options)
        assert is_right(server, fetch(**options))
        assert {request["token"] for request in server.requests} == {None}
    finally:
        mirror.close()


def test_a_token_never_reaches_another_server(server, fetch):
    server.tokens = {"hf_secret": {REPO}}
    fetch(token="hf_secret")
    assert {r["token"] for r in server.requests if r["route"] == "cdn"} == {None}
    assert {r["token"] for r in server.requests if r["route"] == "resolve"} == {"Bearer hf_secret"}


# Changes on the hub


def test_a_model_that_changed_between_two_runs_is_never_mixed(server, fetch, tmp_path):
    server.faults["cdn"] = [{"file": SHARD, "cut": 25_000}, *[{"file": SHARD, "cut": 0}] * 40]
    refused(fetch, SHARD)
    server.faults.clear()
    changed = bytearray(server.models[REPO][SHARD])
    changed[-1] ^= 1
    server.models[REPO][SHARD] = bytes(changed)
    assert is_right(server, fetch())
    assert (tmp_path / "it" / SHARD).read_bytes()[-1] == changed[-1]


def test_a_revision_may_be_asked_for(server, client, tmp_path):
    commit = server.commit(REPO)
    options = dict(hub=client(), progress=False)
    download(REPO, to=tmp_path / "a", revision=commit, **options)
    with pytest.raises(CheckpointError, match="no such revision"):
        download(REPO, to=tmp_path / "b", revision="v7", **options)
    server.models[REPO]["README.md"] = b"# Another commit"
    server.requests.clear()
    assert download(REPO, to=tmp_path / "a", revision=commit, **options) == tmp_path / "a"
    assert download(REPO, to=tmp_path / "a", **options) == tmp_path / "a"
    assert not server.requests
    with pytest.raises(
        CheckpointError, match=f"holds commit {commit[:12]} of {REPO}, and {server.commit(REPO)[:12]} is"
    ):
        download(REPO, to=tmp_path / "a", revision="main", **options)


# Disks


def test_a_disk_too_small_is_seen_before_the_first_byte(server, fetch, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=150_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert is_right(server, fetch())
    shutil.rmtree(fetch())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_300_000))
    server.requests.clear()
    refused(fetch, "0.10 GB free", "Make room")
    assert not server.n_sent("cdn")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the disk that is always full is Linux's")
def test_a_disk_that_fills_up_is_told_and_the_download_goes_on_later(server, fetch, tmp_path, monkeypatch):
    part = filling.Filling.part

    def full(self, name, key):
        path = part(self, name, key)
        if name == SHARD and not path.is_symlink():
            path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(filling.Filling, "part", full)
    refused(fetch, SHARD, "the disk is full", "make room and run the same again")
    assert not (tmp_path / "it").exists()
    monkeypatch.undo()
    next((tmp_path / ".it.download").glob("*.part")).unlink()
    assert is_right(server, download(REPO, to=tmp_path / "it", endpoint=server.endpoint, token=False, progress=False))


def test_a_disk_that_is_full_when_a_part_is_put_on_it_for_good(fetch, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(filling, "SAFE_EVERY", 20_000)
    monkeypatch.setattr(filling.os, "fsync", full)
    refused(fetch, "the disk is full", "make room and run the same again", layers=1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_at_any_step(server, fetch, tmp_path, monkeypatch, number):
    """The n-th time that something must be put on the disk for good."""
    n_steps = 0
    flush = filling.flush

    def failing(path):
        nonlocal n_steps
        n_steps += 1
        if n_steps == limit:
            raise OSError(number, os.strerror(number))
        flush(path)

    monkeypatch.setattr(filling, "flush", failing)
    for limit in range(1, 100):  # noqa: B007
        n_steps = 0
        try:
            folder = fetch()
            break
        except CheckpointError as error:
            assert ("disk is full" in str(error)) == (number != errno.EIO)
            assert not (tmp_path / "it").exists() or is_right(server, tmp_path / "it")
    assert is_right(server, folder) and limit > 3


# What stands in the way


def test_other_folders_are_left_alone(server, fetch, client, tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "notes.txt").write_text("mine")
    refused(fetch, "already holds notes.txt", "Choose another folder")
    assert (tmp_path / "it" / "notes.txt").read_text() == "mine"
    (tmp_path / "it" / "notes.txt").unlink()
    assert is_right(server, fetch())
    refused(fetch, "holds the whole org/sharded, and org/native is asked for", repo="org/native")
    (tmp_path / "it" / SHARD).unlink()
    refused(fetch, "a file has gone")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        download(REPO, to=tmp_path / "file", hub=client())


def test_places_where_no_folder_can_be_made_are_told_before_the_first_byte(server, client, tmp_path, monkeypatch):
    def refused_at(to, text):
        with pytest.raises(CheckpointError, match=text):
            download(REPO, to=to, hub=client(), progress=False)

    (tmp_path / "file").touch()
    refused_at(tmp_path / "file" / "a" / "it", f"{tmp_path / 'file'} is a file. Choose another place")
    refused_at("/", "is where a disk begins")
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "disk")
    refused_at(tmp_path / "disk", f"is where a disk begins.*such as {tmp_path / 'disk' / 'sharded'}: --to")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    refused_at(tmp_path / "new" / "it", f"this user may not write in {tmp_path}")
    refused_at(tmp_path / "disk" / "..", "may not write|already holds")
    assert not server.requests


def test_what_is_here_needs_no_network(server, fetch):
    folder = fetch()
    server.requests.clear()
    assert fetch() == folder and fetch(layers=1) == folder
    assert not server.requests
