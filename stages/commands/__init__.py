"""Commands that the stages and the degradation library add to ``sharpline``."""
