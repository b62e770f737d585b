"""Queries: run, explained and measured."""
