"""A Hub on 127.0.0.1 for tests: tiny repositories in memory, and faults on request.

It speaks what `huggingface_hub` and `load_dataset` ask of the real one (GET /api/datasets/...,
HEAD and GET .../resolve/..., the tree, Range, ETag, the error codes), and nothing more.
"""

import atexit
import hashlib
import io
import json
import re
import struct
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

RESOLVE = re.compile(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/?(.*)")
INFO = re.compile(r"/api/datasets/([^/]+/[^/]+?)(?:/revision/([^/]+))?")
LARGE = (".parquet", ".zip", ".jpg", ".png", ".safetensors", ".pth")  # what the Hub keeps by sha256
TOKEN = "hf_let_me_in"
PATIENCE = 60  # seconds that a stalled line stays open if the client never gives up


def revision_of(text):
    """A commit of 40 hex digits, the same for the same text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """A repository of data or of a model: its newest revision, and the files of each."""

    revision: str
    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    tags: dict[str, str] = field(default_factory=dict)  # name -> commit

    @classmethod
    def of(cls, files, revision=None, **more):
        revision = revision or revision_of(str(sorted(files)))
        return cls(revision, {revision: files}, **more)


@dataclass
class Fault:
    """A fault of GETs of files whose path ends in `path`, `times` times.

    kind: `cut` the body at half its length, `flip` a byte of it, `stall` in it, `status` 503,
    `reset` the connection before an answer, `gone` 404.
    """

    path: str
    kind: str
    times: int = 1_000_000


@dataclass
class Hub:
    """The files that the server serves, and what it was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    files_left: int | None = None  # so many files are served, then the server is as if dead
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[tuple[str, str]] = field(
        default_factory=list
    )  # what parts of files were asked for
    endpoint: str = ""
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, repos):
        self.repos, self.faults, self.files_left = dict(repos), [], None
        self.requests.clear()
        self.ranges.clear()

    def fetched(self):
        """Paths of the files whose bytes were sent, in order."""
        found = (RESOLVE.fullmatch(path) for method, path in self.requests if method == "GET")
        return [one[3] for one in found if one]

    def fault(self, path):
        with self.one_at_a_time:
            for fault in self.faults:
                if path.endswith(fault.path) and fault.times > 0:
                    fault.times -= 1
                    return fault.kind
        return ""

    def may_serve(self):
        """True if one more file is served; told before it is sent, as clients ask side by side."""
        with self.one_at_a_time:
            if self.files_left == 0:
                return False
            if self.files_left is not None:
                self.files_left -= 1
            return True


class _Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append((self.command, path))
        if self.hub.files_left == 0:
            self._reset()
            return
        try:
            if found := RESOLVE.fullmatch(path):
                self._file(*found.groups())
            elif found := TREE.fullmatch(path):
                self._json(self._tree(*found.groups(), recursive="recursive=true" in url.query))
            elif found := INFO.fullmatch(path):
                self._json(self._info(*found.groups()))
            else:
                self._repo("", None)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": str(refused)}
            self._send(refused.status, str(refused).encode(), headers)

    # -- what is asked for ------------------------------------------------------------------

    def _repo(self, name, revision, *, files=False):
        repo = self.hub.repos.get(name)
        if repo is None:
            raise _Refused(401, "RepoNotFound", "Repository not found")
        if repo.gated and files and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _Refused(401, "GatedRepo", f"Access to {name} is restricted")
        named = {None: repo.revision, "main": repo.revision, **repo.tags}
        commit = named.get(revision, revision)
        if commit not in repo.revisions:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repo.revisions[commit]

    def _info(self, name, revision):
        commit, files = self._repo(name, revision)
        siblings = [{"rfilename": path} | _facts(path, data) for path, data in files.items()]
        return {"id": name, "sha": commit, "siblings": siblings}

    def _tree(self, name, revision, folder, *, recursive):
        _, files = self._repo(name, revision)
        inside = f"{folder}/" if folder else ""
        entries = {}
        for path, data in files.items():
            if not path.startswith(inside):
                continue
            first, slash, _ = path.removeprefix(inside).partition("/")
            if slash:
                entries[inside + first] = {
                    "type": "directory",
                    "path": inside + first,
                    "size": 0,
                    "oid": revision_of(inside + first),
                }
            if recursive or not slash:
                facts = _facts(path, data)
                entries[path] = {"type": "file", "path": path, "oid": facts["blobId"]} | facts
        if not entries:
            raise _Refused(404, "EntryNotFound", f"{folder} does not exist")
        return list(entries.values())

    def _file(self, name, revision, path):
        commit, files = self._repo(name, revision, files=True)
        fault = self.hub.fault(path) if self.command == "GET" else ""
        if path not in files or fault == "gone":
            raise _Refused(404, "EntryNotFound", f"{path} does not exist")
        if fault == "status":
            raise _Refused(503, "", "Service unavailable")
        if fault == "reset" or (self.command == "GET" and not self.hub.may_serve()):
            self._reset()
            return
        self._body(files[path], commit, path, fault)

    def _body(self, data, commit, path, fault):
        facts = _facts(path, data)
        etag = facts["lfs"]["sha256"] if "lfs" in facts else facts["blobId"]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if "lfs" in facts:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if fault == "flip":
            data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        status, first, last = 200, 0, len(data) - 1
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            self.hub.ranges.append((path, found[0]))
            status, first, last = 206, int(found[1]), min(int(found[2] or last), last)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._send(status, data[first : last + 1], headers, fault=fault)

    # -- how it is answered -----------------------------------------------------------------

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status, body, headers, fault=""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(OSError):  # the client may have gone
            if fault not in {"cut", "stall"}:
                self.wfile.write(body)
                return
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                self.connection.settimeout(PATIENCE)
                self.connection.recv(1)  # until the client gives up
        self._reset()

    def _reset(self):
        """Close without a goodbye, as a broken line does."""
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):
            import socket

            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


def _facts(path, data):
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    facts = {"size": len(data), "blobId": blob}
    if path.endswith(LARGE):
        sha256 = hashlib.sha256(data).hexdigest()
        facts["lfs"] = {"size": len(data), "oid": sha256, "sha256": sha256, "pointerSize": 134}
    return facts


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is part of the game


@cache
def running():
    """The one server of this process."""
    hub, stop = serve()
    atexit.register(stop)
    return hub


def serve():
    """Start a server; gives (hub, stop)."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    return hub, stop


# -- tiny repositories ------------------------------------------------------------------------
# Columns, types, classes and what is wrong with each are the real ones.  Assumed, since no card was
# at hand: how many shards there are, the hashes in their names, and that HyperKvasir's test split
# is an archive like the other two.


def picture(label, number, form="JPEG", size=(48, 40)):
    """A small image of its own whose colour tells the class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng([label, number])
    pixels = rng.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., label % 3] += np.uint8(60 + 100 * (label // 3 % 2))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def parquet(rows, **columns):
    """A parquet file of the Hub: `image` holds bytes and a file name."""
    import datasets

    features = datasets.Features(image=datasets.Image(), **columns)
    table = datasets.Dataset.from_list(rows, features=features)
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def archive(files):
    """A zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for path, data in files.items():
            opened.writestr(path, data)
    return file.getvalue()


def _image(label, number, name):
    return {"bytes": picture(label, number), "path": name}


def chest_xray():
    import datasets

    classes = ["NORMAL", "PNEUMONIA"]

    def shard(names, first):
        rows = [
            {
                "image": _image(int("person" in name), first + n, name),
                "label": int("person" in name),
            }
            for n, name in enumerate(names)
        ]
        return parquet(rows, label=datasets.ClassLabel(names=classes))

    ill = [f"person{n // 2 + 1}_{'bacteria' if n % 2 else 'virus'}_{n}.jpeg" for n in range(14)]
    well = [f"IM-{100 + n // 2:04d}-{n % 2 + 1:04d}.jpeg" for n in range(8)]
    well += [f"NORMAL2-IM-{100 + n:04d}-0001.jpeg" for n in range(6)]
    names = [name for pair in zip(ill, well, strict=True) for name in pair]
    return {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n",
        "data/train-00000-of-00002.parquet": shard(names[:14], 0),
        "data/train-00001-of-00002.parquet": shard(names[14:], 100),
        "data/validation-00000-of-00001.parquet": shard(
            ["person1946_bacteria_1.jpeg", "NORMAL2-IM-1427-0001.jpeg"], 200
        ),
        "data/test-00000-of-00001.parquet": shard(
            [f"person{n}_virus_{n}.jpeg" for n in range(1, 6)]
            + [f"IM-{n:04d}-0001.jpeg" for n in range(1, 6)],
            300,
        ),
    }


def brain_tumor():
    kinds = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    return {
        "README.md": b"---\nlicense: mit\n---\n",
        **{
            f"{top}.zip": archive(
                {
                    f"{top}/{kind}/image ({n}).jpg": picture(label, first + n)
                    for label, kind in enumerate(kinds)
                    for n in range(count)
                }
            )
            for top, count, first in (("Training", 6, 0), ("Testing", 2, 100))
        },
    }


def nct_crc_he():
    import datasets

    tissues = ["ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"]

    def shard(each, first):
        rows = [
            {
                "image": {
                    "bytes": picture(label, first + n, "TIFF"),
                    "path": f"{tissue}-{first + n}.tif",
                },
                "label": label,
            }
            for label, tissue in enumerate(tissues)
            for n in range(each)
        ]
        return parquet(rows, label=datasets.ClassLabel(names=tissues))

    return {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n",
        "data/NCT_CRC_HE_100K-00000-of-00001.parquet": shard(3, 0),
        "data/NCT_CRC_HE_100K_NONORM-00000-of-00001.parquet": shard(3, 100),
        "data/CRC_VAL_HE_7K-00000-of-00001.parquet": shard(1, 200),
    }


HAM = ("actinic_keratoses", "basal_cell_carcinoma", "benign_keratosis-like_lesions")
HAM += ("dermatofibroma", "melanocytic_Nevi", "melanoma", "vascular_lesions")


def ham10000():
    """42 images of 35 lesions in 51 rows: 7 of the 14 images of test are in train too."""
    import datasets

    text = datasets.Value("string")
    rows = [
        {
            "image": _image(label, number, f"ISIC_{label * 100 + number:07d}.jpg"),
            "image_id": f"ISIC_{label * 100 + number:07d}",
            "lesion_id": f"HAM_{label * 100 + max(number, 1):07d}",  # the first two are one lesion
            "dx": diagnosis,
            "dx_type": "histo",
            "age": None if number == 3 else 50.0,
            "sex": "unknown",
            "localization": "back",
        }
        for label, diagnosis in enumerate(HAM)
        for number in range(6)
    ]

    train = [row for number, row in enumerate(rows) if number % 6 != 3]

    def shard(chosen):
        names = ("image_id", "lesion_id", "dx", "dx_type", "sex", "localization")
        return parquet(chosen, age=datasets.Value("float64"), **dict.fromkeys(names, text))

    return {
        "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n",
        "data/train-00000-of-00002-aaaa.parquet": shard(train[:20]),
        "data/train-00001-of-00002-bbbb.parquet": shard(train[20:]),
        "data/validation-00000-of-00001-cccc.parquet": shard(rows[1::21]),
        "data/test-00000-of-00001-dddd.parquet": shard(rows[::3]),
    }


def hyper_kvasir(findings):
    def part(top, number):
        return archive(
            {
                f"{top}/{finding}/{revision_of(f'{finding}{number}')[:8]}.jpg": picture(
                    label, number
                )
                for label, finding in enumerate(findings)
            }
        )

    return {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n",
        **{
            f"{top}.zip": part(top, number) for number, top in enumerate(("train", "valid", "test"))
        },
    }


@cache
def tiny_repos():
    """The five datasets of `paper-2024`, at the revisions that their plugins pin."""
    from harness_chest_xray import CHEST_XRAY
    from harness_ham10000 import HAM10000
    from harness_hyper_kvasir import HYPER_KVASIR

    return {
        CHEST_XRAY.repo: Repo.of(chest_xray(), CHEST_XRAY.revision),
        "sartajbhuvaji/Brain-Tumor-Classification": Repo.of(brain_tumor()),
        "1aurent/NCT-CRC-HE": Repo.of(nct_crc_he()),
        HAM10000.repo: Repo.of(ham10000(), HAM10000.revision),
        HYPER_KVASIR.repo: Repo.of(hyper_kvasir(HYPER_KVASIR.classes)),
    }
