"""Asking the Hugging Face hub: which files a model has, and the bytes of one from here to there.

huggingface_hub knows the hub's addresses, tokens and HTTP session. Its own downloader (2.4) throws a file away when it is
interrupted and compares sizes only (file_download.py, _download_to_tmp_and_move); here a file goes on where it was cut.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import urlsplit

from minimistral.checkpoints.errors import CheckpointError, listed
from minimistral.checkpoints.json_files import MAX_JSON_BYTES

RETRIED = {408, 425, 429, *range(500, 600)}  # statuses that another try may cure
LIST = "its list of files"
HASH = re.compile(r"[0-9a-f]+")
DEFAULT = "https://huggingface.co"  # where HF_ENDPOINT is set, and empty


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model on the hub. Its hash is the sha256 of large files (LFS), of small ones git's sha1."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None

    @property
    def hash(self) -> str:
        """What `hasher` must give."""
        return self.sha256 or self.git_sha1 or ""

    def hasher(self) -> Any:
        """A new hash object; git puts the kind and the size before the bytes."""
        return hashlib.sha256() if self.sha256 else hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)


@dataclass(frozen=True)
class Listing:
    """A model on the hub at one commit, which never changes."""

    repo: str
    commit: str
    files: dict[str, RemoteFile]
    gated: str | bool | None  # False, "auto" (a click) or "manual" (somebody must agree)
    licence: str | None


class TryAgain(Exception):
    """What another try may cure; `wait` seconds are asked for, or None."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@dataclass
class Hub:
    """The hub, and how patient to be with it: timeout in seconds without a byte, tries without progress, first wait."""

    endpoint: str | None = None
    token: str | bool | None = None
    timeout: float | None = None
    tries: int = 6
    wait: float = 1.0
    longest_wait: float = 300.0  # what a server may ask for before it is given up; the hub counts in 5 minutes
    say: Callable[[str], None] = lambda message: None

    def __post_init__(self):
        constants = hub_library("constants")
        self.endpoint = (self.endpoint or constants.ENDPOINT or DEFAULT).rstrip("/")
        self.timeout = self.timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT

    @property
    def has_token(self) -> bool:
        """Whether a token will be sent."""
        return bool(self.headers().get("authorization"))

    def headers(self) -> dict[str, str]:
        """With the token, and no compression: a compressed stream has no byte ranges."""
        try:
            headers = hub_library("utils").build_hf_headers(token=self.token, library_name="minimistral")
        except Exception as error:  # a file that may not be read; token=True, and there is none
            raise CheckpointError(
                f"The token for the hub cannot be had: {_line(error)}. Log in anew, `hf auth login`, or set HF_TOKEN."
            ) from error
        token = headers.get("authorization", "")
        if not (token.isascii() and token.isprintable()):
            raise CheckpointError(
                "The token for the hub (HF_TOKEN, or what `hf auth login` keeps) holds characters that no token has. Copy it "
                f"anew from {self.endpoint}/settings/tokens."
            )
        return headers | {"Accept-Encoding": "identity"}

    def listing(self, repo: str, revision: str | None = None) -> Listing:
        """The model's files at `revision` (default: the newest), their sizes and hashes."""
        self.headers()  # a token that cannot be sent is told before anything is
        _session()
        api = hub_library().HfApi(endpoint=self.endpoint, token=self.token, library_name="minimistral")

        def ask() -> Any:
            return api.model_info(repo, revision=revision, files_metadata=True, timeout=self.timeout)

        info = self._patiently(lambda: self._call(ask, repo, LIST), f"{repo}: {LIST}", tries=min(self.tries, 3))
        names = [s.rfilename for s in info.siblings or ()]
        if not isinstance(info.sha, str) or not names or not all(isinstance(name, str) for name in names):
            raise CheckpointError(f"{repo}: {self.endpoint} does not answer as a hub does: no commit or no files.")
        files = {s.rfilename: self._remote_file(repo, info.sha, s) for s in info.siblings if "/" not in s.rfilename}
        licences = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
        return Listing(repo, info.sha, files, info.gated, licences[0] if licences else None)

    def _call(self, action: Callable[[], Any], repo: str, what: str) -> Any:
        """What a function of the library returns; where it cannot make sense of an answer, that was no hub's."""
        try:
            return action()
        except hub_library("errors").HFValidationError as error:
            raise CheckpointError(f"{repo}: is no hub id: {_line(error)}.") from error
        except Exception as error:
            no_sense = isinstance(error, (KeyError, TypeError, AttributeError, ValueError))
            if no_sense and getattr(error, "response", None) is None:
                text = f"{repo}: {what}: {self.endpoint} does not answer as a hub does ({_line(error)})."
                raise CheckpointError(text) from error
            self._raise(error, repo, what)

    def _remote_file(self, repo: str, commit: str, sibling: Any) -> RemoteFile:
        """A file of the list; of a hub-like server that lists names only, what it says when it is asked for the file."""
        name, lfs = sibling.rfilename, sibling.lfs
        size, sha256, git_sha1 = lfs.size if lfs else sibling.size, lfs.sha256 if lfs else None, sibling.blob_id
        if not isinstance(size, int) or not (sha256 or git_sha1):
            url = hub_library().hf_hub_url(repo, name, revision=commit, endpoint=self.endpoint)

            def ask() -> Any:
                return hub_library().get_hf_file_metadata(
                    url, token=self.token, timeout=self.timeout, endpoint=self.endpoint
                )

            stated = self._patiently(lambda: self._call(ask, repo, name), f"{repo}: {name}")
            size, etag = stated.size, stated.etag or ""
            sha256, git_sha1 = (etag if HASH.fullmatch(etag) and len(etag) == n else None for n in (64, 40))
        if not isinstance(size, int):
            raise CheckpointError(f"{repo}: the hub's list of files does not say how large {name} is.")
        if not (sha256 or git_sha1):
            raise CheckpointError(
                f"{repo}: the hub's list of files has no hash of {name}, so it could not be verified."
            )
        return RemoteFile(name, size, sha256, git_sha1)

    def read(self, listing: Listing, file: RemoteFile, start: int = 0, end: int | None = None) -> bytes:
        """Bytes start to end of a file, in memory."""
        parts: list[bytes] = []
        self.stream(listing, file, start, file.size if end is None else end, parts.append)
        return b"".join(parts)

    def read_small(self, listing: Listing, name: str) -> bytes:
        """A JSON file of the model, whole and verified; CheckpointError where there is none."""
        file = listing.files.get(name)
        if file is None or file.size > MAX_JSON_BYTES:
            has = "has no" if file is None else f"has {file.size:,} bytes in its"
            raise CheckpointError(
                f"{listing.repo}: {has} {name}; the hub lists {listed(sorted(listing.files), most=12)}."
            )
        for _ in range(2):
            data, hasher = self.read(listing, file), file.hasher()
            hasher.update(data)
            if hasher.hexdigest() == file.hash:
                return data
        raise CheckpointError(
            f"{listing.repo}: {name} came twice with other bytes than the hub lists. Try another connection, or later."
        )

    def stream(
        self, listing: Listing, file: RemoteFile, start: int, end: int, write: Callable[[bytes], object]
    ) -> None:
        """Bytes start to end of a file to `write`, over as many requests as it takes; CheckpointError when it gives up.

        Every try goes on where the last one was cut. Whatever `write` raises passes through.
        """
        at, what = start, f"{listing.repo}: {file.name}"

        def go_on() -> bool:
            nonlocal at
            with self._open(listing, file, at, end) as chunks:
                for chunk in chunks:
                    write(chunk)
                    at += len(chunk)
            if at < end:
                raise TryAgain(f"the connection was closed after byte {at:,} of {end:,}")
            return True

        if start < end:
            self._patiently(go_on, what, progress=lambda: at)

    @contextmanager
    def _open(self, listing: Listing, file: RemoteFile, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """One request; what it gives is cut to the range asked for."""
        url = hub_library().hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=self.endpoint)
        is_whole = start == 0 and end == file.size
        headers = self.headers() | ({} if is_whole else {"Range": f"bytes={start}-{end - 1}"})
        try:
            with _session().stream(
                "GET", url, headers=headers, timeout=self.timeout, follow_redirects=True
            ) as response:
                self._check(response, listing, file, start, end)
                skip = start if response.status_code == 200 else 0
                yield _cut(response.iter_bytes(), skip, end - start)
        except Exception as error:
            self._raise(error, listing.repo, file.name)

    def _check(self, response: Any, listing: Listing, file: RemoteFile, start: int, end: int) -> None:
        """Whether this is the file that was listed, at the place asked for."""
        what, status, headers = f"{listing.repo}: {file.name}", response.status_code, response.headers
        if status not in (200, 206):
            response.read()
            raise refusal(response, listing.repo, file.name, self)
        etag = _stated_hash(response, self.endpoint)
        if file.sha256 and len(etag) == len(file.sha256) and etag != file.sha256:
            raise CheckpointError(
                f"{what}: has changed on the hub: its hash was {file.sha256[:12]}… in the list of files and is "
                f"{etag[:12]}… now. Run the same again: it begins with the new list."
            )
        if status == 206:
            first_byte, size = _content_range(headers.get("Content-Range"))
            if first_byte != start or size not in (None, file.size):
                raise CheckpointError(
                    f"{what}: asked for bytes from {start:,} of {file.size:,}, and the server sent "
                    f"{headers.get('Content-Range')!r}. Another file, or a broken proxy: try another connection."
                )
            return
        if end < file.size:
            raise CheckpointError(
                f"{what}: the server ignores byte ranges and sent the whole file, so no part of it can be fetched. "
                "Download the whole model, or try another connection."
            )
        size = (
            None if "Content-Encoding" in headers else headers.get("Content-Length")
        )  # that of what is unpacked, or none
        if size is not None and size != str(file.size):
            page = ", as a web page: a log-in or proxy in between?" if "html" in headers.get("Content-Type", "") else ""
            raise TryAgain(f"the server announced {size} bytes{page}, and the file has {file.size:,}")

    def _patiently(
        self, action: Callable[[], Any], what: str, progress: Callable[[], int] = lambda: 0, tries: int | None = None
    ) -> Any:
        """What `action` returns, tried until it does, or until `tries` in a row brought no progress."""
        tries, failures, best, wait = tries or self.tries, 0, progress(), self.wait
        while True:
            try:
                return action()
            except TryAgain as error:
                if progress() > best:
                    failures, best, wait = 0, progress(), self.wait
                failures += 1
                if failures >= tries or (error.wait or 0) > self.longest_wait:
                    advice = _gave_up(error, failures, is_kept=best > 0)
                    raise CheckpointError(f"{what}: {error}{advice}") from error
                seconds = max(wait, error.wait or 0)
                self.say(f"{what}: {error}; trying again in {seconds:.0f} s")
                time.sleep(seconds)
                wait = min(2 * wait, 16 * self.wait)

    def _raise(self, error: Exception, repo: str, what: str) -> NoReturn:
        """TryAgain or CheckpointError for what the network gave; anything else passes as it is (a full disk, a bug)."""
        http = _http_library()
        response, where = getattr(error, "response", None), self.endpoint
        if isinstance(error, hub_library("errors").OfflineModeIsEnabled):
            raise CheckpointError(
                f"{repo}: {what}: HF_HUB_OFFLINE is set, so the hub is not asked. Unset it."
            ) from error
        if response is not None:
            raise refusal(response, repo, what, self) from error
        with suppress(AttributeError, RuntimeError):  # what failed before there was a request, or has none
            where = self.server(error.request.url)
        if isinstance(error, http.DecodingError):
            raise TryAgain(f"{where} sent what cannot be unpacked") from error
        if isinstance(error, http.TimeoutException):
            raise TryAgain(f"{where} sent nothing for {self.timeout:g} s") from error
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise CheckpointError(
                f"{repo}: {what}: the certificate of {where} is not trusted ({_line(error)}). Where a proxy in between has "
                "its own, give it in SSL_CERT_FILE; else look at this machine's date, or try another connection."
            ) from error
        if isinstance(error, http.TransportError) and not isinstance(error, http.UnsupportedProtocol):
            there = "" if where == self.endpoint else ", which the hub refers to,"
            raise TryAgain(f"the connection to {where}{there} failed ({_line(error)})") from error
        if isinstance(error, (http.HTTPError, http.InvalidURL)):
            whose = " It is what HF_ENDPOINT or endpoint=… says." if where == self.endpoint else ""
            raise CheckpointError(f"{repo}: {what}: {where} cannot be asked: {_line(error)}.{whose}") from error
        raise error

    def server(self, url: Any) -> str:
        """Who was asked: the hub, by its endpoint, or the server that it passes on to."""
        host = url.netloc.decode()
        return self.endpoint if host == urlsplit(self.endpoint).netloc else f"{url.scheme}://{host}"


def refusal(response: Any, repo: str, what: str, hub: Hub) -> CheckpointError | TryAgain:
    """What a status of 400 or more means, and what to do about it."""
    status, where = response.status_code, hub.server(response.request.url)
    code, said = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    quoted = f" The hub said: {said.rstrip('.')}." if said else ""
    if status in RETRIED:
        return TryAgain(f"{where} answered {status}", _asked_wait(response.headers))
    if where != hub.endpoint and what != LIST and not code:  # a link to the CDN is signed, and lasts an hour at most
        return TryAgain(f"the link that the hub gave to {where} was refused ({status}{_reason(response)})")
    if code == "GatedRepo" or (status in (401, 403) and "gated" in said.lower()):
        return CheckpointError(f"{repo}: {_gated(status, where, f'{where}/{repo}', quoted, hub)}")
    if status == 401 and hub.has_token and where == hub.endpoint and code != "RepoNotFound":
        return CheckpointError(
            f"{repo}: the hub does not take your token ({status}).{quoted} {_new_token(where, hub)} A model that is open to "
            "all needs none."
        )
    if code == "RevisionNotFound" and what != LIST:
        return CheckpointError(
            f"{repo}: has changed on the hub while it was fetched, and what was listed is gone. Run the same again: it begins "
            f"with the new list.{quoted}"
        )
    if code == "RevisionNotFound":
        return CheckpointError(f"{repo}: has no such revision.{quoted}")
    if code == "EntryNotFound":
        return CheckpointError(f"{repo}: has no file {what}.{quoted}")
    if status in (401, 404):
        return CheckpointError(
            f"{repo}: there is no such model on {where}, or it is private and needs a token ({status}). Check the name."
        )
    advice = f" Does the model, or your token, want a permission? See {where}/{repo}." if status == 403 else ""
    return CheckpointError(f"{repo}: asked for {what}, and {where} answered {status}.{quoted}{advice}")


def _gated(status: int, where: str, page: str, quoted: str, hub: Hub) -> str:
    """What a gated model still wants: a click, a token, a token that may, an answer of its authors. Statuses and words
    are the hub's: 401 without a good token, 403 with one."""
    if not hub.has_token:
        return (
            f"its authors ask for a click on their conditions. Open {page}, log in and agree; make a token at "
            f"{where}/settings/tokens; then `hf auth login`, or set HF_TOKEN, and run the same again."
        )
    if status == 401 and where != hub.endpoint:
        return (
            f"its authors ask for a token, and {hub.endpoint} passes on to {where}, where yours is not sent. Set "
            f"HF_ENDPOINT={where}, and run the same again."
        )
    if status == 401:
        return f"the hub does not take your token ({status}). {_new_token(where, hub)} The conditions are at {page}."
    if "fine-grained" in quoted:
        return (
            f"your token may not read gated models. Open {where}/settings/tokens and give it read access to public gated "
            f"repositories, or make one of the kind Read; then run the same again.{quoted}"
        )
    if "awaiting" in quoted:
        return f"your account has asked for it, and its authors have not answered yet; see {page}.{quoted}"
    return (
        f"your token is good, but its account has not agreed to this model's conditions. Open {page}, agree there, and run "
        f"the same again; a fine-grained token also needs access to public gated repositories.{quoted}"
    )


def _new_token(where: str, hub: Hub) -> str:
    if isinstance(hub.token, str):
        then = "pass it as token=…, or leave that out after `hf auth login`."
    elif os.environ.get("HF_TOKEN"):
        then = "set HF_TOKEN to it, or unset HF_TOKEN, which goes before what `hf auth login` keeps."
    else:
        then = "log in with it: `hf auth login` (`hf auth logout` to go without)."
    return f"Make a new one at {where}/settings/tokens, and {then}"


def _reason(response: Any) -> str:
    """What a CDN says of it, in XML or text: "Request has expired"."""
    text = response.text if len(response.content) < 4096 else ""
    found = re.search(r"<Message>([^<]*)</Message>", text)
    words = " ".join((found[1] if found else "" if "<" in text else text).split())
    return f": {words[:80]}" if words else ""


def _gave_up(error: TryAgain, failures: int, is_kept: bool) -> str:
    kept = "; what has come is kept" if is_kept else ""
    if error.wait and failures == 1:
        return f" and asks to wait {error.wait:.0f} s. Run the same again then{kept}."
    return f", {failures} times in a row. Check the connection, or run the same again later{kept}."


def _asked_wait(headers: Any) -> float | None:
    """Seconds that a server asks to wait: Retry-After as a number or a date, or the t of RateLimit."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    if asked:
        try:
            return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
        except ValueError:
            return None
    found = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})", headers.get("RateLimit", ""))
    return float(found[1]) if found else None


def _stated_hash(response: Any, endpoint: str) -> str:
    """The hash that the hub states with a file: X-Linked-Etag on its way to the CDN, else its own ETag; "" if none."""
    hops = [*response.history, response]  # a renamed model redirects on the hub before it redirects to the CDN
    stated = [hop.headers["X-Linked-Etag"] for hop in hops if "X-Linked-Etag" in hop.headers]
    if not stated and str(response.url).startswith(f"{endpoint}/"):
        stated = [response.headers.get("ETag", "")]
    return stated[0].removeprefix("W/").strip('"') if stated else ""


def _content_range(text: str | None) -> tuple[int | None, int | None]:
    """First byte and the file's size in a Content-Range such as "bytes 0-99/1234"; None for what it does not say."""
    found = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", text or "")
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _cut(chunks: Iterator[bytes], skip: int, length: int) -> Iterator[bytes]:
    """Of a stream the `length` bytes after the first `skip`: not every server heeds a range."""
    for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        chunk = chunk[skip : skip + length]
        skip, length = 0, length - len(chunk)
        yield chunk
        if not length:
            return


def hub_library(part: str = "") -> Any:
    """huggingface_hub, or a part of it; it is optional, and slow to import."""
    try:
        return import_module(f"huggingface_hub.{part}" if part else "huggingface_hub")
    except ImportError:
        raise CheckpointError(
            "To read from the Hugging Face hub, `pip install huggingface_hub` (version 1 or newer)."
        ) from None


def _session() -> Any:
    """The library's HTTP client; CheckpointError where it cannot be made as the environment asks."""
    utils = hub_library("utils")
    try:
        return utils.get_session()
    except Exception as error:  # it is made once, with the proxies and certificates that the environment names
        if "socksio" in str(error):
            text = "the proxy is a SOCKS one: `pip install socksio`, or unset ALL_PROXY."
        else:
            text = f"{_line(error)}. Look at HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE."
        raise CheckpointError(f"No connection can be made as the environment asks: {text}") from error


def _http_library() -> Any:
    """httpx2, before it httpx: whichever the client is of, which may be a subclass of somebody's own."""
    names = [kind.__module__.partition(".")[0] for kind in type(_session()).__mro__]
    return import_module(next(name for name in names if name.startswith("httpx")))


def _line(error: Exception) -> str:
    """The first line of what it says, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
