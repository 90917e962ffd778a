"""Decode OTLP trace exports, in protobuf or JSON, into plain values.

Scope: decoding (gzip, protobuf, JSON). Out of scope: interpreting the attributes
(`observations.py`), storage.
Format: https://opentelemetry.io/docs/specs/otlp/. OTLP/JSON writes ids in hex and int64 as strings.
"""
# pyright: strict

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from twin_resources.errors import TwinError
from twin_resources.untrusted_json import parse_untrusted_json

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_ID_FIELDS = ("traceId", "spanId", "parentSpanId")
MAX_EXPORT_BYTES = 64 * 1024 * 1024  # decompressed; prevents a gzip bomb from exhausting memory


class ExportRefusedError(TwinError):
    """The export is invalid, and no span is stored; `response_text` is the API's message."""

    def __init__(self, response_text: str) -> None:
        self.response_text = response_text
        super().__init__(
            "read an OTLP trace export",
            found=response_text,
            next_step="send OTLP traces as protobuf or JSON, with or without gzip",
        )


@dataclass(frozen=True)
class OtlpSpan:
    """One span with the fields of its resource and scope.

    Attributes:
        trace_id, span_id, parent_span_id: lower-case hex; the parent is empty for a root span.
        start_ns, end_ns: Unix nanoseconds; 0 if the sender omitted them.
        status: the OTLP status code; 2 is an error.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope_name: str
    scope_version: str
    scope_attributes: Mapping[str, Any]
    status: int = 0
    status_message: str = ""


def read_export(body: bytes, *, content_type: str, content_encoding: str = "") -> list[OtlpSpan]:
    """Decode the spans of one export.

    Args:
        body: the bytes of the request body, still compressed.
        content_type: `application/x-protobuf` or `application/json`; parameters are ignored.
        content_encoding: `gzip` or empty.

    Raises:
        ExportRefusedError: the type is unsupported, the bytes are corrupt, or a span has no ids.
    """
    if "gzip" in content_encoding.lower():
        body = _gunzip(body)
    media_type = content_type.lower()
    if "application/x-protobuf" in media_type:
        return _require_ids(_read_protobuf(body))
    if "application/json" in media_type:
        return _require_ids(_read_json(body))
    raise ExportRefusedError("Invalid content type")


def _gunzip(body: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        decompressed = decompressor.decompress(body, MAX_EXPORT_BYTES)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ExportRefusedError("Failed to decompress request body") from error
    if decompressor.unconsumed_tail:
        raise ExportRefusedError(f"Request body unpacks to more than {MAX_EXPORT_BYTES} bytes")
    if not decompressor.eof:
        raise ExportRefusedError("Failed to decompress request body")
    return decompressed


def _require_ids(spans: list[OtlpSpan]) -> list[OtlpSpan]:
    """Return the spans; refuse the export if one has no ids, because it may contain logs."""
    invalid_count = sum(1 for span in spans if not span.trace_id or not span.span_id)
    if invalid_count:
        raise ExportRefusedError(
            f"Invalid OTLP trace export: {invalid_count} of {len(spans)} span(s) have no traceId "
            "or spanId. The entire export was rejected and no spans were ingested."
        )
    return spans


def _read_protobuf(body: bytes) -> list[OtlpSpan]:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        export = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ExportRefusedError("Failed to parse OTel Protobuf Trace") from error
    return _convert_spans(export)


def _convert_spans(export: ExportTraceServiceRequest) -> list[OtlpSpan]:
    spans: list[OtlpSpan] = []
    for resource_spans in export.resource_spans:
        resource = _convert_attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            scope_attributes = _convert_attributes(scope.attributes)
            spans += [
                OtlpSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    name=span.name,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_convert_attributes(span.attributes),
                    resource=resource,
                    scope_name=scope.name,
                    scope_version=scope.version,
                    scope_attributes=scope_attributes,
                    status=int(span.status.code),
                    status_message=span.status.message,
                )
                for span in scope_spans.spans
            ]
    return spans


def _convert_attributes(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {attribute.key: _convert_value(attribute.value) for attribute in attributes}


def _convert_value(value: AnyValue) -> Any:
    field = value.WhichOneof("value")
    if field is None:
        return None
    if field == "array_value":
        return [_convert_value(item) for item in value.array_value.values]
    if field == "kvlist_value":
        return {item.key: _convert_value(item.value) for item in value.kvlist_value.values}
    if field == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, field)


def _read_json(body: bytes) -> list[OtlpSpan]:
    from google.protobuf.json_format import ParseDict, ParseError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        export = parse_untrusted_json(body)
    except ValueError as error:
        raise ExportRefusedError("Failed to parse OTel JSON Trace") from error
    try:
        message = ParseDict(_encode_ids_as_base64(export), ExportTraceServiceRequest(), True)
    except (ParseError, TypeError, ValueError, AttributeError) as error:
        raise ExportRefusedError(
            f"Invalid OTLP trace export ({error}). The entire export was rejected."
        ) from error
    return _convert_spans(message)


def _encode_ids_as_base64(value: Any) -> Any:
    """Convert ids from hexadecimal (OTLP/JSON) to Base64 (protobuf's JSON mapping)."""
    if isinstance(value, list):
        return [_encode_ids_as_base64(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64encode(bytes.fromhex(item)).decode()
        if name in _ID_FIELDS and isinstance(item, str)
        else _encode_ids_as_base64(item)
        for name, item in cast("dict[str, Any]", value).items()
    }
