"""The stack's config, read once into frozen typed values.

Every key is a row, of `keys.py` or of the `settings.py` of an alternative or shared part; what differs by environment
is a row of a table (`ENVIRONMENTS`, `SIZES`); what must hold between keys is a rule (`rules.py`, here and in the
alternative's package). All mistakes are reported together, each with its mend. The keys of all alternatives may stand
in one file, so that `pulumi config set alternative fargate` switches: every value is checked, the rules between them
are those of the chosen alternative. `alternatives/settings.py` reads for all alternatives that there are.
"""

from components.settings.alternative import AlternativeSettings, Part
from components.settings.environments import ENVIRONMENTS, Environment, FaultExperiments, NatStrategy, Sizing
from components.settings.errors import PROJECT, Problem, SettingsError
from components.settings.keys import INTERFACE_ENDPOINTS, RETENTION_DAYS
from components.settings.reading import Key
from components.settings.rules import CALLS_PER_TRANSACTION
from components.settings.values import AlarmSettings, CanarySettings, GatewaySettings, Restore, Settings

__all__ = [
    "CALLS_PER_TRANSACTION",
    "ENVIRONMENTS",
    "INTERFACE_ENDPOINTS",
    "PROJECT",
    "RETENTION_DAYS",
    "AlarmSettings",
    "AlternativeSettings",
    "CanarySettings",
    "Environment",
    "FaultExperiments",
    "GatewaySettings",
    "Key",
    "NatStrategy",
    "Part",
    "Problem",
    "Restore",
    "Settings",
    "SettingsError",
    "Sizing",
]
