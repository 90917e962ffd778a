"""A base model of random weights, its tokenizer and samples, made of the bundled posts alone.

Scope: making them, the same in every run, in seconds and without a download.
Out of scope: jobs and their launching (`conftest.py`), anything that is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

POSTS = Path(__file__).parents[2] / "deploy" / "samples"
VOCABULARY = 1024
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORTEST, LONGEST = 80, 700  # characters of a paragraph that is an answer


def make_base(folder: Path, *, seed: int = 7) -> Path:
    """Write a transformers folder: a Llama of 4 layers, width 128, float32, with its tokenizer.

    The weights are drawn five times as wide as usual: with the usual ones all tokens are nearly
    alike, and what leaks from one sample into another would not show.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
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
    """Write a sentence-transformers folder: a BERT of 2 layers, width 64, mean over tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    inner = folder.with_name(f"{folder.name}-transformer")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(inner)
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
    BertModel(config).save_pretrained(inner)
    words = Transformer(str(inner), max_seq_length=256)
    model = SentenceTransformer(modules=[words, Pooling(config.hidden_size)], device="cpu")
    model.save(str(folder))
    return folder


def rows(count: int) -> list[dict[str, Any]]:
    """Samples of the bundled posts: a post's name is the question, a paragraph the answer."""
    samples: list[dict[str, Any]] = []
    for path in _paths():
        name = path.stem.replace("-", " ")
        for place, paragraph in enumerate(_paragraphs(path)):
            question = {"role": "user", "content": f"What about {name}, part {place}?"}
            answer = {"role": "assistant", "content": paragraph}
            samples.append(
                {
                    "sample_id": f"{path.stem}-{place:03}",
                    "document_id": path.stem,
                    "messages": [question, answer],
                }
            )
    # every so many, so that a few samples are of many posts
    step = len(samples) // count
    return samples[::step][:count]


def pair_rows(count: int) -> list[dict[str, Any]]:
    """The samples as pairs: against each answer that of another post."""
    chosen = rows(count)
    others = [row["messages"][-1]["content"] for row in chosen]
    return [
        row | {"rejected": others[index - count // 2], "rejected_ended": index % 3 > 0}
        for index, row in enumerate(chosen)
    ]


def make_tokenizer() -> Any:
    """A byte-level BPE of the bundled posts with marks of turns, as transformers loads it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((path.read_text(encoding="utf-8") for path in _paths()), trainer)
    end_of_text, start, end = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=start,
        eos_token=end,
        pad_token=end_of_text,
        unk_token=end_of_text,
        chat_template=TEMPLATE,
    )


def _paths() -> list[Path]:
    return sorted(path for path in POSTS.rglob("*.md") if path.name != "LICENSE.md")


def _paragraphs(path: Path) -> Iterator[str]:
    for part in path.read_text(encoding="utf-8").split("\n\n"):
        text = " ".join(part.split())
        if SHORTEST <= len(text) <= LONGEST and text[0].isalpha():
            yield text
