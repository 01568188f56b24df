"""A simulated payment gateway whose ledger judges whether every effect happened exactly once.

    python -m gateway_simulator --port 0 --ledger .local/ledger.jsonl --seed 1

It speaks the protocol of `workers/gateway/payments.py`, misbehaves on purpose and reproducibly (`decisions.py`), and
keeps every effect and every call in a file that survives `kill -9` (`ledger.py`). Beside the protocol it answers:

    GET  /_health          200 once it serves
    GET  /_ledger          every effect, the calls of each id, the violations
    GET  /_ledger.csv      the effects, for `confirm reconcile`
    GET  /_ledger/{id}     the same for one id, call by call
    GET  /_stats           counts and sums
    POST /_faults          change the profile while it runs: {"profile": "down"}, {"faults": {"timeout-after": 0.1}}
"""

from gateway_simulator.decisions import PROFILES, Decision, Fault, Profile, ProfileError, decide
from gateway_simulator.ledger import Ledger
from gateway_simulator.server import SimulatedGateway

__all__ = [
    "PROFILES",
    "Decision",
    "Fault",
    "Ledger",
    "Profile",
    "ProfileError",
    "SimulatedGateway",
    "decide",
]
