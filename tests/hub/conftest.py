"""A hub on this machine: what huggingface_hub asks of the real one, and every way in which a network fails.

Two servers, as in life: the hub, which knows tokens and redirects large files, and a CDN, which holds the bytes and must
never see a token. Small files are redirected too, within the hub. Written after huggingface_hub 2.4: hf_api.py
(model_info), file_download.py (get_hf_file_metadata), and after what people quote of the hub's answers: 401 without a
good token, for what is not there too, 403 for a good one that may not.
"""

import contextlib
import gzip
import hashlib
import json
import re
import socket
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, save
from minimistral.checkpoints.hub_client import Hub
from minimistral.tokenizer import Tokenizer

torch.set_num_threads(1)
LARGE = (".safetensors", ".bin", ".pt", ".pth", ".model")
BODY = 1 << 14  # bytes that are written at a time


class LocalHub:
    """A hub with `models`: id to file name to bytes. Faults are taken from the front of `faults[route]`.

    Routes: "list", "resolve" (the hub), "cdn". A fault is a dict: status and headers (an answer), cut or stall (after so
    many bytes), flip (the byte to spoil), ignore_range, length (to announce), etag (of a linked file), page (what comes
    instead), straight (the hub itself gives a large file), moved (to the same path on another server).
    `always[route]`: a fault that never ends. A fault with `file` waits for that file. `pause_at`: so many bytes are given
    by the cdn in all, and no more until it is raised.
    """

    def __init__(self):
        self.models, self.gated, self.tokens = {}, {}, {}  # tokens: token to the gated models that it may read
        self.words = {}  # token to what the hub says where it may not
        self.lists_names_only = False
        self.faults, self.always, self.requests = defaultdict(list), {}, []
        self.revision, self.pause_at = "main", float("inf")
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(self, which)) for which in ("hub", "cdn")]
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.endpoint, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def commit(self, model):
        """Another content, another commit."""
        digest = hashlib.sha1()
        for name, data in sorted(self.models[model].items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()

    def add(self, model, folder):
        """A folder as a model of the hub."""
        self.models[model] = {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def fault(self, route, name=""):
        """The next fault for this request, if one is due."""
        waiting = self.faults[route]
        if waiting and waiting[0].get("file", name) == name:
            return waiting.pop(0)
        return self.always.get(route, {})

    def n_sent(self, route):
        """Bytes of bodies that this route gave."""
        return sum(request["sent"] for request in self.requests if request["route"] == route)


def handler(hub, which):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            try:
                self.answer()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def handle(self):
            with contextlib.suppress(ConnectionError):  # a client that was killed
                super().handle()

        def answer(self):
            path = urlsplit(self.path).path
            self.record = {"route": "?", "path": path, "range": self.headers.get("Range"), "sent": 0}
            self.record["token"] = self.headers.get("Authorization")
            hub.requests.append(self.record)
            if which == "cdn":
                return self.blob(path)
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                return self.list(*match.groups())
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/]+)", path):
                return self.resolve(*match.groups())
            if match := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/([^/]+)", path):
                return self.small(*match.groups())
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
                return self.tree(match[1])
            self.reply(404)

        def is_refused(self, model):
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            is_good = token in hub.tokens
            if hub.gated.get(model) and model not in hub.tokens.get(token, ()):
                text = f"Access to model {model} is restricted"
                if is_good:
                    text += f" and you are not in the authorized list. Visit {hub.endpoint}/{model} to ask for access."
                    text = hub.words.get(token, text)
                else:
                    text += ". You must have access to it and be authenticated to access it. Please log in."
                self.reply(403 if is_good else 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": text})
            elif token and not is_good:
                self.reply(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            elif model not in hub.models:
                if is_good:
                    self.reply(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
                else:
                    self.reply(401, {"X-Error-Message": "Invalid username or password."})
            else:
                return False
            return True

        def list(self, model, revision):
            self.record["route"] = "list"
            fault = hub.fault("list")
            if self.is_faulty(fault):
                return
            if model not in hub.models:  # a gated model's list anybody may read
                return self.is_refused(model)
            if revision not in (None, hub.revision, hub.commit(model)):
                return self.reply(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
            siblings = []
            for name, data in hub.models[model].items():
                if hub.lists_names_only:
                    siblings.append({"rfilename": name})
                    continue
                blob = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
                if name.endswith(LARGE):
                    blob["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                siblings.append(blob)
            info = {"id": model, "sha": hub.commit(model), "siblings": siblings, "tags": ["license:apache-2.0"]}
            info |= {"gated": hub.gated.get(model, False), "private": False, "downloads": 0, "likes": 0}
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

        def resolve(self, model, revision, name):
            self.record["route"], self.record["file"] = "resolve", name
            fault = hub.fault("resolve", name)
            if self.is_faulty(fault) or self.is_refused(model):
                return
            data = hub.models[model].get(name)
            if data is None:
                return self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            headers = {"X-Repo-Commit": revision}
            if not name.endswith(LARGE):
                headers["ETag"] = f'"{git_sha1(data)}"'
                if fault:
                    return self.body(data, headers, fault)
                return self.reply(
                    307, headers | {"Location": f"/api/resolve-cache/models/{model}/{revision}/{name}?etag="}
                )
            digest = hashlib.sha256(data).hexdigest()
            etag = fault.get("etag", digest)
            if fault.get("straight"):
                return self.body(data, headers | {"ETag": f'"{etag}"'}, fault)
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
            self.reply(302, headers | {"Location": f"{hub.cdn}/{model}/{name}?signed={digest}"})

        def small(self, model, revision, name):
            self.record["route"], self.record["file"] = "small", name
            data = hub.models[model][name]
            self.body(data, {"X-Repo-Commit": revision, "ETag": f'"{git_sha1(data)}"'}, {})

        def tree(self, model):
            """The list that snapshot_download asks for."""
            self.record["route"] = "tree"
            entries = []
            for name, data in hub.models[model].items():
                entry = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
                if name.endswith(LARGE):
                    entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                entries.append(entry)
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())

        def blob(self, path):
            self.record["route"] = "cdn"
            _, org, model, name = path.split("/")
            self.record["file"] = name
            fault = hub.fault("cdn", name)
            if self.headers.get("Authorization"):  # besides the signature in the link, that is one too many
                return self.reply(400)
            if not self.is_faulty(fault):
                self.body(hub.models[f"{org}/{model}"][name], {"ETag": '"of-the-cdn"'}, fault)

        def is_faulty(self, fault):
            if "moved" in fault:
                self.reply(308, {"Location": fault["moved"] + self.path})
            elif "page" in fault:
                headers = {"Content-Type": "text/html"} | fault.get("headers", {})
                self.reply(fault.get("status", 200), headers, fault["page"])
            elif "status" in fault:
                self.reply(fault["status"], fault.get("headers", {}))
            elif fault.get("hang"):
                time.sleep(fault["hang"])
                self.close_connection = True
            else:
                return False
            return True

        def body(self, data, headers, fault):
            if fault.get("gzip"):
                return self.reply(200, headers | {"Content-Encoding": "gzip"}, gzip.compress(data))
            if "flip" in fault:
                data = bytearray(data)
                data[fault["flip"]] ^= 1
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            status = 200
            if asked and not fault.get("ignore_range"):
                start, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
                if start >= len(data):
                    return self.reply(416, {"Content-Range": f"bytes */{len(data)}"})
                shift = fault.get("shift", 0)
                headers = headers | {"Content-Range": f"bytes {start + shift}-{end - 1 + shift}/{len(data)}"}
                data, status = data[start:end], 206
            self.reply(status, headers, bytes(data), fault)

        def reply(self, status, headers=(), data=b"", fault=None):
            fault = fault or {}
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            if "Content-Length" not in dict(headers):
                self.send_header("Content-Length", str(fault.get("length", len(data))))
            self.end_headers()
            if self.command == "HEAD":
                return
            stop = min(fault.get("cut", fault.get("stall", len(data))), len(data))
            for at in range(0, stop, BODY):
                while which == "cdn" and hub.n_sent("cdn") >= hub.pause_at:
                    time.sleep(0.002)
                self.wfile.write(data[at : min(at + BODY, stop)])
                self.record["sent"] += min(at + BODY, stop) - at
            if "stall" in fault:
                self.wfile.flush()
                time.sleep(fault.get("seconds", 1.5))
            if "cut" in fault or "stall" in fault or "length" in fault:
                self.wfile.flush()
                self.close_connection = True
                with contextlib.suppress(OSError):  # a client that was quicker
                    self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def git_sha1(data):
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub with three models, and a home folder of its own; no token from this machine is sent."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub = LocalHub()
    for name, folder in made_models(tmp_path / "made").items():
        hub.add(name, folder)
    yield hub
    hub.close()


@pytest.fixture
def at_home(server, monkeypatch):
    """The local hub as the one that is asked when no endpoint is given."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


SIZES = dict(dim=32, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48, vocab_size=2048)


def made_models(folder):
    """Small checkpoints as the hub has them: sharded hub layout, one native file, a mixture; the first with a tokenizer."""
    tokenizer = Tokenizer(
        next((Path(__file__).parents[2] / "minimistral/pretrained").glob("tiny-mistral/tokenizer.model"))
    )
    made = {}
    for name, layout, changes, shard in (
        ("org/sharded", "hub", {}, 40_000),
        ("org/native", "native", {"vocab_size": 64}, "5GB"),
        ("org/mixture", "hub", {"vocab_size": 64, "moe": MoEConfig(3, 2)}, 90_000),
    ):
        torch.manual_seed(0)
        model = Transformer(ModelConfig(**SIZES | changes)).to(torch.bfloat16)
        made[name] = folder / name.replace("/", "--")
        save(model, made[name], tokenizer if not changes else None, layout=layout, max_shard_size=shard)
        (made[name] / "README.md").write_text("# A model\n")
    (made["org/sharded"] / "consolidated.safetensors").write_bytes(b"the same weights once more")
    return made


@pytest.fixture
def client(server):
    """Makes a client of the local hub that does not wait long."""

    def make(**changes):
        said = []
        hub = Hub(**dict(endpoint=server.endpoint, timeout=1.0, wait=0.01, say=said.append) | changes)
        hub.said = said
        return hub

    return make
