"""Probes: networks trained afresh to measure a finished representation, which they never change."""
