"""Words of the console that stand in no template: of states, causes and exits. Translated when they are shown."""

from __future__ import annotations

from collections.abc import Mapping

from cli.language import N_
from workers.domain.causes import Cause
from workers.domain.transaction import Status

STATES: Mapping[Status, str] = {
    Status.PENDING: N_("waits for its turn"),
    Status.PROCESSING: N_("a worker has it"),
    Status.CONFIRMED: N_("done at the gateway; final"),
    Status.REJECTED: N_("nothing moved, and nothing will; final"),
    Status.REVIEW: N_("a person must decide"),
}
CAUSES: Mapping[Cause, str] = {
    Cause.WORKERS_LOST: N_("Workers lost with it"),
    Cause.ATTEMPTS_USED_UP: N_("Attempts used up"),
    Cause.DEADLINE_PASSED: N_("Deadline passed"),
    Cause.KEY_WINDOW_OVER: N_("Key window over"),
    Cause.CLAIM_FAILED: N_("Claim refused"),
    Cause.WRITE_FAILED: N_("Result not written"),
    Cause.UNREADABLE: N_("Unreadable record"),
    Cause.AMOUNT_MISMATCH: N_("Other amount moved"),
    Cause.ASKED: N_("Asked, without evidence"),
}
"""Those that lead to a desk; another is shown by its term."""
EXITS: Mapping[str, str] = {
    "redrive": N_("Redrive: ask the gateway, then send again if it is safe"),
    "ask": N_("Ask the gateway now"),
    "resolve-done": N_("Resolve as done, by evidence"),
    "resolve-refused": N_("Resolve as refused, by evidence"),
    "accept-amount": N_("Accept the other amount"),
    "cancel": N_("Cancel: nothing was sent, nothing will be"),
    "new-key": N_("Send under a new key"),
}
"""What people read; an exit that is not here is shown by its name."""
STAGES: Mapping[str, str] = {
    "open": N_("waits for approval"),
    "approved": N_("is being done"),
    "done": N_("done"),
    "withdrawn": N_("withdrawn"),
    "ended": N_("ended, not approved in time"),
}
OUTCOMES: Mapping[str, str] = {
    "changed": N_("has changed since it was asked for"),
    "refused": N_("is refused by the rules"),
    "gone": N_("is not there, or not readable"),
}
