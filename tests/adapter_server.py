"""An OpenAI-compatible server with vLLM's routes for LoRA adapters.

Scope: what vLLM's interface says, computed by transformers and PEFT in the precision that is
asked for; statuses and messages as vLLM 0.11 gives them. Out of scope: anything shipped.

It stands where vLLM cannot run (no card): answers, log-probabilities and adapters are real, its
scheduling and its kernels are not vLLM's. One request after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = "0.11.0+stand-in"


class Adapters:
    """A base model with adapters by name, as vLLM keeps them."""

    def __init__(self, base: Path, name: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.base, self.name, self.dtype = base, name, getattr(torch, dtype)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype).eval()
        self.loaded: dict[str, tuple[str, str]] = {}  # by name: PEFT's name of it, path
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

    def roots(self) -> dict[str, str]:
        """Folders that adapters were loaded from, by name."""
        return {name: path for name, (_, path) in self.loaded.items()}

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


@contextmanager
def serving(adapters: Any, *, key: str = "", updating: bool = True) -> Iterator[str]:
    """Serve them on a free port, in a thread; gives the URL, which ends in `/v1`."""
    import uvicorn

    app = application(adapters, key=key, updating=updating)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()
