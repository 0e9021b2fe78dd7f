"""Whether the store still holds what was committed, byte for byte, and whether it could be made again."""
