"""Deploys models to boards as releases: checked there before an atomic switch; the previous release is kept."""
