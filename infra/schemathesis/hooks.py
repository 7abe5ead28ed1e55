"""What Schemathesis does not know by itself: two formats of this API, and an answer without an end."""

import schemathesis
from hypothesis import strategies

# A date and time without a zone, as in the format registry of OpenAPI.
schemathesis.openapi.format(
    "date-time-local", strategies.datetimes().map(lambda time: time.isoformat(timespec="seconds"))
)

# A component is sent as it is.
schemathesis.serializer.alias("application/wasm", "application/octet-stream")


@schemathesis.hook
def before_call(context, case, kwargs):
    """A list of decisions that follows does not end."""
    if case.query and case.query.get("follow") == "true":
        case.query["follow"] = "false"
