"""Recognize and answer messages that no post can answer, before any search (front desk).

Scope: the kind of a message (`message_kinds.py`), its features (`features.py`), requests to rewrite
an earlier answer (`rewriting_requests.py`), the program's answer (`answers.py`).
Out of scope: when the gateway calls it (`request_path.py`), the author's own texts
(`authors/front_desk_settings.py`), fitting the weights (`deploy/checkout/front_desk_weights.py`).
"""
