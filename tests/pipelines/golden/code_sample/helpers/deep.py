from code_sample.helpers import shapes


def factor(value: int) -> int:
    return value * shapes.SIZE
