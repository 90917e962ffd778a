"""`python -m tests.adapter_server`: an OpenAI-compatible server with vLLM's LoRA routes.

Belongs here: what vLLM's interface says, computed by transformers and PEFT in the precision that is
asked for; statuses and messages as vLLM 0.11 gives them. Does not belong here: anything shipped.

It stands where vLLM cannot run (no card): answers, log-probabilities and adapters are real, its
scheduling and its kernels are not vLLM's. One request after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

VERSION = "0.11.0+stand-in"


class Adapters:
    """A base model with adapters by name, as vLLM keeps them."""

    def __init__(self, base: Path, name: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.base, self.name, self.dtype = base, name, getattr(torch, dtype)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype).eval()
        self.loaded: dict[str, tuple[str, str]] = {}  # name: PEFT's name of it, path
        self.turn = threading.Lock()
        self._wrapped: Any = None
        self._count = 0

    def load(self, name: str, path: str) -> None:
        from peft import PeftModel

        inside = f"lora_{self._count + 1}"
        if self._wrapped is None:
            self._wrapped = PeftModel.from_pretrained(
                self.model, path, adapter_name=inside, autocast_adapter_dtype=False
            )
        else:
            self._wrapped.load_adapter(path, adapter_name=inside, autocast_adapter_dtype=False)
        self._wrapped.to(self.dtype).eval()
        self._count += 1
        self.loaded[name] = (inside, path)

    def unload(self, name: str) -> None:
        inside, _ = self.loaded.pop(name)
        self._wrapped.delete_adapter(inside)

    @contextmanager
    def answering(self, name: str) -> Iterator[Any]:
        """The model that a name stands for."""
        if name == self.name:
            if self._wrapped is None:
                yield self.model
                return
            if not self.loaded:  # PEFT's layers hold none, and pass through
                yield self._wrapped
                return
            with self._wrapped.disable_adapter():
                yield self._wrapped
            return
        self._wrapped.set_adapter(self.loaded[name][0])
        yield self._wrapped

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Greedy; log-probabilities are those before the penalty, as vLLM's raw ones."""
        import torch

        tokenizer = self.tokenizer
        prompt = tokenizer.apply_chat_template(
            body["messages"], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        most, penalty = int(body["max_tokens"]), float(body.get("frequency_penalty") or 0.0)
        said: list[int] = []
        entries: list[dict[str, Any]] = []
        ended = False
        with self.answering(body["model"]) as model, torch.inference_mode():
            inputs, past = torch.tensor([prompt]), None
            counts = torch.zeros(len(tokenizer))
            while len(said) < most and not ended:
                out = model(input_ids=inputs, past_key_values=past, use_cache=True)
                past, logits = out.past_key_values, out.logits[0, -1].float()
                row = logits.log_softmax(-1)
                token = int((logits[: len(counts)] - penalty * counts).argmax())
                ended = token == tokenizer.eos_token_id
                if ended:
                    break
                said.append(token)
                counts[token] += 1
                best = row.topk(int(body.get("top_logprobs") or 0))
                entries.append(
                    self._entry(body, token, float(row[token]))
                    | {
                        "top_logprobs": [
                            self._entry(body, int(other), float(value))
                            for value, other in zip(best.values, best.indices, strict=True)
                        ]
                    }
                )
                inputs = torch.tensor([[token]])
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(said)}
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": tokenizer.decode(said)},
            "finish_reason": "stop" if ended else "length",
            "logprobs": {"content": entries} if body.get("logprobs") else None,
        }
        return {"object": "chat.completion", "model": body["model"], "choices": [choice]} | {
            "usage": usage | {"total_tokens": sum(usage.values())}
        }

    def _entry(self, body: Mapping[str, Any], token: int, value: float) -> dict[str, Any]:
        as_id = body.get("return_tokens_as_token_ids")
        text = f"token_id:{token}" if as_id else self.tokenizer.decode([token])
        return {"token": text, "logprob": value, "bytes": list(text.encode())}


def application(adapters: Adapters, *, key: str, updating: bool) -> Any:
    """The routes; without `updating` those for adapters are not there, as in vLLM."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, PlainTextResponse, Response

    app = FastAPI()

    def refused(status: int, kind: str, message: str) -> Response:
        error = {"message": message, "type": kind, "param": None, "code": status}
        return JSONResponse({"error": error}, status)

    @app.middleware("http")
    async def with_key(request: Request, go_on: Any) -> Any:
        keyed = not key or request.headers.get("authorization") == f"Bearer {key}"
        if request.url.path.startswith("/v1") and not keyed:
            return JSONResponse({"error": "Unauthorized"}, 401)
        return await go_on(request)

    @app.get("/version")
    def version() -> dict[str, str]:
        return {"version": VERSION}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        base = {"id": adapters.name, "root": str(adapters.base), "parent": None}
        others = [
            {"id": name, "root": path, "parent": adapters.name}
            for name, (_, path) in adapters.loaded.items()
        ]
        cards = [{"object": "model", "owned_by": "vllm"} | one for one in (base, *others)]
        return {"object": "list", "data": cards}

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> Any:
        if body["model"] not in {adapters.name, *adapters.loaded}:
            return refused(404, "NotFoundError", f"The model `{body['model']}` does not exist.")
        with adapters.turn:
            return adapters.chat(body)

    def load(body: dict[str, Any]) -> Any:
        name, path = body.get("lora_name"), body.get("lora_path")
        if not name or not path:
            message = "Both 'lora_name' and 'lora_path' must be provided."
            return refused(400, "InvalidUserInput", message)
        with adapters.turn:
            if name in adapters.loaded:
                message = f"The lora adapter '{name}' has already been loaded."
                return refused(400, "InvalidUserInput", message)
            if not (Path(path) / "adapter_config.json").is_file():
                message = f"Loading lora {name} failed: No adapter found for {path}"
                return refused(404, "NotFoundError", message)
            adapters.load(name, path)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def unload(body: dict[str, Any]) -> Any:
        name = body.get("lora_name")
        with adapters.turn:
            if name not in adapters.loaded:
                message = f"The lora adapter '{name}' cannot be found."
                return refused(404, "NotFoundError", message)
            adapters.unload(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    if updating:
        app.post("/v1/load_lora_adapter")(load)
        app.post("/v1/unload_lora_adapter")(unload)
    return app


class AdapterServerProcess:
    """That server as a process; use as a context."""

    def __init__(
        self,
        base: Path,
        *,
        name: str,
        log: Path,
        dtype: str = "bfloat16",
        key: str = "sk-there",
        updating: bool = True,
        port: int = 0,
    ) -> None:
        self.key, self.log = key, log
        self._port_file = log.with_suffix(f".{time.monotonic_ns()}.port")
        command = [sys.executable, "-m", "tests.adapter_server", "--model", str(base)]
        command += ["--served-model-name", name, "--dtype", dtype, "--port", str(port)]
        command += ["--port-file", str(self._port_file)]
        switch = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
        given = {"VLLM_API_KEY": key, switch: "True" if updating else "False"}
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command, env=os.environ | given, stdout=stream, stderr=stream
            )
        self.url = ""

    def __enter__(self) -> AdapterServerProcess:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.port = int(self._port_file.read_text(encoding="utf-8"))
                self.url = f"http://127.0.0.1:{self.port}/v1"
                httpx.get(f"http://127.0.0.1:{self.port}/version", timeout=5)
            except (OSError, ValueError, httpx.HTTPError):
                time.sleep(0.05)
            else:
                return self
        self.end()
        raise AssertionError(f"no answer: {self.log.read_text(encoding='utf-8')[-2000:]}")

    def __exit__(self, *_error: object) -> None:
        self.end()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def roots(self) -> dict[str, str]:
        """What it has loaded: folders by name, the base model's left out."""
        headers = {"Authorization": f"Bearer {self.key}"}
        cards = httpx.get(f"{self.url}/models", headers=headers).json()["data"]
        return {card["id"]: card["root"] for card in cards if card["parent"]}


def main() -> None:
    import socket

    import torch
    import uvicorn

    parser = argparse.ArgumentParser()
    for name in ("model", "served-model-name", "dtype", "port", "port-file"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    adapters = Adapters(Path(given.model), given.served_model_name, given.dtype)
    updating = os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    app = application(adapters, key=os.environ["VLLM_API_KEY"], updating=updating)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", int(given.port)))
        Path(given.port_file).write_text(json.dumps(listening.getsockname()[1]), encoding="utf-8")
        config = uvicorn.Config(app, log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
