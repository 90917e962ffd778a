"""A model hub in this process: the routes of Hugging Face's API that publishing and loading use.

Scope: those routes, over a dictionary. Out of scope: what is published (the tests).
Routes: https://huggingface.co/docs/hub/api, and what huggingface_hub 1.33 sends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.http_server import Request, Response

Files = dict[str, bytes]


@dataclass
class Repository:
    """A repository: commits by hash, tags, and whether it is private."""

    private: bool
    head: str = ""
    commits: dict[str, Files] = field(default_factory=dict[str, Files])
    tags: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class ModelHub:
    """A hub that answers requests with `token`; its server sets `address`."""

    token: str
    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    objects: Files = field(default_factory=Files)

    def __call__(self, request: Request) -> Response:
        path = unquote(urlsplit(request.path).path)
        if request.method == "PUT":
            self.objects[path.rpartition("/")[2]] = request.body
            return Response()
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Response({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            return self._create(request.document)
        if path == "/api/validate-yaml":
            read = yaml.safe_load(request.document["content"].split("---")[1])
            errors = [] if isinstance(read, dict) else [{"message": "no YAML head"}]
            return Response({"errors": errors, "warnings": []})
        if found := re.fullmatch(r"/(\S+/\S+)\.git/info/lfs/objects/batch", path):
            return self._places(request.document)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            return self._revision(self.repositories[found[1]], found[1], "main", request)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)(?:/(.+))?", path):
            name, what, rest = found.groups()
            return getattr(self, f"_{what}")(self.repositories[name], name, rest, request)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*found.groups())
        return Response({"error": f"no route {path}"}, 404)

    def _create(self, asked: dict[str, Any]) -> Response:
        name = f"{asked['organization']}/{asked['name']}"
        private = asked.get("private", asked.get("visibility") == "private")
        if name in self.repositories:
            return Response({"error": "exists", "url": f"{self.address}/{name}"}, 409)
        self.repositories[name] = Repository(private)
        return Response({"url": f"{self.address}/{name}"})

    def _places(self, asked: dict[str, Any]) -> Response:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.address}/objects/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        return Response({"transfer": "basic", "objects": objects})

    def _preupload(self, _of: Repository, _name: str, _branch: str, request: Request) -> Response:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs"
                if one["path"].endswith((".safetensors", ".gguf"))
                else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for one in request.document["files"]
        ]
        return Response({"files": files})

    def _commit(self, of: Repository, name: str, _branch: str, request: Request) -> Response:
        files = dict(of.commits.get(of.head, {}))
        for line in map(json.loads, request.body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        of.head = _hash(request.body)
        of.commits[of.head] = files
        address = f"{self.address}/{name}/commit/{of.head}"
        return Response({"success": True, "commitOid": of.head, "commitUrl": address})

    def _refs(self, of: Repository, _name: str, _rest: str, _request: Request) -> Response:
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
            for tag, commit in of.tags.items()
        ]
        return Response({"branches": [], "converts": [], "tags": tags})

    def _tag(self, of: Repository, _name: str, rest: str, request: Request) -> Response:
        if request.method == "DELETE":
            del of.tags[rest]
        else:
            of.tags[request.document["tag"]] = rest
        return Response({})

    def _revision(self, of: Repository, name: str, rest: str, _request: Request) -> Response:
        commit = of.head if rest == "main" else of.tags.get(rest, rest)
        files = [{"rfilename": path} for path in of.commits.get(commit, {})]
        return Response({"id": name, "sha": commit, "private": of.private, "siblings": files})

    def _tree(self, of: Repository, _name: str, rest: str, _request: Request) -> Response:
        commit = of.head if rest == "main" else of.tags.get(rest, rest)
        files = of.commits.get(commit, {})
        return Response(
            [
                {"type": "file", "path": path, "size": len(content), "oid": _hash(content)}
                for path, content in files.items()
            ]
        )

    def _file(self, name: str, commit: str, path: str) -> Response:
        content = self.repositories[name].commits[commit][path]
        etag = hashlib.sha256(content).hexdigest()
        return Response(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit})


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
