from decimal import Decimal

import pytest

from dreambooth_api.quantities import amount


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("0", 0),
        ("4", 4),
        ("1.5", 1.5),
        ("500m", 0.5),
        ("2k", 2000),
        ("1Ki", 1024),
        ("1.5Gi", 1.5 * 2**30),
        ("3E", 3e18),
    ],
)
def test_amount(quantity: str, number: float) -> None:
    assert amount(quantity) == Decimal(number)
