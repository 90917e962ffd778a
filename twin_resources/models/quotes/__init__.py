"""Answer with the author's own paragraphs, which are cut at import and found by their vectors.

Scope: quotable passages (`passages.py`), the score threshold (`calibration.py`), choosing
quotations (`quoter.py`), and their Markdown (`answer_text.py`). Out of scope: finding posts
(`retrieval/`), the tables' assets (`twin_assets/knowledge`).
"""
