"""A base model with random weights, its tokenizer and samples, made from the bundled posts.

Scope: creating them in seconds without a download, the same in every run.
Out of scope: training jobs (`conftest.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

POSTS = Path(__file__).parents[2] / "deploy" / "samples"
VOCABULARY_SIZE = 1024
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MIN_CHARACTERS, MAX_CHARACTERS = 80, 700  # of a paragraph that is an answer


def make_base(folder: Path, *, width: int = 128, layers: int = 4, seed: int = 7) -> Path:
    """Write a transformers folder: a Llama in float32 with heads of width 32, and its tokenizer.

    The weights have five times the usual standard deviation. With the usual one, all tokens
    are nearly alike, and a leak from one sample into another would not be visible.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        max_position_embeddings=2048,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_embedder(folder: Path, *, seed: int = 7) -> Path:
    """Write a sentence-transformers folder: a BERT with 2 layers of width 64 and mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    transformer_folder = folder.with_name(f"{folder.name}-transformer")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(transformer_folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).save_pretrained(transformer_folder)
    transformer = Transformer(str(transformer_folder), max_seq_length=256)
    model = SentenceTransformer(modules=[transformer, Pooling(config.hidden_size)], device="cpu")
    model.save(str(folder))
    return folder


def sample_rows(count: int) -> list[dict[str, Any]]:
    """Return samples from the bundled posts: a post's name as question, a paragraph as answer."""
    samples: list[dict[str, Any]] = []
    for path in _list_posts():
        name = path.stem.replace("-", " ")
        for number, paragraph in enumerate(_read_paragraphs(path)):
            question = {"role": "user", "content": f"What about {name}, part {number}?"}
            answer = {"role": "assistant", "content": paragraph}
            samples.append(
                {
                    "sample_id": f"{path.stem}-{number:03}",
                    "document_id": path.stem,
                    "messages": [question, answer],
                }
            )
    # evenly spaced, so that a few samples come from many posts
    step = len(samples) // count
    return samples[::step][:count]


def pair_rows(count: int) -> list[dict[str, Any]]:
    """Return the samples as preference pairs; the rejected answer is from another post."""
    samples = sample_rows(count)
    answers = [row["messages"][-1]["content"] for row in samples]
    return [
        row | {"rejected": answers[index - count // 2], "rejected_ended": index % 3 > 0}
        for index, row in enumerate(samples)
    ]


def make_tokenizer() -> Any:
    """Train a byte-level BPE tokenizer with turn markers on the bundled posts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((path.read_text(encoding="utf-8") for path in _list_posts()), trainer)
    end_of_text, start, end = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=start,
        eos_token=end,
        pad_token=end_of_text,
        unk_token=end_of_text,
        chat_template=TEMPLATE,
    )


def _list_posts() -> list[Path]:
    return sorted(path for path in POSTS.rglob("*.md") if path.name != "LICENSE.md")


def _read_paragraphs(path: Path) -> Iterator[str]:
    for part in path.read_text(encoding="utf-8").split("\n\n"):
        text = " ".join(part.split())
        if MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS and text[0].isalpha():
            yield text
