"""Postgres: where it runs, how it is migrated, and every statement that reads or writes it."""
