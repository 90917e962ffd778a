"""A server with vLLM's routes for LoRA adapters, whose tokens transformers and PEFT compute.

Everything else it says is what vLLM 0.32.0 answered (`vllm_answers.json`). It has no cache, no
eviction and one request at a time; `tests/live/serving/test_vllm.py` runs vLLM itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.vllm_answers import MISSING, NAME, read_answers

RECORDED_VALUES = {"name": NAME, "missing": MISSING, "model": "nobody"}


class BaseWithAdapters:
    """A base model and its loaded adapters by name, as in vLLM."""

    def __init__(self, base: Path, name: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.base, self.name, self.dtype = base, name, getattr(torch, dtype)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype).eval()
        self.loaded: dict[str, tuple[str, str]] = {}  # name → (PEFT's adapter name, path)
        self.lock = threading.Lock()
        self._peft_model: Any = None
        self._load_count = 0

    def load(self, name: str, path: str) -> None:
        from peft import PeftModel

        peft_id = f"lora_{self._load_count + 1}"
        if self._peft_model is None:
            self._peft_model = PeftModel.from_pretrained(
                self.model, path, adapter_name=peft_id, autocast_adapter_dtype=False
            )
        else:
            self._peft_model.load_adapter(path, adapter_name=peft_id, autocast_adapter_dtype=False)
        self._peft_model.to(self.dtype).eval()
        self._load_count += 1
        self.loaded[name] = (peft_id, path)

    def unload(self, name: str) -> None:
        peft_id, _ = self.loaded.pop(name)
        self._peft_model.delete_adapter(peft_id)

    @contextmanager
    def active_model(self, name: str) -> Iterator[Any]:
        """Yield the base model, or the model with this adapter active."""
        if name == self.name:
            if self._peft_model is None:
                yield self.model
                return
            if not self.loaded:  # PEFT's layers have no adapter left and change nothing
                yield self._peft_model.base_model.model
                return
            with self._peft_model.disable_adapter():
                yield self._peft_model
            return
        self._peft_model.set_adapter(self.loaded[name][0])
        yield self._peft_model

    def adapter_paths(self) -> dict[str, str]:
        """Map each loaded adapter to its folder."""
        return {name: path for name, (_, path) in self.loaded.items()}

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer with greedy decoding; as in vLLM, log-probabilities ignore the penalty."""
        import torch

        tokenizer = self.tokenizer
        prompt = tokenizer.apply_chat_template(
            body["messages"], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        max_tokens = int(body["max_tokens"])
        penalty = float(body.get("frequency_penalty") or 0.0)
        generated: list[int] = []
        entries: list[dict[str, Any]] = []
        ended = False
        with self.active_model(body["model"]) as model, torch.inference_mode():
            inputs, past = torch.tensor([prompt]), None
            counts = torch.zeros(len(tokenizer))
            while len(generated) < max_tokens and not ended:
                output = model(input_ids=inputs, past_key_values=past, use_cache=True)
                past, logits = output.past_key_values, output.logits[0, -1].float()
                logprobs = logits.log_softmax(-1)
                token = int((logits[: len(counts)] - penalty * counts).argmax())
                ended = token == tokenizer.eos_token_id
                if ended:
                    break
                generated.append(token)
                counts[token] += 1
                best = logprobs.topk(int(body.get("top_logprobs") or 0))
                entries.append(
                    self._logprob_entry(body, token, float(logprobs[token]))
                    | {
                        "top_logprobs": [
                            self._logprob_entry(body, int(index), float(value))
                            for value, index in zip(best.values, best.indices, strict=True)
                        ]
                    }
                )
                inputs = torch.tensor([[token]])
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(generated)}
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": tokenizer.decode(generated)},
            "finish_reason": "stop" if ended else "length",
            "logprobs": {"content": entries} if body.get("logprobs") else None,
        }
        return {"object": "chat.completion", "model": body["model"], "choices": [choice]} | {
            "usage": usage | {"total_tokens": sum(usage.values())}
        }

    def _logprob_entry(self, body: Mapping[str, Any], token: int, value: float) -> dict[str, Any]:
        as_id = body.get("return_tokens_as_token_ids")
        text = f"token_id:{token}" if as_id else self.tokenizer.decode([token])
        return {"token": text, "logprob": value, "bytes": list(text.encode())}


def create_app(adapters: BaseWithAdapters, *, key: str, updatable: bool) -> Any:
    """Return the FastAPI application; as in vLLM, only an updatable one has adapter routes."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, PlainTextResponse, Response

    app, answers = FastAPI(), read_answers()

    def recorded(case: str, **values: str) -> Response:
        """Return vLLM's answer to a case, about these values instead of the recorded ones."""
        answer = answers[case]
        text = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])
        for name, value in values.items():
            text = text.replace(RECORDED_VALUES[name], value)
        if isinstance(answer["body"], str):
            return PlainTextResponse(text, answer["status"])
        return JSONResponse(json.loads(text), answer["status"])

    @app.middleware("http")
    async def require_key(request: Request, call_next: Any) -> Any:
        is_authorized = not key or request.headers.get("authorization") == f"Bearer {key}"
        if request.url.path.startswith("/v1") and not is_authorized:
            return recorded("models without a key")
        return await call_next(request)

    @app.get("/version")
    def version() -> Response:
        return recorded("version")

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        listing = answers["models with an adapter"]["body"]
        base, adapter = listing["data"]
        cards = [base | {"id": adapters.name, "root": str(adapters.base)}]
        for name, (_, path) in adapters.loaded.items():
            cards.append(adapter | {"id": name, "root": path, "parent": adapters.name})
        return listing | {"data": cards}

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> Any:
        if body["model"] not in {adapters.name, *adapters.loaded}:
            return recorded("chat with an unknown model", model=body["model"])
        with adapters.lock:
            return adapters.chat(body)

    def load(body: dict[str, Any]) -> Any:
        name, path = str(body["lora_name"]), str(body["lora_path"])
        with adapters.lock:
            if name in adapters.loaded:
                return recorded("load again", name=name)
            if not (Path(path) / "adapter_config.json").is_file():
                return recorded("load a missing folder", name=name, missing=path)
            adapters.load(name, path)
        return recorded("load", name=name)

    def unload(body: dict[str, Any]) -> Any:
        name = str(body["lora_name"])
        with adapters.lock:
            if name not in adapters.loaded:
                return recorded("unload again", name=name)
            adapters.unload(name)
        return recorded("unload", name=name)

    if updatable:
        app.post("/v1/load_lora_adapter")(load)
        app.post("/v1/unload_lora_adapter")(unload)
    return app


@contextmanager
def serve_adapters(adapters: Any, *, key: str = "", updatable: bool = True) -> Iterator[str]:
    """Serve the adapters on a free port, in a thread, and yield the URL, which ends in `/v1`."""
    import uvicorn

    app = create_app(adapters, key=key, updatable=updatable)
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
