"""What a run shows while it goes on: a table on a terminal, lines elsewhere, JSON on request."""
