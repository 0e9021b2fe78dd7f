"""A small package whose fingerprint is frozen. Files here are never edited: a test copies them to edit."""
