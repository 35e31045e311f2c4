"""Refusals of gRPC calls as google.rpc.Status (AIP-193): a code, a sentence, and ErrorInfo with a reason."""

from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "ingest.cityfleet"
_DETAILS_KEY = "grpc-status-details-bin"  # what grpc_status.rpc_status reads


class RefusedError(Exception):
    """The call ends with this status; the text is for the client.

    Args:
        retry_s: when to come back (RetryInfo); None: that is not known.
        quota: whose quota it was (QuotaFailure), or nobody's.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        retry_s: float | None = None,
        quota: str = "",
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_s = retry_s
        self.quota = quota
        self.metadata = metadata


async def refuse(context: Any, refusal: RefusedError) -> NoReturn:
    """End the call. Raises: grpc.aio.AbortError, always."""
    status = status_pb2.Status(code=refusal.code.value[0], message=str(refusal))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(domain=DOMAIN, reason=refusal.reason, metadata=refusal.metadata)
    )
    if refusal.retry_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(refusal.retry_s * 1000))
        status.details.add().Pack(retry)
    if refusal.quota:
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=refusal.quota, description=str(refusal))
        status.details.add().Pack(failure)
    await context.abort(refusal.code, str(refusal), ((_DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort always raises")
