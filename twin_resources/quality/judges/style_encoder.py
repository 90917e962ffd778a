"""A style encoder that a person names: how near a text's style is to the author's.

Belongs here: loading it, the author's place among its vectors, the cosine to it.
Does not belong here: which texts are compared and what is told of it
(`twin_assets/evaluation/measures/style_similarity.py`), the embedder of the retrieval
(`models/embedder/`), which hears what a text is about.

An encoder that was trained to tell writers apart whatever they write about gives texts of one hand
vectors that lie close together (Wegmann, Schraagen and Nguyen, "Same Author or Just Same Topic?
Towards Content-Independent Style Representations", 2022, https://arxiv.org/abs/2204.04907). The
author's place is the mean of the vectors of training texts, each of length 1. No quality is claimed
for any encoder: what it gives other people and the author's unseen posts says what it hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import Embed, digest
from twin_resources.quality.judges.named_folder import files_hash, named_folder

if TYPE_CHECKING:
    import numpy as np

VERSION = "style-1"
SETTING = "TWIN_STYLE_MODEL"
FEWEST_TEXTS = 10  # of the author, below which their mean is a few texts' subject
BATCH = 16


class StyleEncoder:
    """Texts to vectors of length 1, by a sentence-transformers model or any encoder.

    Args:
        model: folder of the model (`style_folder`); one without a pooling of its own gets the mean.
        name: as a person wrote it; empty: the folder.

    Attributes:
        name: `style by <name>`.
        revision: follows from the files of the model.

    Raises:
        TwinError: the folder holds no such model.
    """

    def __init__(self, model: Path, *, name: str = "") -> None:
        from sentence_transformers import SentenceTransformer

        self.name = f"style by {name or model}"
        try:
            # nothing of a model's folder is run: no code, and no pickle
            self._model: Any = SentenceTransformer(
                str(model), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError, KeyError) as error:
            raise TwinError(
                f"load the style encoder {name or model}",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                next_step="name a folder or hub id of an encoder with safetensors in "
                f"{SETTING}, or unset it",
            ) from error
        self.revision = digest(VERSION, files_hash(model))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape (n, dimension), rows of length 1; what it cannot read is cut off."""
        vectors: Any = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors


class StyleSimilarity:
    """Cosine of a text's vector to the mean of an author's.

    Args:
        embed: `StyleEncoder.embed`.
        encoder: its revision.
        name: its name.
        texts: of the author, that nothing else is compared with.

    Attributes:
        revision: follows from encoder and texts.

    Raises:
        TwinError: fewer texts than `FEWEST_TEXTS`.
    """

    def __init__(self, embed: Embed, *, encoder: str, name: str, texts: Sequence[str]) -> None:
        import numpy as np

        if len(texts) < FEWEST_TEXTS:
            raise TwinError(
                "place an author's style",
                found=f"{len(texts)} training texts of the author",
                next_step=f"import more posts: {FEWEST_TEXTS} texts are needed",
            )
        self.name = name
        self.revision = digest(VERSION, encoder, *texts)
        self._embed = embed
        mean = embed(texts).mean(axis=0)
        self._author = mean / max(float(np.linalg.norm(mean)), 1e-12)

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """Cosines in [−1, 1], in order; an empty text has no style and 0."""
        said = [at for at, text in enumerate(texts) if text.strip()]
        cosines = [0.0] * len(texts)
        if said:
            vectors = self._embed([texts[at] for at in said])
            for at, cosine in zip(said, vectors @ self._author, strict=True):
                cosines[at] = float(cosine)
        return cosines


def style_folder(name: str, *, into: Path) -> Path:
    """The folder of an encoder: a local one where it lies, else one of the hub below `into`.

    Raises:
        TwinError: it is no folder, and the hub does not give it.
    """
    return named_folder(name, into=into, kind="style encoder", setting=SETTING)
