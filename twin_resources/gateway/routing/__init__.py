"""Choose the version that answers a request, by the rules of `rules.py` in their order.

Scope: rules, which are pure functions of a request and a snapshot, and their shared code. Out of
scope: reading files (`live_config.py`), spending and its pace (`question_routing.py`), calling a
server (`compose.py`). How to add a rule: deploy/docs/contributing.md.
"""
