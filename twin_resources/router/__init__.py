"""Which model answers a question: the own one, or a dearer one that is shown to be needed.

Scope: everything that is fitted from labels and everything that scores a question with it,
as pure functions of arrays. The assets fit, the gateway scores; both by these modules.
Out of scope: buying labels (`twin_assets/serving/routing_labels.py`), the account, the
request path, dagster. Import from the modules; this file stays empty.
"""
