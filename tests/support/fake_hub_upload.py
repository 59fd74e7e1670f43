"""The part of the Hub's HTTP API that an upload uses, on 127.0.0.1, in memory.

`FakeHub(repos={"org/name"})` is a context manager; `hub.url` is what HF_ENDPOINT takes.  Tokens:
`writer` may do everything, `reader` may not write, any other is refused.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = re.compile(r"/api/datasets/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree|preupload|commit)/(?P<rev>[^/?]+))?")  # fmt: skip
BATCH = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
COMMIT = "c" * 40


class FakeHub:
    """Repositories of datasets: `files[repo]` maps paths to bytes.

    Attributes:
        commits: (repo, what the header said) of each commit.
        fail: a path prefix whose requests are answered with 500.
    """

    def __init__(self, repos=()):
        self.files = {repo: {".gitattributes": b""} for repo in repos}
        self.objects, self.commits, self.requests, self.fail = {}, [], [], None

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self):
        return type("Handler", (_Handler,), {"hub": self})

    def answer(self, method, path, headers, body):
        """(status, JSON, error code)."""
        plain = path.partition("?")[0]
        if plain.startswith("/lfs/"):
            self.objects[plain.removeprefix("/lfs/")] = body
            return 200, {}, ""
        if plain == "/api/validate-yaml":
            text = json.loads(body)
            assert text["repoType"] == "dataset"
            assert text["content"].startswith("---\n")
            return 200, {"errors": [], "warnings": []}, ""
        found = BATCH.fullmatch(plain) or API.fullmatch(plain)
        assert found, f"{method} {path}: an upload needs no such endpoint"
        refused = self.refused(method, plain, found["repo"], headers)
        if refused:
            return refused
        if BATCH.fullmatch(plain):
            return 200, self.batch(json.loads(body)), ""
        return self.api(found["repo"], found["what"], body)

    def refused(self, method, path, repo, headers):
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.fail and path.startswith(self.fail):
            return 500, {"error": "on fire"}, ""
        if token not in {"writer", "reader"}:
            return 401, {"error": "Invalid credentials"}, ""
        if repo not in self.files:
            return 404, {"error": "Repository not found"}, "RepoNotFound"
        if method == "POST" and token == "reader":
            return 403, {"error": "you have no write access"}, ""
        return None

    def batch(self, asked):
        assert "basic" in asked["transfers"]
        return {
            "objects": [
                {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
                for one in asked["objects"]
            ]
        }

    def api(self, repo, what, body):
        files = self.files[repo]
        if what == "tree":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in sorted(files.items())
            ]
            return 200, tree, ""
        if what == "preupload":
            asked = json.loads(body)["files"]
            return 200, {"files": [self.mode(one["path"]) for one in asked]}, ""
        if what == "commit":
            return 200, self.commit(repo, [json.loads(line) for line in body.splitlines()]), ""
        siblings = [{"rfilename": name} for name in sorted(files)]
        return 200, {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False}, ""

    def mode(self, path):
        large = path.endswith(".safetensors")
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def commit(self, repo, lines):
        files = self.files[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits.append((repo, value["summary"]))
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
            else:
                assert line["key"] == "deletedFile", line
                del files[value["path"]]
        url = f"{self.url}/datasets/{repo}/commit/{COMMIT}"
        return {"success": True, "commitOid": COMMIT, "commitUrl": url}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        size = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self.chunks() if chunked else self.rfile.read(size)
        self.hub.requests.append((self.command, self.path))
        status, answer, error = self.hub.answer(self.command, self.path, self.headers, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET  # noqa: N815

    def chunks(self):
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found
