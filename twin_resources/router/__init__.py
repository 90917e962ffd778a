"""Decide whether the home's model or a more expensive one answers a question.

Scope: fitting a policy to labels and scoring a question with it, as pure functions of arrays. The
assets fit policies with these modules, and the gateway scores questions with them.
Out of scope: buying labels (`twin_assets/serving/routing_labels.py`), the account, the
request path, dagster. Import from the modules; this file stays empty.
"""
