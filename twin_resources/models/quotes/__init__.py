"""Choose passages to quote (`quoter.py`) and write them as Markdown (`answer_text.py`)."""
