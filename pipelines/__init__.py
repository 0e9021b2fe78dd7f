"""Sharpline's framework: specs, keys, the store, plans, the scheduler, reports and the command line."""
