"""The front desk: messages that no post answers, found before anything is looked up.

Scope: which kind a message is of (`message_kinds.py`), by which features (`features.py`),
what the program says to it (`answers.py`). Out of scope: when the gateway asks
(`request_path.py`), the author's own texts (`authors/front_desk_settings.py`), fitting the weights
(`deploy/checkout/front_desk_weights.py`).
"""

from twin_resources.gateway.front_desk.answers import (
    answer_of,
    not_written_text,
    other_language_text,
    sure_language,
)
from twin_resources.gateway.front_desk.message_kinds import kind_of

__all__ = ["answer_of", "kind_of", "not_written_text", "other_language_text", "sure_language"]
