"""Write a tiny random Llama as a GGUF file without torch; it answers nonsense in milliseconds.

Scope: writing the file. Out of scope: serving it. Vocabulary, merges and chat template are those of
the embedded base model, so prompts have their real length. Because the model has only two layers of
width 64, tests wait for the gateway and not for the model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH, LAYER_COUNT, HEAD_COUNT, FEED_FORWARD, CONTEXT_LENGTH = 64, 2, 4, 128, 2048


def write_tiny_gguf(output: Path, *, tokenizer_from: Path, seed: int = 7) -> Path:
    """Write the model; the same seed produces the same file.

    Args:
        tokenizer_from: a GGUF file of the Llama architecture whose `tokenizer.*` fields are copied.
    """
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(tokenizer_from)
    writer = GGUFWriter(output, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        if field.types[0] == GGUFValueType.ARRAY:
            writer.add_key_value(name, value, GGUFValueType.ARRAY, sub_type=field.types[-1])
        else:
            writer.add_key_value(name, value, field.types[0])
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYER_COUNT)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEAD_COUNT)
    writer.add_head_count_kv(HEAD_COUNT)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEAD_COUNT)
    vocabulary_size = len(reader.fields["tokenizer.ggml.tokens"].contents())
    writer.add_vocab_size(vocabulary_size)
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    writer.add_tensor("token_embd.weight", weights(vocabulary_size, WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYER_COUNT):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(WIDTH, WIDTH))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(FEED_FORWARD, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(WIDTH, FEED_FORWARD))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return output
