"""Quantities as Kubernetes writes them."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$")]
"""A quantity of Kubernetes that isn't negative: `4`, `500m`, `16Gi`."""

_FACTORS = {"": Decimal(1), "m": Decimal("0.001")}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def amount(quantity: str) -> Decimal:
    """The number that a quantity stands for."""
    number = quantity.rstrip("imkKMGTPE")
    return Decimal(number) * _FACTORS[quantity.removeprefix(number)]
