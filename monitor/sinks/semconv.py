"""Names of the log event a record becomes, in OpenTelemetry's words where it has them.

`gen_ai.*` is read from the OpenTelemetry GenAI semantic conventions repository, whose event
`gen_ai.evaluation.result` has the status Development (read November 2026): expect renames, and
rename here only. No package ships these names any more; the constants of
`opentelemetry-semantic-conventions` are deprecated. `dosimeter.*` is ours.
"""

from __future__ import annotations

import re

TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""W3C Trace Context: version, trace id, span id, flags. A client may send anything under this name."""

EVENT_NAME = "gen_ai.evaluation.result"
DIGEST_NAME = "dosimeter.digest"
"""What a limit kept back in one window is no evaluation of anything."""
CANARY_NAME = "dosimeter.canary"
"""Planted by the sidecar itself, to see that what it sends arrives: no evaluation, and no alert."""

EVENT_NAMES = {"digest": DIGEST_NAME, "canary": CANARY_NAME}
"""By kind of the record, where it is not `EVENT_NAME`."""

EVALUATION_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"  # of few values, as the convention asks
EXPLANATION = "gen_ai.evaluation.explanation"
CONVERSATION_ID = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"

MODEL_DIGEST = "dosimeter.model.digest"
EVENT_ID = "dosimeter.event_id"

MEANINGS = {
    EVENT_ID: "of the record; the same however often it is sent",
    EVALUATION_NAME: "the feature",
    SCORE_VALUE: "the statistic that decided, in benign standard deviations; of the shape `share` from 0 to 1",
    SCORE_LABEL: "the severity",
    EXPLANATION: "the summary",
    REQUEST_MODEL: "name of the model",
    MODEL_DIGEST: "digest of the model",
}
"""Of the attributes that are no single field of the record."""

SEVERITIES = {
    "low": "SEVERITY_NUMBER_INFO",
    "medium": "SEVERITY_NUMBER_WARN",
    "high": "SEVERITY_NUMBER_ERROR",
    "critical": "SEVERITY_NUMBER_FATAL",
}
"""Severity of the rule -> OTLP severity number, by its name in the protocol."""

UNKNOWN_SEVERITY = "SEVERITY_NUMBER_UNSPECIFIED"

RECORD_FIELDS = {
    "rule": "dosimeter.rule.id",
    "rule_sha256": "dosimeter.rule.sha256",
    "runbook": "dosimeter.rule.runbook",
    "pack_sha256": "dosimeter.pack.sha256",
    "calibration_sha256": "dosimeter.calibration.sha256",
    "program_sha256": "dosimeter.program.sha256",
    "decision": "dosimeter.decision",
    "reason": "dosimeter.decision.reason",
    "status": "dosimeter.rule.status",
    "owner": "dosimeter.rule.owner",
    "scope": "dosimeter.scope",
    "shape": "dosimeter.shape",
    "start": "dosimeter.span.start",
    "end": "dosimeter.span.end",
    "position": "dosimeter.position",
    "level": "dosimeter.level",
    "tokens_scored": "dosimeter.tokens.scored",
    "tokens_unscored": "dosimeter.tokens.unscored",
    "from_ns": "dosimeter.digest.from",
    "to_ns": "dosimeter.digest.to",
    "notified": "dosimeter.digest.notified",
    "limited": "dosimeter.digest.limited",
    "groups": "dosimeter.digest.groups",
    "groups_floor": "dosimeter.digest.groups_floor",
}
"""Field of the record -> attribute."""

LABELS = {
    "tenant": "dosimeter.tenant",
    "user": "dosimeter.user",
    "request_id": "dosimeter.request_id",
    "route": "dosimeter.route",
    "conversation": CONVERSATION_ID,
}
"""Label of the record -> attribute. Log events only: none of these may reach a metric."""
