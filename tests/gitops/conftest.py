from tests.operator.conftest import namespace

__all__ = ["namespace"]
