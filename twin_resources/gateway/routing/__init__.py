"""Which version answers a request: one rule a file, and their order in `rules.py`.

Scope: rules, pure functions of a request and a snapshot, and what they share. Out of
scope: reading files (`live_config.py`), money and its pace (`question_routing.py`), calling a
server (`plugin.py`). How to add a rule: deploy/docs/contributing.md.
"""
