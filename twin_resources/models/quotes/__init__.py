"""Answer with the author's own paragraphs: cut at import, found by a question's vector.

Scope: quotable passages (`passages.py`), the score threshold (`calibration.py`), choosing
quotations (`quoter.py`), their Markdown (`answer_text.py`). Out of scope: finding posts
(`retrieval/`), the tables' assets (`twin_assets/knowledge`).
"""
