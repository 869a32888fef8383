"""Multiscale volumes on disk."""
