"""Simulate a model hub: the routes of Hugging Face's API that publishing and loading use.

Scope: those routes, over a dictionary. Out of scope: the published files (the tests).
Routes: https://huggingface.co/docs/hub/api and the requests of huggingface_hub 1.33.
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
    """A repository with its commits by hash and its tags."""

    private: bool
    head: str = ""
    commits: dict[str, Files] = field(default_factory=dict[str, Files])
    tags: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class ModelHub:
    """A hub that accepts requests with `token`; its server sets `address`."""

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
            front_matter = yaml.safe_load(request.document["content"].split("---")[1])
            errors = [] if isinstance(front_matter, dict) else [{"message": "no YAML front matter"}]
            return Response({"errors": errors, "warnings": []})
        if match := re.fullmatch(r"/(\S+/\S+)\.git/info/lfs/objects/batch", path):
            return self._upload_addresses(request.document)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            return self._revision(self.repositories[match[1]], match[1], "main", request)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)(?:/(.+))?", path):
            name, action, argument = match.groups()
            return getattr(self, f"_{action}")(self.repositories[name], name, argument, request)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*match.groups())
        return Response({"error": f"no route {path}"}, 404)

    def _create(self, document: dict[str, Any]) -> Response:
        name = f"{document['organization']}/{document['name']}"
        private = document.get("private", document.get("visibility") == "private")
        if name in self.repositories:
            return Response({"error": "exists", "url": f"{self.address}/{name}"}, 409)
        self.repositories[name] = Repository(private)
        return Response({"url": f"{self.address}/{name}"})

    def _upload_addresses(self, document: dict[str, Any]) -> Response:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.address}/objects/{item['oid']}"}}}
            for item in document["objects"]
        ]
        return Response({"transfer": "basic", "objects": objects})

    def _preupload(
        self, _repository: Repository, _name: str, _branch: str, request: Request
    ) -> Response:
        files = [
            {
                "path": item["path"],
                "uploadMode": "lfs"
                if item["path"].endswith((".safetensors", ".gguf"))
                else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for item in request.document["files"]
        ]
        return Response({"files": files})

    def _commit(
        self, repository: Repository, name: str, _branch: str, request: Request
    ) -> Response:
        files = dict(repository.commits.get(repository.head, {}))
        for line in map(json.loads, request.body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repository.head = _hash(request.body)
        repository.commits[repository.head] = files
        address = f"{self.address}/{name}/commit/{repository.head}"
        return Response({"success": True, "commitOid": repository.head, "commitUrl": address})

    def _refs(self, repository: Repository, _name: str, _rest: str, _request: Request) -> Response:
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
            for tag, commit in repository.tags.items()
        ]
        return Response({"branches": [], "converts": [], "tags": tags})

    def _tag(self, repository: Repository, _name: str, revision: str, request: Request) -> Response:
        if request.method == "DELETE":
            del repository.tags[revision]
        else:
            repository.tags[request.document["tag"]] = revision
        return Response({})

    def _revision(
        self, repository: Repository, name: str, revision: str, _request: Request
    ) -> Response:
        commit = repository.head if revision == "main" else repository.tags.get(revision, revision)
        files = [{"rfilename": path} for path in repository.commits.get(commit, {})]
        return Response(
            {"id": name, "sha": commit, "private": repository.private, "siblings": files}
        )

    def _tree(
        self, repository: Repository, _name: str, revision: str, _request: Request
    ) -> Response:
        commit = repository.head if revision == "main" else repository.tags.get(revision, revision)
        files = repository.commits.get(commit, {})
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
