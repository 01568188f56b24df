"""Each broken variant falls, by the machine alone: `make variants` shows at which seed."""

from __future__ import annotations

import pytest

from simulation.play import play
from tests.simulation.variants import MOST_SEEDS, VARIANTS, Variant, found_among


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_it_is_found(variant: Variant) -> None:
    found = found_among(variant, (variant.known, *range(MOST_SEEDS)))
    assert found is not None, f"{variant.name} survives {MOST_SEEDS} seeds"
    assert variant.oracle in found.oracles
    assert play(found.seed).violations == (), "and only the variant is to blame"
