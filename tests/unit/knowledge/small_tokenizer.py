"""Create a real, uncased WordPiece tokenizer, like MiniLM's, trained in milliseconds."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from twin_resources.models.embedder.embedder import EmbedderTokenizer

_TEXT = [
    "The clock went to the workshop on day one, and it didn't come back unchanged.",
    "A boat is a hole in the water; a lamp is a hole in the dark. Why does it matter?",
    "def main(argument): return argument + 1  # a comment, 0123456789",
    "abcdefghijklmnopqrstuvwxyz 時計は水の中で動かない。",
]


@lru_cache(maxsize=1)
def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        _TEXT, WordPieceTrainer(vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def build_small_tokenizer(*, token_limit: int = 64) -> EmbedderTokenizer:
    return EmbedderTokenizer(train_tokenizer(), token_limit, "revision-1")
