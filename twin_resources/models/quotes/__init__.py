"""The author's own paragraphs as an answer: cut at import, found by a question's vector.

Scope: what may be quoted (`passages.py`), from which score on it answers
(`calibration.py`), finding it (`quoter.py`), how it stands in an answer (`answer_text.py`). Out
of scope: finding posts (`retrieval/`), the tables' assets (`twin_assets/knowledge`).
"""
