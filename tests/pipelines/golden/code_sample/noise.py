from code_sample.helpers.deep import factor

LIMIT: float = 0.5


def add(value: float, by: float = 1.0) -> float:
    """Scaled sum."""
    if value > LIMIT:
        pass
    return factor(value) + by
