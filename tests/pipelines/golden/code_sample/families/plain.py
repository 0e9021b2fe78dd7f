class Plain:
    """A family found through a string in a registry; its folder has no ``__init__.py``."""
